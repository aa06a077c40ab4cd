// What is posted to a worker, closures and calls in their callers' memory: many producers, one
// consumer, no lock. Producers push onto a stack; the worker takes the whole stack at once and runs
// it oldest first.
//
// Memory order: push() and empty() are sequentially consistent, because the worker's going to sleep
// depends on it: it announces that it sleeps and then looks here; a producer pushes here and then
// looks whether it sleeps. One of the two sees the other.
#pragma once
#include <atomic>
#include <functional>
#include <memory>

#include <hostloom/worker.h>

namespace loom {

class PostQueue {
 public:
  using Fn = std::move_only_function<void(Worker&)>;

  PostQueue() = default;
  PostQueue(const PostQueue&) = delete;
  PostQueue& operator=(const PostQueue&) = delete;
  ~PostQueue() {
    for (WorkerPost* p = head_.load(); p;) {
      WorkerPost* const next = p->next;
      if (p->fn == Closure::call) delete static_cast<Closure*>(p);
      p = next;
    }
  }

  // Any thread.
  void push(Fn fn) { push(*new Closure(std::move(fn))); }
  void push(WorkerPost& p) noexcept {
    p.next = head_.load(std::memory_order_relaxed);
    while (!head_.compare_exchange_weak(p.next, &p)) {}
  }
  bool empty() const noexcept { return head_.load() == nullptr; }
  // Runs what is there now; what that posts waits for the next time. Returns how many there were.
  uint32_t run(Worker& w) {
    if (head_.load(std::memory_order_relaxed) == nullptr) return 0;
    WorkerPost* in_order = nullptr;
    for (WorkerPost* p = head_.exchange(nullptr); p;) {
      WorkerPost* const older = p->next;
      p->next = in_order;
      in_order = p;
      p = older;
    }
    uint32_t n = 0;
    for (; in_order; ++n) {
      WorkerPost& p = *in_order;
      in_order = p.next;
      p.fn(w, p);
    }
    return n;
  }

 private:
  struct Closure : WorkerPost {
    explicit Closure(Fn f) : WorkerPost{call, nullptr}, closure(std::move(f)) {}
    static void call(Worker& w, WorkerPost& p) noexcept {
      const std::unique_ptr<Closure> self(static_cast<Closure*>(&p));
      self->closure(w);
    }
    Fn closure;
  };
  std::atomic<WorkerPost*> head_{nullptr};
};

}  // namespace loom
