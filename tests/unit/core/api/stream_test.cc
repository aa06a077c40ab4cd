// Dumps in slices, cursors and events, on a real socket: order, bounds, and clients that vanish.
#include <gmock/gmock.h>

#include <atomic>

#include "api/core_handlers.h"
#include "cli/tree.h"
#include "client/client.h"
#include "memclnt.api.h"
#include "server_fixture.h"
#include "stream_test.api.h"

namespace loom {
namespace {

constexpr uint32_t kEndless = ~0u;

class ApiStreams : public ServerFixture {
 protected:
  void SetUp() override {
    ASSERT_TRUE(add_core_modules(registry_));
    ASSERT_TRUE(registry_.add_module(api::kStreamTestModule));
    add_core_handlers(registry_, {.host = host_,
                                  .cli = cli_,
                                  .version = "",
                                  .build_date = "",
                                  .uptime_s = [] { return 0.0; },
                                  .find_node = {},
                                  .node = {},
                                  .threads = {},
                                  .log_lines = {}});
    registry_.handle<api::ItemSet, api::ItemSetReply>(
        [](ApiCall&, const api::ItemSet& m) { return api::ItemSetReply{.value = m.value}; });
    registry_.dump<api::ItemDump, api::ItemDetails>(
        [this](const api::ItemDump& m, uint64_t& cursor, api::ItemDetails& d) {
          ++steps_;
          if (cursor == m.count || is_over_) return ApiStep::kEnd;
          d.index = static_cast<uint32_t>(cursor++);
          if (m.every != 0 && d.index % m.every != 0) return ApiStep::kSkip;
          d.text = "item";
          return ApiStep::kItem;
        });
    registry_.cursor<api::ItemGet, api::ItemGetReply, api::ItemDetails>(
        [](const api::ItemGet&, uint32_t& cursor, api::ItemDetails& d) {
          if (cursor >= 1000) return ApiStep::kEnd;
          d.index = cursor++;
          return ApiStep::kItem;
        });
    registry_.events<api::WantItemEvents, api::WantItemEventsReply>();
  }
  template <class M>
  static std::string table_name() {
    return api_table_name(M::kInfo);
  }
  static Bytes dump(RawClient& c, uint32_t context, uint32_t count, uint32_t every = 0) {
    return c.request(table_name<api::ItemDump>().c_str(), context, be32(count) + be32(every));
  }
  static Bytes ping(RawClient& c, uint32_t context) {
    return c.request("control_ping_51077d14", context);
  }
  static Bytes set(RawClient& c, uint32_t context) {
    return c.request(table_name<api::ItemSet>().c_str(), context, be32(5));
  }
  static Bytes want(RawClient& c, uint32_t context, bool enable, uint32_t pid) {
    return c.request(table_name<api::WantItemEvents>().c_str(), context,
                     Bytes{static_cast<uint8_t>(enable)} + be32(pid));
  }
  // Reads `count` details in their order.
  static void expect_items(RawClient& c, uint32_t context, uint32_t count, uint32_t every = 1) {
    const uint32_t id = c.ids.at(table_name<api::ItemDetails>());
    for (uint32_t i = 0; i < count; i += every) {
      const Bytes m = c.receive();
      ASSERT_EQ(m.size(), 2u + 4 + 4 + 64);
      ASSERT_EQ(number(m, 0, 2), id);
      ASSERT_EQ(number(m, 2, 4), context);
      ASSERT_EQ(number(m, 6, 4), i);
    }
  }
  static void expect_reply(RawClient& c, const std::string& name, uint32_t context) {
    const Bytes m = c.receive();
    ASSERT_GE(m.size(), 6u);
    EXPECT_EQ(number(m, 0, 2), c.ids.at(name));
    EXPECT_EQ(number(m, 2, 4), context);
  }
  static void expect_ping(RawClient& c, uint32_t context) {
    expect_reply(c, "control_ping_reply_f6b0b8ca", context);
  }
  void send_event(uint32_t value, std::string text = "") {
    // What HostApi::send_event does, without a plugin's table in between.
    static HostOps ops;
    static ApiSubscriptions* subscriptions;
    subscriptions = &registry_.subscriptions();
    ops.each_api_subscriber = [](Host&, const ApiMessageInfo* w,
                                 void (*fn)(ApiCall&, const ApiSubscriber*, void*),
                                 void* arg) { return subscriptions->each(*w, fn, arg); };
    host_.ops = &ops;
    on_server([&] {
      host_.api().send_event<api::WantItemEvents>(
          api::ItemEvent{.client_index = 0, .pid = 0, .value = value, .text = text});
    });
  }
  uint32_t n_subscribers() {
    return on_server([&] {
      return registry_.subscriptions().each(api::WantItemEvents::kInfo, nullptr, nullptr);
    });
  }
  static void expect_event(RawClient& c, uint32_t pid, uint32_t value) {
    const Bytes m = c.receive();
    ASSERT_GE(m.size(), 18u);
    EXPECT_EQ(number(m, 0, 2), c.ids.at(table_name<api::ItemEvent>()));
    EXPECT_EQ(number(m, 2, 4), c.client_index);
    EXPECT_EQ(number(m, 6, 4), pid);
    EXPECT_EQ(number(m, 10, 4), value);
  }

