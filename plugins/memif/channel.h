// The control socket of one peer: messages of 128 bytes, each with at most one descriptor. Never
// waits. Control thread.
#pragma once
#include <sys/types.h>

#include <hostloom/status.h>
#include <hostloom/unique_fd.h>
#include "wire.h"

namespace loom::memif {

enum class Received : uint8_t { kMessage, kNothing, kClosed, kMalformed };

class Channel {
 public:
  explicit Channel(UniqueFd fd = UniqueFd()) noexcept : fd_(std::move(fd)) {}
  int fd() const noexcept { return fd_.get(); }
  // Of the process that has connected, or that listens; 65534 when nobody can say.
  uid_t peer_uid() const noexcept;
  // False: the peer has gone, or does not read what little it is sent.
  bool send(const Message&, int fd = -1) const noexcept;
  // `fd` becomes what came with the message, or none. kMalformed: not 128 bytes.
  Received receive(Message&, UniqueFd& fd) const noexcept;
  // Best effort, for a peer that is being left.
  void send_disconnect(std::string_view reason) const noexcept;

 private:
  UniqueFd fd_;
};

// A path that begins with @ is no file but a name in the network namespace (unix(7), "abstract"),
// as VPP writes it.
inline bool is_abstract(const std::string& path) noexcept { return path.starts_with('@'); }
// A socket that `path` leads to; it is connected, or the reason is told.
Result<UniqueFd> connect_to(const std::string& path);
// Listens at `path`, in the place of a socket whose listener has gone; what else is there stays,
// and is an error.
Result<UniqueFd> listen_at(const std::string& path);

}  // namespace loom::memif
