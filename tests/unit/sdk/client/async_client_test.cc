// The asynchronous client against a daemon that answers as a test wants: out of order, late, wrong,
// or not at all.
#include "client/async_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio.hpp>
#include <future>
#include <optional>
#include <thread>

#include "client/client.h"
#include "fake_daemon.h"
#include "things.api.h"

namespace loom {
namespace {

using namespace std::chrono_literals;
using api::ThingDetails;
using api::ThingDump;
using api::ThingEvent;
using api::ThingGet;
using api::ThingGetReply;
using api::ThingSet;
using api::ThingSetReply;
using testing::ElementsAre;
using testing::HasSubstr;
using Message = FakeDaemon::Message;

const std::vector<std::string> kTable = {
    "control_ping_51077d14",      "control_ping_reply_f6b0b8ca",
    "memclnt_keepalive_51077d14", "memclnt_keepalive_reply_e8d4e804",
    "thing_set_00000001",         "thing_set_reply_00000002",
    "thing_dump_00000003",        "thing_details_00000004",
    "thing_get_00000005",         "thing_get_reply_00000006",
    "thing_event_00000009"};

void answer_set(FakeDaemon& d, const Message& m) {
  d.send("thing_set_reply", be32(m.context()) + be32(0) + be32(number_at(m.bytes, 10)));
}
void send_details(FakeDaemon& d, uint32_t context, uint32_t index, std::string_view name) {
  d.send("thing_details", be32(context) + be32(index) + text(name));
}
void answer_ping(FakeDaemon& d, const Message& m) {
  d.send("control_ping_reply",
         be32(m.context()) + be32(0) + be32(FakeDaemon::kClientIndex) + be32(1));
}

class Async : public testing::Test {
 protected:
  // Ends the daemon, and its thread, before what the script refers to: the variables above it.
  struct [[nodiscard]] Serving {
    Async* test;
    ~Serving() {
      test->client.reset();  // before the daemon
      test->daemon.reset();
    }
  };
  Serving serve(FakeDaemon::Script script, std::vector<std::string> table = kTable) {
    daemon.emplace(std::move(table), std::move(script));
    return {this};
  }
  void connect(ClientOptions options = {}) {
    bool is_done = false;
    AsyncClient::connect(io, daemon->path, options, [&](Result<AsyncClient> c) {
      is_done = true;
      ASSERT_TRUE(c) << c.error().message;
      client.emplace(std::move(*c));
    });
    EXPECT_FALSE(is_done);  // never inside the call
    run_until([&] { return is_done; });
  }
  template <class Condition>
  void run_until(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!condition()) {
      ASSERT_LT(std::chrono::steady_clock::now(), deadline);
      if (io.stopped()) io.restart();
      io.run_one_for(100ms);
    }
  }
  void set(uint32_t index, std::chrono::milliseconds timeout = {}) {
    const auto id = client->call<ThingSetReply>(
        ThingSet{.index = index, .name = "x"},
        [this](Result<ThingSetReply> r) {
          if (r)
            replies.push_back(r->index);
          else
            errors.push_back(r.error());
        },
        timeout);
    ASSERT_TRUE(id) << id.error().message;
    ids.push_back(*id);
  }

  std::optional<FakeDaemon> daemon;
  boost::asio::io_context io;
  std::optional<AsyncClient> client;
  std::vector<uint32_t> replies, ids;
  std::vector<Error> errors;
};

TEST_F(Async, AnswersFindTheirRequestsInAnyOrder) {
  std::vector<Message> waiting;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    EXPECT_EQ(m.name, "thing_set");
    EXPECT_EQ(number_at(m.bytes, 2), FakeDaemon::kClientIndex);
    waiting.push_back(m);
    if (waiting.size() == 3)
      for (auto it = waiting.rbegin(); it != waiting.rend(); ++it) answer_set(d, *it);
  });
  connect();
  for (const uint32_t i : {10u, 20u, 30u}) set(i);
  EXPECT_EQ(client->in_flight(), 3u);
  EXPECT_TRUE(replies.empty());
  run_until([&] { return replies.size() == 3; });
  EXPECT_THAT(replies, ElementsAre(30, 20, 10));
  EXPECT_EQ(client->in_flight(), 0u);
}

TEST_F(Async, ADumpEndsWithThePingBehindItAndTakesOnlyItsOwnDetails) {
  uint32_t dump_context = 0;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    if (m.name == "thing_dump") dump_context = m.context();
    if (m.name != "control_ping") return;
    send_details(d, dump_context, 1, "one");
    send_details(d, dump_context + 1000, 9, "somebody else's");
    send_details(d, dump_context, 2, "two");
    answer_ping(d, m);
  });
  connect();
  std::vector<std::string> names;
  bool is_done = false;
  const auto id = client->dump<ThingDetails>(
      ThingDump{}, [&](ThingDetails t) { names.push_back(t.name); },
      [&](Result<void> r) { is_done = r.has_value(); });
  ASSERT_TRUE(id);
  run_until([&] { return is_done; });
  EXPECT_THAT(names, ElementsAre("one", "two"));
  EXPECT_EQ(client->counters().unmatched, 1u);
}

