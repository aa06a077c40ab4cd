// One mapping of anonymous shared memory (a memfd), on huge pages when the machine has them free
// and on plain pages otherwise. Movable, unmaps and closes when it goes; or memory that somebody
// else has mapped, which is left to him.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include <hostloom/status.h>

namespace loom {

class SharedMemory {
 public:
  // At least `size` bytes, zeroed and backed. page_size 0: 1 GB (when size fills one), 2 MB, then
  // plain pages, whichever is there first; another value: that page size or an error. numa_node -1:
  // no preference. Errors: kNoMemory, kIo, kInvalid (not a page size).
  static Result<SharedMemory> create(const char* name, std::size_t size, uint64_t page_size,
                                     int numa_node);
  // Memory of somebody who keeps it for as long as this is used. There is no fd.
  static SharedMemory lent(std::span<std::byte> bytes, uint64_t page_size) noexcept;
  SharedMemory() = default;
  SharedMemory(SharedMemory&& o) noexcept;
  SharedMemory& operator=(SharedMemory&& o) noexcept;
  ~SharedMemory();

  std::span<std::byte> bytes() const noexcept { return {base_, size_}; }
  int fd() const noexcept { return fd_; }  // -1: it is lent
  uint64_t page_size() const noexcept { return page_size_; }

 private:
  static Result<SharedMemory> try_create(const char* name, std::size_t size, uint64_t page_size,
                                         int numa_node);
  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
  uint64_t page_size_ = 0;
  int fd_ = -1;
  bool is_lent_ = false;
};

}  // namespace loom
