// Node "interface-tx": gives packets to their interface's driver.
//   in    packets with tx_if set that the device can send as they are
//   out   the driver | drop (what it did not take)
// Runs of packets of one interface go to the driver in one call. A tx queue that several workers
// share is locked around the call; with as many queues as workers there is no lock.
#include "net/interface/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop };
enum Counter : uint16_t { kSent, kQueueFull, kNoInterface, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"sent", Severity::kInfo, "packets the driver took"},
    {"queue-full", Severity::kWarn, "the driver had no room"},
    {"no-interface", Severity::kError, "the interface is gone"},
};

// Returns how many the driver took. Their bytes are counted first: taken packets are not ours.
uint32_t send(Worker& w, Interface& f, std::span<Buffer* const> run) noexcept {
  const auto queue = static_cast<uint16_t>(w.index % f.n_tx_queues);
  std::array<uint32_t, kFrameSize> lengths;
  for (std::size_t i = 0; i < run.size(); ++i) lengths[i] = run[i]->length();
  SpinLock* lock = f.tx_locks ? &f.tx_locks[queue] : nullptr;
  if (lock) lock->lock();
  const uint32_t sent =
      std::min<uint32_t>(f.ops->tx(w, f.device, queue, run), static_cast<uint32_t>(run.size()));
  if (lock) lock->unlock();
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < sent; ++i) bytes += lengths[i];
  InterfaceCounters& c = f.counters[w.index].tx;
  add_counter(c.packets, sent);
  add_counter(c.bytes, bytes);
  add_counter(c.drops, run.size() - sent);
  return sent;
}

void interface_tx(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  const NetState& net = net_state(w);
  if (net.engine.pcap_enabled()) [[unlikely]]
    net_state(w).engine.pcap().capture(w, kPcapTx, in);
  std::array<uint32_t, kCounterCount> counts{};
  for (std::size_t at = 0; at < in.size();) {
    const IfIndex index = in[at]->tx_if;
    std::size_t end = at + 1;
    while (end < in.size() && in[end]->tx_if == index) ++end;
    const auto run = in.subspan(at, end - at);
    at = end;
    Interface* f = net.interfaces.find(index);
    const uint32_t sent = f ? send(w, *f, run) : 0;
    counts[kSent] += sent;
    if (sent == run.size()) [[likely]]
      continue;
    const Counter counter = f ? kQueueFull : kNoInterface;
    const auto rest = run.subspan(sent);
    counts[counter] += static_cast<uint32_t>(rest.size());
    for (Buffer* b : rest) rt.set_error(*b, counter);
    rt.enqueue_all(rest, kToDrop);
  }
  rt.add_counters(counts);
}

}  // namespace

const NodeInfo kInterfaceTx{
    .name = "interface-tx", .run = interface_tx, .counters = kCounters, .next = {"drop"}};

}  // namespace loom
