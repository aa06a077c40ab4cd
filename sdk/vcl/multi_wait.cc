#include "vcl/multi_wait.h"

#include <algorithm>
#include <cerrno>
#include <vector>

namespace loom::vcl {
namespace {

// Watches of one call; kept for the thread's next one, so that waiting does not allocate.
class Watches {
 public:
  // Under the worker's mutex.
  void link(std::span<WaitEntry> entries, ThreadWaiter& thread) {
    if (entries.size() > capacity_) {
      storage_.reset();
      capacity_ = std::max<size_t>(16, entries.size() * 2);
      storage_ = std::make_unique<ThreadWatch[]>(capacity_);
    }
    n_ = entries.size();
    entries_ = entries;
    for (size_t i = 0; i < n_; ++i) {
      storage_[i].set_waiter(thread);
      entries[i].object->add_watch(storage_[i]);
    }
  }
  void unlink() {
    for (size_t i = 0; i < n_; ++i) {
      storage_[i].unlink();
      entries_[i].object->check_watched();
    }
    n_ = 0;
  }
  bool linked() const noexcept { return n_ != 0; }

 private:
  std::unique_ptr<ThreadWatch[]> storage_;
  std::span<WaitEntry> entries_;
  size_t n_ = 0, capacity_ = 0;
};

int look(std::span<WaitEntry> entries, bool arms) {
  int n = 0;
  for (WaitEntry& e : entries) {
    e.ready = e.object->poll(arms ? e.wanted : e.wanted | kPollOnlyLook, false);
    n += e.ready != 0;
  }
  return n;
}

bool any_set(std::span<WaitEntry> entries) {
  return std::any_of(entries.begin(), entries.end(), [](const WaitEntry& e) {
    return e.object->kind() == Object::Kind::kEpollSet;
  });
}

}  // namespace

int wait_many(AppWorker& worker, std::span<WaitEntry> entries, pollfd* kernel, nfds_t n_kernel,
              TimeNs timeout, const sigset_t* mask) {
  // A signal handler that waits while the thread is in here gets watches of its own.
  static thread_local Watches kept;
  Watches own;
  Watches& watches = kept.linked() ? own : kept;
  const TimeNs deadline = timeout == 0 ? 0 : sys::deadline_in(timeout);
  const auto look_at_kernel = [&] {
    return n_kernel ? std::max(0, sys::poll_now(kernel, n_kernel)) : 0;
  };
  for (const WaitEntry& e : entries)
    if (e.object->kind() == Object::Kind::kSession) static_cast<Session*>(e.object)->settle_links();
  // Sessions tell their state without the worker's mutex, sets do not.
  if (!any_set(entries)) {
    if (const int n = look(entries, false); n != 0) return n + look_at_kernel();
  }

  ThreadWaiter& thread = ThreadWaiter::current();
  HeldSignals held;
  std::unique_lock lock(worker.mutex());
  struct Unlink {
    std::unique_lock<std::mutex>& lock;
    Watches& watches;
    ~Unlink() {
      if (!lock.owns_lock()) lock.lock();
      watches.unlink();
    }
  } const unlink{lock, watches};
  int error = 0;
  uint32_t rung = 0;
  bool kernel_ready = false;
  while (true) {
    worker.drain();
    const int n = look(entries, watches.linked());
    if (n != 0) thread.gauge().satisfied();
    const bool over =
        deadline == 0 || error != 0 || (deadline != sys::kForever && sys::now() >= deadline);
    if (n != 0 || kernel_ready || over) {
      const int total = n + look_at_kernel();
      if (total != 0 || over) return total != 0 ? total : error;
    }
    if (!entries.empty() && !watches.linked()) {
      watches.link(entries, thread);
      continue;  // what came before the watches were there was seen by nobody
    }
    if (const int e = thread.prepare(worker); e != 0) return e;
    // A signal that only the mask lets in has to come to the call with the mask.
    if (!mask && worker.may_spin(thread, rung)) {
      // What of the kernel's is ready already does not wait for that.
      if ((kernel_ready = look_at_kernel() != 0)) continue;
      if (worker.spin(lock, thread, held, deadline, rung)) continue;
    }
    if (!worker.begin_sleep(thread, rung)) continue;
    const TimeNs until = std::min(deadline, worker.sleep_limit());
    const auto woken = worker.sleep(lock, thread, [&] {
      const sigset_t* in = mask ? mask : held.mask();
      return n_kernel ? thread.sleep(kernel, n_kernel, until, in) : thread.sleep(-1, until, in);
    });
    error = woken.error;
    kernel_ready = woken.kernel;
  }
}

}  // namespace loom::vcl
