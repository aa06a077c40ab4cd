// What is done on EAL's interrupt thread, for drivers that work there without a lock.
#pragma once
#include <rte_alarm.h>

#include <semaphore>

namespace loom::dpdk {

// Returns what fn() returns there. The control thread, for net_memif, or a call thread, for
// net_virtio_user (README.md, "Threads"): it waits, and holds nothing that EAL's thread or a burst
// takes; fn must not wait for either. Without memory for an alarm fn runs here, as it does with
// every other driver.
template <class Fn>
int on_interrupt_thread(Fn fn) {
  struct Call {
    Fn& fn;
    std::binary_semaphore is_begun{0};  // EAL's lock orders the two as well, which no tool sees
    int result = 0;
    std::binary_semaphore is_done{0};
  } call{.fn = fn};
  const auto run = [](void* arg) {
    auto& c = *static_cast<Call*>(arg);
    c.is_begun.acquire();
    c.result = c.fn();
    c.is_done.release();
  };
  call.is_begun.release();
  if (rte_eal_alarm_set(1, run, &call) != 0) return fn();
  call.is_done.acquire();
  return call.result;
}

}  // namespace loom::dpdk
