#include "svm/mq.h"

#include <thread>

#include "rig.h"

namespace loom::svm {
namespace {

struct Queue {
  explicit Queue(uint32_t capacity) : memory(mq_bytes(capacity) / sizeof(MqSlot) + 1) {
    shared = reinterpret_cast<MqShared*>(memory.data());
    init_mq(*shared, capacity);
    producer = MqProducer(*shared, capacity);
    consumer = MqConsumer(*shared, capacity);
  }
  std::vector<MqSlot> memory;
  MqShared* shared;
  MqProducer producer;
  MqConsumer consumer;
};

struct Payload {
  uint64_t a;
  uint32_t b;
};

TEST(Mq, KeepsOrderAndRefusesWhenFull) {
  Queue q(8);
  MqEvent e;
  EXPECT_FALSE(q.consumer.pop(e));
  uint32_t in = 0, out = 0;
  for (int round = 0; round < 100; ++round) {
    while (q.producer.push(7u, Payload{in, ~in}) == MqProducer::Push::kOk) ++in;
    EXPECT_EQ(in - out, 8u);
    for (int i = 0; i < 1 + round % 8; ++i, ++out) {
      ASSERT_TRUE(q.consumer.pop(e));
      EXPECT_EQ(e.type, 7u);
      EXPECT_EQ(e.as<Payload>().a, out);
      EXPECT_EQ(e.as<Payload>().b, ~out);
    }
  }
}

TEST(Mq, KnowsForEverThatAnEventWasRead) {
  Queue q(8);
  for (uint32_t at = 0; at < 3; ++at) q.producer.push(1u, Payload{});
  uint32_t position;
  const Payload p{};
  q.producer.push(1u, &p, sizeof p, &position);
  MqEvent e;
  for (int i = 0; i < 3; ++i) q.consumer.pop(e);
  EXPECT_FALSE(q.producer.is_read(position));
  q.consumer.pop(e);
  EXPECT_TRUE(q.producer.is_read(position));
  for (const uint32_t later : {1u, 0x7fffffffu, 0x80000000u, 0xfffffff0u}) {
    q.shared->head.store(position + 1 + later);
    EXPECT_TRUE(q.producer.is_read(position)) << later;
  }
}

TEST(Mq, WakesOnlyASleeperAndOnlyOnce) {
  Queue q(8);
  q.producer.push(1u, Payload{});
  EXPECT_FALSE(q.producer.needs_wake());
  EXPECT_FALSE(q.consumer.prepare_sleep());  // an event is there
  MqEvent e;
  q.consumer.pop(e);
  EXPECT_TRUE(q.consumer.prepare_sleep());
  q.producer.push(1u, Payload{});
  EXPECT_TRUE(q.producer.needs_wake());
  EXPECT_FALSE(q.producer.needs_wake());
  q.consumer.finish_sleep();
}

TEST(Mq, ProducerBoundsAHostileHead) {
  Queue q(8);
  for (int i = 0; i < 8; ++i) q.producer.push(1u, Payload{});
  q.shared->head.store(9);  // beyond what was ever pushed
  EXPECT_EQ(q.producer.push(1u, Payload{}), MqProducer::Push::kViolation);
  q.shared->head.store(0u - 1);
  EXPECT_EQ(q.producer.push(1u, Payload{}), MqProducer::Push::kViolation);
  q.shared->head.store(3);
  EXPECT_EQ(q.producer.push(1u, Payload{}), MqProducer::Push::kOk);
}

TEST(Mq, EitherSideSurvivesAnyBytes) {
  std::mt19937_64 rng(1);
  for (int life = 0; life < 200; ++life) {
    Queue q(16);
    for (int i = 0; i < 500; ++i) {
      auto* words = reinterpret_cast<uint32_t*>(q.shared);
      words[rng() % (mq_bytes(16) / 4)] = static_cast<uint32_t>(rng() % 4 ? rng() % 600 : rng());
      MqEvent e;
      if (rng() % 2)
        (void)q.producer.push(static_cast<uint32_t>(i), Payload{});
      else
        q.consumer.pop(e);
      q.producer.needs_wake();
    }
  }
}

TEST(Mq, ManyProducersOneSleepyConsumer) {
  constexpr unsigned kProducers = 3;
  constexpr uint64_t kEach = 60'000;
  Queue q(64);
  Event event;
  std::vector<std::thread> producers;
  for (unsigned p = 0; p < kProducers; ++p)
    producers.emplace_back([&, p] {
      for (uint64_t i = 0; i < kEach; ++i) {
        MqProducer::Push r;
        while ((r = q.producer.push(p, Payload{i, 0})) == MqProducer::Push::kFull)
          std::this_thread::yield();
        ASSERT_EQ(r, MqProducer::Push::kOk);
        if (q.producer.needs_wake()) event.signal();
      }
    });
  uint64_t next[kProducers] = {}, sleeps = 0;
  for (uint64_t n = 0; n < kProducers * kEach;) {
    MqEvent e;
    if (q.consumer.pop(e)) {
      ASSERT_LT(e.type, kProducers);
      ASSERT_EQ(e.as<Payload>().a, next[e.type]++);
      ++n;
    } else if (q.consumer.prepare_sleep()) {
      ++sleeps;
      if (!event.wait()) {
        ADD_FAILURE() << "lost wake-up after " << n << " events";
        break;
      }
      q.consumer.finish_sleep();
    }
  }
  for (auto& t : producers) t.join();
  EXPECT_GT(sleeps, 0u);
}

}  // namespace
}  // namespace loom::svm
