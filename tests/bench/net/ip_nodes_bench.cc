// Cost of the IP nodes per packet, of either version, on the two ways that most packets take:
//   Local    ip-input, ip-lookup, ip-local, and a protocol node that keeps the packets
//   Forward  ip-input, ip-lookup, ip-rewrite, interface-output, interface-tx and a device that
//   keeps
//            them
// The packets come from no driver: each round puts the same ones, 64 bytes long, back at ip-input.
// Items are packets; the argument is how many there are in a round.
#include <benchmark/benchmark.h>

#include <hostloom/ip_push.h>

#include "graph/engine.h"
#include "net/net.h"

namespace loom {
namespace {

void keep(Worker&, NodeRuntime&, std::span<Buffer* const>) noexcept {}
uint32_t keep_all(Worker&, void*, uint16_t, std::span<Buffer* const> in) noexcept {
  return static_cast<uint32_t>(in.size());
}
const DriverOps kDriver{.name = "keep", .tx = keep_all};

struct Host {
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Net> net;
  IfIndex interface = kNoIndex;

  Host() {
    engine = *Engine::create({.buffers = {.buffers_per_numa = 2048}});
    net = *Net::create(*engine, {});
    NodeInfo sink;
    sink.name = "keep";
    sink.run = keep;
    LOOM_CHECK(engine->add_node(sink).has_value());
    LOOM_CHECK(engine->build().has_value());
    InterfaceConfig c;
    c.name = "bench0";
    c.mac = {{2, 0, 0, 0, 0, 1}};
    c.caps = kCapTxIp4Checksum | kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;
    c.ops = &kDriver;
    interface = *net->add_interface(c);
    for (const char* own : {"10.0.0.2/24", "2001:db8::2/64"})
      net->add_address(interface, *IpPrefix::parse(own)).value();
    for (const char* peer : {"10.0.0.1", "2001:db8::1"})
      net->add_neighbor(interface, *IpAddress::parse(peer), {{2, 0, 0, 0, 0, 9}}).value();
    for (const bool is_ip6 : {false, true}) net->add_ip_protocol(253, is_ip6, "keep").value();
    net->set_admin(interface, true).value();
    engine->step();
  }
};

// What a received packet is in ip-input, again.
void restore(Buffer& b, IfIndex interface, const std::array<std::byte, 64>& packet) noexcept {
  b.data = b.start() + kHeadroom;
  b.len = packet.size();
  b.flags = 0;
  b.rx_if = interface;
  b.tx_if = kNoIndex;
  b.l2_offset = b.offset_of_data();
  std::memcpy(b.data, packet.data(), sizeof(Ip6Header));
}

// last: the node whose first counter all packets must be in at the end.
void run_packets(benchmark::State& state, const char* first, const char* last,
                 const char* destination) {
  Host host;
  Worker& w = host.engine->worker(0);
  std::vector<Buffer*> packets(static_cast<std::size_t>(state.range(0)));
  LOOM_CHECK(w.alloc(std::span(packets)) == packets.size());
  std::array<std::byte, 64> packet{};
  const IpAddress dst = *IpAddress::parse(destination);
  const IpAddress src = *IpAddress::parse(dst.is_ip4 ? "10.0.0.9" : "2001:db8::9");
  {
    Buffer& b = *packets[0];
    b.append(64 - static_cast<uint32_t>(dst.is_ip4 ? sizeof(Ip4Header) : sizeof(Ip6Header)));
    if (dst.is_ip4)
      push_ip4_header(b, src.ip4(), dst.ip4(), 253, 0, 1);
    else
      push_ip6_header(b, src.ip6(), dst.ip6(), 253, 0, 0);
    std::memcpy(packet.data(), b.data, packet.size());
  }
  const NodeId input = host.engine->find_node(first);
  for (auto _ : state) {
    for (Buffer* b : packets) restore(*b, host.interface, packet);
    w.enqueue_to_node(input, packets);
    host.engine->step();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
  LOOM_CHECK(host.engine->stats().counter(host.engine->find_node(last), 0) ==
             static_cast<uint64_t>(state.iterations() * state.range(0)));
  for (Buffer* b : packets) restore(*b, host.interface, packet);
  w.free(std::span(packets));
}

void BM_Ip4Local(benchmark::State& state) {
  run_packets(state, "ip4-input", "ip4-local", "10.0.0.2");
}
void BM_Ip4Forward(benchmark::State& state) {
  run_packets(state, "ip4-input", "ip4-rewrite", "10.0.0.1");
}
void BM_Ip6Local(benchmark::State& state) {
  run_packets(state, "ip6-input", "ip6-local", "2001:db8::2");
}
void BM_Ip6Forward(benchmark::State& state) {
  run_packets(state, "ip6-input", "ip6-rewrite", "2001:db8::1");
}
BENCHMARK(BM_Ip4Local)->Arg(16)->Arg(256);
BENCHMARK(BM_Ip4Forward)->Arg(16)->Arg(256);
BENCHMARK(BM_Ip6Local)->Arg(16)->Arg(256);
BENCHMARK(BM_Ip6Forward)->Arg(16)->Arg(256);

}  // namespace
}  // namespace loom
