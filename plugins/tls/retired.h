// What connections share and may be long (parsed certificates, contexts): the control thread frees
// it, when the last connection has let go of it, and not the worker on which that was.
#pragma once
#include <atomic>
#include <memory>
#include <new>
#include <unordered_map>

#include <hostloom/worker.h>

namespace loom::tls {

class Retired {
 public:
  // Control thread. Who owned it has no more use for it: it goes when no connection has it, perhaps
  // now. What has come twice goes when it has come from all who owned it. Without memory to keep it
  // the last connection that has it frees it, on its worker.
  void take(std::shared_ptr<const void> gone) noexcept {
    if (!gone) return;
    const void* const key = gone.get();
    try {
      kept_.try_emplace(key, std::move(gone));
    } catch (const std::bad_alloc&) {
      return;
    }
    gone.reset();
    n_kept_.store(kept_.size(), std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    look_at(key);
  }
  std::size_t size() const noexcept { return kept_.size(); }

  // Worker: this one has let go of it. Not the last: there is its owner's, or ours.
  template <class T>
  void let_go(Worker& w, std::shared_ptr<T>& mine) noexcept {
    if (!mine) return;
    const void* const key = mine.get();
    const std::weak_ptr<T> is = mine;
    mine.reset();
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (is.use_count() > 1 || n_kept_.load(std::memory_order_relaxed) == 0) return;
    w.post_to_control([](void* of) { instance().look_at(of); }, const_cast<void*>(key));
  }

  static Retired& instance() noexcept {
    static Retired r;
    return r;
  }

 private:
  void look_at(const void* key) noexcept {
    const auto at = kept_.find(key);
    if (at == kept_.end() || at->second.use_count() > 1) return;
    kept_.erase(at);
    n_kept_.store(kept_.size(), std::memory_order_relaxed);
  }

  std::unordered_map<const void*, std::shared_ptr<const void>> kept_;  // control thread
  std::atomic<std::size_t> n_kept_{0};
};

inline Retired& retired() noexcept { return Retired::instance(); }

}  // namespace loom::tls
