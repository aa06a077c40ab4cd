// Moving a connection to another worker: the four entries of TransportOps that do it. The old
// worker's object stands still, the new one copies it, the old one forgets it; until then each
// packet that the flow table brings to the old worker is handed on.
#pragma once
#include <hostloom/transport.h>

namespace loom::tcp {

SessionId session_of(Worker&, ConnId) noexcept;
void* freeze(Worker& from, ConnId, uint32_t to) noexcept;
ConnId adopt(Worker& to, const void* frozen, SessionId) noexcept;
void thaw(Worker& from, ConnId, bool adopted) noexcept;

}  // namespace loom::tcp
