// Attached applications: their memory, their workers (processes), and the queues between those and
// the daemon's workers. Private to core/session/.
//
// Threads: made and destroyed on the control thread. A daemon worker touches an application only
// while one of its ports is installed on it or a session of its own belongs to it.
#pragma once
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <hostloom/waker.h>

#include "session/fair_share.h"
#include "session/owner.h"
#include "session/port_groups.h"
#include "session/wanted_links.h"
#include "svm/accept_queue.h"
#include "svm/app_arena.h"
#include "svm/daemon_arena.h"
#include "svm/mq.h"
#include "svm/protocol.h"

namespace loom::session {

struct AppWorker;

// One application worker as one daemon worker sees it: both directions of their conversation.
struct AppPort {
  AppWorker* app_worker = nullptr;
  svm::MqConsumer requests;
  UniqueFd wake_fd;  // an eventfd: written by the application when it finds us asleep
  svm::Ref mq_ref = 0;
  bool pushed = false;  // events were sent since the last flush: look whether it sleeps
  // Events that found the queue full. Those of sessions wait in the sessions (Session::untold), as
  // what others do to them must not cost their owner more than they do; here is which sessions.
  std::deque<SessionId> waiting;
  // The others, in order: answers to what the application has asked (App::overflowed).
  std::deque<svm::MqEvent> overflow;
  bool has_backlog() const noexcept { return !overflow.empty() || !waiting.empty(); }
};

struct AppWorker {
  App* app = nullptr;
  uint32_t index = 0;   // bit in SessionShared::holders
  uint64_t serial = 0;  // no other worker of an application ever has it
  int32_t pid = 0;
  UniqueFd socket;  // attach connection; its end is the worker's end
  Waker wake;       // the application worker
  uint64_t watch = 0;
  svm::Ref mq_ref = 0;
  svm::MqProducer events;  // to the application; any daemon thread
  // Its requests that are on their way between daemon workers, after a session that has moved.
  std::atomic<uint32_t> passed_on{0};
  static constexpr uint32_t kMostPassedOn = 256;
  std::vector<std::unique_ptr<AppPort>> ports;  // by daemon worker
  TakenPart descriptors;                        // of the application's
};

// Sessions of one application on one daemon worker: a list through Session::app_next.
struct SessionList {
  SessionId first = kNoSession;
  uint32_t size = 0;
};

struct Namespace;  // namespaces.h

// What bytes are for: who is refused some is counted by it.
enum class MemoryUse : uint8_t { kSegments, kSettings };

// Bytes that something holds against the quota of its namespace. Control thread.
class MemoryCharge {
 public:
  MemoryCharge() = default;  // of nobody: no limit, and not counted
  MemoryCharge(const MemoryCharge&) = delete;
  MemoryCharge& operator=(const MemoryCharge&) = delete;
  ~MemoryCharge();
  void begin(std::shared_ptr<Namespace> ns) { ns_ = std::move(ns); }
  // kNoMemory names the namespace and its quota.
  Result<void> take(uint64_t bytes, MemoryUse = MemoryUse::kSegments);
  void give_back(uint64_t bytes) noexcept;

 private:
  std::shared_ptr<Namespace> ns_;
  uint64_t bytes_ = 0;
};

// Where packets and connects find a listener: an entry of the flow tables.
struct Place {
  Endpoints at;
  bool dual_stack = false;
  bool operator==(const Place& o) const noexcept {
    return at.local == o.at.local && at.local_port == o.at.local_port &&
           at.fib_index == o.at.fib_index && dual_stack == o.dual_stack;
  }
};

// An end that was bound (bound_ends.cc). Control thread.
struct BoundEnd {
  uint64_t id = 0;          // never another's
  uint32_t number = 0;      // as the application has it
  uint32_t app_worker = 0;  // ends with it
  uint8_t protocol = 0;
  PortShare share;
  std::vector<Place> places;
};

struct App {
  // `max_segments`: in app_segments.
  explicit App(const OwnerOps& o, uint32_t max_segments = 64)
      : owner(&o), app_segments(max_segments) {}
  virtual ~App() = default;

