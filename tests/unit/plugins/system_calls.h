// Counts system calls, for functions that must make none.
#pragma once
#include <signal.h>
#include <sys/prctl.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace loom {

namespace system_calls_detail {
inline volatile char selector = 0;  // 1: calls of this thread become SIGSYS
inline volatile int n = 0;
inline void* volatile after_handler = nullptr;  // where the handler returns to the kernel
inline void on_call(int, siginfo_t*, void* context) {
  after_handler = __builtin_return_address(0);
  n = n + 1;
  static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RAX] = -ENOSYS;
}
}  // namespace system_calls_detail

// How many system calls this thread makes in fn, each of which fails (ENOSYS). -1: the kernel
// cannot tell (before Linux 5.11). In fn is only what is measured: no assertions, and no types that
// a sanitizer has not seen before.
template <class Fn>
int count_system_calls(Fn&& fn) {
  using namespace system_calls_detail;
  struct sigaction action = {}, before = {};
  action.sa_sigaction = on_call;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSYS, &action, &before);
  raise(SIGSYS);                     // from where the handler's own call, its end, is known
  constexpr int kUserDispatch = 59;  // PR_SET_SYSCALL_USER_DISPATCH
  const auto end = reinterpret_cast<uintptr_t>(after_handler);
  n = -1;
  if (prctl(kUserDispatch, 1UL, end, 16UL, const_cast<char*>(&selector)) == 0) {
    n = 0;
    selector = 1;
    fn();
    selector = 0;
    prctl(kUserDispatch, 0UL, 0UL, 0UL, 0UL);
  }
  sigaction(SIGSYS, &before, nullptr);
  return n;
}

}  // namespace loom
