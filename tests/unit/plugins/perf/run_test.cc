// What a client can be asked for: a server that sends, openings over a time, rates, round trips and
// their times; in virtual time.
#include <gmock/gmock.h>

#include <algorithm>

#include "perf_host.h"

namespace loom::perf {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// A server of the test's own, at pipe://10.0.0.1/9.
class PerfRun : public PerfTest {
 protected:
  ~PerfRun() override {
    if (other) bed.layer->remove_application(*other);
  }
  void serve(const AppOps& ops) {
    other = *bed.layer->add_application(ops, {});
    ASSERT_TRUE(bed.layer->listen(*other, *parse_app_uri("pipe://10.0.0.1/9"), this));
  }
  // One that sends back what has come, each time after `delay`.
  void serve_slowly(TimeNs time) {
    delay = time;
    AppOps ops;
    ops.name = "slow";
    ops.accepted = [](Worker&, SessionId, SessionId id, void** context) noexcept {
      auto& t = *static_cast<PerfRun*>(*context);
      t.slow = id;
      t.answer.fired = [](Worker& w, Timer& timer) noexcept {
        AppSession s(w, LOOM_TIMER_OWNER(PerfRun, answer, timer).slow);
        move_bytes(s, s, 1u << 20);
        if (s.eof()) s.close();
      };
      return true;
    };
    ops.readable = [](Worker& w, SessionId id, void* context) noexcept {
      auto& t = *static_cast<PerfRun*>(context);
      AppSession s(w, id);
      if (s.eof()) return s.close();
      if (s.unread() != 0) w.timer_start_in(t.answer, t.delay);
    };
    serve(ops);
  }
  // One that says something before it is asked.
  void serve_a_byte() {
    AppOps ops;
    ops.name = "early";
    ops.accepted = [](Worker& w, SessionId, SessionId id, void**) noexcept {
      const std::byte byte{0};
      AppSession(w, id).write({&byte, 1});
      return true;
    };
    ops.readable = [](Worker& w, SessionId id, void*) noexcept {
      AppSession s(w, id);
      s.consume(s.unread());
      if (s.eof()) s.close();
    };
    serve(ops);
  }
  uint64_t received() { return perf.servers.list()[0]->sum(&Counters::received); }
  uint64_t opened() { return perf.servers.list()[0]->sum(&Counters::opened); }

  Application* other = nullptr;
  SessionId slow = kNoSession;
  Timer answer;
  TimeNs delay = 0;
};

TEST_F(PerfRun, ASourceSendsUntilTheClientHasEnough) {
  must("source server uri pipe://10.0.0.1/19 fifo-size 64k");
  const auto o = outcome(
      "perf client uri pipe://10.0.0.1/19 reverse verify bytes 1m nclients 3 fifo-size 64k");
  EXPECT_EQ(o.status, Status::kOk) << o.text;
  EXPECT_EQ(number(o, "connections"), 3u);
  EXPECT_EQ(number(o, "failed") + number(o, "reset") + number(o, "unfinished"), 0u);
  EXPECT_EQ(number(o, "bytes sent"), 0u);
  EXPECT_GE(number(o, "bytes received"), 3u << 20);
  const Server& s = *perf.servers.list()[0];
  EXPECT_EQ(s.sum(&Counters::sent), number(o, "bytes received"));
  EXPECT_EQ(s.sum(&Counters::closed), 3u);
  EXPECT_THAT(run("show perf").text, HasSubstr("source"));
  must("source server delete uri pipe://10.0.0.1/19");
}

TEST_F(PerfRun, ASourceSendsForATime) {
  must("source server uri pipe://10.0.0.1/19 fifo-size 4k");
  const auto o = outcome("perf client uri pipe://10.0.0.1/19 reverse run-time 2 fifo-size 4k",
                         2100 * kMillisecond);
  EXPECT_EQ(number(o, "unfinished"), 0u) << o.text;
  EXPECT_GT(number(o, "bytes received"), 100'000u);
}

TEST_F(PerfRun, OtherBytesThanASourceSendsAreAnErrorWhenTheyAreChecked) {
  serve_a_byte();
  EXPECT_EQ(outcome("perf client uri pipe://10.0.0.1/9 reverse bytes 1").status, Status::kOk);
  EXPECT_EQ(outcome("perf client uri pipe://10.0.0.1/9 reverse bytes 1 verify").status,
            Status::kMalformed);
}

TEST_F(PerfRun, ConnectionsAreOpenedEvenlyOverATime) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 nclients 10 over 5 run-time 8 fifo-size 4k");
  pass(250 * kMillisecond);
  for (uint64_t n = 1; n <= 10; ++n, pass(500 * kMillisecond)) EXPECT_EQ(opened(), n);
  pass(3 * kSecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "connections"), 10u);
  EXPECT_EQ(number(answers[0], "unfinished"), 0u);
  EXPECT_THAT(answers[0].text, HasSubstr("\"connections a second\": \"2.2\""));  // 10 in 4.5 s
}

