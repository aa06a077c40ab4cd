// The memif interfaces and control sockets of this daemon, and who is connected to them. Control
// thread.
#pragma once
#include <list>
#include <map>

#include <hostloom/driver_timer.h>

#include "device.h"
#include "door.h"
#include "peer.h"

namespace loom::memif {

class Memifs {
 public:
  explicit Memifs(Host& host);
  Memifs(const Memifs&) = delete;
  ~Memifs();

  // A number for a socket file, or for an abstract socket (@ and its name). 0 is memif.sock in the
  // daemon's runtime directory until it is said otherwise. kAnySocket: the lowest free one. Returns
  // the number.
  static constexpr uint32_t kAnySocket = ~0u;
  Result<uint32_t> add_socket(uint32_t id, std::string file);
  Result<void> remove_socket(uint32_t id);
  struct Socket {
    std::string file;
    UniqueFd listener;   // while there are masters
    uint64_t watch = 0;  // of the listener; 0: it rests until the next tick
    Door door;
    uint64_t n_rests = 0;
    bool is_short = false;  // of descriptors, and that has been logged
    Memifs* memifs = nullptr;
    uint32_t id = 0;
  };
  const std::map<uint32_t, Socket>& sockets() const noexcept { return sockets_; }
  uint32_t n_interfaces(uint32_t socket_id) const;

  // Makes the interface, down; returns its name.
  Result<std::string> create(MemifConfig);
  Result<void> remove(std::string_view name);
  Result<void> remove(IfIndex index);
  void remove_all() noexcept;
  const Device* find(std::string_view name) const;
  // By socket and id; owned by their interfaces.
  using Key = std::pair<uint32_t, uint32_t>;
  const std::map<Key, Device*>& all() const noexcept { return devices_; }
  Host& host() const noexcept { return host_; }
  Kept& kept() noexcept { return kept_; }
  std::string_view our_name() const noexcept { return "Hostloom"; }

  // Peer's.
  Result<Device*> claim(Peer&, const Init&);
  Result<void> attach(Device&, std::unique_ptr<Link>);
  void note_connected(Device&, std::string name, std::string interface);
  // The peer's end, and that of the link. `tell`: it may still listen.
  void lose(Peer&, std::string_view reason, bool tell);

  // Workers'; see fail().
  void end_faulty_links();
  // A quarter of a second has passed.
  void tick();

  // DriverOps'.
  void set_admin(Device&, bool up);
  void dispose(Device*) noexcept;

 private:
  Result<void> complete(const MemifConfig&) const;
  Result<void> start_listening(Socket&);
  void stop_listening(Socket&);
  void stop_listening_without_master(uint32_t socket_id);
  static void on_connection(void* socket);
  void watch(Socket&);
  void rest(Socket&);
  void keep_strangers_few(uint32_t socket_id);
  RingLimits limits(uint32_t socket_id) const;
  void connect_to_master(Device&);
  void detach(Device&);
  void stop_hearing(Device&, const Link&, std::size_t n_rings);
  void log(LogLevel, const std::string& who, const std::string& what);
  bool needs_ticks() const;
  void update_timer();

  void bound_kept() noexcept;

  Host& host_;
  Kept kept_;
  std::map<uint32_t, Socket> sockets_;
  std::map<Key, Device*> devices_;
  std::list<std::unique_ptr<Peer>> peers_;
  static constexpr long kTickNs = 250'000'000;
  DriverTimer timer_{host_, kTickNs, [](void* self) { static_cast<Memifs*>(self)->tick(); }, this};
  int64_t log_second_ = 0;
  uint32_t logged_ = 0;  // lines in that second
};

// DriverOps, on the control thread.
Status set_admin(void* device, bool up) noexcept;
Status set_mac(void* device, const MacAddress& mac) noexcept;
void describe(void* device, std::string& out) noexcept;

Result<void> register_commands(Host&, Memifs&);
Result<void> add_api(Host&, Memifs&);  // the messages of memif.api.json

}  // namespace loom::memif
