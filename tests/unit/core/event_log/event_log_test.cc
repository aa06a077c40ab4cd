// Rings of events: what is kept, what a reader sees while the thread writes, what is switched off.
#include "event_log/event_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

namespace loom {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::vector<uint64_t> values(const std::vector<LoggedEvent>& events) {
  std::vector<uint64_t> v;
  for (const LoggedEvent& e : events) v.push_back(e.value);
  return v;
}

TEST(EventRing, KeepsTheLatest) {
  EventRing ring(4);
  std::vector<LoggedEvent> events;
  ring.read(0, 0, events);
  EXPECT_THAT(events, IsEmpty());
  for (uint64_t i = 0; i < 6; ++i)
    ring.write(static_cast<TimeNs>(100 + i), EventKind::kApi, 7, i, "text");
  EXPECT_EQ(ring.count(), 6u);
  ring.read(0, 3, events);
  EXPECT_THAT(values(events), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(events[0].time, 102);
  EXPECT_EQ(events[0].kind, EventKind::kApi);
  EXPECT_EQ(events[0].number, 7u);
  EXPECT_EQ(events[0].thread, 3u);
  EXPECT_EQ(events[0].text, "text");
  events.clear();
  ring.read(5, 0, events);
  EXPECT_THAT(values(events), ElementsAre(5));
}

TEST(EventRing, CutsTextsAndForgetsThoseOfOldEvents) {
  EventRing ring(1);
  std::vector<LoggedEvent> events;
  const auto last = [&](std::string_view text) {
    ring.write(1, EventKind::kCli, 0, 0, text);
    events.clear();
    ring.read(0, 0, events);
    return events.at(0).text;
  };
  EXPECT_EQ(last(std::string(300, 'x')), std::string(EventRing::kMostText, 'x'));
  for (std::size_t n : {0u, 1u, 7u, 8u, 9u, 94u, 95u})
    EXPECT_EQ(last(std::string(n, 'y')), std::string(n, 'y'));
}

// What is read while the thread writes is whole: of one event, and in order.
TEST(EventRing, ReadersSeeWholeEvents) {
  EventRing ring(64);
  std::jthread writer([&](const std::stop_token& stop) {
    for (uint64_t i = 0; !stop.stop_requested(); ++i)
      ring.write(static_cast<TimeNs>(i), EventKind::kWake, static_cast<uint32_t>(i), i,
                 std::to_string(i));
  });
  std::size_t n_read = 0;
  uint64_t first = 0;  // written when the first was read
  while (n_read < 20'000 || ring.count() < first + 20'000) {
    std::vector<LoggedEvent> events;
    ring.read(0, 0, events);
    uint64_t before = 0;
    for (const LoggedEvent& e : events) {
      ASSERT_EQ(static_cast<uint64_t>(e.time), e.value);
      ASSERT_EQ(e.number, static_cast<uint32_t>(e.value));
      ASSERT_EQ(e.text, std::to_string(e.value));
      ASSERT_TRUE(e.value > before || before == 0);
      before = e.value;
    }
    if (n_read == 0) first = ring.count();
    n_read += events.size();
    if (events.empty()) std::this_thread::yield();
  }
}

TEST(EventLog, ThreadsAreMergedByTime) {
  EventLog log(2, 64);
  log.write(EventLog::worker_thread(1), 30, EventKind::kSleep, 0, 3);
  log.write(EventLog::kControl, 10, EventKind::kCli, 0, 1);
  log.write(EventLog::worker_thread(0), 20, EventKind::kWake, 0, 2);
  const auto events = log.read();
  EXPECT_THAT(values(events), ElementsAre(1, 2, 3));
  EXPECT_EQ(event_thread_name(events[0].thread), "loom-main");
  EXPECT_EQ(event_thread_name(events[2].thread), "loom-w1");
}

TEST(EventLog, TheLatestOfAllThreadsAreRead) {
  EventLog log(2, 64);
  const uint32_t threads[] = {EventLog::kControl, EventLog::worker_thread(0),
                              EventLog::worker_thread(1), EventLog::worker_thread(1)};
  for (uint64_t i = 0; i < 100; ++i)
    log.write(threads[i % 4], static_cast<TimeNs>(i), EventKind::kCli, 0, i);
  EXPECT_THAT(values(log.read(0)), IsEmpty());
  EXPECT_THAT(values(log.read(5)), ElementsAre(95, 96, 97, 98, 99));
  EXPECT_EQ(log.read(80).size(), 80u);
  EXPECT_EQ(log.read().size(), 100u);
  EXPECT_EQ(log.n_kept(), 100u);
  log.clear();
  EXPECT_EQ(log.n_kept(), 0u);
  for (uint64_t i = 0; i < 100; ++i) log.write(EventLog::kControl, 200, EventKind::kCli, 0, i);
  EXPECT_EQ(log.n_written(), 100u);
  EXPECT_EQ(log.n_kept(), 64u);
  EXPECT_THAT(values(log.read(2)), ElementsAre(98, 99));
}

TEST(EventLog, KeepsWhatItIsToldTo) {
  EventLog log(1, 64);
  const auto kept = [&](EventKind kind) {
    const uint64_t before = log.n_written();
    log.write(EventLog::kControl, 1, kind, 0, 0);
    return log.n_written() != before;
  };
  constexpr EventKind kSessions[] = {EventKind::kSessionOpen,      EventKind::kSessionAccept,
                                     EventKind::kSessionConnected, EventKind::kSessionClose,
                                     EventKind::kSessionReset,     EventKind::kSessionMove,
                                     EventKind::kSessionFree};
  EXPECT_FALSE(kept(EventKind::kApi));  // they may be thousands a second
  for (const EventKind k : kSessions) EXPECT_FALSE(kept(k)) << event_kind_name(k);
  for (const EventKind k : {EventKind::kCli, EventKind::kSleep, EventKind::kWake,
                            EventKind::kBarrier, EventKind::kPlugin, EventKind::kDetach})
    EXPECT_TRUE(kept(k)) << event_kind_name(k);
  log.set_trace(EventTrace::kSession, true);
  for (const EventKind k : kSessions) EXPECT_TRUE(kept(k)) << event_kind_name(k);
  log.set_trace(EventTrace::kApi, true);
  log.set_trace(EventTrace::kDispatch, false);
  EXPECT_TRUE(kept(EventKind::kApi));
  EXPECT_FALSE(kept(EventKind::kSleep));
  EXPECT_FALSE(kept(EventKind::kWake));
  log.set_stopped(true);
  EXPECT_FALSE(kept(EventKind::kPlugin));
  log.set_trace(EventTrace::kDispatch, true);
  EXPECT_FALSE(kept(EventKind::kWake));
  log.set_stopped(false);
  EXPECT_TRUE(kept(EventKind::kWake));
}

TEST(EventLog, ForgetsWhenItIsClearedOrResized) {
  EventLog log(1, 64);
  for (uint64_t i = 0; i < 100; ++i) log.write(EventLog::kControl, 1, EventKind::kCli, 0, i);
  EXPECT_EQ(log.read().size(), 64u);
  log.clear();
  EXPECT_THAT(log.read(), IsEmpty());
  EXPECT_EQ(log.n_written(), 0u);
  log.write(EventLog::kControl, 1, EventKind::kCli, 0, 100);
  EXPECT_THAT(values(log.read()), ElementsAre(100));
  int n_still = 0;
  const auto resize = [&](uint32_t size) {
    return log.resize(size, [&](const std::function<void()>& swap) {
      ++n_still;
      EXPECT_EQ(log.size(), 64u);
      swap();
      EXPECT_EQ(log.size(), size);
    });
  };
  EXPECT_THAT(resize(63).error().message, HasSubstr("63 events a thread are not from 64"));
  EXPECT_THAT(resize(65'537).error().message, HasSubstr("to 65536"));
  EXPECT_EQ(log.read().size(), 1u);
  EXPECT_EQ(n_still, 0);
  EXPECT_TRUE(resize(128));
  EXPECT_EQ(n_still, 1);
  EXPECT_THAT(log.read(), IsEmpty());
  for (uint64_t i = 0; i < 200; ++i) log.write(EventLog::kControl, 1, EventKind::kCli, 0, i);
  EXPECT_EQ(log.read().size(), 128u);
}

TEST(EventLog, DescribesEachKind) {
  const auto text = [](EventKind k, uint32_t number, uint64_t value, std::string t = "") {
    return describe_event({.time = 1,
                           .kind = k,
                           .thread = 0,
                           .number = number,
                           .value = value,
                           .text = std::move(t)});
  };
  EXPECT_EQ(text(EventKind::kSleep, 0, 0), "no timer");
  EXPECT_EQ(text(EventKind::kSleep, 0, 1500), "next timer in 1.5 us");
  EXPECT_EQ(text(EventKind::kWake, 0, 2000), "after 2.0 us");
  EXPECT_EQ(text(EventKind::kBarrier, 3, 2000), "held for 2.0 us, waited for 3 us");
  EXPECT_EQ(text(EventKind::kApi, 4, 10, "show_version"), "show_version, 10 bytes of client 4");
  EXPECT_EQ(text(EventKind::kCli, 2, 0, "a\n\x1b[2Jb"), "a  [2Jb: not found");
  EXPECT_EQ(text(EventKind::kInterface, 1, kEventAdminUp, "tap0"), "tap0 (1) admin up, link down");
  EXPECT_EQ(text(EventKind::kInterface, 1, kEventDeleted), "(1) removed");
  EXPECT_EQ(text(EventKind::kPlugin, 4, 0, "tcp running"), "tcp running");
  EXPECT_EQ(text(EventKind::kAttach, 2, 77, "nginx"), "application 'nginx' (2), pid 77");
  EXPECT_EQ(text(EventKind::kDetach, 2, 0, "echo"), "application 'echo' (2)");
  EXPECT_EQ(text(static_cast<EventKind>(99), 0, 0), "");
}

}  // namespace
}  // namespace loom
