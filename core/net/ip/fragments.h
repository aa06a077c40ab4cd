// What ip4-fragment and ip6-fragment have in common: the loop of their nodes, and how a payload is
// cut. Each byte is copied once.
#pragma once
#include <algorithm>
#include <span>

#include "buffer/chain.h"
#include "net/state.h"

namespace loom {

// Appends bytes [at, at + n) of `packet` to `fragment`. False: there are no buffers, or not that
// many bytes; the fragment has some of them.
inline bool append_payload(Worker& w, Buffer& fragment, const Buffer& packet, uint32_t at,
                           uint32_t n) noexcept {
  for (const Buffer* b = &packet; b && n != 0; b = b->next) {
    if (at >= b->len) {
      at -= b->len;
      continue;
    }
    const uint32_t piece = std::min(n, b->len - at);
    if (!chain_append(w, fragment, {b->data + at, piece})) return false;
    n -= piece;
    at = 0;
  }
  return n == 0;
}

// What a fragment has of its packet beside bytes.
inline void describe_fragment(Buffer& fragment, const Buffer& packet, uint32_t flags) noexcept {
  fragment.adjacency = packet.adjacency;
  fragment.fib_index = packet.fib_index;
  fragment.rx_if = packet.rx_if;
  fragment.tx_if = packet.tx_if;
  fragment.flags = flags;
}

// Fragments of `payload` bytes, each of `most` but the last, in `out`, which has room for them:
// make(at, n, is_last) -> Buffer*. How many; 0: there are no buffers, and nothing is left.
template <class Make>
std::size_t cut_payload(Worker& w, uint32_t payload, uint32_t most, std::span<Buffer*> out,
                        Make&& make) noexcept {
  std::size_t n = 0;
  for (uint32_t at = 0; at < payload; at += most) {
    const uint32_t size = std::min(most, payload - at);
    Buffer* f = make(at, size, at + size == payload);
    if (!f) {
      w.free(out.first(n));
      return 0;
    }
    out[n++] = f;
  }
  return n;
}

// split(packet) -> one of the node's counters; `fragmented` is the one of success, and the packet
// is freed. With any other one it goes to `drop`.
template <class Counter, class Next, class Split>
void fragment_all(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in, Counter fragmented,
                  Next drop, Split&& split) noexcept {
  for (Buffer* b : in) {
    const Counter counter = split(*b);
    rt.count(counter);
    if (counter == fragmented) {
      w.free(b);
      continue;
    }
    rt.set_error(*b, counter);
    rt.enqueue_all({&b, 1}, drop);
  }
}

}  // namespace loom
