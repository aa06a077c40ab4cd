// class Net: the IP layer of the daemon. Interfaces, addresses, routes and neighbours of both
// families, the graph nodes that use them, and NetOps, through which transports see them.
//
// Threads. Configuration (every method that is not marked otherwise) is the control thread's alone:
// it is the only writer of interfaces, addresses and routing tables. Worker 0 is the only writer of
// neighbours and adjacencies; ARP and neighbour-discovery packets that arrive elsewhere are handed
// to it, and control asks it by Engine::run_on_worker. Workers read all of it without a lock:
// routing tables and the neighbour index are safe for readers by themselves, adjacencies carry a
// sequence count, interfaces disappear only while all workers stand still.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/cli.h>
#include <hostloom/host.h>
#include <hostloom/interface.h>
#include <hostloom/net.h>
#include <hostloom/status.h>

namespace loom {

class Engine;
struct Interface;
struct NetState;

struct NetConfig {
  uint32_t max_interfaces = 1024;
  uint32_t max_neighbors = 16384;      // of both families; a full table drops and counts
  uint32_t pending_per_neighbor = 64;  // packets that wait for a link-layer address
  // That fragments of one family may take on one worker; 0: a sixteenth of a worker's share of all.
  uint32_t reassembly_buffers = 0;
  uint32_t icmp_errors_per_second = 1000;  // per worker and family; RFC 1812 section 4.3.2.8
  uint32_t icmp_error_burst = 50;
};

// A route as configured. Next hop: a gateway (with or without an interface), or an interface only
// (connected), or neither with is_drop.
struct Route {
  IpPrefix prefix;
  uint32_t table = 0;
  IpAddress gateway;         // zero: none
  IfIndex tx_if = kNoIndex;  // kNoIndex: the interface whose subnet holds the gateway
  bool is_drop = false;
  std::optional<uint32_t> gateway_table{};  // of that interface; empty: `table`
};

enum class RouteOrigin : uint8_t { kDefault, kInterface, kConfigured };

struct RouteListing {
  Route route;
  RouteOrigin origin = RouteOrigin::kConfigured;
  bool is_local = false;
  uint32_t adjacency = kNoIndex;
};

struct InterfaceListing {
  IfIndex index = kNoIndex;
  std::string name, driver;
  MacAddress mac;
  uint32_t mtu = 0, max_mtu = 0, caps = 0, ip4_table = 0, ip6_table = 0;
  uint32_t ip4_mtu = 0, ip6_mtu = 0;  // 0: as mtu
  bool is_admin_up = false, is_link_up = false, is_ethernet = true, is_loopback = false;
  IfIndex lender = kNoIndex;  // of an unnumbered interface: whose addresses it borrows
  IfIndex parent = kNoIndex;  // of a sub-interface
  uint32_t sub_id = 0;
  uint16_t vlan_id = 0;
  uint16_t n_rx_queues = 0, n_tx_queues = 0;
  std::vector<RxMode> rx_modes;      // by queue
  std::vector<uint32_t> rx_workers;  // by queue
  std::string tag;
  std::vector<IpPrefix> addresses;
  InterfaceCounters rx, tx;  // sums over the workers
  std::string description;   // DriverOps::describe
};

enum class NeighborState : uint8_t { kIncomplete, kReachable, kStale, kProbe, kStatic };

struct NeighborListing {
  IfIndex interface = kNoIndex;
  IpAddress address;
  MacAddress mac;
  NeighborState state = NeighborState::kIncomplete;
  TimeNs age = 0;  // since the last confirmation
};

// How many neighbours of a family there may be, and for how long unused ones are kept.
struct NeighborLimits {
  uint32_t max_number = 0;
  TimeNs max_age = 0;      // since packets last went to one that nobody confirms; 0: for ever
  bool can_evict = false;  // a new one takes the place of the learned one confirmed longest ago
};

// One answer to an echo request.
struct PingReply {
  uint32_t sequence = 0;
  TimeNs rtt = 0;
  uint32_t bytes = 0;
  uint8_t ttl = 0;
};

// How a ping went.
struct PingOutcome {
  uint32_t n_sent = 0;           // requests that there was a way for
  Status failure = Status::kOk;  // why the last of the others were not sent
  std::vector<PingReply> replies{};
};

class Net {
 public:
  // Adds the nodes of the IP layer to the engine and sets Worker::net of every worker. Before the
  // graph is built; `engine` outlives this.
  static Result<std::unique_ptr<Net>> create(Engine& engine, const NetConfig& config = {});
  // Removes the interfaces (DriverOps::destroy). The workers have stopped.
  ~Net();
  Net(const Net&) = delete;
  Net& operator=(const Net&) = delete;

