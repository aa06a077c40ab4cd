// Two threads, one fifo, sleeping on eventfds. A lost wake-up is a wait that ends by its timeout.
#include <chrono>
#include <thread>

#include "rig.h"

namespace loom::svm {
namespace {

using Clock = std::chrono::steady_clock;

struct Load {
  uint32_t fifo_size, most_per_step;
  int producer_pause, consumer_pause;  // 1 in n steps gives the processor away; 0 = never
};

template <class Rig>
void stream_through(const Load& load, std::chrono::milliseconds duration) {
  Rig rig(load.fifo_size, 0u - 100'000);
  const Stream stream;
  Event data, space;
  uint64_t data_waits = 0, space_waits = 0, sent = 0, received = 0;

  std::thread producer([&] {
    std::mt19937 rng(1);
    const auto end = Clock::now() + duration;
    while (Clock::now() < end || sent < 4ull * load.fifo_size) {
      const uint32_t n = rig.producer.enqueue(stream.at(sent, 1 + rng() % load.most_per_step));
      sent += n;
      if (n != 0 && rig.producer.should_notify()) data.signal();
      if (n == 0 && rig.producer.want_space(std::max(1u, load.fifo_size / 3))) {
        ++space_waits;
        if (!space.wait()) {
          ADD_FAILURE() << "lost wake-up of the producer";
          break;
        }
        rig.producer.clear_want_space();
      }
      if (load.producer_pause && rng() % static_cast<unsigned>(load.producer_pause) == 0)
        std::this_thread::yield();
    }
    rig.producer.set_eof();
    if (rig.producer.should_notify()) data.signal();
  });

  std::mt19937 rng(2);
  Bytes buffer(load.most_per_step);
  while (!rig.consumer.eof()) {
    const uint32_t n =
        rig.consumer.dequeue(MutableByteView(buffer).first(1 + rng() % buffer.size()));
    if (!stream.matches(received, ByteView(buffer).first(n))) {
      ADD_FAILURE() << "wrong bytes near " << received;
      break;
    }
    received += n;
    if (n != 0 && rig.consumer.should_notify()) space.signal();
    if (n == 0 && rig.consumer.arm()) {
      ++data_waits;
      if (!data.wait()) {
        ADD_FAILURE() << "lost wake-up of the consumer";
        break;
      }
    }
    if (load.consumer_pause && rng() % static_cast<unsigned>(load.consumer_pause) == 0)
      std::this_thread::yield();
  }
  producer.join();
  EXPECT_EQ(sent, received);
  EXPECT_FALSE(rig.consumer.violation());
  EXPECT_FALSE(rig.producer.violation());
  EXPECT_GT(data_waits + space_waits, 0u);  // else the test shows nothing
  rig.producer.reclaim();
  EXPECT_FALSE(rig.producer.holds_chunks());
}

constexpr std::chrono::milliseconds kShort{400};

template <class Rig>
class FifoWake : public testing::Test {};
using Rigs = testing::Types<RxRig, TxRig>;
TYPED_TEST_SUITE(FifoWake, Rigs);

TYPED_TEST(FifoWake, TinyFifoSleepsAllTheTime) {
  stream_through<TypeParam>({200, 300, 0, 0}, kShort);
}
TYPED_TEST(FifoWake, SmallFifo) { stream_through<TypeParam>({8192, 3000, 50, 0}, kShort); }
TYPED_TEST(FifoWake, LazyConsumer) { stream_through<TypeParam>({100'000, 9000, 0, 3}, kShort); }
TYPED_TEST(FifoWake, LazyProducer) { stream_through<TypeParam>({100'000, 9000, 3, 0}, kShort); }
TYPED_TEST(FifoWake, Bulk) { stream_through<TypeParam>({4 << 20, 65'000, 0, 0}, kShort * 2); }

}  // namespace
}  // namespace loom::svm