TEST_F(Async, AGetGoesOnFromWhereTheDaemonStopped) {
  std::vector<uint32_t> cursors;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    const uint32_t cursor = number_at(m.bytes, 10);
    cursors.push_back(cursor);
    const uint32_t from = cursor == ~0u ? 0 : cursor;
    for (uint32_t i = from; i < from + 2; ++i) send_details(d, m.context(), i, "t");
    const bool is_last = from == 4;
    d.send("thing_get_reply", be32(m.context()) + be32(is_last ? 0 : static_cast<uint32_t>(-165)) +
                                  be32(is_last ? ~0u : from + 2));
  });
  connect();
  std::vector<uint32_t> seen;
  std::optional<ThingGetReply> last;
  const auto id = client->get<ThingGetReply, ThingDetails>(
      ThingGet{.cursor = ~0u}, [&](ThingDetails t) { seen.push_back(t.index); },
      [&](Result<ThingGetReply> r) {
        ASSERT_TRUE(r) << r.error().message;
        last = *r;
      });
  ASSERT_TRUE(id);
  run_until([&] { return last.has_value(); });
  EXPECT_THAT(cursors, ElementsAre(~0u, 2, 4));
  EXPECT_THAT(seen, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_EQ(last->retval, 0);
}

TEST_F(Async, ACursorThatStaysIsTheDaemonsFault) {
  const auto serving = serve([](FakeDaemon& d, const Message& m) {
    d.send("thing_get_reply", be32(m.context()) + be32(static_cast<uint32_t>(-165)) + be32(5));
  });
  connect();
  const auto id = client->get<ThingGetReply, ThingDetails>(
      ThingGet{}, [](ThingDetails) {},
      [&](Result<ThingGetReply> r) { errors.push_back(r.error()); });
  ASSERT_TRUE(id);
  run_until([&] { return !errors.empty(); });
  EXPECT_EQ(errors[0].code, Status::kMalformed);
  EXPECT_THAT(errors[0].message, HasSubstr("the cursor of thing_get stays at 5"));
}

TEST_F(Async, ARequestThatIsLateHarmsNoOther) {
  std::optional<Message> late;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    if (number_at(m.bytes, 10) == 1) {
      late = m;
      return;
    }
    if (number_at(m.bytes, 10) == 3) answer_set(d, *late);  // an answer nobody waits for any more
    answer_set(d, m);
  });
  connect();
  set(1, 30ms);
  set(2);
  run_until([&] { return replies.size() + errors.size() == 2; });
  EXPECT_THAT(replies, ElementsAre(2));
  EXPECT_EQ(errors[0].code, Status::kTimedOut);
  EXPECT_THAT(errors[0].message, HasSubstr("no answer to thing_set within 30 ms"));
  set(3);
  run_until([&] { return replies.size() == 2; });
  EXPECT_THAT(replies, ElementsAre(2, 3));
  EXPECT_EQ(client->counters().unmatched, 1u);
}

TEST_F(Async, ADumpIsLateOnlyWhenTheDaemonFallsSilent) {
  std::optional<uint32_t> context;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    if (m.name == "thing_dump") {
      context = m.context();
      send_details(d, *context, 1, "first");
    }
  });
  connect();
  std::size_t n = 0;
  const auto id = client->dump<ThingDetails>(
      ThingDump{},
      [&](ThingDetails) {
        // One more message each time that the last arrived, for longer than the timeout.
        if (++n < 9) {
          std::this_thread::sleep_for(400ms);  // the passing of time is what is tested
          send_details(*daemon, *context, 2, "more");
        }
      },
      [&](Result<void> r) { errors.push_back(r.error()); }, 3s);
  ASSERT_TRUE(id);
  run_until([&] { return !errors.empty(); });
  EXPECT_EQ(n, 9u);
  EXPECT_EQ(errors[0].code, Status::kTimedOut);
}

TEST_F(Async, ACancelledRequestIsNotHeardOfAgain) {
  std::optional<Message> first;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    if (!first) {
      first = m;
      return;
    }
    answer_set(d, *first);
    answer_set(d, m);
  });
  connect();
  set(1);
  EXPECT_TRUE(client->cancel(ids[0]));
  EXPECT_FALSE(client->cancel(ids[0]));
  set(2);
  run_until([&] { return !replies.empty(); });
  EXPECT_THAT(replies, ElementsAre(2));
  EXPECT_TRUE(errors.empty());
}

