#include "crypto_pool.h"

#include <pthread.h>
#include <signal.h>

#include <new>
#include <system_error>

namespace loom::tls {
namespace {

// New threads inherit the mask: signals are for the control thread.
class WithoutSignals {
 public:
  WithoutSignals() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~WithoutSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  WithoutSignals(const WithoutSignals&) = delete;
  WithoutSignals& operator=(const WithoutSignals&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

uint32_t n_cores() noexcept {
  cpu_set_t cores;  // has room for 1,024
  if (::sched_getaffinity(0, sizeof cores, &cores) != 0) return std::thread::hardware_concurrency();
  return static_cast<uint32_t>(CPU_COUNT(&cores));
}

CryptoPool::CryptoPool(Host& host) noexcept : host_(host) {
  ::sem_init(&jobs_, 0, 0);
  // Fails where there are more cores than the set has room for: then they inherit theirs.
  has_cores_ = pthread_getaffinity_np(pthread_self(), sizeof cores_, &cores_) == 0;
}

Result<void> CryptoPool::make_threads(uint32_t n) {
  const WithoutSignals masked;
  try {
    threads_.reserve(n);
    while (threads_.size() < n) {
      threads_.emplace_back([this] { work(); });
      const pthread_t made = threads_.back().native_handle();
      pthread_setname_np(made, "loom-crypto");
      if (has_cores_) (void)pthread_setaffinity_np(made, sizeof cores_, &cores_);
    }
    return {};
  } catch (const std::system_error& e) {
    return error(Status::kNoMemory, "crypto-threads " + std::to_string(n) + ": " + e.what());
  }
}

Result<void> CryptoPool::start(uint32_t n_threads) noexcept {
  Result<void> outcome;
  try {
    outcome = make_threads(n_threads);
  } catch (const std::bad_alloc&) {
    outcome = error(Status::kNoMemory, "no memory");  // short enough to need none itself
  }
  if (!outcome) {
    stop();
    ends_ = false;
  }
  runs_.store(outcome.has_value(), std::memory_order_release);
  return outcome;
}

void CryptoPool::stop() noexcept {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
  }
  for (std::size_t i = 0; i < threads_.size(); ++i) ::sem_post(&jobs_);
  for (std::thread& t : threads_) t.join();
  threads_.clear();
}

void CryptoPool::submit(Job& j) noexcept {
  {
    const std::lock_guard lock(mutex_);
    j.newer = nullptr;
    j.older = newest_;
    (newest_ ? newest_->newer : oldest_) = &j;
    newest_ = &j;
    j.is_waiting = true;
  }
  ::sem_post(&jobs_);
}

void CryptoPool::unlink(Job& j) noexcept {
  (j.older ? j.older->newer : oldest_) = j.newer;
  (j.newer ? j.newer->older : newest_) = j.older;
  j.is_waiting = false;
}

bool CryptoPool::cancel(Job& j) noexcept {
  {
    const std::lock_guard lock(mutex_);
    if (!j.is_waiting) return false;
    unlink(j);
  }
  host_.post_to_worker(j.worker, j);
  return true;
}

CryptoPool::Job* CryptoPool::next_job() noexcept {
  while (true) {
    while (::sem_wait(&jobs_) != 0) {}  // a signal came
    const std::lock_guard lock(mutex_);
    if (ends_) return nullptr;
    if (!oldest_) continue;  // it was cancelled
    Job& j = *oldest_;
    unlink(j);
    return &j;
  }
}

void CryptoPool::work() noexcept {
  while (Job* const j = next_job()) {
    j->run(*j);
    host_.post_to_worker(j->worker, *j);  // who may free it at once
  }
}

}  // namespace loom::tls
