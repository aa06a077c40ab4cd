// A thread on which a device's driver is called that may wait there for its peer, as long as that
// likes: net_virtio_user waits for the answers of a vhost peer. Each such device has its own, so
// that one that waits keeps nobody else waiting.
#pragma once
#include <chrono>
#include <functional>
#include <memory>

namespace loom::dpdk {

class CallThread {
 public:
  using Clock = std::chrono::steady_clock;

  // on_over: a call is over; on the thread. It may be called when this object is gone, if that is
  // gone while the thread was in a call.
  explicit CallThread(std::function<void()> on_over);
  CallThread(const CallThread&) = delete;
  // A thread that is in a call is left alone with it, and ends behind it.
  ~CallThread();

  // Control thread, as what follows: has `call` made on the thread. One call at a time.
  void begin(std::function<void()> call);
  // Whether a call has begun and is over; what it has written is there to be read.
  bool is_over() const;
  // Waits for that, but not longer.
  bool is_over_by(Clock::time_point) const;
  // The next one may begin.
  void take();

 private:
  struct State;
  std::shared_ptr<State> state_;  // the thread's, too
};

}  // namespace loom::dpdk
