#include "ldp/libc.h"

#include <dlfcn.h>

namespace loom::ldp {

constinit std::atomic<bool> libc_resolved{false};
constinit Libc libc_table{};

void resolve_libc() noexcept {
#define LOOM_LIBC_RESOLVE(name) \
  libc_table.name = reinterpret_cast<decltype(&::name)>(dlsym(RTLD_NEXT, #name));
  LOOM_LIBC_FUNCTIONS(LOOM_LIBC_RESOLVE)
#undef LOOM_LIBC_RESOLVE
  libc_resolved.store(true, std::memory_order_release);
}

}  // namespace loom::ldp
