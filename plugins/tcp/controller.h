// Which controller a connection has, and where that keeps its state: in the connection when it is
// small (CcOps::private_size), else in a piece of its own from a pool of the worker.
#pragma once
#include "tcp_worker.h"

namespace loom::tcp {

// Gives the connection `ops`, with the private state zeroed and the shared one kept. False: no
// memory, and it keeps what it had.
bool set_controller(TcpWorker&, Connection&, const CcOps& ops) noexcept;
// The same state for a connection that was copied from `old`, which keeps its own. False: no
// memory.
bool copy_controller_state(TcpWorker&, Connection&, const Connection& old) noexcept;

}  // namespace loom::tcp
