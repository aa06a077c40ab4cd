// Speed of the shared-memory primitives.
//   BM_FifoStream    bytes from one thread to another, both busy; steps of range(0) bytes, fifo of
//                    range(1) bytes
//   BM_FifoPingPong  one message and its answer through two fifos, on one thread: the cost in
//                    instructions, chunks allocated and freed each time
//   BM_MqPushPop     one event through a queue, same thread and across threads
#include <benchmark/benchmark.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "svm/copy.h"
#include "svm/fifo.h"
#include "svm/mq.h"

namespace loom::svm {
namespace {

struct Rx {
  explicit Rx(uint32_t size) {
    auto s = Segment::create(256 << 20, SegmentKind::kDaemonArena);
    table.add(**s);
    arena.add_segment(std::move(*s));
    auto* session = reinterpret_cast<SessionShared*>(arena.alloc_object(sizeof(SessionShared)).ptr);
    init_fifos(*session);
    producer.open(session->rx(), arena, size);
    consumer = AppFifoConsumer(session->rx(), table, size);
  }
  SegmentTable table;
  DaemonArena arena;
  OwnedFifoProducer producer;
  AppFifoConsumer consumer;
};

struct Tx {
  explicit Tx(uint32_t size) : arena(table) {
    segment = std::move(*Segment::create(256 << 20, SegmentKind::kAppArena));
    table.add(*segment);
    arena.add_segment(*segment);
    init_fifos(session);
    producer = AppFifoProducer(session.tx(), arena, size);
    consumer.open(session.tx(), table, size);
  }
  std::unique_ptr<Segment> segment;
  SegmentTable table;
  AppArena arena;
  SessionShared session{};
  AppFifoProducer producer;
  OwnedFifoConsumer consumer;
};

void relax(uint32_t& idle) {
  if (++idle % 256 == 0)
    std::this_thread::yield();  // the machine may have fewer free processors than threads
  else
    __builtin_ia32_pause();
}

template <class Direction>
void BM_FifoStream(benchmark::State& state) {
  const auto step = static_cast<uint32_t>(state.range(0));
  Direction d(static_cast<uint32_t>(state.range(1)));
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    std::vector<std::byte> buffer(step);
    uint32_t idle = 0;
    while (!stop.load(std::memory_order_relaxed)) {
      if (d.consumer.dequeue(buffer) != 0)
        benchmark::DoNotOptimize(d.consumer.should_notify());
      else
        relax(idle);
    }
  });
  const std::vector<std::byte> data(step);
  uint32_t idle = 0;
  for (auto _ : state) {
    uint32_t done = 0;
    while (done < step) {
      const uint32_t n = d.producer.enqueue(ByteView(data).subspan(done));
      done += n;
      if (n != 0)
        benchmark::DoNotOptimize(d.producer.should_notify());
      else
        relax(idle);
    }
  }
  stop = true;
  reader.join();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * step);
  state.counters["Gb/s"] = benchmark::Counter(static_cast<double>(state.iterations()) * step * 8e-9,
                                              benchmark::Counter::kIsRate);
}
BENCHMARK(BM_FifoStream<Rx>)
    ->ArgsProduct({{8 << 10, 64 << 10}, {256 << 10, 1 << 20, 4 << 20}})
    ->UseRealTime();
BENCHMARK(BM_FifoStream<Tx>)
    ->ArgsProduct({{8 << 10, 64 << 10}, {256 << 10, 1 << 20, 4 << 20}})
    ->UseRealTime();

