// Listening endpoints, and ends that are bound alone, as the control thread opens and ends them;
// what applications ask of both comes here from the workers. Private to core/session/.
#pragma once
#include "session/impl.h"

namespace loom::session {

// --- listeners.cc. Control thread, unless said otherwise.

struct ListenArgs {
  TransportId transport = kNoTransport;
  Endpoints local{};  // fib_index is not looked at
  FibPair fibs{};
  SocketOptionsView options{};
  uint32_t backlog = 0;
  uint32_t rx_fifo_size = 0, tx_fifo_size = 0;  // 0: the application's
  uint64_t holders = 0;                         // bits of its workers
  void* app_context = nullptr;
  App* for_app = nullptr;  // Listener's
  uint64_t bound = 0;      // the same
};
Result<Listener*> open_listener(Impl&, App&, const ListenArgs&);
// What the application agrees to of an end, and whether that is of both families.
PortShare share_of(const App&, const SocketOptionsView&);
bool takes_both(const ListenArgs&);
// Of `app`. They are gone on return, with the connections that nobody has taken from them.
void unlisten(Impl&, App& app, std::span<Listener* const>);
// It has those from now on, or keeps what it has.
Result<void> change_settings(Impl&, Listener&, uint32_t settings);

// Worker: what an application asks for is done by the control thread. `handle`: a listener's, or
// what stands for a bound end.
void listen_on_control(SessionWorker&, AppWorker&, const svm::ListenEvent&);
void unlisten_on_control(SessionWorker&, App&, SessionHandle handle);

// --- bound_ends.cc. Control thread.

// Gives args.local a port if it has none. `number`: of what app.bound_ends has now; 0: of nothing.
// kInUse: somebody has the port, or there is none; kNoMemory: what is left is for others.
Status bind_end(Impl&, App&, uint32_t app_worker, ListenArgs&, uint32_t* number);
void unbind_end(Impl&, App&, uint32_t number);
void unbind_ends_of(Impl&, App&, uint32_t app_worker);

}  // namespace loom::session
