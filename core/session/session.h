// One session, as its worker keeps it, and the pool it comes from. Private to core/session/.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>
#include <type_traits>

#include <hostloom/session.h>
#include <hostloom/slots.h>
#include <hostloom/transport.h>

#include "svm/fifo.h"

namespace loom::session {

struct App;

enum class State : uint8_t {
  kFree,
  kConnecting,  // connect was asked for; no fifos yet
  kAccepted,    // in its listener's accept queue, or taken from it and not yet claimed
  kOpen,
  kClosing,    // the application is done with it, the transport is not
  kDetached,   // the transport is done with it, the application is not
  kLingering,  // both are; segments on their way out still refer to its bytes
  kMigrated    // lives on another worker, or is on its way there; requests are passed on
};
const char* state_name(State) noexcept;

// Counts the buffer segments that point into the tx fifo. Acknowledged bytes may be overwritten
// only when no segment made before the acknowledgement is left. Two epochs are enough: while
// segments of the old one are out, what is acknowledged waits for the new one's turn, and a steady
// sender whose device is slow still gets its space back.
struct TxHold {
  ExternalOwner owner{};  // what the segments name
  uint32_t refs[2] = {};
  uint32_t deferred[2] = {};  // acknowledged bytes that wait for refs of that epoch to go
  uint32_t epoch = 0;         // that new segments belong to: 0 or 1
  uint32_t total_deferred() const noexcept { return deferred[0] + deferred[1]; }
  bool any() const noexcept { return refs[0] | refs[1]; }
};

enum Flags : uint8_t {
  kInReady = 1u << 0,      // in SessionWorker::ready
  kNotifyRx = 1u << 1,     // in SessionWorker::notify, for the application's reader
  kNotifyTx = 1u << 2,     // ... for its writer
  kNotifyForce = 1u << 3,  // end or reset: tell it even if it did not ask
  kHoldsChunks = 1u << 4,  // in SessionWorker::holding
  kTransportUp = 1u << 5,  // conn is valid: the transport has not said closed or reset
  kEof = 1u << 6,          // the peer has sent FIN
  kAppShutdown = 1u << 7,  // the application has shut down its sending side
};

// What a datagram session wants. With some of it it has no links with applications
// (datagram_links.h): it has one interface alone (SocketOptions::interface), or is to know what the
// daemon alone can tell of each datagram.
enum LinkBound : uint8_t {
  kBoundToLink = 1u << 0,  // its peers are on that link: addresses alone do not tell who they are
  kBoundElsewhere = 1u << 1,  // and it is none of its namespace's: nobody is there
  kTellsArrival = 1u << 2,    // SocketOptions::arrival
  kWithoutLinks = kBoundToLink | kBoundElsewhere | kTellsArrival,
  kTellsSource = 1u << 3  // SocketOptions::answers_from: of groups' datagrams, which no link takes
};

// What a session of an in-process application has beside its fifos.
struct AppEnd {
  enum Due : uint8_t {
    kKnown = 1u << 0,     // the application has its id, and is owed `closed`
    kOpened = 1u << 1,    // `accepted` or `connected` is due
    kReset = 1u << 2,     // `reset` is due
    kClosed = 1u << 3,    // `closed` is due, and nothing else any more
    kPaused = 1u << 4,    // wants no `readable`
    kNoMemory = 1u << 5,  // its last write found no memory
    kMoved = 1u << 6,     // `moved` is due
  };
  void* context = nullptr;
  uint32_t writable_at = 0;  // `writable` is due once so many bytes are free; 0: not asked for
  uint8_t due = 0;
  ResetReason reason = ResetReason::kPeerReset;  // with kReset
  int16_t outcome = 0;                           // with kOpened: Status of connect
};

// What a packet touches comes first: a session of 216 bytes takes four cache lines, and the last
// two are of use at its beginning, its end and for in-process applications.
struct Session {
  State state = State::kFree;
  uint8_t flags = 0;
  TransportId transport = kNoTransport;
  uint8_t creator = 0;  // application worker that asked for it, or 0xff
  union {
    bool tail_held = false;  // streams: the transport knows that the end of the tx fifo may wait
    uint8_t link_bound;      // datagrams: LinkBound
  };
  union {
    uint8_t lives_on = 0;  // worker, of a migrated one
    uint8_t n_errors;      // datagrams, which do not migrate: how many of those before error_end
  };
  uint8_t untold = 0;       // kNotifyRx, kNotifyTx: events that wait in an AppPort::waiting
  uint8_t untold_to = 0;    // the application worker whose port that is
  uint32_t generation = 1;  // 24 bits, never 0; changes whenever the slot is freed
  SessionId id = kNoSession;
  ConnId conn = kNoConn;
  ConnId cut_conn = kNoConn;  // its end of a CutThroughLink, as long as there is the session
  App* app = nullptr;
  svm::SessionLine* shared = nullptr;  // of a SessionShared, unless it is cut-through
  svm::PrivateProducer rx;  // used through rx_of() (application.h); its size is always set
  // Through tx_of(), likewise. The word after it lies in what its alignment leaves over.
  [[no_unique_address]] svm::PrivateCursor tx;
  uint32_t n_options = 0;             // number of the last OptionEvent that was heard
  [[no_unique_address]] TxHold hold;  // so does the word after it
  union {
    uint32_t moved_at = 0;  // when it came here from another worker, in ms of its clock; 0: never
    uint32_t settings;      // internal transports', which do not move: EndpointSettings, or 0
  };
  AppEnd app_end;
  SessionHandle home = 0;  // of a guest: the handle from where it was opened; 0: here
  svm::Ref shared_ref = 0;
  SessionId app_next = kNoSession, app_prev = kNoSession;  // the application's sessions here
  uint32_t listener = kNoIndex;
  union {
    uint32_t accept_pos = 0;  // streams with `listener`: position in its accept queue
    uint32_t context;         // without, until it is connected: of the connect request
    uint32_t error_end;       // datagrams: cursor of rx behind the last error; 0: there was none
  };

