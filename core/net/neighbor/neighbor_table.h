// Neighbours of both families: which link-layer address an on-link IP address has (RFC 826 by ARP,
// RFC 4861 by neighbour discovery), and the packets that wait for the answer.
//
//   kIncomplete  request sent, up to kMaxRequests one second apart; packets wait
//   kReachable   confirmed less than kReachableTime ago
//   kStale       not confirmed since; still used. Looked at every kStaleCheck: packets went there
//                meanwhile -> kProbe; unused for max_age and not a gateway -> forgotten
//   kProbe       unicast requests; no answer to kMaxRequests of them -> as if never heard of
//   kStatic      configured; never changes
//
// Threads: worker 0 owns everything; find_adjacency is for any worker. The table is bounded, so
// that a scan of the subnet or a flood of ARP packets takes a known amount of memory: when it is
// full, a new neighbour takes the place of the unresolved one that has been tried longest, or, when
// there is none, is refused. The same for each family's own limit, which may also let it take the
// place of a learned one (NeighborLimits).
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include <hostloom/net.h>
#include <hostloom/worker.h>

#include "hash/bihash.h"
#include "net/net.h"

namespace loom {

struct NetState;

struct Neighbor {
  static constexpr uint32_t kMaxPending = 64;  // fragments of the longest datagram: 54 over IPv6 at 1280
  static constexpr uint32_t kMaxBuffers = 256;  // of theirs
  Timer timer;
  IfIndex interface = kNoIndex;
  IpAddress address;
  MacAddress mac;
  NeighborState state = NeighborState::kIncomplete;
  uint8_t requests = 0;  // sent since the last answer
  uint32_t index = 0;    // its own
  uint32_t adjacency = kNoIndex;
  uint32_t route_references = 0;  // routes that have it as their gateway
  TimeNs confirmed = 0;           // last answer, or when it was made
  TimeNs used = 0;                // last time packets were seen to go there
  uint32_t n_pending = 0, n_buffers = 0;  // packets, and what they consist of
  Buffer *first_pending = nullptr, *last_pending = nullptr;  // a list through their opaque bytes
};

// What a received message says about its sender (RFC 4861 section 7.2.5, RFC 826).
struct NeighborNews {
  IfIndex interface = kNoIndex;
  IpAddress address;
  MacAddress mac;
  bool is_solicited = false;  // answers a question of ours: the path works in both directions
  bool overrides = true;      // may replace a known, different address
  bool may_create = false;    // the sender talks to us: we will need its address
};

class NeighborTable {
 public:
  static constexpr uint32_t kMaxRequests = 3;  // RFC 4861 section 10, MAX_MULTICAST_SOLICIT
  static constexpr TimeNs kRetransTimer = kSecond, kReachableTime = 30 * kSecond,
                          kStaleCheck = 5 * kSecond;
  static constexpr NeighborLimits kDefaultLimits{.max_age = 600 * kSecond};  // as many as fit
  // When packets of so many buffers wait, no neighbour has more than so few: who sends to a whole
  // subnet takes no more buffers than that.
  static constexpr uint32_t kManyBuffers = 1024, kFewPending = 16, kFewBuffers = 64;

  enum Event : uint16_t {  // counters of the name-only node "neighbor-table"
    kCreated,
    kTableFull,
    kForgotten,
    kRequestSent,
    kNoBuffer,
    kConflict,
    kMacChanged,
    kNotOverridden,
    kQueueOverflow,
    kUnresolved,
    kNewsLost,
    kEventCount
  };

  explicit NeighborTable(NetState& state) : state_(state) {}
  Result<void> init(uint32_t capacity);
  // Frees waiting packets. Worker 0, or workers have stopped.
  void flush(Worker& w0);

  // Any worker: the adjacency of that neighbour, kNoIndex when it is not known.
  uint32_t find_adjacency(IfIndex interface, const IpAddress& address) const noexcept;

