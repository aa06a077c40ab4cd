// A host with its IP layer, in virtual time, on devices in memory. Stepped by the test.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "counter_coverage.h"
#include "fake_driver.h"
#include "graph/engine.h"
#include "net/net.h"
#include "net/state.h"
#include "packets.h"

namespace loom {

template <class T>
T must(Result<T> r) {
  EXPECT_TRUE(r.has_value()) << (r ? "" : r.error().message);
  return *std::move(r);
}
inline void must(Result<void> r) { EXPECT_TRUE(r.has_value()) << (r ? "" : r.error().message); }

// Keeps what reaches it, as a transport would find it.
struct Sink {
  struct Packet {
    Bytes data;
    uint8_t l4_protocol;
    uint32_t flags;
    Bytes ip;  // the IP header in front
    IcmpErrorNote note;
    uint32_t rest = 0;  // icmp_error_rest, of an ICMP error
  };
  std::vector<Packet> packets;
};

class NetHost {
 public:
  static constexpr const char* kOwnMac = "02:00:00:00:00:01";
  static constexpr const char* kPeerMac = "02:00:00:00:00:99";
  static constexpr uint32_t kAllCaps =
      kCapTxIp4Checksum | kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;

  explicit NetHost(NetConfig config = {}, uint32_t n_workers = 1) {
    EngineConfig e{.n_workers = n_workers,
                   .clock = [](void* self) noexcept { return static_cast<NetHost*>(self)->now; },
                   .clock_context = this};
    e.buffers.buffers_per_numa = 4096;
    engine = must(Engine::create(e));
    net = must(Net::create(*engine, config));
    slot_ = engine->allocate_worker_slot();
    for (uint32_t i = 0; i < n_workers; ++i) engine->worker(i).plugin_data[slot_] = &sink;
    sink_slot() = slot_;
    must(engine->add_node(sink_node()));
    must(engine->build());
  }
  // Every packet is in one counter of each node it passed, and every buffer is free again.
  ~NetHost() {
    for (const auto& d : devices) (void)net->remove_interface(d->index);  // may be gone already
    run();
    expect_counters_add_up();
    note_counters();
    net.reset();
    uint32_t free = 0, total = 0;
    for (const auto* pool : engine->buffer_pools()) {
      free += pool->stats().free;
      total += pool->stats().total;
    }
    for (uint32_t i = 0; i < engine->n_workers(); ++i) free += engine->worker(i).cache.n;
    EXPECT_EQ(free, total) << "buffers leaked";
  }

  // An interface with that address, up; device i has MAC 02:00:00:00:00:0(i+1).
  FakeDevice& add_device(const std::vector<std::string>& addresses, uint32_t caps = kAllCaps,
                         uint32_t mtu = 1500) {
    auto device = std::make_unique<FakeDevice>();
    FakeDevice& d = *device;
    devices.push_back(std::move(device));
    InterfaceConfig c;
    c.name = "fake" + std::to_string(devices.size() - 1);
    c.mac = {{2, 0, 0, 0, 0, static_cast<uint8_t>(devices.size())}};
    c.mtu = mtu;
    c.caps = caps;
    c.ops = &kFakeDriver;
    c.device = &d;
    c.input_node = "fake-input";
    c.rx_queues = {{}};
    d.index = must(net->add_interface(c));
    for (const auto& a : addresses) must(net->add_address(d.index, *IpPrefix::parse(a)));
    must(net->set_admin(d.index, true));
    run();
    d.sent.clear();  // announcements
    return d;
  }
  // Rounds until nothing is left to do.
  void run() {
    for (int i = 0, idle = 0; i < 1000 && idle < 3; ++i) {
      uint32_t work = 0;
      for (uint32_t w = 0; w < engine->n_workers(); ++w) work += engine->step(w);
      idle = work ? 0 : idle + 1;
    }
  }
  // Lets time pass, stopping at every timer.
  void pass(TimeNs time) {
    const TimeNs end = now + time;
    while (now < end) {
      TimeNs next = end;
      for (uint32_t w = 0; w < engine->n_workers(); ++w)
        if (const auto d = engine->next_deadline(w)) next = std::min(next, *d);
      now = std::min(std::max(next, now + kTimerTick), end);
      run();
    }
    run();
  }
  void receive(FakeDevice& d, Bytes frame, uint32_t flags = 0, uint16_t gso_size = 0) {
    d.inject(std::move(frame), flags, gso_size);
    run();
  }
  // A packet of this worker's, in a buffer whose data begins after `headroom` bytes.
  Buffer* make(const Bytes& bytes, uint32_t headroom = kHeadroom) {
    Buffer* b = worker().alloc();
    EXPECT_NE(b, nullptr);
    b->data = b->start() + headroom;
    EXPECT_TRUE(chain_append(worker(), *b, std::as_bytes(std::span(bytes))));
    return b;
  }
  // Hands a packet straight to a node of worker 0, as a plugin can.
  void enqueue(const char* node, Buffer* b) {
    worker().enqueue_to_node(engine->find_node(node), b);
    run();
  }
  // Takes all buffers of worker 0 but `n_left`; give them back with Worker::free.
  std::vector<Buffer*> take_buffers(uint32_t n_left) {
    std::vector<Buffer*> taken;
    while (Buffer* b = worker().alloc()) taken.push_back(b);
    for (; n_left != 0; --n_left, taken.pop_back()) worker().free(taken.back());
    return taken;
  }
  // A static neighbour, so that a test about something else sees no ARP.
  void know(const FakeDevice& d, const std::string& address, const char* mac_text = kPeerMac) {
    MacAddress m;
    const Bytes bytes = mac(mac_text);
    std::copy(bytes.begin(), bytes.end(), m.bytes.begin());
    must(net->add_neighbor(d.index, *IpAddress::parse(address), m));
  }

