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

#include <hostloom/buffer.h>
#include <hostloom/interface.h>
#include <hostloom/session.h>
#include <hostloom/slots.h>

namespace loom::udp {

struct Connection {
  ConnId id = kNoConn;
  SessionId session = kNoSession;
  Endpoints ends;   // local: what the flow table has; remote_port 0: no peer
  IpAddress bound;  // local address that was asked for; zero: any
  bool v6only = false;
  // SO_REUSEPORT, SO_REUSEADDR, when it was opened: shares its local end while it has no peer.
  bool reuseport = false, reuseaddr = false;
  SocketOwner owner;
  uint8_t ip4_tos = 0, ip6_class = 0;
  PathMtu ip4_path_mtu = PathMtu::kWant, ip6_path_mtu = PathMtu::kWant;
  bool dont_fragment6 = false;
  bool ip4_errors = false, ip6_errors = false;  // wants to hear of all errors (IP_RECVERR)
  bool gro = false;                             // takes several at once (UDP_GRO)
  bool no_check6_rx = false;                    // takes IPv6's without a checksum
  bool broadcast = false;                       // may send to broadcast addresses
  bool ip4_group_loop = true, ip6_group_loop = true, ip4_group_all = true, ip6_group_all = true;
  uint32_t ip4_group_if = kNoIndex, ip6_group_if = kNoIndex;  // to send to groups by
  Ip4Address ip4_group_source;                                // to connect to groups from
  IfIndex interface = kNoIndex;  // the only one that it comes and goes by
  bool has_chosen_port = false;  // the port was not asked for
  bool is_group_bound = false;   // `bound` is such an address
  bool has_group_peer = false;   // a multicast or broadcast address
  // The way to the peer, good while the IP layer's generation is the same (and not 0).
  uint32_t route_generation = 0;
  uint32_t adjacency = kNoIndex, tx_if = kNoIndex, mtu = 0;
  // What a router has said about it, as the worker knew when it had learnt `pmtu_news` times
  // (destinations.h); 0: nothing.
  uint32_t pmtu = 0, pmtu_news = ~0u;
  TimeNs pmtu_until = 0;
  uint64_t received = 0, sent = 0, overflowed = 0;  // datagrams

  bool wants_errors(bool is_ip4) const noexcept { return is_ip4 ? ip4_errors : ip6_errors; }
  bool shares_end() const noexcept { return reuseport || reuseaddr; }
  // What it sends leaves from the address that was bound. RFC 1122 section 3.2.1.3: not from a
  // group's, nor a broadcast one.
  bool has_source() const noexcept { return !bound.is_zero() && !is_group_bound; }
  bool has_peer() const noexcept { return ends.remote_port != 0; }
  // Whether the packet came by an interface that it listens on. What this host sends to itself came
  // by none: then the one counts that it was sent by, if it was sent by one alone.
  bool hears(const Buffer& b) const noexcept {
    const IfIndex by = b.rx_if != kNoIndex ? b.rx_if : b.tx_if;
    return interface == kNoIndex || by == kNoIndex || by == interface;
  }
  // Takes IPv4's datagrams on ::, too.
  bool dual_stack() const noexcept { return !bound.is_ip4 && bound.is_zero() && !v6only; }
  bool may_reach(bool is_ip4) const noexcept {
    return bound.is_ip4 == is_ip4 || (is_ip4 && dual_stack());
  }
};

// What one without a peer has asked of a group (groups.h).
struct Membership {
  IfIndex interface = kNoIndex;
  IpAddress group;
  bool is_exclude = true;  // all but `sources`, or them alone
  std::vector<IpAddress> sources;
  bool has_named = false;  // some: what they stand for stays then
  bool lets(const IpAddress& source) const noexcept {
    return (std::ranges::find(sources, source) != sources.end()) != is_exclude;
  }
};

class Pool {
 public:
  static constexpr uint32_t kIndexBits = 24, kIndexMask = (1u << kIndexBits) - 1;

  explicit Pool(uint32_t limit) noexcept : slots_(std::min(limit, kIndexMask)) {}
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // See SlotBlocks::use.
  void use(Worker& worker) noexcept { slots_.use(worker); }
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
    slots_.give(index);
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
