// A file as it was when it was looked at: its contents in memory, or, when it is too large for
// that, open, to be read in pieces. Immutable but for `was_used`; made, read and destroyed on the
// control thread, lent to workers (cache.h).
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include <hostloom/status.h>

#include "conditions.h"

namespace loom::http {

// What says that a file is still the same.
struct FileVersion {
  uint64_t device = 0, inode = 0, size = 0;
  int64_t modified_ns = 0, changed_ns = 0;
  bool operator==(const FileVersion&) const = default;
};

using MemoryUse = std::atomic<uint64_t>;  // costs of all files of a sort that still exist

struct File {
  File() = default;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File();

  std::string path;  // the request's, as Path has it
  FileVersion version;
  std::string etag;
  std::string fields;  // of answers with it: Content-Type, Last-Modified, ETag, Accept-Ranges, ...
  std::unique_ptr<std::byte[]> data;  // null when fd is not -1
  int fd = -1;
  uint64_t cost = 0;  // what it adds to `memory` for as long as it exists
  std::shared_ptr<MemoryUse> memory;
  mutable std::atomic<bool> was_used{false};  // since the cache last looked for something to drop

  bool is_in_memory() const noexcept { return fd == -1; }
  uint64_t size() const noexcept { return version.size; }
  int64_t modified() const noexcept;  // seconds, rounded down
  Representation representation() const noexcept { return {size(), modified(), etag}; }
  // Reads from the open file. False: that many bytes are not there, or it is not the same any more.
  bool read(uint64_t at, std::span<std::byte> out) const noexcept;
};
using FilePtr = std::shared_ptr<const File>;

// A descriptor that is closed when it goes.
class Fd {
 public:
  explicit Fd(int fd = -1) noexcept : fd_(fd) {}
  Fd(Fd&& o) noexcept : fd_(o.release()) {}
  Fd& operator=(Fd&& o) noexcept;
  ~Fd();
  int get() const noexcept { return fd_; }
  int release() noexcept {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

 private:
  int fd_;
};

// Opens what is below the root, by way of no link that leads out of it, and tells its version.
// Refusals as statuses of HTTP: 403, 404, 503; 301 is a directory.
struct OpenedFile {
  uint16_t refusal = 0;
  Fd fd;
  FileVersion version;
};
OpenedFile open_below(int root, const std::string& path) noexcept;
Result<Fd> open_root(const std::string& path);

}  // namespace loom::http
