// What a rule or an entry of the deny list says is to be done, as VPP numbers it. Private to
// core/session/.
#pragma once
#include <cstdint>

namespace loom::session {

// Anything else is the index of an application, to redirect to.
constexpr uint32_t kActionNone = ~0u, kActionDrop = ~0u - 1, kActionAllow = ~0u - 2;

}  // namespace loom::session
