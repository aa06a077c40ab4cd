#include "harness.h"

#include <cstring>
#include <stdexcept>

#include "config/parser.h"

namespace loom::dpdk {
namespace {

Engine& engine_of(Host& h) { return *static_cast<DriverHarness*>(h.impl)->engine; }

HostOps with_buffers(const HostOps& base) {
  HostOps ops = base;
  ops.place_buffers = [](Host& h, const BufferPlacement* p, std::string* message) {
    const auto placed = engine_of(h).place_buffers(*p);
    if (placed) return Status::kOk;
    *message = placed.error().message;
    return placed.error().code;
  };
  ops.buffer_pool = [](Host& h, uint32_t pool, BufferPoolInfo* out) {
    if (pool != 0) return Status::kNotFound;
    *out = engine_of(h).pool_of(0).info();
    return Status::kOk;
  };
  ops.take_buffers = [](Host& h, uint32_t, std::span<Buffer*> out) {
    return engine_of(h).pool_of(0).take(out);
  };
  ops.give_buffers = [](Host& h, uint32_t, std::span<Buffer* const> b) {
    engine_of(h).pool_of(0).give(b);
  };
  return ops;
}

}  // namespace

Harness& Harness::get() {
  static Harness* one = new Harness("vdev net_ring0 { name ring0 }");
  if (!one->ring) throw std::runtime_error("there is no ring");
  return *one;
}

Harness::Harness(const std::string& vdevs) : DriverHarness(kInputNode, kBuffers) {
  static const HostOps ops = with_buffers(*host.ops);
  host.ops = &ops;
  devices = std::make_unique<Devices>(host);
  const auto parsed = parse_config("dpdk { no-pci no-hugetlb " + vdevs + " }", "test.conf");
  if (!parsed || !read_stanza(parsed->children.at(0), devices->config))
    throw std::runtime_error("configuration");
  if (const auto ok = devices->start(); !ok) throw std::runtime_error(ok.error().message);
  if (devices->all().empty()) throw std::runtime_error(log.back());
  if (set_admin(&device(), true) != Status::kOk) throw std::runtime_error(log.back());
  ring = rte_ring_lookup("ETH_RXTX0_net_ring0");
}

Result<IfIndex> Harness::create(const DeviceConfig& c) {
  Result<IfIndex> out = error(Status::kInProgress, "");
  devices->create_vdev(c, [&](const Result<IfIndex>& made) { out = made; });
  return out;
}

Result<void> Harness::remove(IfIndex index) {
  Result<void> out = error(Status::kInProgress, "");
  devices->remove_vdev(index, [&](const Result<void>& removed) { out = removed; });
  return out;
}

rte_mbuf* Harness::mbuf(const std::string& bytes) {
  calling_worker = &worker();
  rte_mbuf* m = rte_pktmbuf_alloc(devices->mempools().pools().at(0)->mempool);
  std::memcpy(rte_pktmbuf_append(m, static_cast<uint16_t>(bytes.size())), bytes.data(),
              bytes.size());
  return m;
}

rte_mbuf* Harness::taken() {
  void* m = nullptr;
  return rte_ring_dequeue(ring, &m) == 0 ? static_cast<rte_mbuf*>(m) : nullptr;
}

void Harness::free(rte_mbuf* m) {
  calling_worker = &worker();
  rte_pktmbuf_free(m);
}

std::string tcp_frame(std::size_t payload) {
  std::string f(12, '\2');
  f += std::string("\x08\x00\x45\x00", 4);
  const std::size_t ip = 40 + payload;
  f += static_cast<char>(ip >> 8);
  f += static_cast<char>(ip);
  f += std::string("\0\1\0\0\x40\x06\0\0\x0a\0\0\1\x0a\0\0\2", 16);
  f += std::string("\x10\0\x20\0\0\0\0\1\0\0\0\2\x50\x18\x01\0\0\0\0\0", 20);
  return f + pattern(payload);
}

}  // namespace loom::dpdk
