// The session layer from the inside: what its files share. Private to core/session/.
//
//   control thread   attach_server.cc   attach, fork, segments
//                    process_end.cc     death of processes and applications
//                    listeners.cc       listen and unlisten
//   daemon workers   requests.cc        what applications ask by message queue
//                    session_ops.cc     what transports call
//                    lifecycle.cc       opening and ending sessions
//                    send.cc            node "session-queue"
//                    datagram.cc        datagrams in both directions; datagram_requests.cc
//                    notify.cc          events to applications
//                    migrate.cc         sessions that move to another worker
//   both             external_owner.cc  sessions of applications outside the process
//                    in_process*.cc     and inside
#pragma once
#include <deque>
#include <span>
#include <unordered_map>
#include <utility>

#include <hostloom/app.h>
#include <hostloom/stats.h>

#include "graph/engine.h"
#include "session/application.h"
#include "session/cut_through.h"
#include "session/datagram_links.h"
#include "session/endpoint_settings.h"
#include "session/filters.h"
#include "session/flow_tables.h"
#include "session/local_ends.h"
#include "session/migrate.h"
#include "session/namespaces.h"
#include "session/reserved_list.h"
#include "session/session_layer.h"
#include "session/wanted_links.h"
#include "transport/registry.h"

namespace loom::session {

// Worker::sessions points here, so that the table's functions find their layer.
struct Ops : SessionOps {
  SessionLayer::Impl* layer = nullptr;
};

struct Visitor;  // visitors.cc: a connection that has not attached yet

// Packets and requests that ended at node "session-queue", in the order of kQueueCounters.
enum QueueCounter : uint16_t {
  kSentChains,
  kNoBuffers,
  kNoSegmentMemory,
  kStaleHandle,
  kBadRequest,
  kAppViolation,
  kAcceptOverflow,
  kEventOverflow,
  kMigratedHere,
  kPassedOn,
  kNamespaceFull,
  kBadDatagram,
  kDatagramDenied,
  kMembershipRefused,
  kQueueCounterCount
};

// Those of node "session-queue" that are to be added up. Whoever takes one is about to count.
struct QueueCounters {
  uint64_t& operator[](std::size_t i) noexcept {
    changed = true;
    return n[i];
  }
  std::array<uint64_t, kQueueCounterCount> n{};
  bool changed = false;
};

// The layer on one daemon worker.
struct SessionWorker {
  Worker* worker = nullptr;
  SessionLayer::Impl* layer = nullptr;
  SessionPool pool;
  std::vector<AppPort*> ports;  // installed here
  // Lists of sessions. One that has gone stays listed, without the flag; a slot that is used again
  // may be listed twice. Who takes an entry looks at the flag first.
  std::vector<SessionId> ready;         // may send (kInReady)
  std::vector<SessionId> sending;       // the ones whose turn it is, taken from ready
  std::vector<SessionId> again;         // had their turn and have more (kInReady): next round
  std::size_t waiting = 0;              // that ready had when the round began
  std::vector<SessionId> notify;        // whose application is to be told (kNotify*)
  std::vector<SessionId> telling;       // the ones of this round; swapped with notify
  std::vector<uint32_t> accepting;      // listeners with fresh connections
  ReservedList<SessionHandle> holding;  // that have chunks of ours (kHoldsChunks)
  std::size_t holding_next = 0;         // where this look at them is
  // Of in-process applications, whose write found no memory and who want to write again.
  std::vector<SessionHandle> starved;
  Timer holding_timer, overflow_timer, starved_timer, backlog_timer, hearing_timer;
  TimeNs overflow_pause = 0;  // until overflow_timer; longer while nobody reads
  std::vector<std::unique_ptr<CutThroughLink>> cut_throughs;
  std::vector<uint32_t> free_cut_throughs;
  std::unordered_map<CutThroughKey, CutThroughPair*, CutThroughKey::Hash> pairs;
  std::vector<Backlogged> backlogged;
  // Sessions that live here and were opened elsewhere, by the handle they have from there.
  std::unordered_map<SessionHandle, SessionId> guests;
  uint32_t strays = 0;  // packets that belong to other workers' connections
  bool any_pushed = false;
  uint32_t port_counter = 0;
  QueueCounters counters;
  StatCounter migrated;       // slots whose session lives on another worker
  StatCounter drain_refused;  // packets for listeners that draining hides
  std::vector<std::unique_ptr<DatagramLink>> datagram_links;
  std::vector<uint32_t> free_datagram_links;
  OpenLinks open_links;
  std::unordered_map<SessionId, LinkedSession> linked;
  uint32_t wanted_from = 0;  // which datagrams of a visit ask for links
  // CLOCK_REALTIME of the round with that `now`, once a datagram of it was to have it; in ns.
  TimeNs arrival_round = -1, arrival = 0;
};

}  // namespace loom::session