  // --- Interfaces. The driver's side of them (HostOps forwards here). The node named by
  // InterfaceConfig::input_node is added when it does not exist.
  Result<IfIndex> add_interface(const InterfaceConfig& config);
  // Takes addresses, routes and neighbours along, waits until no worker uses it, calls destroy.
  Status remove_interface(IfIndex index);
  Status set_link(IfIndex index, bool up);
  Result<void> take_over_mtu(IfIndex index, uint32_t mtu);  // the driver's own: it is not told
  InterfaceCounters* rx_counters(IfIndex index, uint32_t worker);
  void* device(IfIndex index, const DriverOps* ops) const;
  IfIndex find_interface(std::string_view name) const;  // kNoIndex when there is none

  // --- Interfaces, the operator's side.
  Result<void> set_admin(IfIndex index, bool up);
  Result<void> set_mtu(IfIndex index, uint32_t mtu);  // L3 bytes; the driver is told
  // Of one family: the smaller of both counts. 0: as the interface's.
  Result<void> set_ip_mtu(IfIndex index, bool is_ip4, uint32_t mtu);
  // kUnsupported: the interface or its driver cannot. Its link-local address stays.
  Result<void> set_mac(IfIndex index, const MacAddress& mac);
  // Its sub-interfaces are called after it. Errors: kInvalid; kExists; kUnsupported, it is one.
  Result<void> rename_interface(IfIndex index, const std::string& name);
  Result<void> set_tag(IfIndex index, std::string_view tag);  // the operator's words, "" for none
  Result<void> clear_counters(IfIndex index);                 // kNoIndex: of every interface
  Result<void> set_rx_mode(IfIndex index, RxMode mode,
                           std::optional<uint32_t> queue = {});  // empty: all
  // kNotFound: the queue; kInvalid: the worker.
  Result<void> place_rx_queue(IfIndex index, uint32_t queue, uint32_t worker);
  Result<void> set_table(IfIndex index, uint32_t table,
                         bool is_ip6);  // only while it has no address of the family
  Result<void> add_address(IfIndex index, const IpPrefix& prefix);
  Result<void> del_address(IfIndex index, const IpPrefix& prefix);
  // Without addresses of its own it is spoken to by those of `lender`, which is in the same tables,
  // until clear_unnumbered or until the lender goes. kExists: it has addresses. kInUse: tables
  // differ, or others borrow from it. kInvalid: the lender is itself, or borrows.
  Result<void> set_unnumbered(IfIndex index, IfIndex lender);
  Result<void> clear_unnumbered(IfIndex index);  // kNotFound also: it borrows none
  // Enabled it has a link-local address at least; disabled, none, and drops IPv6 packets. kInUse:
  // has other IPv6 addresses. kNotFound also: was disabled before.
  Result<void> set_ip6_enabled(IfIndex index, bool is_enabled);
  // The address becomes this host's, on the interface of that table whose subnet holds it, unless
  // it is already. Returns the fib index. Errors: kNotFound, no such table; kUnreachable, no
  // interface; those of add_address().
  Result<uint32_t> own_address(const IpAddress& address, uint32_t table);
  // loopN; without an instance the lowest N that is free (kInUse: that one is not). Zero mac: made
  // up; its link-local address comes of it.
  Result<IfIndex> create_loopback(const MacAddress& mac = {},
                                  std::optional<uint32_t> instance = {});
  Result<void> delete_loopback(IfIndex index);
  // NAME.sub_id, a VLAN of that Ethernet interface: the frames that carry one 802.1Q tag with that
  // VLAN id. It goes with its parent. Errors: kNotFound; kUnsupported, the parent has no VLANs;
  // kInvalid, no VLAN id; kExists, the name; kInUse, the VLAN is another's; kNoMemory.
  Result<IfIndex> create_sub_interface(IfIndex parent, uint32_t sub_id, uint16_t vlan_id);
  Result<void> delete_sub_interface(IfIndex index);  // kInvalid: it is none
  std::vector<InterfaceListing> interfaces() const;
  Result<InterfaceListing> interface(IfIndex index) const;
  // Every interface by its index, without a copy; fn adds and removes none.
  void visit_interfaces(const std::function<void(const Interface&)>& fn) const;
  // Told after an interface came, went, or changed state (index, admin up, link up, deleted).
  using InterfaceEvent = std::function<void(IfIndex, bool admin_up, bool link_up, bool deleted)>;
  void on_interface_event(InterfaceEvent callback);
  // Told after the addresses by which an interface is spoken to changed, borrowed ones too.
  void on_address_event(std::function<void(IfIndex)> callback);

