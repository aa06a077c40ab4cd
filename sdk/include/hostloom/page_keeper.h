// Fetches pages for a pool of a worker before it needs them, and gives pages back, on the control
// thread: either may take the kernel milliseconds, as it clears a huge page or waits for whoever
// changes the mappings of the process. One of each is under way at a time. Without a worker (tools,
// tests) pages are given back at once, and none are fetched.
//
// Threads: the worker's, and the destructor any that keeps the worker away. It waits for what the
// control thread has begun, and what it has not begun is not done.
#pragma once
#include <sched.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <hostloom/worker.h>

namespace loom {

class PageKeeper {
 public:
  static constexpr std::size_t kPage = 4096;
  static constexpr std::size_t kExtent = 2 << 20;  // a huge page, and aligned as one
  static constexpr uint32_t kMostReturns = 1040;
  // When due() is called: soon, so that what is freed together goes together; or when it will be
  // known that nothing has happened for a while.
  static constexpr TimeNs kSoon = 20 * kMillisecond, kAWhile = kSecond;

  enum class Return : uint8_t {
    kPages,   // the range becomes zero
    kSplit,   // an extent: the kernel is not to gather its pages to a huge one; nothing is lost
    kExtent,  // becomes zero, and gets small pages until it is fetched
    kUnmap,   // the range goes
  };

  PageKeeper() = default;
  ~PageKeeper() { stop(); }
  PageKeeper(const PageKeeper&) = delete;
  PageKeeper& operator=(const PageKeeper&) = delete;

  // Once, before the pool is used. `due(context)` is called on the worker some time after
  // come_back(). The worker outlives this. Without memory for what it needs, all stays as without a
  // worker.
  void use(Worker& worker, void (*due)(void*), void* context) noexcept {
    shared_ = new (std::nothrow) Shared;
    if (!shared_) return;
    worker_ = &worker;
    due_ = due;
    context_ = context;
    timer_.fired = [](Worker&, Timer& t) noexcept {
      auto& k = LOOM_TIMER_OWNER(PageKeeper, timer_, t);
      k.due_(k.context_);
    };
  }
  // From here on as without a worker: before memory that it knows of is unmapped.
  void stop() noexcept {
    if (!worker_) return;
    std::exchange(worker_, nullptr)->timer_stop(timer_);
    shared_->fetch.call_off();
    shared_->giving.call_off();
    release(std::exchange(shared_, nullptr));
  }
  bool has_worker() const noexcept { return worker_ != nullptr; }
  TimeNs now() const noexcept { return worker_ ? worker_->now : 0; }  // the worker's
  void come_back(TimeNs after = kSoon) noexcept {
    if (!worker_ || (timer_.is_running() && (after != kSoon || is_soon_))) return;
    is_soon_ = after == kSoon;
    worker_->timer_start_in(timer_, after);
  }

  // What an extent gets where it is touched. A worker waits for small ones at most.
  enum class Pages : uint8_t { kSmall, kHuge };
  // An extent, without its pages: nullptr, there are no addresses. It is the caller's to unmap.
  static std::byte* map_extent(Pages pages) noexcept {
    void* p = mmap(nullptr, 2 * kExtent, PROT_READ | PROT_WRITE, kMapping, -1, 0);
    if (p == MAP_FAILED) return nullptr;
    auto* from = static_cast<std::byte*>(p);
    const std::size_t before = -reinterpret_cast<uintptr_t>(p) % kExtent;
    if (before != 0) munmap(from, before);
    munmap(from + before + kExtent, kExtent - before);
    advise(from + before, pages);
    return from + before;
  }

  // Has the pages of the extent at `at` fetched, or, where that is nullptr, a new one. Nobody else
  // touches it until it is there. With a worker, and not while is_fetching().
  void fetch(std::byte* at) noexcept {
    is_fetching_ = true;
    shared_->at = at;
    shared_->is_new = at == nullptr;
    post(shared_->fetch, [](void* p) {
      auto* s = static_cast<Shared*>(p);
      if (s->fetch.begin()) {
        if (s->is_new)
          s->at = map_extent(Pages::kHuge);
        else
          advise(s->at, Pages::kHuge);
        if (s->at) touch(s->at);
        s->fetch.end();
      }
      release(s);
    });
  }
  bool is_fetching() const noexcept { return is_fetching_; }
  // True, once for each fetch(): it has been done, or called off by hurry(), and `at` is the
  // extent; nullptr, when there is no new one.
  bool has_fetched(std::byte*& at) noexcept {
    if (!is_fetching_ || !shared_->fetch.is_done()) return false;
    is_fetching_ = false;
    at = std::exchange(shared_->at, nullptr);
    return true;
  }

