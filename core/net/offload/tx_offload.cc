// Node "tx-offload": finishes in software what the output device does not do.
//   in    packets for an interface that lacks some InterfaceCaps, data at the link-layer header
//   out   interface-tx, in order | drop
// Segmentation first, then checksums, then one segment for devices without scatter.
#include "buffer/chain.h"
#include "net/interface/nodes.h"
#include "net/offload/gso.h"
#include "net/offload/tx_checksum.h"
#include "net/state.h"

namespace loom {
namespace {

enum Next : uint16_t { kToDrop, kToTx };
enum Counter : uint16_t {
  kPassed,
  kFinished,
  kSegmented,
  kBadGso,
  kBadOffsets,
  kNoBuffer,
  kTooLong,
  kNoInterface,
  kCounterCount
};
constexpr CounterInfo kCounters[kCounterCount] = {
    {"passed", Severity::kInfo, "packets that needed nothing"},
    {"finished", Severity::kInfo, "packets whose checksums were computed or that were flattened"},
    {"segmented", Severity::kInfo, "large packets that were segmented"},
    {"bad-gso", Severity::kError, "to be segmented, but not a sound TCP packet"},
    {"bad-offsets", Severity::kError, "a checksum to compute, but no header where it should be"},
    {"no-buffer", Severity::kWarn, "no buffers"},
    {"too-long", Severity::kWarn, "does not fit into one buffer, and the device needs that"},
    {"no-interface", Severity::kError, "the interface is gone"},
};

// Collects what leaves and passes it on a frame at a time.
struct Output {
  Worker& w;
  NodeRuntime& rt;
  std::array<Buffer*, kFrameSize> packets;
  std::size_t n = 0;
  void add(Buffer* b) noexcept {
    if (n == packets.size()) flush();
    packets[n++] = b;
  }
  void flush() noexcept {
    if (n) rt.enqueue_all({packets.data(), n}, kToTx);
    n = 0;
  }
};

// Checksums and flatness of a packet that is on no one's list yet. kFinished, kPassed, or why not;
// `b` may become another buffer.
Counter finish(Worker& w, uint32_t caps, Buffer*& b) noexcept {
  bool is_changed = false;
  const bool wants_ip4 = b->flags & kBufferTxIp4Checksum && !(caps & kCapTxIp4Checksum);
  const bool wants_l4 = b->flags & kBufferTxL4Checksum && !(caps & kCapTxL4Checksum);
  if (wants_ip4 || wants_l4) {
    if (!finish_tx_checksums(*b)) return kBadOffsets;
    is_changed = true;
  }
  if (b->next && !(caps & kCapScatter)) {
    if (b->length() > b->data_size) return kTooLong;
    Buffer* flat = chain_linearize(w, b);
    if (!flat) return kNoBuffer;
    b = flat;
    is_changed = true;
  }
  return is_changed ? kFinished : kPassed;
}

Counter segment(Worker& w, uint32_t caps, Buffer* packet, Output& out) noexcept {
  std::array<Buffer*, kMaxGsoSegments> segments;
  uint32_t n = 0;
  switch (gso_segment(w, packet, !(caps & kCapScatter), segments, n)) {
    case GsoStatus::kOk:
      break;
    case GsoStatus::kBadPacket:
      return kBadGso;
    case GsoStatus::kNoBuffer:
      return kNoBuffer;
  }
  for (Buffer*& b : std::span(segments.data(), n)) {
    const Counter c = finish(w, caps, b);
    if (c == kFinished || c == kPassed)
      out.add(b);
    else
      w.free(b);  // a hole that TCP repairs; the large packet counts as segmented
  }
  return kSegmented;
}

void tx_offload(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  const NetState& net = net_state(w);
  Output out{w, rt, {}, 0};
  std::array<uint32_t, kCounterCount> counts{};
  for (Buffer* b : in) {
    const Interface* f = net.interfaces.find(b->tx_if);
    Counter counter = kNoInterface;
    if (f) {
      const uint32_t tso = b->flags & kBufferIsIp6 ? kCapTso6 : kCapTso4;
      const bool is_large = b->gso_size && !(f->caps & tso);
      counter = is_large ? segment(w, f->caps, b, out) : finish(w, f->caps, b);
    }
    ++counts[counter];
    if (counter == kSegmented) continue;
    if (counter == kPassed || counter == kFinished) {
      out.add(b);
      continue;
    }
    rt.set_error(*b, counter);
    rt.enqueue_all({&b, 1}, kToDrop);
  }
  out.flush();
  rt.add_counters(counts);
}

}  // namespace

const NodeInfo kTxOffload{.name = "tx-offload",
                          .run = tx_offload,
                          .counters = kCounters,
                          .next = {"drop", "interface-tx"}};

}  // namespace loom
