// Closures posted to a worker: many producers, one consumer, no lock. Producers push onto a stack;
// the worker takes the whole stack at once and runs it oldest first.
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
    for (Post* p = head_.load(); p;) delete std::exchange(p, p->next);
  }

  void push(Fn fn) {  // any thread
    auto* p = new Post{head_.load(std::memory_order_relaxed), std::move(fn)};
    while (!head_.compare_exchange_weak(p->next, p)) {}
  }
  bool empty() const noexcept { return head_.load() == nullptr; }
  // Runs what is there now; what that posts waits for the next time. Returns how many there were.
  uint32_t run(Worker& w) {
    if (head_.load(std::memory_order_relaxed) == nullptr) return 0;
    Post* in_order = nullptr;
    for (Post* p = head_.exchange(nullptr); p;) {
      Post* older = p->next;
      p->next = in_order;
      in_order = p;
      p = older;
    }
    uint32_t n = 0;
    for (; in_order; ++n) {
      const std::unique_ptr<Post> p(in_order);
      in_order = p->next;
      p->fn(w);
    }
    return n;
  }

 private:
  struct Post {
    Post* next;
    Fn fn;
  };
  std::atomic<Post*> head_{nullptr};
};

}  // namespace loom