// A copy of range(0) bytes whose destination lies range(1) bytes behind the source modulo 4096:
// what memcpy does, and what copy_bytes makes of it.
template <class Copy>
void copy_bench(benchmark::State& state, Copy copy) {
  const auto n = static_cast<size_t>(state.range(0));
  std::vector<std::byte> memory(4 * n + 16384);
  auto* from =
      reinterpret_cast<std::byte*>((reinterpret_cast<uintptr_t>(memory.data()) | 4095) + 1);
  std::byte* to = from + ((n + 4095) & ~size_t{4095}) + static_cast<size_t>(state.range(1));
  for (auto _ : state) {
    copy(to, from, n);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}
void BM_Memcpy(benchmark::State& state) {
  copy_bench(state, [](std::byte* to, const std::byte* from, size_t n) { memcpy(to, from, n); });
}
void BM_Copy(benchmark::State& state) { copy_bench(state, copy_bytes); }
BENCHMARK(BM_Memcpy)->ArgsProduct({{8 << 10, 64 << 10}, {0, 16}});
BENCHMARK(BM_Copy)->ArgsProduct({{8 << 10, 64 << 10}, {0, 16}});

void BM_FifoPingPong(benchmark::State& state) {
  const auto step = static_cast<uint32_t>(state.range(0));
  Rx rx(1 << 20);
  Tx tx(1 << 20);
  std::vector<std::byte> b(step);
  for (auto _ : state) {
    rx.producer.enqueue(ByteView(b));
    benchmark::DoNotOptimize(rx.producer.should_notify());
    rx.consumer.dequeue(b);
    benchmark::DoNotOptimize(rx.consumer.should_notify());
    tx.producer.enqueue(ByteView(b));
    benchmark::DoNotOptimize(tx.producer.should_notify());
    ByteView v[4];
    benchmark::DoNotOptimize(tx.consumer.segments(0, step, v));
    tx.consumer.drop(step);
    benchmark::DoNotOptimize(tx.consumer.should_notify());
    if (state.range(1)) {  // idle between any two messages
      rx.producer.reclaim();
      tx.producer.reclaim();
    }
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(BM_FifoPingPong)->Args({64, 0})->Args({64, 1})->Args({1460, 0})->Args({1460, 1});

void BM_DaemonArenaChunk(benchmark::State& state) {
  DaemonArena arena;
  arena.add_segment(std::move(*Segment::create(256 << 20, SegmentKind::kDaemonArena)));
  for (auto _ : state) {
    const ChunkId c = arena.alloc_chunk(static_cast<uint32_t>(state.range(0)));
    benchmark::DoNotOptimize(c);
    arena.free_chunk(c);
  }
}
BENCHMARK(BM_DaemonArenaChunk)->Arg(12)->Arg(18)->Arg(20);

struct Queue {
  explicit Queue(uint32_t capacity) : memory(mq_bytes(capacity) / sizeof(MqSlot) + 1) {
    auto& q = *reinterpret_cast<MqShared*>(memory.data());
    init_mq(q, capacity);
    producer = MqProducer(q, capacity);
    consumer = MqConsumer(q, capacity);
  }
  std::vector<MqSlot> memory;
  MqProducer producer;
  MqConsumer consumer;
};

struct Event {
  uint64_t handle;
  uint32_t context;
};

void BM_MqPushPop(benchmark::State& state) {
  Queue q(1024);
  MqEvent e;
  for (auto _ : state) {
    benchmark::DoNotOptimize(q.producer.push(1u, Event{1, 2}));
    benchmark::DoNotOptimize(q.producer.needs_wake());
    benchmark::DoNotOptimize(q.consumer.pop(e));
  }
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(BM_MqPushPop);

void BM_MqAcrossThreads(benchmark::State& state) {
  Queue q(1024);
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    MqEvent e;
    uint32_t idle = 0;
    while (!stop.load(std::memory_order_relaxed))
      if (!q.consumer.pop(e)) relax(idle);
  });
  uint32_t idle = 0;
  for (auto _ : state) {
    while (q.producer.push(1u, Event{1, 2}) != MqProducer::Push::kOk) relax(idle);
    benchmark::DoNotOptimize(q.producer.needs_wake());
  }
  stop = true;
  reader.join();
  state.SetItemsProcessed(static_cast<int64_t>(state.iterations()));
}
BENCHMARK(BM_MqAcrossThreads)->UseRealTime();

}  // namespace
}  // namespace loom::svm
