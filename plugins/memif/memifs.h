// The memif interfaces and control sockets of this daemon, and who is connected to them. Control
// thread.
#pragma once
#include <list>
#include <map>

#include "device.h"
#include "peer.h"

namespace loom::memif {

class Memifs {
 public:
  explicit Memifs(Host& host);
  Memifs(const Memifs&) = delete;
  ~Memifs();

  // A number for a socket file. 0 is memif.sock in the runtime directory until it is said
  // otherwise. kAnySocket: the lowest free one. Returns the number.
  static constexpr uint32_t kAnySocket = ~0u;
  Result<uint32_t> add_socket(uint32_t id, std::string file);
  Result<void> remove_socket(uint32_t id);
  struct Socket {
    std::string file;
    UniqueFd listener;  // while there are masters
    uint64_t watch = 0;
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
  void connect_to_master(Device&);
  void detach(Device&);
  void log(const Device&, const std::string& what);
  bool needs_ticks() const;
  void update_timer();

  Host& host_;
  std::map<uint32_t, Socket> sockets_;
  std::map<Key, Device*> devices_;
  std::list<std::unique_ptr<Peer>> peers_;
  UniqueFd timer_;
  uint64_t timer_watch_ = 0;
  bool is_ticking_ = false;
  int64_t log_second_ = 0;
  uint32_t logged_ = 0;  // lines in that second
};

// DriverOps, on the control thread.
Status set_admin(void* device, bool up) noexcept;
Status set_mtu(void* device, uint32_t mtu) noexcept;
Status set_mac(void* device, const MacAddress& mac) noexcept;
void destroy(void* device) noexcept;
void describe(void* device, std::string& out) noexcept;

Result<void> register_commands(Host&, Memifs&);
Result<void> add_api(Host&, Memifs&);  // the messages of memif.api.json

}  // namespace loom::memif
