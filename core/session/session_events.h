// Steps in the lives of sessions, for the event log (`event-logger trace session`). Private to
// core/session/.
//
//   cost  while they are not kept: one relaxed load and a branch. Kept: some thirty stores, no
//         allocation; a short connection makes four or five of them on each side.
#pragma once
#include "session/impl.h"

namespace loom::session {

// Worker. `number`: what EventKind says of that kind.
void write_session_event(SessionWorker&, EventKind, const Session&, uint32_t number) noexcept;

inline void note_session(SessionWorker& sw, EventKind kind, const Session& s,
                         uint32_t number = 0) noexcept {
  if (sw.layer->engine.events().is_on(kind)) [[unlikely]]
    write_session_event(sw, kind, s, number);
}

}  // namespace loom::session
