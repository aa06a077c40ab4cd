// Descriptors that the daemon holds, and the one by which it wakes a process that it does not
// trust. Private to core/session/.
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <utility>

namespace loom::session {

class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) noexcept : fd_(fd) {}
  UniqueFd(UniqueFd&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

 private:
  int fd_;
};

// Readable once it was rung. Whether a write may block is a property of the open file, which all
// who have a descriptor of it can change. An eventfd is one open file for both sides: its reader
// could fill it and have the next ring wait for ever. A pipe has one for each end, and only the
// sleeper gets `reader`. Full, it need not be rung.
struct WakePipe {
  UniqueFd reader, writer;

  // Neither end: errno says why.
  static WakePipe open() noexcept {
    WakePipe p;
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return p;
    p.reader = UniqueFd(ends[0]);
    p.writer = UniqueFd(ends[1]);
    return p;
  }
  explicit operator bool() const noexcept { return static_cast<bool>(writer); }
  // Our copy of the reader keeps the pipe open: there is no SIGPIPE.
  void ring() const noexcept { (void)!::write(writer.get(), "", 1); }
};

}  // namespace loom::session