  CliTree cli_;
  Host host_;
  std::atomic<uint64_t> steps_ = 0;
  std::atomic<bool> is_over_ = false;
  int turns_ = 0;  // the server's thread's
};

TEST_F(ApiStreams, RequestsBehindADumpWaitForItsEnd) {
  start();
  RawClient c(path_);
  c.create();
  ASSERT_TRUE(c.send(dump(c, 1, 5000) + ping(c, 2) + set(c, 3) + dump(c, 4, 0) +
                     dump(c, 5, 1000, 10) + ping(c, 6)));
  expect_items(c, 1, 5000);
  expect_ping(c, 2);
  expect_reply(c, table_name<api::ItemSetReply>(), 3);
  expect_items(c, 5, 1000, 10);
  expect_ping(c, 6);
}

TEST_F(ApiStreams, ADumpWithoutEndStallsNobody) {
  start();
  RawClient c(path_), other(path_);
  c.create();
  other.create();
  ASSERT_TRUE(c.send(dump(c, 1, kEndless) + ping(c, 2)));
  std::thread reader([&] {
    for (;;)
      if (number(c.receive(), 2, 4) == 2) return;
  });
  for (uint32_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(other.send(ping(other, i)));
    expect_ping(other, i);
  }
  is_over_ = true;
  reader.join();
}

// Steps that find nothing may take long each, as visits to workers do.
TEST_F(ApiStreams, LongStepsAreNotTakenOneBehindTheOther) {
  struct Slow {
    boost::asio::io_context& io;
    int& turns;
    int step = 0;
    ApiStep next(ApiCall&) {
      EXPECT_EQ(turns, step);  // everything that was posted has been done
      boost::asio::post(io, [&t = turns] { ++t; });
      const auto begin = std::chrono::steady_clock::now();
      while (std::chrono::steady_clock::now() - begin < std::chrono::milliseconds(2)) {}
      return ++step == 10 ? ApiStep::kEnd : ApiStep::kSkip;
    }
  };
  registry_.walk<api::ItemList>([this](const api::ItemList&) { return Slow{io_, turns_}; });
  start();
  RawClient c(path_);
  c.create();
  ASSERT_TRUE(c.send(c.request(table_name<api::ItemList>().c_str(), 1) + ping(c, 2)));
  expect_ping(c, 2);
}

TEST_F(ApiStreams, EndlessSkippingStallsNobodyEither) {
  start();
  RawClient c(path_), other(path_);
  c.create();
  other.create();
  ASSERT_TRUE(c.send(dump(c, 1, kEndless, kEndless) + ping(c, 2)));
  for (uint32_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(other.send(ping(other, i)));
    expect_ping(other, i);
  }
  is_over_ = true;
  expect_items(c, 1, 1);
  expect_ping(c, 2);
}

TEST_F(ApiStreams, AMillionDetailsWaitForASlowReader) {
  constexpr uint32_t kCount = 1'000'000;
  start();
  RawClient c(path_), other(path_);
  c.create();
  other.create();
  ASSERT_TRUE(c.send(dump(c, 1, kCount) + ping(c, 2)));
  const std::size_t pause = on_server([&] { return server_->limits().pause_bytes; });
  const auto is_paused = [&] {
    for (const auto& client : server_->clients())
      if (client.is_dumping && client.queued_bytes >= pause) return true;
    return false;
  };
  wait_until(is_paused);
  for (uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(other.send(ping(other, i)));
    expect_ping(other, i);
    for (const auto& client : clients()) ASSERT_LT(client.queued_bytes, pause + 1024);
  }
  EXPECT_LT(steps_, kCount / 10);  // what the kernel's buffers and the queue hold
  expect_items(c, 1, kCount);
  expect_ping(c, 2);
  EXPECT_EQ(counters().slow_readers, 0u);
}

TEST_F(ApiStreams, TheWalkEndsWithItsClient) {
  start();
  RawClient other(path_);
  other.create();
  for (const bool is_slow : {true, false}) {
    auto c = std::make_unique<RawClient>(path_);
    c->create();
    ASSERT_TRUE(c->send(dump(*c, 1, kEndless) + ping(*c, 2)));
    for (int i = 0; i < (is_slow ? 1 : 20'000); ++i) ASSERT_FALSE(c->receive().empty());
    c.reset();
    wait_until([&] { return server_->clients().size() == 1; });
  }
  const uint64_t steps = steps_;
  ASSERT_TRUE(other.send(ping(other, 1)));
  expect_ping(other, 1);
  EXPECT_EQ(steps_, steps);
}

TEST_F(ApiStreams, TheServerCanCloseInTheMiddle) {
  start();
  RawClient c(path_);
  c.create();
  ASSERT_TRUE(c.send(dump(c, 1, kEndless)));
  ASSERT_FALSE(c.receive().empty());
  stop();
}

TEST_F(ApiStreams, ManyClientsAtOnce) {
  constexpr uint32_t kEach = 6'000;  // 540 KB: more than the kernel's buffers and the queue hold
  start();
  std::vector<std::unique_ptr<RawClient>> all;
  for (uint32_t i = 0; i < 60; ++i) {
    all.push_back(std::make_unique<RawClient>(path_));
    all.back()->create();
    ASSERT_TRUE(all.back()->send(dump(*all.back(), i, kEach) + ping(*all.back(), 1000 + i)));
  }
  // One after the other: the last ones' dumps have been waiting since long.
  for (uint32_t i = 0; i < 60; ++i) {
    expect_items(*all[i], i, kEach);
    expect_ping(*all[i], 1000 + i);
  }
}

TEST_F(ApiStreams, AClientMayShutItsSideDownAndReadOn) {
  start();
  RawClient c(path_);
  c.create();
  ASSERT_TRUE(c.send(dump(c, 1, 50'000) + ping(c, 2)));
  c.shut_down();
  expect_items(c, 1, 50'000);
  expect_ping(c, 2);
  EXPECT_TRUE(c.is_closed_by_server());
}

TEST_F(ApiStreams, ACursorIsFollowedToTheEnd) {
  start();
  RawClient c(path_);
  c.create();
  uint32_t cursor = ~0u, seen = 0, rounds = 0;
  int32_t retval = -165;
  for (; retval == -165; ++rounds) {
    ASSERT_TRUE(c.send(c.request(table_name<api::ItemGet>().c_str(), rounds, be32(cursor))));
    for (;;) {
      const Bytes m = c.receive();
      ASSERT_EQ(number(m, 2, 4), rounds);
      if (number(m, 0, 2) == c.ids.at(table_name<api::ItemDetails>())) {
        ASSERT_EQ(number(m, 6, 4), seen++);
        continue;
      }
      retval = static_cast<int32_t>(number(m, 6, 4));
      cursor = number(m, 10, 4);
      break;
    }
  }
  EXPECT_EQ(retval, 0);
  EXPECT_EQ(cursor, ~0u);
  EXPECT_EQ(seen, 1000u);
  EXPECT_GT(rounds, 2u);
  // Any cursor is the client's to send.
  ASSERT_TRUE(c.send(c.request(table_name<api::ItemGet>().c_str(), 99, be32(0xfffffffe))));
  const Bytes m = c.receive();
  EXPECT_EQ(number(m, 6, 4), 0u);
}

TEST_F(ApiStreams, EventsGoToThoseWhoAskedWithWhatTheyGave) {
  start();
  RawClient a(path_), b(path_), none(path_);
  for (RawClient* c : {&a, &b, &none}) c->create();
  ASSERT_TRUE(a.send(want(a, 1, true, 111)));
  expect_reply(a, table_name<api::WantItemEventsReply>(), 1);
  ASSERT_TRUE(b.send(want(b, 1, true, 222) + want(b, 2, true, 223)));  // the later one counts
  expect_reply(b, table_name<api::WantItemEventsReply>(), 1);
  expect_reply(b, table_name<api::WantItemEventsReply>(), 2);
  EXPECT_EQ(n_subscribers(), 2u);
  send_event(7);
  expect_event(a, 111, 7);
  expect_event(b, 223, 7);
  ASSERT_TRUE(a.send(want(a, 3, false, 111)));
  expect_reply(a, table_name<api::WantItemEventsReply>(), 3);
  send_event(8);
  expect_event(b, 223, 8);
  for (RawClient* c : {&a, &none}) {  // the next that comes is the ping's: no event before it
    ASSERT_TRUE(c->send(ping(*c, 4)));
    expect_ping(*c, 4);
  }
}

TEST_F(ApiStreams, SubscriptionsGoWithTheClient) {
  start();
  {
    RawClient c(path_);
    c.create();
    ASSERT_TRUE(c.send(want(c, 1, true, 1)));
    expect_reply(c, table_name<api::WantItemEventsReply>(), 1);
    EXPECT_EQ(n_subscribers(), 1u);
  }
  wait_until([&] { return server_->clients().empty(); });
  EXPECT_EQ(n_subscribers(), 0u);
  send_event(1);
}

TEST_F(ApiStreams, WhoDoesNotReadItsEventsLosesItsConnectionAndNobodyElse) {
  start({.queued_bytes = 1u << 20});
  RawClient good(path_), bad(path_);
  for (RawClient* c : {&good, &bad}) {
    c->create();
    ASSERT_TRUE(c->send(want(*c, 1, true, 9)));
    expect_reply(*c, table_name<api::WantItemEventsReply>(), 1);
  }
  for (uint32_t i = 0; i < 100; ++i) {
    send_event(i, std::string(50'000, 'e'));
    expect_event(good, 9, i);
  }
  EXPECT_EQ(counters().slow_readers, 1u);
  EXPECT_EQ(n_subscribers(), 1u);
  EXPECT_THAT(log(), testing::ElementsAre(testing::HasSubstr("does not read what it is sent")));
}

TEST_F(ApiStreams, AnEventMayEndADumpsClientInTheMiddle) {
  start({.queued_bytes = 1u << 20, .pause_bytes = 1u << 10});
  RawClient c(path_);
  c.create();
  ASSERT_TRUE(c.send(want(c, 1, true, 1)));
  expect_reply(c, table_name<api::WantItemEventsReply>(), 1);
  ASSERT_TRUE(c.send(dump(c, 2, kEndless)));
  wait_until([&] { return server_->clients()[0].is_dumping; });
  for (uint32_t i = 0; n_clients() == 1; ++i) send_event(i, std::string(50'000, 'e'));
  EXPECT_EQ(counters().slow_readers, 1u);
  EXPECT_EQ(n_subscribers(), 0u);
}

}  // namespace
}  // namespace loom
