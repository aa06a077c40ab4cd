// The application's side of a session, as the session layer speaks to it. Two implementations,
// chosen once, when the application is made: events in shared memory for one outside the process
// (external_owner.cc), calls for one inside (in_process.cc). Private to core/session/.
#pragma once
#include <memory>

#include "session/session.h"
#include "session/session_layer.h"
#include "svm/segment.h"

namespace loom::session {

struct App;
struct Listener;
struct SessionWorker;

struct OwnerOps {
  // --- Control thread.
  // Where its fifos live.
  Result<std::unique_ptr<svm::Segment>> (*make_segment)(uint64_t size, svm::SegmentKind);
  // Its ends of the fifos are in this process: its segment table has the daemon arenas too, and the
  // daemon looks after its arena.
  bool in_this_process;
  // Ends all that it has. It may be gone on return.
  void (*end)(SessionLayer::Impl&, App&);

  // --- The session's worker.
  // A connection was accepted; its fifos are open. Other than kOk: it cannot be, and nobody was
  // told.
  // `link`: the only interface that it goes and comes by, kNoIndex: any.
  Status (*accepted)(SessionWorker&, Listener&, Session&, const Endpoints&, IfIndex link) noexcept;
  // Outcome of connect. After a failure the session is the owner's to free.
  void (*connected)(SessionWorker&, Session&, Status, const Endpoints&) noexcept;
  // The transport has lost the connection.
  void (*lost)(SessionWorker&, Session&, ResetReason) noexcept;
  // What notify() remembered: kNotify bits. Once a round.
  void (*tell)(SessionWorker&, Session&, uint8_t what) noexcept;
  // Gives idle chunks of the tx fifo back. True: it has some left, ask again later.
  bool (*reclaim_tx)(SessionWorker&, Session&) noexcept;
  // The session is about to be freed. False: not yet, the owner has something to say first and
  // calls free_session itself.
  bool (*let_go)(SessionWorker&, Session&) noexcept;
};
extern const OwnerOps kExternalOwner;   // external_owner.cc
extern const OwnerOps kInProcessOwner;  // in_process.cc

}  // namespace loom::session
