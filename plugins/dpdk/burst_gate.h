// Keeps the bursts of a driver and whoever changes what they read apart. Each worker says on a line
// of its own that it is in a burst, and asks afterwards whether the gate is closed; whoever closes
// it says so, and asks each worker afterwards. One of the two sees the other. A worker never waits:
// a burst that finds the gate closed finds nothing.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

#include <hostloom/buffer.h>

namespace loom::dpdk {

class BurstGate {
 public:
  explicit BurstGate(uint32_t n_workers) : n_(n_workers), slots_(new Slot[n_workers]) {}
  BurstGate(const BurstGate&) = delete;

  // The worker itself. True: the gate stays open until leave().
  bool enter(uint32_t worker) noexcept {
    slots_[worker].is_inside.store(true, std::memory_order_seq_cst);
    if (!is_closed_.load(std::memory_order_seq_cst)) [[likely]]
      return true;
    leave(worker);
    return false;
  }
  void leave(uint32_t worker) noexcept {
    slots_[worker].is_inside.store(false, std::memory_order_release);
  }

  // One thread at a time, no worker. No worker is in a burst on return, and none enters until
  // open().
  void close() noexcept {
    is_closed_.store(true, std::memory_order_seq_cst);
    for (uint32_t i = 0; i < n_; ++i)
      while (slots_[i].is_inside.load(std::memory_order_seq_cst)) std::this_thread::yield();
  }
  void open() noexcept { is_closed_.store(false, std::memory_order_release); }

 private:
  struct alignas(kCacheLine) Slot {
    std::atomic<bool> is_inside{false};
  };
  const uint32_t n_;
  const std::unique_ptr<Slot[]> slots_;
  alignas(kCacheLine) std::atomic<bool> is_closed_{false};
};

// A worker's burst, for as long as it lives; without a gate there is nothing to pass.
class BurstPass {
 public:
  BurstPass(BurstGate* gate, uint32_t worker) noexcept : gate_(gate), worker_(worker) {
    if (gate_) [[unlikely]]
      may_ = gate_->enter(worker_);
  }
  ~BurstPass() {
    if (gate_ && may_) [[unlikely]]
      gate_->leave(worker_);
  }
  BurstPass(const BurstPass&) = delete;
  explicit operator bool() const noexcept { return may_; }

 private:
  BurstGate* const gate_;
  const uint32_t worker_;
  bool may_ = true;
};

}  // namespace loom::dpdk
