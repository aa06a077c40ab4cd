// Sessions that move to another worker. Private to core/session/.
//
// A session is opened on one worker, and that is its home for good: its handle names it, and its
// slot there stays as long as the session. On another worker it is a guest, found by that handle.
// Applications keep their handle, too; SessionLine::worker tells them whom to ask, and whoever is
// asked for a session that is not there passes the request on: to where it went, or to its home,
// which knows.
//
//   home, or where it lives     freezes the connection, posts the session    migrate()
//   where it is to live         adopts the connection, takes the session in, or refuses
//   where it came from          thaws what is left: forgets the connection, or goes on with it
//
// Nobody waits and nothing is lost: until it is adopted, packets go to the old worker, which hands
// them to the new one, and requests follow the session by the same way. One that was sent to the
// old worker may be heard behind a later one that was sent to the new; but options have numbers
// (svm::OptionEvent), and earlier ones that are heard behind later ones are passed over.
//
// A connection whose packets keep arriving on another worker is moved there (note_stray), but not
// more often than once in kLeastStay.
#pragma once
#include <hostloom/session.h>

#include "svm/mq.h"

namespace loom::session {

struct AppWorker;
struct Session;
struct SessionWorker;

constexpr TimeNs kLeastStay = kSecond;
// One in so many packets that belong elsewhere asks for its session: who sends many is asked for
// soon, however many there are of them.
constexpr uint32_t kStraysPerRequest = 64;

// All on the worker that SessionWorker is of.

// Sends the session to worker `to`. kUnsupported: its transport or its application stays; kAgain:
// segments on their way out refer to its bytes, or it is being opened or closed.
Status migrate(SessionWorker&, Session&, uint32_t to) noexcept;
// True: the session is not here, and the request was sent after it.
bool pass_on(SessionWorker&, AppWorker&, const svm::MqEvent&, SessionHandle,
             uint32_t hops) noexcept;
// The request is handled on that worker, unless the process ends before.
void pass_to(SessionWorker&, AppWorker&, const svm::MqEvent&, uint32_t worker,
             uint32_t hops) noexcept;
// Where the pool has the session of that handle, be it at home or a guest; kNoSession: nowhere.
SessionId local_id(const SessionWorker&, SessionHandle) noexcept;
// A guest is about to be freed.
void guest_ended(SessionWorker&, const Session&) noexcept;
// A packet of that connection, which lives elsewhere, has arrived here.
void note_stray(SessionWorker&, uint8_t protocol, const FlowMatch&) noexcept;

}  // namespace loom::session