TEST_F(PerfRun, ManyConnectionsAreOpenedOverATimeAndEndAtOnce) {
  must("perf server uri pipe://10.0.0.1/80 fifo-size 4k");
  const auto o = outcome(
      "perf client uri pipe://10.0.0.1/80 nclients 3000 over 1 bytes 10 fifo-size 4k", 2 * kSecond);
  EXPECT_EQ(number(o, "connections"), 3000u) << o.text;
  EXPECT_EQ(number(o, "unfinished") + number(o, "failed"), 0u);
  EXPECT_EQ(received(), 30'000u);
  const auto connects = row(o, "latency", "of", "connect");
  ASSERT_TRUE(connects.is_object()) << o.text;
  EXPECT_EQ(connects["count"], 3000u);
  EXPECT_GE(connects["min ns"], kMillisecond);  // the pipe's
  EXPECT_LE(connects["p99.9 ns"], connects["max ns"]);
  EXPECT_LE(connects["max ns"], 4 * kMillisecond);
}

TEST_F(PerfRun, WithoutATimeConnectionsAreOpenedAsFastAsTheyAreAnswered) {
  must("perf server uri pipe://10.0.0.1/80 fifo-size 4k");
  begin("perf client uri pipe://10.0.0.1/80 nclients 3000 bytes 10 fifo-size 4k");
  std::size_t most = 0;
  for (int ms = 0; ms < 30; ++ms, pass(kMillisecond))
    most = std::max(most, static_cast<std::size_t>(std::ranges::count_if(
                              bed.pipe.ends, [](const auto& e) { return e->peer == kNoConn; })));
  EXPECT_EQ(opened(), 3000u);  // 64 in a millisecond were 1,920
  EXPECT_LE(most, 256u + 64u) << "waiting for the server at once";
  pass(kSecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "connections"), 3000u) << answers[0].text;
  EXPECT_EQ(number(answers[0], "unfinished") + number(answers[0], "failed"), 0u);
}

TEST_F(PerfRun, WhoDoesNotAnswerIsNotWaitedFor) {
  must("perf server uri pipe://10.0.0.1/80 fifo-size 4k");
  bed.pipe.connect_time = 500 * kMillisecond;
  begin("perf client uri pipe://10.0.0.1/80 nclients 800 bytes 10 fifo-size 4k");
  pass(20 * kMillisecond);
  EXPECT_GE(bed.pipe.ends.size(), 256u);
  EXPECT_LE(bed.pipe.ends.size(), 256u + 3 * 64u);
  pass(100 * kMillisecond);
  EXPECT_EQ(bed.pipe.ends.size(), 800u);
  EXPECT_EQ(opened(), 0u);
  pass(kSecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "connections"), 800u) << answers[0].text;
}

TEST_F(PerfRun, OverATimeConnectionsAreOpenedWhetherTheyAreAnsweredOrNot) {
  must("perf server uri pipe://10.0.0.1/80 fifo-size 4k");
  bed.pipe.connect_time = 500 * kMillisecond;
  begin("perf client uri pipe://10.0.0.1/80 nclients 800 over 1 bytes 10 fifo-size 4k");
  pass(450 * kMillisecond);
  EXPECT_EQ(bed.pipe.ends.size(), 360u);
}

TEST_F(PerfRun, WhatWasNotBegunWhenTheRunEndsHasFailed) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 nclients 10 over 10 run-time 600 fifo-size 4k");
  pass(2500 * kMillisecond);
  must("perf client stop");
  pass(10 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "connections"), 3u);
  EXPECT_EQ(number(answers[0], "failed"), 7u);
  EXPECT_EQ(row(answers[0], "failures", "why", "not begun in time")["connections"], 7u);
}

