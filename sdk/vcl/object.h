// What a descriptor of the application can stand for: a session or an epoll set. Reference counted,
// because dup(), threads and fork() share it; watched, because several waiters may look at it.
//
// Memory is type-stable: a retired object goes back to its pool and is used again as the same type,
// so that a thread that read a stale pointer from a descriptor table may still try_ref() it, and
// then finds out that the table has changed.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>
#include <new>
#include <utility>

#include "vcl/list.h"

namespace loom::vcl {

class AppWorker;
class Object;

// Somebody who wants to hear that an object's readiness may have changed. All under the worker's
// mutex.
struct WatchTag;
class Watch : public ListNode<WatchTag> {
 public:
  virtual void on_event() = 0;
  // The object ends: unlink.
  virtual void on_gone() { unlink(); }
  // A thread's, which a forked child does not have.
  virtual bool of_thread() const noexcept { return false; }

 protected:
  ~Watch() = default;
};

// Bits beside poll(2)'s in readiness masks.
constexpr uint32_t kPollSettled = 1u << 24;  // connect, listen: the daemon has answered
constexpr uint32_t kPollDrained = 1u << 26;  // everything written was acknowledged
// In `wanted`: only look, and arm nothing, because nobody is going to wait yet.
constexpr uint32_t kPollOnlyLook = 1u << 27;
// In `wanted`: for a call that waits for just that, not for a program that polls. Of errors only
// those that the call would return end it.
constexpr uint32_t kPollForCall = 1u << 28;

class Object {
 public:
  enum class Kind : uint8_t { kSession, kEpollSet };

  Kind kind() const noexcept { return kind_; }
  void ref() noexcept { refs_.fetch_add(1, std::memory_order_relaxed); }
  // False: the object is retired, or about to be.
  bool try_ref() noexcept {
    uint32_t n = refs_.load(std::memory_order_relaxed);
    while (n != 0)
      if (refs_.compare_exchange_weak(n, n + 1, std::memory_order_acquire)) return true;
    return false;
  }
  void unref() {
    if (refs_.fetch_sub(1, std::memory_order_acq_rel) == 1) retire();
  }
  bool alive() const noexcept { return refs_.load(std::memory_order_relaxed) != 0; }

  // Readiness in `wanted` (poll(2)'s bits and the above), and POLLERR and POLLHUP always. For what
  // is wanted and not there it arms the event that will tell. `edge`: also arms for news beyond
  // what is there. Under the worker's mutex when somebody watches.
  virtual uint32_t poll(uint32_t wanted, bool edge = false) = 0;

  // Nobody waits for it any more. Under the worker's mutex.
  virtual void on_unwatched() {}
  void check_watched() {
    if (watches_.empty()) on_unwatched();
  }

  // Under the worker's mutex.
  void notify() {
    watches_.for_each([](Watch& w) { w.on_event(); });
  }
  void add_watch(Watch& w) noexcept { watches_.push_back(w); }
  void dismiss_watches() {
    while (!watches_.empty()) watches_.front().on_gone();
  }
  void dismiss_thread_watches() {
    watches_.for_each([](Watch& w) {
      if (w.of_thread()) w.unlink();
    });
  }

 protected:
  explicit Object(Kind kind) noexcept : kind_(kind) {}
  ~Object() = default;
  // The last reference is gone. Ends in the pool's free list.
  virtual void retire() = 0;

  std::atomic<uint32_t> refs_{0};
  const Kind kind_;
  List<Watch, WatchTag> watches_;
};

// Memory for objects of type T, never given back. T has `T* pool_next_` and reset() of its own.
// Threads: any.
template <class T>
class Pool {
 public:
  // An object with no references, as it was left by its last user.
  template <class... Args>
  T* take(Args&&... args) {
    {
      const std::lock_guard lock(mutex_);
      if (free_) {
        T* t = free_;
        free_ = t->pool_next_;
        return t;
      }
    }
    return new T(std::forward<Args>(args)...);
  }
  void put(T* t) noexcept {
    const std::lock_guard lock(mutex_);
    t->pool_next_ = free_;
    free_ = t;
  }
  std::mutex& mutex() noexcept { return mutex_; }

 private:
  std::mutex mutex_;
  T* free_ = nullptr;
};

// A reference for the length of a call.
template <class T>
class Held {
 public:
  Held() = default;
  explicit Held(T* t) noexcept : t_(t) {}  // takes the reference over
  Held(Held&& o) noexcept : t_(std::exchange(o.t_, nullptr)) {}
  Held& operator=(Held&& o) noexcept {
    std::swap(t_, o.t_);
    return *this;
  }
  ~Held() noexcept(false) {
    if (t_) t_->unref();
  }
  T* get() const noexcept { return t_; }
  T* operator->() const noexcept { return t_; }
  T& operator*() const noexcept { return *t_; }
  explicit operator bool() const noexcept { return t_ != nullptr; }
  T* release() noexcept { return std::exchange(t_, nullptr); }

 private:
  T* t_ = nullptr;
};

}  // namespace loom::vcl