  const OwnerOps* owner;
  uint32_t index = 0;
  uint64_t serial = 0;  // no other application of this daemon ever has it
  uint32_t uid = 0;     // of its first process
  std::string name;
  std::shared_ptr<Namespace> ns;  // never null, and always the same
  MemoryCharge memory;
  // Of Impl::shares; what is inside the process takes none.
  Taken descriptors, address_space, listeners, memberships;
  std::unordered_map<uint32_t, BoundEnd> bound_ends;  // by number; each is one of `listeners`
  uint32_t n_pairs = 0;  // that it was first to connect in
  struct {
    bool local = true;   // applications of this daemon, by cut-through
    bool global = true;  // the network, by transports
  } scope;
  uint32_t event_queue_length = 0;
  uint32_t rx_fifo_size = 0, tx_fifo_size = 0;  // bytes
  uint64_t add_segment_size = 0;
  svm::DaemonArena arena;
  // External: app arenas only, all that a hostile Ref can reach. In-process: daemon arenas too.
  svm::SegmentTable app_segments;
  svm::AppArena app_arena{app_segments};
  std::vector<std::unique_ptr<svm::Segment>> app_arenas;
  std::array<std::unique_ptr<AppWorker>, svm::kMaxAppWorkers> workers;  // control thread
  // The same for daemon workers; an entry is cleared on them before the worker is destroyed.
  std::array<std::atomic<AppWorker*>, svm::kMaxAppWorkers> live{};
  std::array<SessionList, svm::kMaxDaemonWorkers> sessions;
  // What its sessions ask for by sending, by daemon worker. None: it is inside the process.
  std::vector<WantedLinks> wanted_links;
  std::atomic<uint32_t> n_sessions{0};
  std::atomic<uint32_t> n_moving{0};   // between two workers, and in neither's list
  std::atomic<bool> condemned{false};  // it broke the rules: the control thread ends it
  std::atomic<uint32_t> growth_asked{
      0};  // SegmentKinds of which the control thread is about to add one
  std::atomic<uint32_t> ahead_of{0};  // number of segments when growth was last asked for early
  // Its requests that wait for the control thread. Who has so many of them is not heard meanwhile.
  std::atomic<uint32_t> for_control{0};
  static constexpr uint32_t kMostForControl = 64;
  // Events in AppPort::overflow of all its ports. One that asks and never reads the answers is
  // ended.
  std::atomic<uint32_t> overflowed{0};
  static constexpr uint32_t kMaxOverflow = 1u << 16;
  bool detached = false;  // no worker is left; goes when its last session does
  // Control thread: what the arena had when it was last looked at (control.cc).
  svm::DaemonArena::Stats seen{};
  bool rests = false;         // and nothing has changed since the time before
  bool gives_chunks = false;  // of an app arena, and goes on with it next time

  uint64_t live_mask() const noexcept {
    uint64_t mask = 0;
    for (uint32_t i = 0; i < svm::kMaxAppWorkers; ++i)
      if (live[i].load(std::memory_order_acquire)) mask |= 1ull << i;
    return mask;
  }
};

// The daemon's ends of a session's fifos; it has some (Session::shared), and is not cut-through.
inline svm::DaemonFifoProducer rx_of(Session& s) noexcept {
  return {s.fifos().rx(), s.app->arena, s.rx};
}
inline svm::DaemonFifoConsumer tx_of(Session& s) noexcept {
  return {s.fifos().tx(), s.app->app_segments, s.tx};
}

// Routing tables by family, as packets carry them (Endpoints::fib_index); kNoIndex: none.
struct FibPair {
  uint32_t ip4 = 0, ip6 = 0;
  uint32_t of(bool is_ip4) const noexcept { return is_ip4 ? ip4 : ip6; }
};

// A listening endpoint. On every daemon worker; its connections and accept queue belong to the
// application.
struct Listener {
  uint32_t index = 0;
  uint32_t generation = 0;
  App* app = nullptr;
  TransportId transport = kNoTransport;
  Endpoints endpoints;
  bool dual_stack = false;
  uint64_t bound = 0;         // BoundEnd::id, that its own end is not in its way; 0: none
  bool is_going = false;      // control thread: among those that unlisten() ends
  FibPair fibs;               // that were asked for
  std::vector<Place> places;  // control thread
  SocketOptionsView options;
  char congestion[16] = {};  // options.congestion points here
  uint32_t rx_size = 0, tx_size = 0;
  std::array<ConnId, svm::kMaxDaemonWorkers> conn;
  void* app_context = nullptr;  // in-process applications
  // Of an internal transport's lower listener: the application in whose name it is open. Its
  // namespace and scope decide where the listener is found.
  App* for_app = nullptr;
  App& face() const noexcept { return for_app ? *for_app : *app; }
  // Of an internal transport's: what that calls it. It has no places, and no `conn`.
  ConnId internal = kNoConn;
  // For what its settings have come to there, against the application's quota.
  uint64_t settings_charge = 0;
  svm::ListenerShared* shared = nullptr;
  svm::Ref shared_ref = 0;
  svm::AcceptProducer accepts;
  uint32_t backlog = 0;
  std::atomic<uint32_t> next_woken{0};  // where the search for the worker to wake starts
  std::atomic<uint32_t> fresh{0};       // accepted since the last flush
  SessionHandle handle() const noexcept { return make_handle(generation, kListenerWorker, index); }
};

}  // namespace loom::session
