// See fake_host.h.
#include "fake_host.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

namespace loom::script {
namespace {
constexpr NodeId kDrop = 0;
constexpr std::size_t kBufferBytes = sizeof(Buffer) + kHeadroom + kDefaultDataSize;
}  // namespace

FakeHost::FakeHost() {
  fill_host_ops();
  fill_worker_ops();
  fill_net_ops();
  host.ops = &host_ops_;
  host.impl = this;
  worker.ops = &worker_ops_;
  worker.net = &net_ops_;
  worker.impl = this;
  worker.now = 1000 * kSecond;
  route.adjacency = 7;
  route.tx_if = 1;
  route.mtu = 1500;
  for (const char* name : {"drop", "ip4-lookup", "ip4-rewrite", "ip6-lookup", "ip6-rewrite",
                           "ip6-fragment", "icmp4-error", "icmp6-error"})
    add({.name = name}, true);
}

FakeHost::~FakeHost() {
  for (auto& c : captured) free_chain(c.packet);
  for (auto& h : handed_off) free_chain(h.second.packet);
  EXPECT_EQ(buffers_out_, 0u) << "buffers leaked";
}

Buffer* FakeHost::alloc_buffer() {
  if (allocs_left == 0) return nullptr;
  if (allocs_left != ~0u) --allocs_left;
  void* raw = std::aligned_alloc(kCacheLine, (kBufferBytes + 63) / 64 * 64);
  std::memset(raw, 0xdb, kBufferBytes);
  auto* b = new (raw) Buffer;
  std::memset(b->opaque, 0xdb, sizeof b->opaque);
  b->data_size = kDefaultDataSize;
  b->reset();
  ++buffers_out_;
  return b;
}

void FakeHost::free_chain(Buffer* b) {
  while (b) {
    Buffer* next = b->next;
    --buffers_out_;
    std::free(b);
    b = next;
  }
}

NodeId FakeHost::add(const NodeInfo& info, bool is_sink) {
  auto node = std::make_unique<Node>();
  node->info = info;
  node->is_sink = is_sink;
  node->counters.resize(info.counters.size());
  const auto id = static_cast<NodeId>(nodes_.size());
  node->rt.id = id;
  node->rt.info = &node->info;
  node->rt.counters = node->counters.data();
  node->rt.ops = &node_ops_;
  node->rt.worker = &worker;
  nodes_.push_back(std::move(node));
  return id;
}

NodeId FakeHost::id_of(const std::string& name) const {
  for (std::size_t i = 0; i < nodes_.size(); ++i)
    if (name == nodes_[i]->info.name) return static_cast<NodeId>(i);
  ADD_FAILURE() << "no node " << name;
  return kDrop;
}

void FakeHost::run_node(NodeId id, std::vector<Buffer*> packets) {
  Node& n = *nodes_[id];
  n.packets_in += packets.size();
  if (n.is_sink) {
    for (Buffer* b : packets) {
      if (id == kDrop)
        free_chain(b);
      else
        captured.push_back({worker.now, b, n.info.name});
    }
    return;
  }
  if (n.next.empty())  // names resolve when the graph first runs
    for (const char* name : n.info.next)
      if (name) n.next.push_back(id_of(name));
  for (std::size_t at = 0; at < packets.size(); at += kFrameSize) {
    const std::size_t size = std::min(kFrameSize, packets.size() - at);
    n.info.run(worker, n.rt, {packets.data() + at, size});
  }
}

void FakeHost::run() {
  if (running_) return;
  running_ = true;
  do {
    while (!pending_.empty()) {
      auto [id, packets] = std::move(pending_.front());
      pending_.pop_front();
      run_node(id, std::move(packets));
    }
    if (pump) pump(pump_context);
  } while (!pending_.empty());
  running_ = false;
}

void FakeHost::deliver(const std::string& node, std::vector<Buffer*> packets) {
  pending_.emplace_back(id_of(node), std::move(packets));
  run();
}

void FakeHost::advance_to(TimeNs when) {
  run();
  while (!timers_.empty()) {
    const auto first = timers_.begin();
    const auto at = static_cast<TimeNs>(first->first) * kTimerTick;
    if (at > when) break;
    Timer& t = *first->second;
    timers_.erase(first);
    t.next = t.prev = nullptr;
    worker.now = std::max(worker.now, at);
    t.fired(worker, t);
    run();
  }
  worker.now = std::max(worker.now, when);
}

uint64_t FakeHost::counter(const std::string& path) const {
  const auto slash = path.find('/');
  const Node& n = *nodes_[id_of(path.substr(0, slash))];
  for (std::size_t i = 0; i < n.counters.size(); ++i)
    if (path.substr(slash + 1) == n.info.counters[i].name) return n.counters[i];
  ADD_FAILURE() << "no counter " << path;
  return 0;
}

uint64_t FakeHost::node_total(const std::string& node) const {
  uint64_t sum = 0;
  for (const uint64_t c : nodes_[id_of(node)]->counters) sum += c;
  return sum;
}

uint64_t FakeHost::packets_into(const std::string& node) const {
  return nodes_[id_of(node)]->packets_in;
}

void FakeHost::fill_host_ops() {
  HostOps& o = host_ops_;
  o.struct_size = sizeof o;
  o.add_node = [](Host& h, const NodeInfo* n, NodeId* out, std::string*) {
    *out = of(h).add(*n, false);
    return Status::kOk;
  };
  o.find_node = [](Host& h, const char* name) { return of(h).id_of(name); };
  o.add_ip_protocol = [](Host&, uint8_t, bool, const char*, std::string*) { return Status::kOk; };
  o.add_icmp_error_handler = [](Host&, uint8_t, bool, const char*, std::string*) {
    return Status::kOk;
  };
  o.add_transport = [](Host& h, const TransportOps* t, TransportId* out, std::string*) {
    *out = static_cast<TransportId>(of(h).transports.size());
    of(h).transports.emplace_back(t->name, *t);
    return Status::kOk;
  };
  o.add_congestion_control = [](Host& h, const CcOps* c, std::string*) {
    of(h).controllers_.push_back(c);
    return Status::kOk;
  };
  o.find_congestion_control = [](Host& h, const char* name) -> const CcOps* {
    if (!*name) name = of(h).default_controller_.c_str();
    for (const CcOps* c : of(h).controllers_)
      if (std::strcmp(c->name, name) == 0) return c;
    return nullptr;
  };
  o.own_address = [](Host& h, const IpAddress* a, uint32_t table, uint32_t* fib_index,
                     std::string* message) {
    FakeHost& self = of(h);
    if (table != 0) return *message = "no such table", Status::kNotFound;
    if (a->is_ip4 && a->ip4().host() >> 24 != 10)
      return *message = "no interface", Status::kUnreachable;
    self.own.insert(*a);
    *fib_index = 0;
    return Status::kOk;
  };
  o.set_default_congestion_control = [](Host& h, const char* name, std::string*) {
    if (!h.find_congestion_control(name)) return Status::kNotFound;
    of(h).default_controller_ = name;
    return Status::kOk;
  };
  o.add_cli_command = [](Host& h, const CliCommand* c, std::string*) {
    of(h).commands[c->path] = c;
    return Status::kOk;
  };
  o.add_stats = [](Host&, const StatSet*, std::string*) { return Status::kOk; };
  o.add_config_stanza = [](Host& h, const ConfigStanza* s, std::string*) {
    of(h).stanzas[s->name] = s;
    return Status::kOk;
  };
  o.n_workers = [](Host&) { return 1u; };
  o.allocate_worker_slot = [](Host& h) { return of(h).slots_++; };
  o.run_on_worker = [](Host& h, uint32_t, void (*fn)(Worker&, void*), void* arg) {
    fn(of(h).worker, arg);
  };
  o.with_barrier = [](Host&, void (*fn)(void*), void* arg) { fn(arg); };
  o.log = [](Host&, LogLevel, const char*, const char*) {};
}

void FakeHost::fill_worker_ops() {
  WorkerOps& o = worker_ops_;
  o.struct_size = sizeof o;
  o.alloc = [](Worker& w, std::span<Buffer*> out) noexcept -> uint32_t {
    for (std::size_t i = 0; i < out.size(); ++i)
      if (!(out[i] = of(w).alloc_buffer())) return static_cast<uint32_t>(i);
    return static_cast<uint32_t>(out.size());
  };
  o.free = [](Worker& w, std::span<Buffer* const> packets) noexcept {
    for (Buffer* b : packets) of(w).free_chain(b);
  };
  o.timer_start = [](Worker& w, Timer& t, TimeNs deadline) noexcept {
    if (t.is_running()) w.ops->timer_stop(w, t);
    t.deadline_tick = static_cast<uint64_t>((deadline + kTimerTick - 1) / kTimerTick);
    t.next = t.prev = &t;
    of(w).timers_.emplace(t.deadline_tick, &t);
  };
  o.timer_stop = [](Worker& w, Timer& t) noexcept {
    auto& timers = of(w).timers_;
    const auto [first, last] = timers.equal_range(t.deadline_tick);
    for (auto i = first; i != last; ++i)
      if (i->second == &t) {
        timers.erase(i);
        break;
      }
    t.next = t.prev = nullptr;
  };
  o.hand_off = [](Worker& w, uint32_t to, NodeId id, std::span<Buffer* const> packets) noexcept {
    for (Buffer* b : packets)
      of(w).handed_off.push_back({to, {w.now, b, of(w).nodes_[id]->info.name}});
  };
  o.enqueue_to_node = [](Worker& w, NodeId id, std::span<Buffer* const> packets) noexcept {
    of(w).pending_.emplace_back(id, std::vector<Buffer*>(packets.begin(), packets.end()));
  };
  o.random = [](Worker& w) noexcept {
    uint64_t& x = of(w).random_;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return x;
  };
  o.post_to_control = [](Worker&, void (*fn)(void*), void* arg) noexcept { fn(arg); };
  o.node_runtime = [](Worker& w, NodeId id) noexcept -> NodeRuntime& {
    return of(w).nodes_[id]->rt;
  };
  node_ops_.enqueue = [](Worker& w, NodeRuntime& rt, std::span<Buffer* const> packets,
                         const uint16_t* next) noexcept {
    FakeHost& h = of(w);
    for (std::size_t i = 0; i < packets.size(); ++i)
      h.pending_.emplace_back(h.nodes_[rt.id]->next.at(next[i]), std::vector<Buffer*>{packets[i]});
    // One frame for each run of packets with the same next, as the engine would.
    std::deque<std::pair<NodeId, std::vector<Buffer*>>> merged;
    for (auto& p : h.pending_)
      if (!merged.empty() && merged.back().first == p.first)
        merged.back().second.insert(merged.back().second.end(), p.second.begin(), p.second.end());
      else
        merged.push_back(std::move(p));
    h.pending_ = std::move(merged);
  };
  node_ops_.enqueue_one_next = [](Worker& w, NodeRuntime& rt, std::span<Buffer* const> packets,
                                  uint16_t next) noexcept {
    FakeHost& h = of(w);
    h.pending_.emplace_back(h.nodes_[rt.id]->next.at(next),
                            std::vector<Buffer*>(packets.begin(), packets.end()));
  };
  node_ops_.trace = [](Worker&, NodeRuntime&, Buffer&, uint32_t) noexcept -> void* {
    return nullptr;
  };
}

void FakeHost::fill_net_ops() {
  net_ops_.struct_size = sizeof net_ops_;
  net_ops_.route = [](Worker& w, const IpAddress& to, uint32_t, RouteInfo* out) noexcept {
    ++of(w).routes_asked;
    if (!of(w).has_route || of(w).subnet_broadcasts.contains(to)) return Status::kUnreachable;
    if (of(w).has_links && !to.is_ip4 && to.ip6().is_link_local()) return Status::kUnreachable;
    *out = of(w).route;
    return Status::kOk;
  };
  net_ops_.route_group = [](Worker& w, const GroupDestination& d, RouteInfo* out) noexcept {
    FakeHost& self = of(w);
    const bool is_multicast = d.to.is_ip4 ? d.to.ip4().is_multicast() : d.to.ip6().is_multicast();
    const bool is_broadcast =
        self.subnet_broadcasts.contains(d.to) || (d.to.is_ip4 && d.to.ip4().is_broadcast());
    const bool is_group = is_multicast || is_broadcast;
    if (!self.has_route || (!is_group && d.interface == kNoIndex)) return Status::kUnreachable;
    self.group_asked = d;
    *out = self.route;
    if (d.interface != kNoIndex) {
      out->tx_if = d.interface;
      out->adjacency = adjacency_on(d.interface);
    }
    out->is_broadcast = is_broadcast;
    return Status::kOk;
  };
  net_ops_.listen_group = [](Worker& w, uint64_t, IfIndex interface, const IpAddress& group,
                             const GroupFilter& f) noexcept {
    if (interface == 66) return Status::kNotFound;
    if (f.is_nobody())
      of(w).listening.erase({interface, group});
    else
      of(w).listening[{interface, group}] = {f.is_exclude, {f.sources.begin(), f.sources.end()}};
    return Status::kOk;
  };
  net_ops_.hears_group = [](Worker& w, IfIndex interface, const IpAddress& group) noexcept {
    return of(w).listening.contains({interface, group});
  };
  net_ops_.is_local = [](Worker& w, const IpAddress& a, uint32_t) noexcept {
    return of(w).own.empty() || of(w).own.contains(a);
  };
  net_ops_.generation = &route_generation;
}

}  // namespace loom::script
