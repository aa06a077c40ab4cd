// Cycles per packet of receiving and sending on one of DPDK's software devices: by our driver, in
// our buffers, and by DPDK's own two calls on a second device of the kind with an ordinary mempool,
// which is what testpmd's mode "io" is; also as if our device's bursts had to pass a gate, as
// net_memif's have. All in turn, medians. usage: dpdk_io net_null|net_ring [packets [in the ring]]
#include <rte_ethdev.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "harness.h"

namespace loom::dpdk {
namespace {

constexpr uint32_t kRounds = 15;
constexpr uint16_t kBurst = 32;  // testpmd's

struct Cycles {
  uint64_t rx = 0, tx = 0, packets = 0;
  double per_packet() const { return static_cast<double>(rx + tx) / static_cast<double>(packets); }
};

// The rx function's packets, instead of a graph.
std::array<Buffer*, kFrameSize> found;
uint32_t n_found = 0;
constexpr NodeRuntime::Ops kCapture{
    .enqueue = nullptr,
    .enqueue_one_next =
        [](Worker&, NodeRuntime&, std::span<Buffer* const> in, uint16_t) noexcept {
          std::copy(in.begin(), in.end(), found.begin());
          n_found = static_cast<uint32_t>(in.size());
        },
    .trace = nullptr};

Cycles by_driver(Harness& h, uint64_t n, BurstGate* gate) {
  h.device().gate = gate;
  NodeRuntime rt = h.input();
  rt.ops = &kCapture;
  Cycles c;
  while (c.packets < n) {
    const uint64_t start = __builtin_ia32_rdtsc();
    n_found = 0;
    rx(h.worker(), rt, &h.device(), 0);
    const uint64_t middle = __builtin_ia32_rdtsc();
    if (tx(h.worker(), &h.device(), 0, {found.data(), n_found}) != n_found) std::abort();
    c.rx += middle - start;
    c.tx += __builtin_ia32_rdtsc() - middle;
    c.packets += n_found;
  }
  return c;
}

Cycles by_dpdk(uint16_t port, uint64_t n, uint16_t burst) {
  std::array<rte_mbuf*, kFrameSize> packets;
  Cycles c;
  while (c.packets < n) {
    const uint64_t start = __builtin_ia32_rdtsc();
    const uint16_t k = rte_eth_rx_burst(port, 0, packets.data(), burst);
    const uint64_t middle = __builtin_ia32_rdtsc();
    if (rte_eth_tx_burst(port, 0, packets.data(), k) != k) std::abort();
    c.rx += middle - start;
    c.tx += __builtin_ia32_rdtsc() - middle;
    c.packets += k;
  }
  return c;
}

uint16_t plain_port(const std::string& name, rte_mempool* pool) {
  uint16_t port = 0;
  rte_eth_conf conf{};
  if (rte_dev_probe(name.c_str()) != 0 || rte_eth_dev_get_port_by_name(name.c_str(), &port) != 0 ||
      rte_eth_dev_configure(port, 1, 1, &conf) != 0 ||
      rte_eth_rx_queue_setup(port, 0, 512, SOCKET_ID_ANY, nullptr, pool) != 0 ||
      rte_eth_tx_queue_setup(port, 0, 512, SOCKET_ID_ANY, nullptr) != 0 ||
      rte_eth_dev_start(port) != 0)
    std::abort();
  return port;
}

// net_ring gives back what it was given: something has to be in it.
void fill(uint16_t port, rte_mempool* pool, Worker* worker, uint16_t n) {
  calling_worker = worker;
  for (uint16_t i = 0; i < n; ++i) {
    rte_mbuf* m = rte_pktmbuf_alloc(pool);
    std::memset(rte_pktmbuf_append(m, 64), 0, 64);
    if (rte_eth_tx_burst(port, 0, &m, 1) != 1) std::abort();
  }
}

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

int run(const std::string& kind, uint64_t n, uint16_t n_in_ring) {
  Harness h("vdev " + kind + "0");
  rte_mempool* pool =
      rte_pktmbuf_pool_create("plain", Harness::kBuffers - 1, 250, 0, 2176, SOCKET_ID_ANY);
  if (!pool) std::abort();
  const uint16_t plain = plain_port(kind + "1", pool);
  if (kind == "net_ring") {
    fill(plain, pool, nullptr, n_in_ring);
    fill(h.device().port, h.devices->mempools().pools()[0]->mempool, &h.worker(), n_in_ring);
  }
  struct {
    const char* name;
    std::vector<double> all, rx, tx;
  } rows[] = {{"hostloom", {}, {}, {}},
              {"hostloom, with a gate", {}, {}, {}},
              {"DPDK, bursts of 32", {}, {}, {}},
              {"DPDK, bursts of 256", {}, {}, {}}};
  BurstGate gate(1);
  for (uint32_t round = 0; round < kRounds; ++round)
    for (std::size_t i = 0; i < 4; ++i) {
      const Cycles c = i == 0   ? by_driver(h, n, nullptr)
                       : i == 1 ? by_driver(h, n, &gate)
                       : i == 2 ? by_dpdk(plain, n, kBurst)
                                : by_dpdk(plain, n, kFrameSize);
      rows[i].all.push_back(c.per_packet());
      rows[i].rx.push_back(static_cast<double>(c.rx) / static_cast<double>(c.packets));
      rows[i].tx.push_back(static_cast<double>(c.tx) / static_cast<double>(c.packets));
    }
  std::printf("%s, TSC cycles per packet, medians of %u rounds of %llu packets in turn\n",
              kind.c_str(), kRounds, static_cast<unsigned long long>(n));
  for (const auto& r : rows)
    std::printf("%-21s rx %6.1f  tx %6.1f  both %6.1f\n", r.name, median(r.rx), median(r.tx),
                median(r.all));
  return 0;
}

}  // namespace
}  // namespace loom::dpdk

int main(int argc, char** argv) {
  const std::string kind = argc > 1 ? argv[1] : "net_null";
  const uint64_t n = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1'000'000;
  return loom::dpdk::run(kind, n, static_cast<uint16_t>(argc > 3 ? std::atoi(argv[3]) : 256));
}