TEST_F(Async, WhenTheDaemonGoesEveryRequestEndsAndTheCallerConnectsAnew) {
  const auto serving = serve([&, n = 0](FakeDaemon& d, const Message& m) mutable {
    if (++n == 2) d.hang_up();
    if (n > 2) answer_set(d, m);
  });
  connect();
  std::optional<Error> closed;
  client->on_closed([&](const Error& e) {
    EXPECT_EQ(errors.size(), 2u);  // the requests first
    closed = e;
  });
  set(1);
  set(2);
  run_until([&] { return closed.has_value(); });
  EXPECT_EQ(closed->code, Status::kClosed);
  for (const auto& e : errors) EXPECT_EQ(e.code, Status::kClosed);
  EXPECT_FALSE(client->is_open());
  const auto refused = client->call<ThingSetReply>(ThingSet{}, [](Result<ThingSetReply>) {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Status::kClosed);
  client.reset();
  connect();
  set(3);
  run_until([&] { return !replies.empty(); });
}

TEST_F(Async, EventsReachTheirSubscribersWhileTheyAreSubscribed) {
  const auto serving = serve([](FakeDaemon& d, const Message& m) {
    // The context of this event's second field is that of a request in flight: still an event.
    for (const char* name : {"a", "b"})
      d.send("thing_event", be32(m.context()) + be32(4) + be32(7) + text(name));
    d.send("thing_event", be32(m.context()) + be32(4) + be32(7) + be32(1000));  // no such string
    answer_set(d, m);
  });
  connect();
  std::vector<std::string> first, second;
  AsyncClient::SubscriptionId id = 0;
  id = *client->on_event<ThingEvent>([&](const ThingEvent& e) {
    first.push_back(e.name);
    client->unsubscribe(id);
  });
  ASSERT_TRUE(client->on_event<ThingEvent>([&](const ThingEvent& e) { second.push_back(e.name); }));
  set(1);
  run_until([&] { return !replies.empty(); });
  EXPECT_THAT(first, ElementsAre("a"));
  EXPECT_THAT(second, ElementsAre("a", "b"));
  EXPECT_EQ(client->counters().malformed_events, 1u);
}

TEST_F(Async, AMessageOfAnotherLayoutIsNamedWithBoth) {
  auto table = kTable;
  for (auto& entry : table)
    if (entry == "thing_set_00000001") entry = "thing_set_deadbeef";
  std::erase(table, "thing_details_00000004");
  const auto serving = serve([](FakeDaemon&, const Message&) {}, table);
  connect();
  const auto set = client->call<ThingSetReply>(ThingSet{}, [](Result<ThingSetReply>) {});
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, Status::kUnsupported);
  EXPECT_THAT(set.error().message, HasSubstr("the daemon's thing_set has another layout: it speaks "
                                             "thing_set_deadbeef, this client thing_set_00000001"));
  const auto dump = client->dump<ThingDetails>(
      ThingDump{}, [](ThingDetails) {}, [](Result<void>) {});
  ASSERT_FALSE(dump);
  EXPECT_THAT(dump.error().message, HasSubstr("the daemon has no message thing_details_00000004"));
  EXPECT_FALSE(client->on_event<ThingDetails>([](const ThingDetails&) {}));
  EXPECT_TRUE(client->is_open());
}

TEST_F(Async, AnswersThatDoNotDecodeAreErrorsOfTheirRequest) {
  uint32_t dump_context = 0;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    if (m.name == "thing_set") d.send("thing_set_reply", be32(m.context()));
    if (m.name == "thing_dump") dump_context = m.context();
    if (m.name == "control_ping") {
      send_details(d, dump_context, 1, "good");
      d.send("thing_details", be32(dump_context) + be32(1) + be32(0xffffffff));
      answer_ping(d, m);
    }
  });
  connect();
  set(1);
  run_until([&] { return !errors.empty(); });
  EXPECT_EQ(errors[0].code, Status::kMalformed);
  EXPECT_THAT(errors[0].message, HasSubstr("a thing_set_reply that does not decode"));
  const auto id = client->dump<ThingDetails>(
      ThingDump{}, [](ThingDetails) {},
      [&](Result<void> r) { errors.push_back(r ? Error{} : r.error()); });
  ASSERT_TRUE(id);
  run_until([&] { return errors.size() == 2; });
  EXPECT_THAT(errors[1].message, HasSubstr("a thing_details that does not decode"));
  EXPECT_TRUE(client->is_open());
}

TEST_F(Async, AKeepaliveIsAnswered) {
  std::promise<uint32_t> context;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    if (m.name == "thing_set") d.send("memclnt_keepalive", be32(0) + be32(0xabcd));
    if (m.name == "memclnt_keepalive_reply") context.set_value(number_at(m.bytes, 2));
  });
  connect();
  set(1);
  auto answered = context.get_future();
  run_until([&] { return answered.wait_for(0s) == std::future_status::ready; });
  EXPECT_EQ(answered.get(), 0xabcdu);
}

