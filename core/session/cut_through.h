// Sessions whose two ends are applications of this daemon: one pair of fifos in memory that both
// map, and wake-ups straight from one to the other (svm/bell.h). The daemon opens and closes them
// and is on neither path. Private to core/session/.
//
// A pair of applications shares one CutThroughPair: an arena of the daemon's for the shared blocks
// and bells, app arenas for the chunks of both, and a doorbell for each application worker that
// waits. It goes when nothing is open in it any more.
//
// To the rest of the session layer each end is a session like others, whose transport is
// kCutThroughOps.
#pragma once
#include <algorithm>
#include <array>
#include <bitset>
#include <functional>
#include <memory>
#include <vector>

#include "session/application.h"
#include "svm/bell.h"
#include "svm/protocol.h"

namespace loom::session {

struct CutThroughPair;
struct ConnectArgs;

// What two ends share of the pair's memory: a fifo each way, and a place at a bell.
struct LinkMemory {
  CutThroughPair* pair = nullptr;  // nullptr: none
  svm::CutThroughShared* shared = nullptr;
  svm::Ref ref = 0;
  uint32_t bell = 0, bit = 0;
  uint32_t sizes[2] = {};  // of the fifos, as those are numbered: the writer's end
};

// One such session: what its two ends share here. In SessionWorker::cut_throughs; ConnId is twice
// its index, plus the end.
struct CutThroughLink : LinkMemory {
  SessionId sessions[2] = {kNoSession, kNoSession};  // by end; kNoSession: it was freed
  bool open[2] = {};                                 // the end's application has not closed it
  struct {
    uint64_t serial = 0;  // of the application worker; 0: nobody
    uint32_t position = 0;
  } told[2];           // where the last event of that end is, in its owner's queue
  uint8_t caller = 0;  // end that connected
  uint8_t protocol = 0;
  Endpoints endpoints;  // as the caller sees them; reserved in the flow table
};

// Threads: made and destroyed on the control thread; the worker of its sessions allocates from it.
struct CutThroughPair {
  struct Bell {
    svm::BellShared* shared = nullptr;
    svm::Ref ref = 0;
    std::bitset<svm::kBellSessions> used;
  };

  // By end, against the quota of its namespace: what it has asked for, until the pair goes, also
  // when the end has gone before. Who connected first has asked for the pair.
  MemoryCharge memory[2];
  Taken place, descriptors, address_space;
  App* taker = nullptr;  // who connected first and has it among App::n_pairs; nullptr: it has gone
  App* apps[2] = {};  // by end; the same one twice when it connects to itself; nullptr: it has gone
  svm::DaemonArena arena;
  svm::SegmentTable app_segments;
  svm::AppArena app_arena{app_segments};
  std::vector<std::unique_ptr<svm::Segment>> app_arenas;
  uint32_t arenas_asked[2] = {};                        // by end
  std::array<Waker, svm::kMaxAppWorkers> doorbells[2];  // by end, by worker; made when asked for
  uint32_t worker = 0;                                  // the daemon worker of its sessions
  std::vector<Bell> bells;                              // worker
  std::atomic<uint32_t> n_links{0};
  bool was_idle = false;  // when memory was last looked after

  bool has(const App& app) const noexcept { return apps[0] == &app || apps[1] == &app; }
  uint32_t end_of(const App& app) const noexcept { return apps[0] == &app ? 0 : 1; }
};

// Two applications as SessionWorker::pairs knows them, in either order.
struct CutThroughKey {
  const App *low, *high;
  CutThroughKey(const App& a, const App& b) noexcept
      : low(std::min(&a, &b, std::less<>())), high(std::max(&a, &b, std::less<>())) {}
  bool operator==(const CutThroughKey&) const = default;
  struct Hash {
    std::size_t operator()(const CutThroughKey& k) const noexcept {
      return std::hash<const void*>()(k.low) * 31 + std::hash<const void*>()(k.high);
    }
  };
};

// What a connect has waited for by now; nothing: it is new.
struct Waited {
  TimeNs deadline = 0;      // 0: for nothing
  bool in_backlog = false;  // for room in its listener's backlog, too
  uint64_t chance = 0;      // ConnectArgs'
};

// A connect that waits for room in its listener's backlog.
struct Backlogged {
  App* app;
  uint32_t app_worker;
  svm::ConnectEvent event;
  TimeNs deadline;
  uint64_t chance;
};

// --- Daemon worker

// Whether a connect by that transport can become a session with the listener's application,
// wherever the listener is.
bool takes_cut_through(SessionWorker&, const Listener&, TransportId) noexcept;
// The listener in another application, or in this one, that a connection to `e.remote` would
// reach without leaving this host; nullptr: there is none, ask the transport.
Listener* find_cut_through(SessionWorker&, const App& caller, const ConnectArgs&) noexcept;
// Answers by OwnerOps::connected, or returns what is wrong. Where the pair is still to be made, or
// the backlog is full, the answer comes later.
Status open_cut_through(SessionWorker&, AppWorker&, const svm::ConnectEvent&, const ConnectArgs&,
                        Listener&, const Waited&) noexcept;
// Has the pair made, and `then` called after that with the outcome, if the caller is still there.
using WithPair = std::function<void(SessionWorker&, AppWorker&, Status)>;
Status ask_pair(SessionWorker&, AppWorker&, App& callee, WithPair then);
// nullptr: there is none on this worker.
CutThroughPair* pair_of(SessionWorker&, App&, App&) noexcept;
// Fifos and bell for a link of the pair; false: there is no memory. And back, whatever is in them.
bool take_memory(SessionWorker&, CutThroughPair&, LinkMemory&) noexcept;
void give_memory(LinkMemory&) noexcept;
// A free place in a worker's links, whose free ones are in `free`.
template <class Link>
uint32_t take_place(std::vector<std::unique_ptr<Link>>& links, std::vector<uint32_t>& free) {
  if (free.empty()) {
    links.push_back(std::make_unique<Link>());
    return static_cast<uint32_t>(links.size() - 1);
  }
  const uint32_t i = free.back();
  free.pop_back();
  return i;
}
void cut_through_tick(Worker&, Timer&) noexcept;  // connects that wait for room in a backlog
// Received bytes that the session's application has not read.
uint32_t unread_bytes(SessionWorker&, const Session&) noexcept;
uint32_t unsent_bytes(SessionWorker&, const Session&) noexcept;
// The session's owner has been sent an event: it is at `position` of its queue.
void note_told(SessionWorker&, const Session&, const AppWorker& owner, uint32_t position) noexcept;
// Its application cannot ring the other end: we do, unless an event waits there already.
void ring_for(SessionWorker&, const Session&) noexcept;
// The session's events go to another worker of its application.
void set_owner(SessionWorker&, Session&, uint32_t worker) noexcept;
// Tells the session that its other end has gone.
void set_peer_end(SessionWorker&, Session&, uint32_t how) noexcept;
// The session is being freed; what the two shared goes with the second one.
void release_cut_through(SessionWorker&, Session&) noexcept;
extern const TransportOps kCutThroughOps;

// --- Control thread

// The application's pair whose first segment is `id`; nullptr: it has none.
CutThroughPair* find_pair(SessionLayer::Impl&, const App&, uint32_t id);
Result<svm::Segment*> add_pair_arena(CutThroughPair&, uint32_t end);
Result<const Waker*> doorbell(CutThroughPair&, uint32_t end, uint32_t worker);
// The application is about to be destroyed.
void forget_pairs(SessionLayer::Impl&, App&);
// Destroys pairs that have been without sessions since the last call.
bool reap_pairs(SessionLayer::Impl&);

}  // namespace loom::session
