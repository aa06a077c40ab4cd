// What UDP keeps for a session, and the pool of them: bound, or with a peer as well. Worker.
//
//   id:  generation:8 | index:24
//
// The generation catches ids that outlived their connection by a few frames (a packet on its way
// from another worker).
#pragma once
#include <algorithm>
#include <new>
#include <vector>

#include <hostloom/session.h>
#include <hostloom/slots.h>

namespace loom::udp {

struct Connection {
  ConnId id = kNoConn;
  SessionId session = kNoSession;
  Endpoints ends;   // local: what the flow table has; remote_port 0: no peer
  IpAddress bound;  // local address that was asked for; zero: any
  bool v6only = false;
  uint8_t tos = 0;
  // The way to the peer, good while the IP layer's generation is the same (and not 0).
  uint32_t route_generation = 0;
  uint32_t adjacency = kNoIndex, tx_if = kNoIndex, mtu = 0;
  // What a router has said about the way (RFC 1191, RFC 8201); 0: nothing.
  uint32_t pmtu = 0;
  TimeNs pmtu_until = 0;
  uint64_t received = 0, sent = 0, overflowed = 0;  // datagrams

  bool has_peer() const noexcept { return ends.remote_port != 0; }
  // Takes IPv4's datagrams on ::, too.
  bool dual_stack() const noexcept { return !bound.is_ip4 && bound.is_zero() && !v6only; }
  bool may_reach(bool is_ip4) const noexcept {
    return bound.is_ip4 == is_ip4 || (is_ip4 && dual_stack());
  }
};

class Pool {
 public:
  static constexpr uint32_t kIndexBits = 24, kIndexMask = (1u << kIndexBits) - 1;

  explicit Pool(uint32_t limit) noexcept : slots_(std::min(limit, kIndexMask)) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // A fresh connection, or nullptr at the limit or without memory.
  Connection* alloc() noexcept {
    const uint32_t index = slots_.take();
    if (index == slots_.kNone) return nullptr;
    if (index >= marks_.size()) marks_.resize(slots_.end());
    marks_[index].used = true;
    auto* c = new (&slots_.at(index)) Connection();
    c->id = uint32_t{marks_[index].generation} << kIndexBits | index;
    ++size_;
    return c;
  }
  void free(Connection& c) noexcept {
    const uint32_t index = c.id & kIndexMask;
    c.~Connection();
    marks_[index].used = false;
    ++marks_[index].generation;
    (void)slots_.give(index);
    --size_;
  }
  // nullptr when `id` is stale, or was never handed out.
  Connection* find(ConnId id) noexcept {
    const uint32_t index = id & kIndexMask;
    if (index >= marks_.size() || !marks_[index].used ||
        marks_[index].generation != id >> kIndexBits)
      return nullptr;
    return &slots_.at(index);
  }
  uint32_t size() const noexcept { return size_; }

 private:
  struct Mark {
    uint8_t generation = 0;
    bool used = false;
  };
  SlotBlocks<Connection, &Connection::id, 128> slots_;
  std::vector<Mark> marks_;  // beside the slots, as the pages of those come and go
  uint32_t size_ = 0;
};

}  // namespace loom::udp
