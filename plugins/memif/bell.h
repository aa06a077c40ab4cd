// How the receiver of a ring is woken. The protocol hands one descriptor a ring to the master, and
// an eventfd is what everybody uses. But an eventfd is one open file for both ends, and whether a
// write to it waits is a property of the open file: a peer could have our worker wait for ever
// (docs/decisions/0008). So we never read or write one that a peer has:
//   to ring   as slave, a socket pair of datagrams, of which the peer gets one end
//             as master, where the slave has chosen: the kernel counts the eventfd up at the end of
//             a read of nothing (io_submit), which does not wait and does not overflow
//   to hear   an epoll of our own per rx queue, edge-triggered, so that nothing has to be read
#pragma once
#include <hostloom/status.h>

#include <cstdint>
#include <vector>

#include <hostloom/unique_fd.h>

namespace loom::memif {

class Bell {
 public:
  Bell() = default;
  Bell(Bell&&) noexcept;
  Bell& operator=(Bell&&) noexcept;
  ~Bell();  // control thread, as all but ring()

  // Ours; `theirs` becomes the end for the peer.
  static Result<Bell> make(UniqueFd& theirs);
  // A peer's eventfd; anything else is refused.
  static Result<Bell> over(UniqueFd eventfd);
  static bool can_be_over(int fd) noexcept;
  // Never waits. One thread at a time.
  void ring() noexcept;

 private:
  // Of asynchronous reads. To destroy one waits for a grace period of the kernel's (33 ms), with
  // which a peer that comes and goes would keep the control thread busy: what a bell had is the
  // next one's. There are as many as there were bells at one time, and the process ends them.
  struct Context {
    uint64_t id = 0;        // aio_context_t
    uint32_t n_unread = 0;  // completions that lie in its ring
  };
  static std::vector<Context>& spare_contexts();

  UniqueFd fd_;      // what is sent to, or the peer's eventfd
  UniqueFd empty_;   // a file of no bytes, to be read from; none: fd_ is a socket
  Context context_;  // beside empty_
};

// What wakes the worker of one rx queue, whoever the peer is at the moment.
class Ear {
 public:
  static Result<Ear> make();
  int fd() const noexcept { return epoll_.get(); }
  // A peer's eventfd or datagram socket, or an eventfd of ours. The caller keeps it open, and says
  // forget() before it closes it.
  Result<void> listen(int fd);
  void forget(int fd) noexcept;
  // Makes fd() readable. Any thread.
  void shout() noexcept;
  // Makes fd() unreadable until the next ring or shout.
  void consume() noexcept;

 private:
  UniqueFd epoll_, own_;
};

Result<UniqueFd> make_eventfd();

}  // namespace loom::memif