  // Worker 0 from here on. Finds or makes the neighbour, asking for its address if nobody has.
  // nullptr: the table is full.
  Neighbor* resolve(Worker& w, IfIndex interface, const IpAddress& address);
  Neighbor* find(IfIndex interface, const IpAddress& address) noexcept;
  Neighbor* by_index(uint32_t index) noexcept;
  // The packet waits; takes ownership. With the queue full the oldest are dropped. Its adjacency is
  // set, its opaque bytes are ours, and when the address is known it goes to the rewrite node.
  void wait(Worker& w, Neighbor& n, Buffer* packet) noexcept;
  void learn(Worker& w, const NeighborNews& news);
  // True while an answer from it is awaited.
  bool is_asked(IfIndex interface, const IpAddress& address) noexcept {
    const Neighbor* n = find(interface, address);
    return n && n->requests != 0;
  }
  // Another host uses one of our addresses: counted, nothing else (RFC 5227 section 2.4 c).
  void conflict(Worker& w) noexcept { count(w, kConflict); }
  // By the operator's word: for good, or as if it had answered just now.
  Result<void> configure(Worker& w, IfIndex interface, const IpAddress&, const MacAddress&,
                         bool is_static);
  Status remove(Worker& w, IfIndex interface, const IpAddress&);
  // A route has, or no longer has, it as gateway. hold: its adjacency, kNoIndex when full.
  uint32_t hold(Worker& w, IfIndex interface, const IpAddress&);
  void release(Worker& w, IfIndex interface, const IpAddress&);
  // The interface went away (or down: keep_static): its neighbours are forgotten.
  void forget_interface(Worker& w, IfIndex interface, bool went_down);
  // The interface has another MTU or link-layer address.
  void refresh(IfIndex interface) noexcept;
  // Those in the next `most` slots; `from` is kNoIndex behind the last.
  std::vector<NeighborListing> list(TimeNs now, uint32_t& from, uint32_t most) const;
  // Removes those of the family, and the interface unless it is kNoIndex, in the next `most` slots.
  // Returns where to go on, kNoIndex behind the last.
  uint32_t remove_some(Worker& w, uint32_t from, uint32_t most, IfIndex interface, bool is_ip4);
  void set_limits(bool is_ip4, const NeighborLimits& l) noexcept { limits_[is_ip4] = l; }
  const NeighborLimits& limits(bool is_ip4) const noexcept { return limits_[is_ip4]; }

 private:
  static void timer_fired(Worker& w, Timer& t) noexcept;
  void on_timer(Worker& w, Neighbor& n) noexcept;
  Neighbor* create(Worker& w, IfIndex interface, const IpAddress& address);
  bool evict_one(Worker& w, std::optional<bool> family, bool may_be_learned);
  void forget(Worker& w, Neighbor& n) noexcept;
  void tell(Worker& w, const Neighbor& n);
  void destroy(Worker& w, Neighbor& n) noexcept;
  void set_unresolved(Worker& w, Neighbor& n) noexcept;
  void set_mac(Worker& w, Neighbor& n, const MacAddress& mac) noexcept;
  void send_request(Worker& w, Neighbor& n) noexcept;
  void send_pending(Worker& w, Neighbor& n) noexcept;
  void fail_pending(Worker& w, Neighbor& n) noexcept;
  void add_pending(Neighbor& n, Buffer* packet) noexcept;
  Buffer* take_pending(Neighbor& n) noexcept;  // the oldest; nullptr: none
  void publish(Neighbor& n) noexcept;
  void count(Worker& w, Event e, uint32_t n = 1) noexcept;
  Status index_put(const Neighbor& n) noexcept;
  void index_del(const Neighbor& n) noexcept;
  std::optional<uint64_t> index_get(IfIndex, const IpAddress&) const noexcept;

  static constexpr uint32_t kChunk = 64;
  NetState& state_;
  uint32_t capacity_ = 0;
  std::unique_ptr<Bihash<8>> index4_;  // interface, address -> neighbour << 32 | adjacency
  std::unique_ptr<Bihash<24>> index6_;
  std::vector<std::unique_ptr<Neighbor[]>> chunks_;
  std::vector<uint32_t> free_;
  std::vector<bool> is_live_;
  uint32_t n_slots_ = 0;
  uint32_t n_buffers_ = 0;          // that wait, of all neighbours
  std::array<uint32_t, 2> n_of_{};  // by is_ip4
  std::array<NeighborLimits, 2> limits_{kDefaultLimits, kDefaultLimits};
  uint32_t evict_at_ = 0;  // where the next search for a victim begins
};

}  // namespace loom
