// Invariants of our own code. Never for what a peer, a caller or an application did: those get a
// counter or a Result.
#pragma once
#include <cstdio>
#include <cstdlib>

namespace loom::detail {
[[noreturn]] inline void check_failed(const char* expr, const char* file, int line) noexcept {
  std::fprintf(stderr, "%s:%d: broken invariant: %s\n", file, line, expr);
  std::abort();
}
}  // namespace loom::detail

// Always on: memory safety depends on it.
#define LOOM_CHECK(expr)                   \
  (__builtin_expect(!!(expr), 1) ? (void)0 \
                                 : ::loom::detail::check_failed(#expr, __FILE__, __LINE__))

// Debug builds only.
#ifdef NDEBUG
#define LOOM_DCHECK(expr) ((void)sizeof(!(expr)))
#else
#define LOOM_DCHECK(expr) LOOM_CHECK(expr)
#endif