  // "node/counter", summed over the workers.
  uint64_t counter(const std::string& name) const {
    const auto slash = name.find('/');
    const NodeId id = engine->find_node(name.substr(0, slash));
    EXPECT_NE(id, kNoNode) << name;
    const auto counters = engine->nodes()[id].info.counters;
    for (uint16_t i = 0; i < counters.size(); ++i)
      if (name.substr(slash + 1) == counters[i].name) {
        const uint64_t value = engine->stats().counter(id, i);
        if (value != 0) counter_coverage()[name].is_read = true;
        return value;
      }
    ADD_FAILURE() << "no counter " << name;
    return 0;
  }
  // Every packet that entered a node is in exactly one of its counters.
  void expect_counters_add_up() const {
    for (const auto& n : engine->stats().nodes_total()) {
      const NodeInfo& info = engine->nodes()[n.node].info;
      if (!info.run || info.counters.empty() || info.kind == NodeKind::kInput) continue;
      uint64_t sum = 0;
      for (uint16_t i = 0; i < info.counters.size(); ++i) sum += engine->stats().counter(n.node, i);
      EXPECT_EQ(sum, n.packets) << info.name;
    }
  }
  void note_counters() const {
    for (NodeId id = 0; id < engine->nodes().size(); ++id) {
      const NodeInfo& info = engine->nodes()[id].info;
      if (id == engine->handoff_node()) continue;  // the engine's own (handoff_test.cc)
      for (uint16_t i = 0; i < info.counters.size(); ++i) {
        CounterUse& use = counter_coverage()[std::string(info.name) + "/" + info.counters[i].name];
        use.severity = info.counters[i].severity;
        use.is_fed |= engine->stats().counter(id, i) != 0;
      }
    }
  }
  Worker& worker() {
    Worker& w = engine->worker(0);
    w.now = now;
    return w;
  }

  TimeNs now = kSecond;
  Sink sink;
  std::unique_ptr<Engine> engine;
  std::vector<std::unique_ptr<FakeDevice>> devices;
  std::unique_ptr<Net> net;

 private:
  static uint32_t& sink_slot() {
    static uint32_t slot = 0;  // the same for every host of a test process
    return slot;
  }
  static NodeInfo sink_node() {
    return {.name = "test-sink",
            .run =
                [](Worker& w, NodeRuntime&, std::span<Buffer* const> in) noexcept {
                  auto& sink = *static_cast<Sink*>(w.plugin_data[sink_slot()]);
                  for (Buffer* b : in) {
                    Sink::Packet p{Bytes(b->length()), b->l4_protocol, b->flags, {}, {},
                                   icmp_error_rest(*b)};
                    chain_copy_out(*b, 0, std::as_writable_bytes(std::span(p.data)));
                    const auto* l3 = reinterpret_cast<const uint8_t*>(b->start()) + b->l3_offset;
                    p.ip.assign(l3, reinterpret_cast<const uint8_t*>(b->data));
                    std::memcpy(&p.note, b->opaque, sizeof p.note);
                    sink.packets.push_back(std::move(p));
                  }
                  w.free(in);
                },
            .counters = {},
            .next = {},
            .trace_format = nullptr};
  }
  uint32_t slot_ = 0;
};

}  // namespace loom