namespace loom {

class Net;

struct SessionLayer::Impl {
  Impl(SessionConfig c, Engine& e, TransportRegistry& t)
      : config(std::move(c)), engine(e), transports(t) {
    namespaces.push_back(session::make_default_namespace());
  }

  SessionLayer* layer = nullptr;
  SessionConfig config;
  Engine& engine;
  TransportRegistry& transports;
  std::unique_ptr<session::FlowTables> flows;
  session::LocalEnds local_ends;     // control thread
  uint64_t bound_end_id = 0;         // the latest
  std::atomic<bool> fetches{false};  // memory for them, and it is not there yet
  std::unique_ptr<session::Filters> filters;
  std::unique_ptr<session::Ops> ops;
  std::vector<std::unique_ptr<session::SessionWorker>> workers;
  NodeId queue_node = kNoNode;
  std::vector<CliCommand> commands;
  std::vector<std::shared_ptr<void>> kept;  // what other commands point to

  // Control thread.
  ControlLoop loop;
  Net* net = nullptr;  // null: there is table 0, and no interface (tests)
  std::vector<std::shared_ptr<session::Namespace>> namespaces;  // by index; null = free
  uint64_t no_namespace = session::make_decoy();  // compared with where there is no secret
  uint64_t unknown_namespaces = 0;                // attaches that named none that there is
  struct {
    TimeNs next = 0;  // none is logged before
    uint64_t untold = 0;
  } refusals;                                       // of attaches
  session::Shares shares;                           // of those that follow
  std::vector<std::unique_ptr<session::App>> apps;  // by index; null = free
  uint64_t last_serial = 0;                         // of App and AppWorker
  std::vector<std::unique_ptr<session::CutThroughPair>> pairs;
  std::deque<std::weak_ptr<session::Visitor>> visitors;  // the oldest first
  bool stopped = false;                                  // or disabled
  bool attach_off = false;                               // by set_attach_socket(false)
  struct {                                               // of malloc (control.cc)
    uint32_t due = 0;                                    // times, from then on
    TimeNs at = 0;
    uint64_t gone = 0, seen = 0;  // sessions ever: when it was asked for; when it was looked
  } trim;
  std::atomic<uint32_t> open_links{0};  // of datagrams, on all workers
  bool give_back_waits = false;         // somebody has asked for a look after memory
  double give_back_every = 0;           // seconds
  struct {
    uint32_t timeout_s = 0;
    TimeNs began = 0, deadline = 0;
    bool ticks = false;  // the loop looks after the deadline
    uint64_t refused_apps = 0, resets = 0;
    std::function<void(const DrainStatus&)> on_change;
  } drain;
  // Any thread.
  session::EndpointSettings settings{transports};
  std::atomic<DrainState> drain_state{DrainState::kOff};
  std::atomic<bool> drain_check_asked{false};

  static constexpr uint32_t kMaxListeners = session::kMaxListeners;
  // Entries are published with release and never move; a removed listener is freed after a grace
  // period.
  std::unique_ptr<std::atomic<session::Listener*>[]> listeners {
    new std::atomic<session::Listener*>[ kMaxListeners ]()
  };
  std::vector<uint32_t> free_listeners;
  // Whoever calls back later, and may come too late, holds it weakly.
  std::shared_ptr<Impl*> alive = std::make_shared<Impl*>(this);
  uint32_t n_listeners = 0, listener_generation = 0;

