// Applications inside the process: plugins that take and open sessions (hostloom/app.h). Their
// sessions are like any other, with fifos in anonymous segments, both ends of which are read and
// written here; instead of events there are calls. Private to core/session/.
#pragma once
#include "session/impl.h"

namespace loom {

class Application {};  // the plugin's handle of an InProcessApp

}  // namespace loom

namespace loom::session {

struct InProcessApp : App, Application {
  InProcessApp() : App(kInProcessOwner, kMaxSegments) {}

  static constexpr uint32_t kMaxSegments = 256;
  AppOps calls;    // complete, whatever its plugin was built with
  AppWorker self;  // in App::live while it is registered; has no queues
};

// What an AppEndpoint must have at least.
constexpr std::size_t kLeastEndpoint = offsetof(AppEndpoint, rx_fifo_size);

inline InProcessApp& app_of(Session& s) noexcept { return *static_cast<InProcessApp*>(s.app); }

// The application's ends of the fifos; their state lies beside the bytes.
inline svm::AppFifoConsumer reader_of(Session& s) noexcept {
  return svm::AppFifoConsumer(s.fifos().rx(), s.app->app_segments, s.rx.size);
}
inline svm::AppFifoProducer writer_of(Session& s) noexcept {
  return svm::AppFifoProducer(s.fifos().tx(), s.app->app_arena, s.tx.size);
}

// Says `enabled_again` to those that have ended. Control thread.
void tell_enabled(Impl&);
// Says `draining` to all. Control thread.
void tell_draining(Impl&, bool begins);
// Says `closed`, now, whatever else was due. The session may be gone on return.
void say_closed(SessionWorker&, Session&) noexcept;
// The application is done with the session: close, or abort. `closed` becomes due.
void end_session(SessionWorker&, Session&, bool abort) noexcept;

}  // namespace loom::session