  // What is to be given back, in this order, by the next send(); n of it has_room() for. Not while
  // is_returning(). Nobody touches what becomes zero until it is back; reading it is no harm.
  bool has_room(uint32_t n) const noexcept { return n_returns() + n <= kMostReturns; }
  void add(Return what, std::byte* at, std::size_t bytes) noexcept {
    if (worker_)
      shared_->returns[shared_->n_returns++] = {at, bytes, what};
    else
      give({at, bytes, what});
  }
  void send() noexcept {
    if (n_returns() == 0) return;
    is_returning_ = true;
    post(shared_->giving, [](void* p) {
      auto* s = static_cast<Shared*>(p);
      give_all(*s);
      release(s);
    });
  }
  // Has what is under way done when this returns: for who has nothing else left. What the control
  // thread has not begun is done here, or, of fetch(), not at all; for the rest the worker waits.
  void hurry() noexcept {
    if (!worker_) return;
    give_all(*shared_);
    shared_->giving.call_off();
    shared_->fetch.call_off();
  }
  bool is_returning() const noexcept { return is_returning_; }
  // True, once for each send(): all of it has been given back. Without a worker: always.
  bool has_returned() noexcept {
    if (!worker_) return true;
    if (!is_returning_ || !shared_->giving.is_done()) return false;
    is_returning_ = false;
    return true;
  }

 private:
  static constexpr int kMapping = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

  struct Range {
    std::byte* at;
    std::size_t bytes;
    Return what;
  };
  // What the control thread was asked to do.
  class Task {
   public:
    void ask() noexcept { state_.store(kAsked, std::memory_order_release); }
    bool is_done() const noexcept { return state_.load(std::memory_order_acquire) == kDone; }
    void call_off() noexcept {
      for (State s = kAsked; !state_.compare_exchange_strong(s, kDone) && s == kBusy; s = kAsked)
        sched_yield();
    }
    // Of whoever does it. False: it was called off, or others have begun.
    bool begin() noexcept {
      State s = kAsked;
      return state_.compare_exchange_strong(s, kBusy);
    }
    void end() noexcept { state_.store(kDone, std::memory_order_release); }

   private:
    enum State : uint8_t { kDone, kAsked, kBusy };
    std::atomic<State> state_{kDone};
  };
  // Of each task the worker's while it is done, else the control thread's.
  struct Shared {
    ~Shared() {
      if (at && is_new) munmap(at, kExtent);
      for (uint32_t i = 0; i < n_returns; ++i)
        if (returns[i].what == Return::kUnmap) munmap(returns[i].at, returns[i].bytes);
    }
    std::atomic<uint32_t> users{1};
    Task fetch;
    std::byte* at = nullptr;
    bool is_new = false;  // at is nobody else's
    Task giving;
    uint32_t n_returns = 0;
    std::array<Range, kMostReturns> returns;
  };

  // Unless others do it, or have done it.
  static void give_all(Shared& s) noexcept {
    if (!s.giving.begin()) return;
    for (uint32_t i = 0; i < s.n_returns; ++i) give(s.returns[i]);
    s.n_returns = 0;
    s.giving.end();
  }
  static void release(Shared* s) noexcept {
    if (s->users.fetch_sub(1, std::memory_order_acq_rel) == 1) delete s;
  }
  void post(Task& task, void (*fn)(void*)) noexcept {
    task.ask();
    shared_->users.fetch_add(1, std::memory_order_relaxed);
    worker_->post_to_control(fn, shared_);
  }
  uint32_t n_returns() const noexcept { return worker_ ? shared_->n_returns : 0; }

  static void advise(std::byte* extent, Pages pages) noexcept {
    (void)madvise(extent, kExtent, pages == Pages::kHuge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  }
  // Changes no byte, so that nobody minds who reads them meanwhile.
  static void touch(std::byte* extent) noexcept {
    for (std::size_t at = 0; at < kExtent; at += kPage)
      asm volatile("lock orb $0, %0" : "+m"(extent[at]));
  }
  static void give(const Range& r) noexcept {
    switch (r.what) {
      case Return::kPages:
        (void)madvise(r.at, r.bytes, MADV_DONTNEED);
        break;
      case Return::kSplit:
        advise(r.at, Pages::kSmall);
        break;
      case Return::kExtent:
        advise(r.at, Pages::kSmall);
        (void)madvise(r.at, r.bytes, MADV_DONTNEED);
        break;
      case Return::kUnmap:
        munmap(r.at, r.bytes);
        break;
    }
  }

  Worker* worker_ = nullptr;
  Shared* shared_ = nullptr;
  void (*due_)(void*) = nullptr;
  void* context_ = nullptr;
  Timer timer_;
  bool is_fetching_ = false, is_returning_ = false, is_soon_ = false;
};

}  // namespace loom
