// Streams over sockets; for fork only.
#pragma once

namespace loom::ldp {

void lock_streams() noexcept;
void unlock_streams() noexcept;

}  // namespace loom::ldp
