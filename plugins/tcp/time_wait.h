// Segments that find a TIME-WAIT. Runs within a TcpWorker::Scope.
#pragma once
#include "rx.h"

namespace loom::tcp {

RxCounter time_wait_arrives(TcpWorker&, TimeWait&, const Segment&, const Options&) noexcept;

}  // namespace loom::tcp
