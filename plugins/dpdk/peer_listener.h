// Where the vhost peer of a net_virtio_user with `server=1` connects to us. The driver can listen
// itself; but then it shakes hands with a peer that comes again on EAL's interrupt thread, or on
// whichever asks for its link, and waits there for as long as the peer likes. So the driver is a
// client here, as without `server=1`, and what it takes for its connect(2) is the next peer's
// coming here. It is called for that on a thread of the device's own (call_thread.h).
#pragma once
#include <memory>
#include <string>

#include <hostloom/status.h>
#include <hostloom/unique_fd.h>

namespace loom::dpdk {

class PeerListener {
 public:
  // Takes the place of a socket at which nobody listens any more. Errors: kExists, the path is
  // taken; kInvalid, no socket can have it; kUnsupported, the driver connects in a way that is not
  // known here; kIo. Control thread.
  static Result<std::unique_ptr<PeerListener>> open(const std::string& path);
  PeerListener(const PeerListener&) = delete;
  ~PeerListener();  // the socket is gone, but for another's that has taken its place

  // Whether a peer waits to be let in. Any thread.
  bool has_guest() const noexcept;

  // While it lives, whatever the driver connects to on this thread is the peer that comes next. It
  // waits for one, until there is one or hang_up (peer_socket.h) ends that. With null: what it
  // connects to is what it says.
  class Turn {
   public:
    explicit Turn(const PeerListener*) noexcept;
    Turn(const Turn&) = delete;
    ~Turn();
    bool has_come() const noexcept;  // a peer has
  };

 private:
  PeerListener(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  const std::string path_;
  UniqueFd fd_;
};

}  // namespace loom::dpdk
