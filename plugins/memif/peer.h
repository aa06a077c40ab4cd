// One control connection: from its first byte to its end. Control thread. What it comes to is told
// to Memifs, which owns it.
#pragma once
#include <hostloom/host.h>

#include <variant>

#include "handshake.h"

namespace loom::memif {

class Memifs;
struct Device;

class Peer {
 public:
  // Of a slave that has connected to a master's socket: it is greeted, and will say what it wants.
  Peer(Memifs&, uint32_t socket_id, const RingLimits&, Channel);
  // Of the master that `device`, a slave, has connected to.
  Peer(Memifs&, Device& device, Channel);
  Peer(const Peer&) = delete;
  ~Peer();

  // Watches the socket. False: it is dead already.
  bool begin();
  bool is_connected() const noexcept { return is_connected_; }
  Device* device() const noexcept { return device_; }
  uint32_t socket_id() const noexcept { return socket_id_; }
  uid_t uid() const noexcept { return uid_; }  // of who made the connection
  void say_goodbye(std::string_view reason) const noexcept { channel_.send_disconnect(reason); }
  // A quarter of a second has passed. False: it has taken too long to shake hands.
  bool tick() noexcept { return is_connected_ || ++age_ <= kMostAge; }

 private:
  static constexpr uint32_t kMostAge = 20;  // ticks
  static void on_readable(void* self);
  // False: this peer is no more.
  bool read_one();
  Result<void> handle(const Message&, UniqueFd);
  Result<void> handle_as_master(const Message&, UniqueFd);
  Result<void> handle_as_slave(const Message&);
  Result<void> connected(Result<std::unique_ptr<Link>>, const Connect&);

  Memifs& memifs_;
  Channel channel_;
  const uid_t uid_;
  uint64_t watch_ = 0;
  uint32_t socket_id_ = 0;
  RingLimits limits_;         // as master: what the greeting says
  Device* device_ = nullptr;  // as master, once the slave has said whom it wants
  bool is_master_;
  bool is_connected_ = false;
  uint32_t age_ = 0;
  std::string name_;
  std::variant<std::monostate, MasterSide, SlaveSide> side_;
};

}  // namespace loom::memif