TEST_F(Async, ACallbackMayEndTheClient) {
  const auto serving = serve([](FakeDaemon& d, const Message& m) {
    for (int i = 0; i < 2; ++i) answer_set(d, m);
  });
  connect();
  bool is_done = false;
  for (int i = 0; i < 2; ++i) {
    const auto id = client->call<ThingSetReply>(ThingSet{.index = 1}, [&](Result<ThingSetReply>) {
      EXPECT_FALSE(is_done);  // the second is not called
      is_done = true;
      client.reset();
    });
    ASSERT_TRUE(id);
  }
  run_until([&] { return is_done; });
  io.restart();
  io.run();  // nothing is left that would keep it
}

TEST_F(Async, WhatWaitsToBeSentIsBounded) {
  std::promise<void> may_read;
  const auto serving = serve(
      [&, gate = may_read.get_future().share()](FakeDaemon&, const Message&) { gate.wait(); });
  connect({.queued_bytes = 1 << 20});
  const std::string big(100'000, 'x');
  Result<AsyncClient::RequestId> id = AsyncClient::RequestId{0};
  int n = 0;
  for (; n < 200 && id; ++n) {
    id = client->call<ThingSetReply>(ThingSet{.name = big}, [](Result<ThingSetReply>) {});
    io.poll();
  }
  may_read.set_value();
  ASSERT_FALSE(id);
  EXPECT_EQ(id.error().code, Status::kAgain);
  EXPECT_THAT(id.error().message, HasSubstr("the daemon does not read"));
  EXPECT_GT(n, 10);
}

TEST_F(Async, AFrameThatCannotBeEndsTheConnection) {
  const auto serving = serve(
      [](FakeDaemon& d, const Message&) { d.send_raw(Bytes(8) + be32(0xffffffff) + Bytes(4)); });
  connect();
  set(1);
  run_until([&] { return !errors.empty(); });
  EXPECT_EQ(errors[0].code, Status::kMalformed);
  EXPECT_FALSE(client->is_open());
}

// The synchronous client is this one with a loop of its own: what it adds.
TEST_F(Async, TheSynchronousClientCallsDumpsGetsAndHearsEvents) {
  uint32_t dump_context = 0;
  const auto serving = serve([&](FakeDaemon& d, const Message& m) {
    if (m.name == "thing_set" && number_at(m.bytes, 10) == 99) return;  // no answer
    if (m.name == "thing_set") {
      answer_set(d, m);
      d.send("thing_event", be32(1) + be32(2) + be32(3) + text("changed"));
    }
    if (m.name == "thing_dump") dump_context = m.context();
    if (m.name == "control_ping") {
      send_details(d, dump_context, 5, "five");
      answer_ping(d, m);
    }
    if (m.name == "thing_get") {
      send_details(d, m.context(), 6, "six");
      d.send("thing_get_reply", be32(m.context()) + be32(0) + be32(~0u));
    }
  });
  auto c = Client::connect(daemon->path, {.timeout = 5s});
  ASSERT_TRUE(c) << c.error().message;
  std::vector<std::string> events;
  ASSERT_TRUE(c->on_event<ThingEvent>([&](const ThingEvent& e) { events.push_back(e.name); }));
  const auto set = c->call<ThingSetReply>(ThingSet{.index = 4});
  ASSERT_TRUE(set) << set.error().message;
  EXPECT_EQ(set->index, 4u);
  if (events.empty()) {
    EXPECT_TRUE(c->wait_event(60s));
  }
  EXPECT_THAT(events, ElementsAre("changed"));
  EXPECT_EQ(c->wait_event(20ms).error().code, Status::kTimedOut);
  const auto all = c->dump<ThingDetails>(ThingDump{});
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_EQ(all->size(), 1u);
  EXPECT_EQ((*all)[0].name, "five");
  ThingGetReply last;
  const auto got = c->get<ThingGetReply, ThingDetails>(ThingGet{.cursor = ~0u}, &last);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ((*got)[0].index, 6u);
  EXPECT_EQ(last.cursor, ~0u);
  // A late answer costs that call, not the connection.
  auto x = typed_exchange(ApiExchange::Shape::kCall, ThingSet{.index = 99});
  x.reply = ThingSetReply::kInfo;
  x.timeout = 30ms;
  EXPECT_EQ(c->exchange(std::move(x)).error().code, Status::kTimedOut);
  EXPECT_TRUE(c->call<ThingSetReply>(ThingSet{.index = 5}));
  daemon->hang_up();
  EXPECT_EQ(c->call<ThingSetReply>(ThingSet{}).error().code, Status::kClosed);
}

}  // namespace
}  // namespace loom
