// See session_events.h.
#include "session/session_events.h"

#include <algorithm>
#include <cstring>

namespace loom::session {

void write_session_event(SessionWorker& sw, EventKind kind, const Session& s,
                         uint32_t number) noexcept {
  char text[EventRing::kMostText];
  std::size_t size = 0;
  const auto add = [&](std::string_view part) {
    const std::size_t n = std::min(part.size(), sizeof text - size);
    std::memcpy(text + size, part.data(), n);
    size += n;
  };
  const TransportOps* transport = sw.layer->transports.get(s.transport);
  add(transport ? transport->name : "?");
  add(" ");
  add(s.app->name);
  sw.layer->engine.events().write(EventLog::worker_thread(sw.worker->index), sw.worker->now, kind,
                                  number, handle_of(sw, s), {text, size});
}

}  // namespace loom::session
