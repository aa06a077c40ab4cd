// Sessions between two applications of one daemon, as this one sees them. The memory of the pair of
// applications is mapped when the first such session opens, and unmapped with the last.
//
// Bytes go through fifos like any others. Where another session tells the daemon to look, one of
// these rings the other end's bell (svm/bell.h) and, if that end sleeps, writes its doorbell: a
// datagram socket. The doorbells at which this worker listens are gathered in one epoll descriptor,
// which sleeping threads watch.
//
// Threads: what is marked so under the AppWorker's mutex; ringing from any thread.
#pragma once
#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "svm/app_arena.h"
#include "vcl/attachment.h"
#include "vcl/spin.h"

namespace loom::vcl {

class Session;

class CutThroughPair {
 public:
  // Maps the pair that has the segment `id`. nullptr: the daemon does not know it, or is gone.
  static std::shared_ptr<CutThroughPair> open(Attachment& attachment, uint32_t id);
  ~CutThroughPair();
  CutThroughPair(const CutThroughPair&) = delete;
  CutThroughPair& operator=(const CutThroughPair&) = delete;

  uint32_t id() const noexcept { return id_; }
  const svm::SegmentTable& table() const noexcept { return table_; }
  svm::AppArena& arena() noexcept { return arena_; }
  bool more_memory();

  // Any thread: news for worker `worker` at end `end`. False: it sleeps, and could not be woken.
  bool ring(svm::BellShared& bell, uint32_t end, uint32_t worker, uint32_t bit) noexcept;

  // --- Under the worker's mutex. `end`: this application's.

  // From now on rings of `bit` are `session`'s. False: the bell is not there, or no descriptors.
  bool enter(svm::Ref bell, uint32_t end, uint32_t bit, Session& session, int bells_fd);
  void leave(svm::Ref bell, uint32_t end, uint32_t bit, Session& session) noexcept;
  // Calls f(session) for each that was rung. True: there were any.
  template <class F>
  bool collect(F&& f) {
    bool any = false;
    for (Heard& h : heard_)
      any |= svm::bell::collect(row(h), [&](uint32_t bit) {
        if (h.sessions[bit]) f(*h.sessions[bit]);
      });
    return any;
  }
  // False: not every doorbell can be heard.
  bool announce_sleep(int bells_fd) noexcept {
    bool all = true;
    for (Heard& h : heard_) {
      all &= listen_at(h.end, bells_fd);  // a forked child does not yet
      svm::bell::announce_sleep(row(h));
    }
    return all;
  }
  bool is_quiet() noexcept {
    for (Heard& h : heard_)
      if (!svm::bell::is_quiet(row(h))) return false;
    return true;
  }
  void end_sleep() noexcept {
    for (Heard& h : heard_) svm::bell::end_sleep(row(h));
  }
  // What is looked at before a sleep. False: it is too much.
  bool gather(Bells& bells) noexcept {
    return std::all_of(heard_.begin(), heard_.end(),
                       [&](const Heard& h) { return bells.add(row(h)); });
  }
  template <class F>
  void for_each_doorbell(F&& f) {
    for (const int fd : own_doorbell_)
      if (fd >= 0) f(fd);
  }
  // After fork, in the child, which is another worker: new locks, and no doorbells yet.
  void after_fork() noexcept;
  std::mutex& mutex() noexcept { return mutex_; }

 private:
  // A bell at one end of which this worker has sessions.
  struct Heard {
    svm::BellShared* shared;
    svm::Ref ref;
    uint32_t end;
    uint32_t n_sessions = 0;
    std::array<Session*, svm::kBellSessions> sessions{};
  };

  CutThroughPair(Attachment& a, uint32_t id) : attachment_(a), id_(id) {}
  bool map(WorkerEnds& ends);
  bool listen_at(uint32_t end, int bells_fd);
  svm::BellRow& row(const Heard& h) noexcept {
    return h.shared->rows[h.end][attachment_.worker_index()];
  }

  // Whom the daemon gives no doorbell, it wakes itself. Asking again for each ring would leave the
  // pace to the peer, who says which of its workers is to be woken.
  static constexpr TimeNs kAskAgain = kSecond;

  Attachment& attachment_;  // outlives it: sessions hold both
  const uint32_t id_;       // of the segment with the sessions' blocks
  std::mutex mutex_;        // segments_; after any other
  std::vector<std::unique_ptr<svm::Segment>> segments_;
  svm::SegmentTable table_;
  svm::AppArena arena_{table_};
  std::array<std::atomic<int>, svm::kMaxAppWorkers> doorbells_[2];  // that we ring; 0 = not yet
  std::atomic<TimeNs> ask_memory_again_at_{0};
  std::atomic<TimeNs> ask_again_at_{0};  // for one that could not be had
  int own_doorbell_[2] = {-1, -1};       // by end, in bells_fd_
  int bells_fd_ = -1;                    // the AppWorker's
  std::vector<Heard> heard_;
};

}  // namespace loom::vcl
