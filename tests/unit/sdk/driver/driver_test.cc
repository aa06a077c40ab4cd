// What drivers share: each packet that a call finds is counted, handed on or dropped once; chains
// lose no buffer; a timer ticks while it is on; a device goes to its owner.
#include <gtest/gtest.h>
#include <poll.h>

#include <cerrno>

#include <hostloom/buffer_chain.h>
#include <hostloom/driver_timer.h>
#include <hostloom/rx_frame.h>
#include <hostloom/waker.h>

#include "driver_harness.h"

namespace loom {
namespace {

enum Next : uint16_t { kToEthernet, kToDrop };
enum Counter : uint16_t { kGood, kBad, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {{"good", Severity::kInfo, "handed on"},
                                                  {"bad", Severity::kError, "dropped"}};
const NodeInfo kInput{.name = "test-input",
                      .run = nullptr,
                      .kind = NodeKind::kInput,
                      .counters = kCounters,
                      .next = {"ethernet-input", "drop"}};

class DriverTest : public ::testing::Test {
 protected:
  DriverHarness h_{kInput, 512};
  const uint32_t before_ = h_.free_buffers();
  void TearDown() override {
    h_.clear();
    EXPECT_EQ(h_.free_buffers(), before_);
  }
};

TEST_F(DriverTest, AFrameCountsWhatIsHandedOnAndWhatIsDropped) {
  RxTotals totals(h_.host, 7);
  RxFrame frame(h_.input(), 7);
  frame.add(*make_packet(h_.worker(), pattern(3000)));
  frame.add(*make_packet(h_.worker(), pattern(60)));
  frame.drop(kBad);
  Buffer* bad = make_packet(h_.worker(), pattern(100));
  frame.drop(*bad, kBad, kToDrop);
  EXPECT_EQ(bad->rx_if, 7u);
  EXPECT_EQ(bad->error_counter, kBad);
  EXPECT_EQ(frame.n_good(), 2u);
  EXPECT_EQ(frame.n_bytes(), 3060u);
  EXPECT_EQ(frame.n_spent(), 3160u);
  frame.drop(kBad, 1000);
  EXPECT_EQ(frame.n_spent(), 4160u);
  EXPECT_EQ(frame.hand_on(kToEthernet, totals), 5u);
  EXPECT_EQ(h_.counter(kBad), 3u);
  EXPECT_EQ(h_.counters.packets, 2u);
  EXPECT_EQ(h_.counters.bytes, 3060u);
  EXPECT_EQ(h_.counters.errors, 3u);
  h_.engine->step();
  ASSERT_EQ(h_.sink.size(), 2u);
  for (const Buffer* b : h_.sink) EXPECT_EQ(b->rx_if, 7u);
}

TEST_F(DriverTest, AFrameIsFullWithThoseThatWereDropped) {
  RxFrame frame(h_.input(), 7);
  for (std::size_t i = 0; i + 1 < kFrameSize; ++i) frame.drop(kBad);
  EXPECT_TRUE(frame.has_room());
  EXPECT_FALSE(frame.has_room(2));
  frame.drop(kBad);
  EXPECT_FALSE(frame.has_room());
}

TEST_F(DriverTest, NothingFoundTouchesNothing) {
  RxTotals totals(h_.host, 7);
  EXPECT_EQ(RxFrame(h_.input(), 7).hand_on(kToEthernet, totals), 0u);
  EXPECT_EQ(h_.counters.packets + h_.counters.errors, 0u);
  h_.engine->step();
  EXPECT_TRUE(h_.sink.empty());
}

TEST_F(DriverTest, ATagIsPutBackWhereThereIsRoomForIt) {
  Buffer* b = make_packet(h_.worker(), pattern(100));
  restore_vlan_tag(*b, kEtherTypeVlan, 0x2064);
  const std::string tagged =
      pattern(100).substr(0, 12) + std::string("\x81\x00\x20\x64", 4) + pattern(100).substr(12);
  EXPECT_EQ(bytes_of(*b), tagged);
  (void)b->prepend(b->headroom() - 3);
  const std::string before = bytes_of(*b);
  restore_vlan_tag(*b, kEtherTypeVlan, 0x2064);
  EXPECT_EQ(bytes_of(*b), before);
  h_.worker().free(b);
}

TEST_F(DriverTest, AChainIsAPacketOfAllThatWasAppended) {
  const std::string bytes = pattern(5000);
  BufferChain chain(h_.worker());
  EXPECT_EQ(chain.take(), nullptr);
  for (std::size_t at = 0; at < bytes.size(); at += 625)
    ASSERT_TRUE(chain.append(reinterpret_cast<const std::byte*>(bytes.data()) + at, 625));
  EXPECT_EQ(chain.length(), 5000u);
  Buffer* b = chain.take();
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(bytes_of(*b), bytes);
  EXPECT_EQ(b->length(), 5000u);
  EXPECT_EQ(b->len, b->data_size);
  h_.worker().free(b);
}

TEST_F(DriverTest, AChainThatFindsThePoolEmptyGivesItsBuffersBack) {
  std::vector<Buffer*> all(512);
  all.resize(h_.worker().alloc(all));
  h_.worker().free(std::span(all).first(2));
  const std::string bytes = pattern(6000);
  {
    BufferChain chain(h_.worker());
    EXPECT_FALSE(chain.append(reinterpret_cast<const std::byte*>(bytes.data()), 6000));
  }
  EXPECT_EQ(h_.free_buffers(), 2u);
  h_.worker().free(std::span(all).subspan(2));
}

struct Ticks {
  DriverTimer* timer = nullptr;
  int n = 0, most = 1;
};

TEST_F(DriverTest, ATimerTicksWhileItIsOnAndMayBeTurnedOffByItsTick) {
  Ticks ticks;
  DriverTimer timer(
      h_.host, 1'000'000,
      [](void* context) {
        auto& t = *static_cast<Ticks*>(context);
        if (++t.n == t.most) {
          EXPECT_TRUE(t.timer->set(false));
        }
      },
      &ticks);
  ticks.timer = &timer;
  EXPECT_TRUE(h_.watched.empty());  // not before it is needed
  ticks.most = 2;
  ASSERT_TRUE(timer.set(true));
  EXPECT_TRUE(timer.is_on());
  ASSERT_TRUE(h_.news());
  ASSERT_TRUE(h_.news());
  EXPECT_EQ(ticks.n, 2);
  EXPECT_FALSE(timer.is_on());
  pollfd p{.fd = h_.watched_fds.begin()->second, .events = POLLIN, .revents = 0};
  itimerspec t{};
  ASSERT_EQ(timerfd_gettime(p.fd, &t), 0);
  EXPECT_EQ(t.it_value.tv_nsec, 0);  // disarmed
  timer.close();
  EXPECT_TRUE(h_.watched.empty());
}

TEST(Waker, IsReadableOnceItWasRungAndNeverWaits) {
  const Waker w = Waker::open();
  ASSERT_TRUE(w);
  pollfd p{.fd = w.reader.get(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&p, 1, 0), 0);
  for (int i = 0; i < 10'000; ++i) w.ring();  // more than the queue of a socket holds
  EXPECT_EQ(poll(&p, 1, 0), 1);
  char c;
  EXPECT_LT(::send(w.reader.get(), &c, 1, MSG_NOSIGNAL | MSG_DONTWAIT), 0);  // nobody reads there
  EXPECT_EQ(errno, EPIPE);
}

TEST(Waker, AnEventfdIsToldFromEverythingElse) {
  const UniqueFd event = open_eventfd(1);
  EXPECT_TRUE(is_eventfd(event.get()));
  EXPECT_FALSE(is_eventfd(Waker::open().reader.get()));
  EXPECT_FALSE(is_eventfd(-1));
}

struct Owner;
struct Owned {
  Owner* owner = nullptr;
};
struct Owner {
  const Owned* disposed = nullptr;
  void dispose(Owned* d) { disposed = d; }
};

TEST(Devices, ADeviceThatIsDestroyedGoesToItsOwner) {
  Owner owner;
  Owned device{.owner = &owner};
  dispose_device<&Owned::owner>(&device);
  EXPECT_EQ(owner.disposed, &device);
}

}  // namespace
}  // namespace loom
