// A worker's share of the pool (crypto_pool.h), of TLS and DTLS together: so many steps of
// handshakes at once. Who comes then is held, in order, and goes on when a step comes back.
//
//   hold --> [held: the worker has its share there] --> submit --> queue --> thread --> finish
//
// What comes back has the slice of handshakes in a round (slice.h), and so have those that are held
// and may go on; the rest has the next round, and one of each there is in any case.
//   cost  nothing is allocated
#pragma once
#include "crypto_pool.h"
#include "slice.h"

namespace loom::tls {

// A step that is handed over.
struct CryptoStep : CryptoPool::Job {
  // On its worker, when it is done or was taken back: what the step has come to. Frees it.
  void (*finish)(Worker&, CryptoStep&) noexcept = nullptr;

 private:
  friend class CryptoShare;
  CryptoStep* behind_ = nullptr;  // of those that have come back, the one that came next
};

// Who waits until a step may be handed over.
struct Held {
  bool is_held() const noexcept { return is_held_; }
  // Its turn has come, and it is held no more.
  void (*go_on)(Held&) noexcept = nullptr;

 private:
  friend class CryptoShare;
  Held *before_ = nullptr, *behind_ = nullptr;
  bool is_held_ = false;
};

// One worker.
class CryptoShare {
 public:
  static constexpr uint32_t kMostSteps = 64;
  // Between requests for threads that the system has not given.
  static constexpr TimeNs kThreadsAgain = 10 * kSecond;
  CryptoShare(Worker& w, HandshakeSlice& slice) noexcept : w_(w), slice_(slice) {}

  // Whether there are threads. If there are none, though there should be, the control thread tries
  // to have them: it is asked now and then, as long as somebody asks here.
  bool has_threads() noexcept;
  bool has_room() const noexcept { return n_steps_ < kMostSteps; }
  // There is room. Its `run` and `finish` are set.
  void submit(CryptoStep&) noexcept;
  // True: it has not begun and never will. It comes back in any case.
  bool take_back(CryptoStep&) noexcept;

  void hold(Held&) noexcept;
  void unhold(Held&) noexcept;  // one that is held and ends
  const Held* first_held() const noexcept { return first_held_; }
  bool has_back() const noexcept { return first_back_ != nullptr; }

  // All that has come back, at the worker's end: nobody is connected, and no thread has a step.
  void finish_all() noexcept;

 private:
  struct NextRound : WorkerPost {
    CryptoShare* of = nullptr;
  };
  static void come_back(Worker&, WorkerPost&) noexcept;
  void finish_next() noexcept;
  bool may_unhold() const noexcept { return first_held_ && has_room(); }
  void unhold_next() noexcept;
  void work_off(bool at_least_one) noexcept;

  Worker& w_;
  HandshakeSlice& slice_;
  uint32_t n_steps_ = 0;
  Held *first_held_ = nullptr, *last_held_ = nullptr;        // the one that waits longest first
  CryptoStep *first_back_ = nullptr, *last_back_ = nullptr;  // steps that are done, likewise
  NextRound next_round_;         // goes on with those, and with those that are held
  bool has_next_round_ = false;  // it is posted
  TimeNs may_ask_at_ = 0;        // for threads
};

}  // namespace loom::tls
