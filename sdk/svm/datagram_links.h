// Cut-through of datagrams: for some of a datagram session's peers, which are sessions of this
// daemon's applications too, a pair of fifos that both ends map (CutThroughShared), beside the
// session's own, which lead to its transport.
//
// Each end finds its links in a table of its own, in its own application's memory, where the other
// end cannot write: SessionLine::block leads there, 0 while there was none. The daemon writes it,
// and a process that sees another `version` looks at all slots. An event follows, but for a slot
// that is free again: until it has looked, a process reads and arms the links that it has. What a
// slot says of addresses is the daemon's word; a datagram's header in the fifo is the peer's, of
// which length, TOS and TTL count, and an end that finds a contradiction in it lets go of the link.
//
// A slot is free, open, ended (nothing is written any more by who has seen that, which he says in
// CutThroughEnd::stopped, as the daemon does for one that has closed or died; the fifos may be read
// until what was in them then is read), and free again once the application has said kLinkDone.
// Processes that share the session by fork() share its links: one of them lets go for all, when it
// has found the link read to its end. It marks the slot before it says so, under the session's
// process lock, and the others look at let_go_version under that lock before they touch any link.
// Said of a link that was still open, while more than one process holds the session, kLinkDone only
// ends it.
#pragma once
#include "svm/protocol.h"

namespace loom::svm {

constexpr uint32_t kMaxDatagramLinks = 64;  // of one session

enum LinkState : uint32_t { kLinkFree = 0, kLinkOpen = 1, kLinkEnded = 2 };
constexpr uint32_t kLinkStateBits = 2;
// `serial` changes whenever the slot is used anew.
constexpr uint32_t link_word(uint32_t serial, LinkState s) noexcept {
  return serial << kLinkStateBits | s;
}
constexpr uint32_t link_serial(uint32_t word) noexcept { return word >> kLinkStateBits; }
constexpr uint32_t link_state(uint32_t word) noexcept {
  return word & ((1u << kLinkStateBits) - 1);
}

struct alignas(64) DatagramLinkSlot {
  std::atomic<uint32_t> word;  // link_word; stored after the rest
  uint32_t end;                // this session's in the pair of applications: 0 or 1
  Ref block;                   // CutThroughShared, in the pair's memory
  Ref bell;                    // BellShared
  uint32_t bell_bit;
  uint32_t rx_size, tx_size;     // fifo limits, bytes
  Endpoint local, remote;        // as this end sees them
  std::atomic<uint32_t> let_go;  // serial of the last one that the application has let go of
};
static_assert(sizeof(DatagramLinkSlot) == 128);

struct alignas(64) DatagramLinks {
  std::atomic<uint32_t> version;
  uint32_t capacity;                     // at most kMaxDatagramLinks; constant
  std::atomic<uint32_t> let_go_version;  // the application's; changes with any slot's let_go
  // DatagramLinkSlot slots[capacity] follow
};
static_assert(sizeof(DatagramLinks) == 64);
inline DatagramLinkSlot* link_slots(DatagramLinks& t) noexcept {
  return reinterpret_cast<DatagramLinkSlot*>(&t + 1);
}

}  // namespace loom::svm