  // --- Routing tables. `table` is the operator's number, of one family; packets carry the dense
  // fib index, which tables of the same number share. `name`: the operator's words.
  Result<void> add_table(uint32_t table, bool is_ip6, std::string_view name = {});
  Result<void> del_table(uint32_t table, bool is_ip6);  // only when unused
  // Asked before a table goes: the name of something else that uses it, or "".
  using TableUser = std::function<std::string(uint32_t table, bool is_ip6)>;
  void add_table_user(TableUser user);
  Result<uint32_t> fib_index(uint32_t table, bool is_ip6) const;
  std::vector<uint32_t> tables(bool is_ip6) const;
  Result<void> add_route(const Route& route);
  Result<void> del_route(const Route& route);  // by table and prefix
  std::vector<RouteListing> routes(uint32_t table, bool is_ip6) const;

  // --- Neighbours.
  // Not static: as if it had just answered.
  Result<void> add_neighbor(IfIndex index, const IpAddress& address, const MacAddress& mac,
                            bool is_static = true);
  Result<void> del_neighbor(IfIndex index, const IpAddress& address);  // static or learned
  // All of a family on an interface (kNoIndex: on all), static ones too.
  Result<void> flush_neighbors(IfIndex index, bool is_ip4);
  Result<void> set_neighbor_limits(bool is_ip4, const NeighborLimits& limits);
  NeighborLimits neighbor_limits(bool is_ip4) const;
  std::vector<NeighborListing> neighbors() const;
  // A few hundred of them. `from` begins at 0 and is kNoIndex behind the last.
  std::vector<NeighborListing> neighbors_from(uint32_t& from) const;
  // Told after a neighbour's link-layer address became known or changed; an empty one ends it, also
  // from inside the one before.
  using NeighborEvent = std::function<void(const NeighborListing&)>;
  void watch_neighbors(NeighborEvent callback);

  // --- Protocols above. Packets for this host with that IP protocol go to the named node, data at
  // the L4 header, l3_offset, l4_offset and l4_protocol set. The node must exist already.
  Result<void> add_ip_protocol(uint8_t protocol, bool is_ip6, const char* node);
  // ICMP errors about packets of that protocol go to the named node: data at the *quoted* packet's
  // L4 header (at least 8 bytes), l3_offset at the quoted IP header, IcmpErrorNote in opaque.
  Result<void> add_icmp_error_handler(uint8_t protocol, bool is_ip6, const char* node);

  // --- ping. Sends `count` echo requests from worker 0, `interval` (0 to 60 s) apart, and returns.
  // `done` is called once, on the control thread: when all are answered, or the last has not been
  // for an interval (1 s or more), or at once when there is no way for the first. At most
  // kMaxPingRequests, `count` times `interval` at most kMaxPingTime, and kMaxPingRuns pings at once
  // (kInUse). Goes on until then or until it is cancelled, by the number that start_ping returns;
  // then nobody is told.
  static constexpr uint32_t kMaxPingRuns = 16, kMaxPingRequests = 1000;
  static constexpr TimeNs kMaxPingTime = 60 * kSecond;
  using PingDone = std::function<void(const PingOutcome&)>;
  Result<uint64_t> start_ping(const IpAddress& address, uint32_t count, TimeNs interval,
                              uint32_t table, PingDone done);
  void cancel_ping(uint64_t number);  // nothing happens when it is over

  NetState& state() { return *state_; }  // for the files of core/net and their tests

 private:
  explicit Net(std::unique_ptr<NetState> state);
  std::unique_ptr<NetState> state_;
};

class ApiRegistry;
// The modules interface, ip, ip_neighbor and ping of the binary API, and who answers them
// (core/net/api). `messages` outlives `net`.
Result<void> add_net_messages(ApiRegistry& messages, Net& net);

// The commands of the IP layer: show interface, set interface ..., ip route ..., ping and so on.
Result<void> register_net_commands(Host& host, Net& net);

}  // namespace loom
