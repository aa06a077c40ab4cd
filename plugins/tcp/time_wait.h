// Segments that find a TIME-WAIT. Runs within a TcpWorker::Scope.
#pragma once
#include "rx.h"

namespace loom::tcp {

// `by`: the link that it came by, which the ends do not always say.
RxCounter time_wait_arrives(TcpWorker&, TimeWait&, IfIndex by, const Segment&,
                            const Options&) noexcept;

}  // namespace loom::tcp
