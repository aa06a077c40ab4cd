// Memory that both ends map. The slave makes it; the master maps what it is handed, which must not
// be able to shrink: a page that goes away under a reader ends the process (SIGBUS). A hole that
// the peer punches is refilled with zeros, which is garbage but memory; huge pages, where a hole
// may find no page to be refilled with, are refused.
#pragma once
#include <hostloom/status.h>

#include <cstddef>
#include <cstdint>

#include <hostloom/unique_fd.h>

namespace loom::memif {

class Region {
 public:
  Region() = default;
  Region(Region&& o) noexcept
      : base_(std::exchange(o.base_, nullptr)), size_(o.size_), fd_(std::move(o.fd_)) {}
  Region& operator=(Region&&) = delete;
  ~Region();

  // Our own, zero, of a size that nobody can change.
  static Result<Region> make(uint64_t size);
  // A peer's, as large as it says. An error's message is a reason for DISCONNECT.
  static Result<Region> map(UniqueFd fd, uint64_t size);

  uint64_t size() const noexcept { return size_; }
  int fd() const noexcept { return fd_.get(); }
  std::byte* base() const noexcept { return base_; }
  // [offset, offset + length), or nullptr: it is not all inside.
  std::byte* at(uint64_t offset, uint64_t length) const noexcept {
    return length <= size_ && offset <= size_ - length ? base_ + offset : nullptr;
  }

 private:
  std::byte* base_ = nullptr;
  uint64_t size_ = 0;
  UniqueFd fd_;  // our own's; a peer's is closed once it is mapped
};

}  // namespace loom::memif