TEST_F(PerfRun, ARateIsThatOfAllConnectionsTogether) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 nclients 5 rate 200000 run-time 5");
  for (uint64_t second = 1; second <= 4; ++second) {
    pass(kSecond);
    EXPECT_LE(received(), second * 200'000);
    EXPECT_GE(received(), second * 200'000 - 10'000);
  }
  pass(1100 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "unfinished"), 0u);
  EXPECT_LE(number(answers[0], "bytes sent"), 1'000'000u);
  EXPECT_GE(number(answers[0], "bytes sent"), 990'000u);
}

TEST_F(PerfRun, ARateGivesEachConnectionItsTurn) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 nclients 5 rate 100000 bytes 20000 fifo-size 4k");
  pass(950 * kMillisecond);
  EXPECT_EQ(perf.servers.list()[0]->sum(&Counters::closed), 0u);  // all go on to the last
  pass(150 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "bytes sent"), 100'000u);
  EXPECT_EQ(number(answers[0], "unfinished"), 0u);
}

TEST_F(PerfRun, ARateAboveWhatTheServerTakesIsNoHarm) {
  serve_slowly(100 * kMillisecond);
  const auto o =
      outcome("perf client uri pipe://10.0.0.1/9 rate 100g bytes 40000 echo-bytes fifo-size 8k",
              10 * kSecond);
  EXPECT_EQ(number(o, "unfinished"), 0u) << o.text;
  EXPECT_EQ(number(o, "bytes received"), 40'000u);
}

TEST_F(PerfRun, RoundTripsAreMadeAndCounted) {
  must("perf server uri pipe://10.0.0.1/80 fifo-size 16k");
  const auto o = outcome(
      "perf client uri pipe://10.0.0.1/80 request 100 response 50000 requests 20 nclients 3 "
      "verify fifo-size 16k",
      5 * kSecond);
  EXPECT_EQ(o.status, Status::kOk) << o.text;
  EXPECT_EQ(number(o, "unfinished"), 0u);
  EXPECT_EQ(number(o, "round trips"), 60u);
  EXPECT_EQ(number(o, "bytes sent"), 3u * (24 + 20 * 100));
  EXPECT_EQ(number(o, "bytes received"), 3u * 20 * 50'000);
  EXPECT_EQ(received(), number(o, "bytes sent"));
  EXPECT_EQ(row(o, "latency", "of", "round trip")["count"], 60u);
}

TEST_F(PerfRun, RequestsMayBeLargerThanTheFifosAndGoToEchoServers) {
  must("perf server uri pipe://10.0.0.1/80 fifo-size 4k");
  must("echo server uri pipe://10.0.0.1/7 fifo-size 4k");
  auto o = outcome(
      "perf client uri pipe://10.0.0.1/80 request 30000 response 1 requests 3 "
      "fifo-size 4k");
  EXPECT_EQ(number(o, "unfinished"), 0u) << o.text;
  EXPECT_EQ(number(o, "bytes received"), 3u);
  o = outcome("perf client uri pipe://10.0.0.1/7 request 30000 echo-bytes requests 3 fifo-size 4k");
  EXPECT_EQ(o.status, Status::kOk) << o.text;
  EXPECT_EQ(number(o, "round trips"), 3u);
  EXPECT_EQ(number(o, "bytes sent"), 90'000u);
  EXPECT_EQ(number(o, "bytes received"), 90'000u);
}

TEST_F(PerfRun, ARoundTripsTimeIsThatOfTheWorkersClock) {
  serve_slowly(50 * kMillisecond);
  const auto o = outcome("perf client uri pipe://10.0.0.1/9 request 64 echo-bytes requests 10");
  EXPECT_EQ(number(o, "round trips"), 10u) << o.text;
  const auto t = row(o, "latency", "of", "round trip");
  EXPECT_GE(t["min ns"], 50 * kMillisecond);
  EXPECT_LE(t["max ns"], 55 * kMillisecond);
  EXPECT_THAT(o.text, HasSubstr("\"round trips a second\": \"1"));  // 18 to 20
  EXPECT_THAT(run("show perf").text, HasSubstr(" 5"));
}

TEST_F(PerfRun, RoundTripsAreBegunAtARate) {
  must("perf server uri pipe://10.0.0.1/80");
  const auto o = outcome(
      "perf client uri pipe://10.0.0.1/80 request 10 requests-per-second 50 run-time 4 nclients 8",
      4100 * kMillisecond);
  EXPECT_EQ(number(o, "unfinished"), 0u) << o.text;
  EXPECT_LE(number(o, "round trips"), 200u);
  EXPECT_GE(number(o, "round trips"), 198u);
  const auto fast = outcome(
      "perf client uri pipe://10.0.0.1/80 request 10 requests-per-second 1g requests 5 nclients 2");
  EXPECT_EQ(number(fast, "round trips"), 10u) << fast.text;
}

TEST_F(PerfRun, ARoundTripUnderWayWhenTheTimeIsUpIsFinished) {
  serve_slowly(3 * kSecond);
  const auto o =
      outcome("perf client uri pipe://10.0.0.1/9 request 64 echo-bytes run-time 1", 4 * kSecond);
  EXPECT_EQ(number(o, "round trips"), 1u) << o.text;
  EXPECT_EQ(number(o, "unfinished"), 0u);
}

TEST_F(PerfRun, AnAnswerThatWasNotAskedForIsAnError) {
  serve_a_byte();
  const auto o = outcome(
      "perf client uri pipe://10.0.0.1/9 request 10 requests-per-second 1 "
      "run-time 5");
  EXPECT_EQ(o.status, Status::kMalformed) << o.text;
  EXPECT_EQ(perf.runs.back()->sum(&Counters::round_trips), 0u);
}

TEST_F(PerfRun, SegmentsThatWereSentAgainAreCounted) {
  must("perf server uri pipe://10.0.0.1/80");
  bed.pipe.total_retrans = 7;
  const auto o = outcome("perf client uri pipe://10.0.0.1/80 bytes 10 nclients 3");
  EXPECT_EQ(number(o, "segments retransmitted"), 21u) << o.text;
  EXPECT_EQ(perf.servers.list()[0]->sum(&Counters::retransmitted), 21u);
}

TEST_F(PerfRun, FailuresAreToldByKind) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 bytes 1 nclients 5 over 5");
  pass(1500 * kMillisecond);
  must("perf server delete uri pipe://10.0.0.1/80");
  pass(5 * kSecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "connections"), 2u);
  EXPECT_EQ(number(answers[0], "failed"), 3u);
  EXPECT_EQ(row(answers[0], "failures", "why", "refused")["connections"], 3u) << answers[0].text;
  answers.clear();

  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 run-time 600 nclients 2 fifo-size 4k");
  pass(10 * kMillisecond);
  must("perf server delete uri pipe://10.0.0.1/80");
  pass(10 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(row(answers[0], "failures", "what", "reset")["why"], "by the peer") << answers[0].text;
  EXPECT_EQ(number(answers[0], "reset"), 2u);
}

TEST_F(PerfRun, RefusesWhatDoesNotGoTogether) {
  for (const char* options : {"run-time 1 requests 1 request 1",
                              "bytes 1 request 1",
                              "over 2 run-time 1",
                              "reverse echo-bytes",
                              "reverse request 1",
                              "reverse rate 1",
                              "rate 1 request 1",
                              "response 1",
                              "requests 1",
                              "requests-per-second 1",
                              "verify",
                              "request 5 response 6 echo-bytes",
                              "request 0",
                              "rate 0",
                              "rate 126000000000",
                              "request 2g",
                              "response 2g request 1",
                              "over 0",
                              "over 86401",
                              "reverse reversed"}) {
    const auto o = outcome(std::string("perf client uri pipe://10.0.0.1/80 ") + options, 0);
    EXPECT_EQ(o.status, Status::kInvalid) << options << ": " << o.text;
  }
  EXPECT_THAT(perf.runs, IsEmpty());
  for (const char* line : {"source server", "source server delete uri pipe://10.0.0.1/80"})
    EXPECT_NE(run(line).status, Status::kOk) << line;
}

}  // namespace
}  // namespace loom::perf
