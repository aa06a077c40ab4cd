// A daemon in one thread without a daemon: the tables that a plugin gets, over maps and vectors,
// with virtual time. One worker, a graph of whatever nodes the plugin registers, timers in a
// multimap, and packet buffers that come from malloc one by one, so that the sanitizers see every
// misuse. What reaches the IP layer's nodes is captured.
#pragma once
#include <hostloom/host.h>
#include <hostloom/net.h>

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace loom::script {

class FakeHost {
 public:
  struct Captured {
    TimeNs when;
    Buffer* packet;  // owned
    std::string node;
  };

  FakeHost();
  ~FakeHost();  // frees what was captured; fails the test when a buffer is still out
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  Host host;
  Worker worker;
  RouteInfo route;         // answer to every NetOps::route
  bool has_route = true;   // false: kUnreachable
  bool has_links = false;  // several: link-local addresses are reached by a named one alone
  // The way by an interface that is named is another one than the table's.
  static uint32_t adjacency_on(IfIndex link) { return 1000 + link; }
  uint32_t route_generation = 1;
  uint32_t routes_asked = 0;   // how often NetOps::route was
  uint32_t allocs_left = ~0u;  // buffers until the pool is "empty"
  std::set<IpAddress> own;     // what own_address() was asked for; empty: every address is local
  // Beside 255.255.255.255 and multicast: what NetOps::route_group knows.
  std::set<IpAddress> subnet_broadcasts;
  // What sockets listen to (NetOps::listen_group), by interface and group.
  struct Listening {
    bool is_exclude;
    std::vector<IpAddress> sources;
  };
  std::map<std::pair<IfIndex, IpAddress>, Listening> listening;
  GroupDestination group_asked;  // the last one
  std::deque<Captured> captured;
  std::deque<std::pair<uint32_t, Captured>> handed_off;  // to a worker that is not here
  std::vector<std::pair<std::string, TransportOps>> transports;
  std::map<std::string, const CliCommand*> commands;
  std::map<std::string, const ConfigStanza*> stanzas;

  // Called after every node and timer: sessions that want to send get their turn.
  void (*pump)(void*) = nullptr;
  void* pump_context = nullptr;

  Buffer* alloc_buffer();
  void free_chain(Buffer*);
  // Gives packets to a node and runs the graph until it is empty.
  void deliver(const std::string& node, std::vector<Buffer*> packets);
  void run();
  // Moves the clock, firing timers at their ticks on the way.
  void advance_to(TimeNs);
  uint64_t counter(const std::string& node_slash_counter) const;
  uint64_t node_total(const std::string& node) const;  // sum of its counters
  uint64_t packets_into(const std::string& node) const;
  uint32_t buffers_out() const { return buffers_out_; }
  std::size_t n_timers() const { return timers_.size(); }

 private:
  struct Node {
    NodeInfo info;
    NodeRuntime rt{};
    std::vector<NodeId> next;
    std::vector<uint64_t> counters;
    uint64_t packets_in = 0;
    bool is_sink = false;
  };
  static FakeHost& of(Host& h) { return *static_cast<FakeHost*>(h.impl); }
  static FakeHost& of(Worker& w) { return *static_cast<FakeHost*>(w.impl); }
  NodeId add(const NodeInfo&, bool is_sink);
  NodeId id_of(const std::string& name) const;
  void run_node(NodeId, std::vector<Buffer*>);
  void fill_host_ops();
  void fill_worker_ops();
  void fill_net_ops();

  HostOps host_ops_{};
  WorkerOps worker_ops_{};
  NetOps net_ops_{};
  NodeRuntime::Ops node_ops_{};
  std::vector<std::unique_ptr<Node>> nodes_;
  std::deque<std::pair<NodeId, std::vector<Buffer*>>> pending_;
  std::multimap<uint64_t, Timer*> timers_;
  std::vector<const CcOps*> controllers_;
  std::string default_controller_;
  uint32_t slots_ = 0;
  uint32_t buffers_out_ = 0;
  uint64_t random_ = 1;
  bool running_ = false;
};

}  // namespace loom::script
