// Threads for what takes a worker too long: steps of handshakes, with their private-key operations.
// A worker hands a job over, does not touch what it is about meanwhile, and gets it back by a call.
//
// The queue has no bound of its own: each worker has a few jobs here at most (handover.cc).
// A worker wakes threads by a semaphore: who signals a condition variable may have to wait until
// all threads signalled before have run (glibc), which on full cores is milliseconds.
//   cost  a lock for a few stores and a wake-up for each job on the worker's side, a post back;
//   idle
//         threads sleep
#pragma once
#include <sched.h>
#include <semaphore.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include <hostloom/host.h>

namespace loom::tls {

// That the calling thread may run on. std::thread's number may be that of all cores (glibc),
// whatever taskset, cpusets and containers say.
uint32_t n_cores() noexcept;

class CryptoPool {
 public:
  // WorkerPost::fn is called on the worker afterwards; the job is that worker's again.
  struct Job : WorkerPost {
    void (*run)(Job&) noexcept = nullptr;  // on a thread of the pool
    uint32_t worker = 0;

   private:
    friend CryptoPool;
    Job *newer = nullptr, *older = nullptr;
    bool is_waiting = false;  // in the queue
  };

  // Its threads will run wherever this one may run now: made before the daemon takes its places.
  explicit CryptoPool(Host& host) noexcept;
  ~CryptoPool() {
    stop();
    ::sem_destroy(&jobs_);
  }
  CryptoPool(const CryptoPool&) = delete;
  CryptoPool& operator=(const CryptoPool&) = delete;

  // On the control thread, until it has succeeded once. kNoMemory: the system does not give so many
  // threads, or there is no memory for them, and there are none.
  Result<void> start(uint32_t n_threads) noexcept;
  // Any thread: may jobs be submitted?
  bool is_running() const noexcept { return runs_.load(std::memory_order_acquire); }
  // Worker. The job is the pool's until its fn is called.
  void submit(Job&) noexcept;
  // Worker. True: it has not begun and never will; its fn is called soon. False: it has begun.
  bool cancel(Job&) noexcept;
  // Control thread. What runs is waited for, and has been posted on return; what waits was
  // cancelled before.
  void stop() noexcept;

 private:
  Result<void> make_threads(uint32_t n);
  void work() noexcept;
  Job* next_job() noexcept;  // waits; null: the end
  void unlink(Job&) noexcept;

  Host& host_;
  sem_t jobs_;  // as many as wait at least: one that was cancelled leaves its count
  std::mutex mutex_;
  Job *oldest_ = nullptr, *newest_ = nullptr;
  bool ends_ = false;
  std::atomic<bool> runs_{false};
  cpu_set_t cores_;
  bool has_cores_;
  std::vector<std::thread> threads_;
};

}  // namespace loom::tls
