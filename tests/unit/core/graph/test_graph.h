// A small graph engine in virtual time, and nodes for tests to send packets to.
#pragma once
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "graph/engine.h"

namespace loom {

// Something that another thread waits for; each wait() takes one set().
class Event {
 public:
  void set() {
    const std::lock_guard hold(lock_);
    ++n_;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock hold(lock_);
    changed_.wait(hold, [&] { return n_ != 0; });
    --n_;
  }

 private:
  std::mutex lock_;
  std::condition_variable changed_;
  int n_ = 0;
};

struct VirtualClock {
  TimeNs now = kSecond;
  static TimeNs read(void* self) noexcept { return static_cast<VirtualClock*>(self)->now; }
};

inline std::unique_ptr<Engine> make_engine(EngineConfig config = {}) {
  if (config.buffers.buffers_per_numa == BufferConfig{}.buffers_per_numa)
    config.buffers.buffers_per_numa = 4096;
  auto engine = Engine::create(std::move(config));
  EXPECT_TRUE(engine.has_value()) << engine.error().message;
  return *std::move(engine);
}
inline std::unique_ptr<Engine> make_engine(VirtualClock& clock, uint32_t n_workers = 1) {
  return make_engine(
      {.n_workers = n_workers, .clock = VirtualClock::read, .clock_context = &clock});
}

template <class T>
T must(Result<T> r) {
  EXPECT_TRUE(r.has_value()) << r.error().message;
  return *std::move(r);
}
inline void must(Result<void> r) { EXPECT_TRUE(r.has_value()) << r.error().message; }

// Packets whose first four bytes are a number.
inline Buffer* numbered_packet(Worker& w, uint32_t number) {
  Buffer* b = w.alloc();
  LOOM_CHECK(b);
  std::memcpy(b->append(4), &number, 4);
  return b;
}
inline uint32_t number_of(const Buffer& b) {
  uint32_t n;
  std::memcpy(&n, b.data, 4);
  return n;
}
inline void send_numbers(Worker& w, NodeId to, uint32_t n) {
  for (uint32_t i = 0; i < n; ++i) w.enqueue_to_node(to, numbered_packet(w, i));
}

// Where a node of the test leaves what it saw: per worker, in Worker::plugin_data of its slot.
struct Seen {
  std::vector<uint32_t> numbers;
  std::vector<std::size_t> frame_sizes;
  std::vector<uint16_t> verdicts;  // what a scatter node is to do with number i modulo size
};
inline Seen& seen(Worker& w, uint32_t slot) { return *static_cast<Seen*>(w.plugin_data[slot]); }

// Notes the packets under slot kSlot and frees them.
template <uint32_t kSlot>
void sink_node(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  Seen& s = seen(w, kSlot);
  s.frame_sizes.push_back(in.size());
  for (const Buffer* b : in) s.numbers.push_back(number_of(*b));
  rt.count(0, in.size());
  w.free(in);
}
constexpr CounterInfo kSinkCounters[] = {{"taken", Severity::kInfo, "packets that ended here"}};

// Sends number i to next verdicts[i % size].
template <uint32_t kSlot>
void scatter_node(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  Seen& s = seen(w, kSlot);
  std::array<uint16_t, kFrameSize> next;
  for (std::size_t i = 0; i < in.size(); ++i)
    next[i] = s.verdicts[number_of(*in[i]) % s.verdicts.size()];
  rt.enqueue(in, next);
}

// Notes the packets and passes them on along their feature arc.
template <uint32_t kSlot>
void feature_node(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  for (const Buffer* b : in) seen(w, kSlot).numbers.push_back(number_of(*b));
  rt.enqueue_all(in, kNextFeature);
}

// Buffers of worker 0's pool that are neither free nor cached by a worker.
inline uint32_t buffers_in_use(Engine& e) {
  uint32_t cached = 0;
  for (uint32_t i = 0; i < e.n_workers(); ++i) cached += e.worker(i).cache.n;
  const auto s = e.pool_of(0).stats();
  return s.total - s.free - cached;
}

}  // namespace loom