  // The first of the ports to choose from that fn(port) says yes to, from a random one on (RFC 6056
  // section 3.3.1). False: to none. Control thread.
  template <class Fn>
  bool choose_port(Fn&& fn) const {
    const uint32_t first = config.min_src_port, n = config.max_src_port - first + 1u;
    const uint64_t start = HashSecret::random().words[0];
    for (uint32_t i = 0; i < n; ++i)
      if (fn(static_cast<uint16_t>(first + (start + i) % n))) return true;
    return false;
  }

  session::Listener* listener(uint32_t index) const noexcept {
    return index < kMaxListeners ? listeners[index].load(std::memory_order_acquire) : nullptr;
  }
  void log(LogLevel level, const std::string& text) const {
    if (loop.log) loop.log(level, text);
  }
};

}  // namespace loom

namespace loom::session {

using Impl = SessionLayer::Impl;

inline SessionWorker& of(Worker& w) noexcept {
  return *static_cast<const Ops*>(w.sessions)->layer->workers[w.index];
}
void fill_ops(Ops&) noexcept;  // session_ops.cc
// Fetches into the cache what a packet of theirs, or their application, will look at.
void prefetch_sessions(SessionWorker&, std::span<const SessionId>) noexcept;

// The worker that a new flow is to live on whose first packet `here` has got.
template <class Key>
uint32_t accepting_worker(const Impl& layer, uint32_t here, const Key& key) noexcept {
  if (!layer.config.spread_flows) [[likely]]
    return here;
  return layer.flows->spread(key, layer.engine.n_workers());
}

// --- lookup.cc: SessionOps. Daemon worker.
// ------------------------------------------------------------------------------------

template <class Key>
void lookup(Worker&, std::span<const Key> keys, FlowMatch* out) noexcept;
ConnId listener_on(Worker&, const Endpoints&, uint8_t protocol, SessionId found,
                   IfIndex by) noexcept;

// --- lifecycle.cc. Daemon worker.
// ------------------------------------------------------------------------------------

SessionHandle handle_of(const SessionWorker&, const Session&) noexcept;
// The session of a handle that application `app` sent, or nullptr (counted) when it is stale or not
// its own.
Session* find_session(SessionWorker&, const App&, SessionHandle) noexcept;
// A free slot that belongs to the application, or nullptr.
Session* new_session(SessionWorker&, App&, TransportId) noexcept;
// Gives the session its shared block and fifos. False: the application's segments are full (growth
// is under way).
bool open_fifos(SessionWorker&, Session&) noexcept;
// The application is done with it: orderly, or with `abort` by RST. The session goes once the
// transport is done too.
void app_close(SessionWorker&, Session&, bool abort) noexcept;
// The transport is done with it.
void transport_done(SessionWorker&, Session&) noexcept;
void free_session(SessionWorker&, Session&) noexcept;
// The application's sessions on this worker: in and out of its list. n_sessions counts those of all
// workers and is the caller's.
void link_to_app(SessionWorker&, Session&) noexcept;
void unlink_from_app(SessionWorker&, Session&) noexcept;
// Segments no longer refer to `n` of the tx bytes that were acknowledged: move head.
void drop_tx(SessionWorker&, Session&, uint32_t n) noexcept;
// Asks the control thread to end the application, once.
void condemn(SessionWorker&, App&) noexcept;
// Asks the control thread for another segment, once until it is there.
void ask_growth(SessionWorker&, App&, svm::SegmentKind = svm::SegmentKind::kDaemonArena) noexcept;
// Has the session looked at now and then, until it holds no idle chunks any more.
void watch_chunks(SessionWorker&, Session&) noexcept;

// It means something on one link alone (RFC 4007).
inline bool is_link_local(const IpAddress& a) noexcept {
  return !a.is_ip4 && a.ip6().is_link_local();
}
inline const TransportOps* ops_of(const SessionWorker& sw, const Session& s) noexcept {
  return s.is_cut_through() ? &kCutThroughOps : sw.layer->transports.get(s.transport);
}

// --- drain.cc. Daemon worker.
// A session or a handshake has gone: perhaps it was the last one that draining waits for.
void drain_progress(SessionWorker&) noexcept;

// --- requests.cc
// -------------------------------------------------------------------------------------------------------

// Handles what applications have sent, at most a bounded number of requests each; returns how many
// there were.
uint32_t poll_requests(SessionWorker&) noexcept;
// Around the worker's sleep: the applications' queues are marked, so that they know to write the
// eventfd. False: there is something to do first.
bool may_sleep(SessionWorker&) noexcept;
// All applications of the worker say that they sleep (SleepHook::is_alone). A lie makes the worker
// sleep sooner, or look on for a moment that it would look on for without the application. Of more
// than kMostAsked one is always awake.
inline constexpr std::size_t kMostAsked = 16;
bool is_alone(const SessionWorker&) noexcept;
// `hops`: how often it was passed on between workers.
void handle_request(SessionWorker&, AppWorker&, const svm::MqEvent&, uint32_t hops) noexcept;
void connect(SessionWorker&, AppWorker&, const svm::ConnectEvent&, const Waited& = {}) noexcept;
void refuse_connect(SessionWorker&, AppWorker&, uint32_t context, Status) noexcept;
struct ConnectArgs {
  TransportId transport = kNoTransport;
  Endpoints endpoints{};
  SocketOptionsView options{};
  uint32_t rx_fifo_size = 0, tx_fifo_size = 0;  // 0: the application's
  uint32_t context = 0;                         // Session's
  uint8_t creator = 0;
  // Drawn once for each connect that meets listeners which share a port: which of them it is for,
  // now and when it has waited.
  uint64_t chance = 0;
};
// Starts a connection. Other than kOk: there is no session. `out` may be gone again when the
// transport reports at once and the owner frees at once.
Status open_connection(SessionWorker&, App&, const ConnectArgs&, Session** out) noexcept;
// The session that was made of those settings is being freed.
void let_settings_go(SessionWorker&, uint32_t number) noexcept;
SocketOptionsView options_view(const svm::SocketOptions&, char (&congestion)[16]) noexcept;
void keep_in_place(const App&, SocketOptionsView&) noexcept;
Endpoints endpoints_of(const svm::Endpoint& local, const svm::Endpoint& remote) noexcept;
svm::Endpoint endpoint_of(const IpAddress&, uint16_t port) noexcept;

// --- send.cc
// -----------------------------------------------------------------------------------------------------------

extern const NodeInfo kSessionQueue;
void schedule(SessionWorker&, Session&) noexcept;
bool append_tx(SessionWorker&, Session&, uint32_t offset, uint32_t length, Buffer& first) noexcept;

// --- datagram.cc, datagram_requests.cc. Sessions of transports of TxKind::kDatagram.
// ------------------------------------------------------------------------------------

// connect() with or without a peer: place, rules, and open. Answers in any case; where a pair of
// applications is to be made for a link, later. is_new: it has not waited for that yet.
// Where a session without a peer may be: its table, and its address if it names one.
Status place_bound(SessionWorker&, const App&, Endpoints&) noexcept;
// The same by one interface alone (SocketOptions::interface), of streams too. kUnreachable: there
// is no such interface, or it is none of the application's; kNotFound: it has not that address.
Status place_on(Worker&, const Namespace&, const Endpoints&, IfIndex) noexcept;
void open_datagram(SessionWorker&, AppWorker&, const svm::ConnectEvent&, ConnectArgs&,
                   bool is_new) noexcept;
void set_peer(SessionWorker&, AppWorker&, const svm::PeerEvent&, bool is_new = true) noexcept;
// What a datagram session has from now on, as it was asked for: the only interface, and what it is
// told of each datagram. Some of that ends its links.
void note_options(SessionWorker&, Session&, const SocketOptionsView&) noexcept;
// ConnectedEvent::everywhere.
uint8_t default_routes(SessionWorker&, const Session&) noexcept;
// Answers ToDaemon::kGetPath.
void path(SessionWorker&, AppWorker&, const svm::PathEvent&) noexcept;
// Whether the application's source address is its own to use.
bool may_send_from(SessionWorker&, const App&, const IpAddress& local, uint32_t fib) noexcept;
bool is_multicast(const IpAddress&) noexcept;
// In a namespace that is bound to an interface another's address is none of the application's.
void keep_own_source(SessionWorker&, const App&, SocketOptionsView&) noexcept;
// SessionOps, of applications' shares.
bool take_membership(Worker&, SessionId) noexcept;
void give_back_memberships(Worker&, SessionId, uint32_t n) noexcept;
void group(SessionWorker&, AppWorker&, const svm::GroupEvent&) noexcept;
// Other limits of the fifos. What is there already stays.
void resize(SessionWorker&, AppWorker&, const svm::ResizeEvent&) noexcept;
uint32_t fifo_size(uint32_t asked) noexcept;  // within what a fifo may have
// The flow that a session would have with the peer of `to`: for the peer, which may have it as its
// own already.
Endpoints flow_with(SessionWorker&, const Session&, const TransportOps&, Endpoints to) noexcept;
// The worker on which that connect is handled best: where its peer lives, if it has no port yet.
uint32_t worker_for(SessionWorker&, const App&, const svm::ConnectEvent&) noexcept;
// Sends what is in the tx fifo. True: there is more to do, look again.
bool send_datagrams(SessionWorker&, Session&) noexcept;
// What was written before a request that changes where it goes, or ends the session. Worker, from
// a node.
void send_before(SessionWorker&, Session&) noexcept;
// SessionOps.
Status flow_bind(Worker&, Endpoints&, uint8_t protocol, bool dual_stack, ConnId) noexcept;
void flow_unbind(Worker&, const Endpoints&, uint8_t protocol, bool dual_stack) noexcept;
Status flow_share(Worker&, const Endpoints&, uint8_t protocol, ConnId, SessionId,
                  const SocketOptionsView&) noexcept;
void flow_unshare(Worker&, const Endpoints&, uint8_t protocol, ConnId) noexcept;
Status flow_bind_shared(Worker&, Endpoints&, uint8_t protocol, bool dual_stack, ConnId, SessionId,
                        const SocketOptionsView&) noexcept;
void flow_unbind_shared(Worker&, const Endpoints&, uint8_t protocol, bool dual_stack,
                        ConnId) noexcept;
Status rx_datagram(Worker&, SessionId, const Datagram&, const Buffer& chain, uint32_t offset,
                   uint32_t length) noexcept;
void soft_error(Worker&, SessionId, ResetReason) noexcept;
void call_fails(Worker&, SessionId, uint16_t error) noexcept;
void unreachable(Worker&, SessionId) noexcept;
Status datagram_error(Worker&, SessionId, const DatagramError&, const Buffer& chain,
                      uint32_t offset, uint32_t length) noexcept;

// --- notify.cc
// ---------------------------------------------------------------------------------------------------------

// Remembers to tell the application, at the end of the round. `what`: kNotifyRx, kNotifyTx,
// kNotifyForce.
void notify(SessionWorker&, Session&, uint8_t what) noexcept;
void notify_accept(SessionWorker&, Listener&) noexcept;
// Sends an event now; it is queued when the application's ring is full.
void push_event(SessionWorker&, AppWorker&, svm::ToApp, const void* payload,
                uint32_t size) noexcept;
template <class T>
void push_event(SessionWorker& s, AppWorker& a, svm::ToApp type, const T& payload) noexcept {
  push_event(s, a, type, &payload, sizeof payload);
}
// The worker that the application's processes made owner of the session; nobody while it waits to
// be accepted.
AppWorker* owner_of(const Session&) noexcept;
// Sends what notify() collected and wakes the sleepers. `between`: called after every few sessions
// that were told, when some may send that could not when the round began.
void tell_all(SessionWorker&, void (*between)(SessionWorker&) noexcept = nullptr) noexcept;
inline void flush(SessionWorker& sw, void (*between)(SessionWorker&) noexcept = nullptr) noexcept {
  if (!sw.notify.empty() || !sw.accepting.empty() || sw.any_pushed) tell_all(sw, between);
}
void overflow_tick(Worker&, Timer&) noexcept;
// OwnerOps::tell of external applications.
void tell_by_event(SessionWorker&, Session&, uint8_t what) noexcept;

// Sessions that live on the worker, or on all; any thread. A slot that only passes on is none.
inline uint32_t n_sessions(const SessionWorker& sw) noexcept {
  const uint64_t migrated = sw.migrated;  // first: a session may open and move in between
  const uint64_t slots = sw.pool.in_use();
  return static_cast<uint32_t>(slots - std::min(slots, migrated));
}
inline uint64_t n_sessions(const Impl& layer) noexcept {
  uint64_t n = 0;
  for (const auto& sw : layer.workers) n += n_sessions(*sw);
  return n;
}

// A request of the application's that the control thread handles: posted, and come there. False:
// the application is gone.
inline void note_posted(App& app) noexcept {
  app.for_control.fetch_add(1, std::memory_order_relaxed);
}
bool note_come(const Impl&, App* app, uint64_t serial);

// Returns when every worker has run what was posted to it before, and begun another round.
inline void pass_over_workers(Impl& layer) {
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    layer.engine.run_on_worker(i, [](Worker&) {});
}

// --- segments.cc. Control thread.
// ------------------------------------------------------------------------------------

Result<void> add_daemon_segment(App&, uint64_t size);
Result<svm::Segment*> add_app_arena(App&, uint64_t size);
void grow(Impl&, App&, svm::SegmentKind);
// A place in Impl::apps, and the fifo sizes in force when `rx` and `tx` were asked for (0:
// default).
Result<uint32_t> free_app_index(Impl&);
uint32_t fifo_size(uint32_t asked, uint32_t otherwise) noexcept;

// --- attach_server.cc, visitors.cc, process_end.cc. Control thread.
// --------------------------------------------------------------------------------

// Somebody has come by the namespace's socket.
void on_connection(Impl&, Namespace&);
// Attached or detached, for the event log; pid 0: inside the daemon.
inline void note_application(Impl& layer, EventKind kind, const App& app, uint64_t pid) {
  layer.engine.events().write(EventLog::kControl, layer.engine.clock_now(), kind, app.index, pid,
                              app.name);
}
void close_all_applications(Impl&, const char* why);
void end_application(Impl&, App&, const char* why);
// The one that was condemned, if it is there: ends it, or what its processes have left behind.
void end_violator(Impl&, const App*, uint64_t serial);
void end_external(Impl&, App&);  // OwnerOps::end
// As if that process had ended. kNotFound: there is no such worker.
Status end_worker(Impl&, App&, uint32_t worker);
void free_application_if_unused(Impl&, App&);
// For what was put off: whether it is there and attached, and not another one at its address.
bool is_alive(const Impl&, const App*, uint64_t serial);

// --- control.cc. Control thread.
// From now on memory that applications do not use goes back to the kernel, until the layer stops.
void give_back_later(Impl&);

// Idle rx chunks are looked for this often while there are any.
constexpr TimeNs kHoldingInterval = 250 * kMillisecond;
constexpr uint32_t kHoldingPerTick = 1024;
void holding_tick(Worker&, Timer&) noexcept;

// --- in_process*.cc
// -----------------------------------------------------------------------------------------------------

extern const AppCalls kAppCalls;
// Sessions whose writes found no memory try again.
void starved_tick(Worker&, Timer&) noexcept;
TransportId find_transport(const Impl&, const AppEndpoint&) noexcept;

}  // namespace loom::session