  bool is_cut_through() const noexcept { return cut_conn != kNoConn; }
  // Of a session that is not.
  svm::SessionShared& fifos() const noexcept { return *static_cast<svm::SessionShared*>(shared); }
};

static_assert(sizeof(Session) == 216);
// Segments find the session by its hold.
static_assert(std::is_standard_layout_v<Session>);
inline Session& session_of(ExternalOwner& owner) noexcept {
  constexpr std::size_t kAt = offsetof(Session, hold) + offsetof(TxHold, owner);
  return *reinterpret_cast<Session*>(reinterpret_cast<std::byte*>(&owner) - kAt);
}

// Not 0, so that no handle is: applications keep 0 for "none".
constexpr uint32_t next_generation(uint32_t generation) noexcept {
  return generation == 0xffffff ? 1 : generation + 1;
}
static_assert(next_generation(0xffffff) == 1);

// Slots with stable addresses and ids. Any id that was handed out may be looked at: a slot that is
// free has state kFree, no flags, and a generation that no handle has.
class SessionPool {
 public:
  SessionPool() = default;
  ~SessionPool() {
    for (SessionId id = 0; id < end(); ++id) svm::OooList::destroy(at(id).rx.ooo);
  }
  // See SlotBlocks::use.
  void use(Worker& worker) noexcept { slots_.use(worker); }
  Session* alloc() {
    const uint32_t id = slots_.take();
    if (id == slots_.kNone) return nullptr;
    Session* s = &slots_.at(id);
    // A zeroed slot has forgotten its generation: it goes on behind all that were given out.
    const uint32_t generation = s->generation ? s->generation : latest_generation_;
    s = std::construct_at(s);
    s->id = id;
    s->generation = generation;
    __atomic_store_n(&in_use_, in_use_ + 1, __ATOMIC_RELAXED);
    return s;
  }
  void free(Session& s) {
    const SessionId id = s.id;
    const uint32_t generation = next_generation(s.generation);
    std::destroy_at(&s);
    std::construct_at(&s);
    s.generation = generation;
    if (((generation - latest_generation_) & 0xffffff) < 0x800000)  // it wraps
      latest_generation_ = generation;
    slots_.give(id);
    __atomic_store_n(&in_use_, in_use_ - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&freed_, freed_ + 1, __ATOMIC_RELAXED);
  }
  Session& at(SessionId id) noexcept { return slots_.at(id); }
  bool contains(SessionId id) const noexcept { return id < slots_.end(); }
  uint32_t in_use() const noexcept {
    return __atomic_load_n(&in_use_, __ATOMIC_RELAXED);
  }  // any thread
  // How many ever; any thread.
  uint64_t freed() const noexcept { return __atomic_load_n(&freed_, __ATOMIC_RELAXED); }
  uint32_t end() const noexcept { return slots_.end(); }
  // Memory for n sessions, now and for good. False: there is not so much.
  bool reserve(uint32_t n) noexcept { return slots_.reserve(n, true); }

 private:
  SlotBlocks<Session, &Session::id, 128> slots_;
  uint32_t latest_generation_ = 1;
  uint32_t in_use_ = 0;
  uint64_t freed_ = 0;
};

constexpr uint8_t kListenerWorker = 0xff;  // worker byte of a listener's handle
constexpr SessionHandle make_handle(uint32_t generation, uint8_t worker, uint32_t index) noexcept {
  return static_cast<uint64_t>(generation & 0xffffff) << 40 | static_cast<uint64_t>(worker) << 32 |
         index;
}
constexpr uint32_t handle_generation(SessionHandle h) noexcept {
  return static_cast<uint32_t>(h >> 40);
}
constexpr uint8_t handle_worker(SessionHandle h) noexcept { return static_cast<uint8_t>(h >> 32); }
constexpr uint32_t handle_index(SessionHandle h) noexcept { return static_cast<uint32_t>(h); }

}  // namespace loom::session
