#include "svm/accept_queue.h"

#include <atomic>
#include <thread>

#include "rig.h"

namespace loom::svm {
namespace {

struct Listener {
  explicit Listener(uint32_t capacity) : memory(listener_bytes(capacity) / sizeof(AcceptSlot) + 1) {
    shared = reinterpret_cast<ListenerShared*>(memory.data());
    producer = AcceptProducer(*shared, capacity, 99);
    consumer = AcceptConsumer(*shared, capacity);
  }
  AcceptProducer::Push push(uint64_t handle);
  std::vector<AcceptSlot> memory;
  ListenerShared* shared;
  AcceptProducer producer;
  AcceptConsumer consumer;
};

AcceptedSession session(uint64_t handle) {
  AcceptedSession s;
  s.handle = handle;
  s.session = make_ref(1, handle * 64);
  s.local_port = static_cast<uint16_t>(handle);
  s.remote_port = static_cast<uint16_t>(~handle);
  s.is_ip4 = handle % 2;
  s.cut_through = handle % 3 ? CutThrough::kEnd1 : CutThrough::kNo;
  s.interface = static_cast<uint16_t>(handle * 12'345);
  for (int i = 0; i < 16; ++i) {
    s.local_ip[i] = static_cast<uint8_t>(handle + i);
    s.remote_ip[i] = static_cast<uint8_t>(handle * 3 + i);
  }
  return s;
}

AcceptProducer::Push Listener::push(uint64_t handle) {
  uint32_t position;
  return producer.push(session(handle), position);
}

bool same(const AcceptedSession& a, const AcceptedSession& b) {
  return a.handle == b.handle && a.session == b.session && a.local_port == b.local_port &&
         a.remote_port == b.remote_port && a.is_ip4 == b.is_ip4 && a.cut_through == b.cut_through &&
         a.interface == b.interface && std::equal(a.local_ip, a.local_ip + 16, b.local_ip) &&
         std::equal(a.remote_ip, a.remote_ip + 16, b.remote_ip);
}

TEST(AcceptQueue, HandsSessionsOverInOrder) {
  Listener l(4);
  EXPECT_EQ(l.shared->capacity, 4u);
  EXPECT_EQ(l.shared->handle, 99u);
  AcceptedSession s;
  EXPECT_FALSE(l.consumer.pop(s));
  EXPECT_TRUE(l.consumer.empty());
  uint64_t in = 1, out = 1;
  for (int round = 0; round < 50; ++round) {
    while (l.push(in) == AcceptProducer::Push::kOk) ++in;
    EXPECT_EQ(l.producer.count(), 4u);
    for (int i = 0; i < 1 + round % 4; ++i, ++out) {
      ASSERT_TRUE(l.consumer.pop(s));
      EXPECT_TRUE(same(s, session(out)));
    }
  }
}

TEST(AcceptQueue, KnowsWhichOnesWereTaken) {
  Listener l(2);
  AcceptedSession s;
  uint32_t first = 7, second = 7;
  ASSERT_EQ(l.producer.push(session(1), first), AcceptProducer::Push::kOk);
  ASSERT_EQ(l.producer.push(session(2), second), AcceptProducer::Push::kOk);
  EXPECT_FALSE(l.producer.is_taken(first));
  ASSERT_TRUE(l.consumer.pop(s));
  EXPECT_TRUE(l.producer.is_taken(first));
  EXPECT_FALSE(l.producer.is_taken(second));
}

TEST(AcceptQueue, TellsThoseWhoAsked) {
  Listener l(4);
  EXPECT_TRUE(l.consumer.arm(3));
  EXPECT_TRUE(l.consumer.arm(63));
  l.push(1);
  EXPECT_EQ(l.producer.interested(), 1ull << 3 | 1ull << 63);
  EXPECT_TRUE(l.producer.take_interest(63));
  EXPECT_FALSE(l.producer.take_interest(63));
  EXPECT_EQ(l.producer.interested(), 1ull << 3);
  EXPECT_FALSE(l.consumer.arm(0));
  EXPECT_TRUE(l.consumer.disarm(63));  // was chosen
  EXPECT_FALSE(l.consumer.disarm(3));
  EXPECT_FALSE(l.producer.take_interest(3));
}

TEST(AcceptQueue, BoundsAHostileHead) {
  Listener l(4);
  for (uint64_t i = 0; i < 4; ++i) l.push(i);
  l.shared->head.store(77);
  EXPECT_EQ(l.push(5), AcceptProducer::Push::kViolation);
  EXPECT_LE(l.producer.count(), 4u);
}

TEST(AcceptQueue, EachSessionGoesToExactlyOneConsumer) {
  constexpr uint64_t kSessions = 60'000;
  constexpr unsigned kConsumers = 3;
  Listener l(32);
  Event events[kConsumers];
  std::vector<std::atomic<uint8_t>> seen(kSessions);
  std::atomic<uint64_t> taken{0};
  std::vector<std::thread> threads;
  for (unsigned w = 0; w < kConsumers; ++w)
    threads.emplace_back([&, w] {
      AcceptConsumer consumer(*l.shared, 32);
      AcceptedSession s;
      while (true) {
        if (consumer.pop(s)) {
          if (s.handle == kSessions) return;  // the end
          ASSERT_TRUE(same(s, session(s.handle)));
          ASSERT_EQ(seen[s.handle].fetch_add(1), 0);
          ++taken;
        } else if (consumer.arm(w)) {
          ASSERT_TRUE(events[w].wait()) << "lost wake-up";
        }
      }
    });
  const auto push = [&](uint64_t handle) {
    while (l.push(handle) != AcceptProducer::Push::kOk) std::this_thread::yield();
    for (uint64_t bits = l.producer.interested(); bits; bits &= bits - 1) {
      const auto w = static_cast<unsigned>(std::countr_zero(bits));
      if (l.producer.take_interest(w)) events[w].signal();
    }
  };
  std::thread second([&] {
    for (uint64_t i = 1; i < kSessions; i += 2) push(i);
  });
  for (uint64_t i = 0; i < kSessions; i += 2) push(i);
  second.join();
  for (unsigned w = 0; w < kConsumers; ++w) push(kSessions);
  for (auto& t : threads) t.join();
  EXPECT_EQ(taken.load(), kSessions);
}

}  // namespace
}  // namespace loom::svm
