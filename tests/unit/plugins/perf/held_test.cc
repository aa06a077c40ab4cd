// perf sessions: opened, exchanged over and closed; without enough memory, and not in time. In
// virtual time.
#include <gmock/gmock.h>

#include "perf_host.h"

namespace loom::perf {
namespace {

using testing::HasSubstr;

TEST_F(PerfTest, SessionsAreHeldExchangedOverAndClosed) {
  must("echo server uri pipe://10.0.0.1/7 fifo-size 16k");
  must("echo server uri pipe://10.0.0.1/8 fifo-size 16k");
  auto o = outcome(
      "perf sessions open uri pipe://10.0.0.1/7 uri pipe://10.0.0.1/8 nclients 700 fifo-size 16k");
  EXPECT_EQ(o.status, Status::kOk) << o.text;
  EXPECT_EQ(number(o, "done"), 700u);
  EXPECT_EQ(number(o, "failed"), 0u);
  for (const auto& s : perf.servers.list()) EXPECT_EQ(s->sum(&Counters::opened), 350u);

  o = outcome("perf sessions exchange sessions 300 rounds 3 bytes 100");
  EXPECT_EQ(number(o, "done"), 900u);
  EXPECT_EQ(number(o, "open"), 700u);
  uint64_t echoed = 0;
  for (const auto& s : perf.servers.list()) echoed += s->sum(&Counters::sent);
  EXPECT_EQ(echoed, 90'000u);
  EXPECT_EQ(number(outcome("perf sessions exchange sessions 5000 bytes 1"), "done"), 700u);

  o = outcome("perf sessions close");
  EXPECT_EQ(number(o, "done"), 700u);
  EXPECT_EQ(number(o, "open") + number(o, "lost"), 0u);
  for (const auto& s : perf.servers.list()) EXPECT_EQ(s->sum(&Counters::closed), 350u);
  EXPECT_EQ(outcome("perf sessions close").status, Status::kNotFound);
}

TEST_F(PerfTest, SessionsThatCannotBeOpenedAreCounted) {
  const auto o = outcome("perf sessions open uri pipe://10.0.0.1/99 nclients 3");
  EXPECT_EQ(number(o, "done"), 0u);
  EXPECT_EQ(number(o, "failed"), 3u);
  EXPECT_EQ(outcome("perf sessions open uri pipe://10.0.0.1/7").status, Status::kExists);
  EXPECT_EQ(number(outcome("perf sessions exchange"), "done"), 0u);
}

// What is written takes memory of 15 chunks at a time, which the control thread adds.
class PerfShortOfMemory : public PerfTest {
 protected:
  PerfShortOfMemory() : PerfTest(small_segments()) {}
  static SessionConfig small_segments() {
    SessionConfig c;
    c.segment_size = 4 << 20;
    c.add_segment_size = 64 << 10;
    return c;
  }
};

TEST_F(PerfShortOfMemory, ARoundTripWaitsForMemory) {
  must("echo server uri pipe://10.0.0.1/7 fifo-size 4k");
  must("perf sessions open uri pipe://10.0.0.1/7 nclients 100 fifo-size 4k");
  pass(kSecond);
  const auto o = outcome("perf sessions exchange sessions 100 rounds 2 bytes 1000");
  EXPECT_EQ(number(o, "done"), 200u);
  EXPECT_EQ(number(o, "failed"), 0u);
  EXPECT_GT(bed.counter("no-segment-memory"), 0u);
}

// A server at pipe://10.0.0.1/9 that answers, and closes, when it is told to.
class PerfLate : public PerfTest {
 protected:
  PerfLate() {
    AppOps ops;
    ops.name = "late";
    ops.accepted = [](Worker&, SessionId, SessionId id, void** context) noexcept {
      static_cast<PerfLate*>(*context)->sessions.push_back(id);
      return true;
    };
    ops.readable = [](Worker& w, SessionId id, void* context) noexcept {
      AppSession s(w, id);
      if (!static_cast<PerfLate*>(context)->is_slow) answer(s);
    };
    late = *bed.layer->add_application(ops, {});
    EXPECT_TRUE(bed.layer->listen(*late, *parse_app_uri("pipe://10.0.0.1/9"), this));
  }
  ~PerfLate() override { bed.layer->remove_application(*late); }
  static void answer(AppSession s) {
    move_bytes(s, s, 1u << 20);
    if (s.eof()) s.close();
  }
  void answer_all() {
    for (const SessionId id : sessions) answer(AppSession(bed.engine->worker(0), id));
  }

  Application* late = nullptr;
  std::vector<SessionId> sessions;
  bool is_slow = false;
};

TEST_F(PerfLate, WhatDoesNotComeBackInTimeHasFailed) {
  EXPECT_EQ(number(outcome("perf sessions open uri pipe://10.0.0.1/9 nclients 300"), "done"), 300u);
  is_slow = true;
  begin("perf sessions exchange sessions 300 rounds 2 timeout 2");
  pass(1900 * kMillisecond);
  EXPECT_THAT(answers, testing::IsEmpty());
  EXPECT_EQ(run("perf sessions close").status, Status::kAgain);
  pass(200 * kMillisecond);
  ASSERT_THAT(answers, testing::SizeIs(1));
  EXPECT_EQ(answers[0].status, Status::kTimedOut);
  EXPECT_THAT(answers[0].text, HasSubstr("0 done, 300 not done or failed"));
  answers.clear();

  // Those that still wait for their bytes cannot be used, others can.
  auto o = outcome("perf sessions exchange sessions 300 timeout 1", 1100 * kMillisecond);
  EXPECT_THAT(o.text, HasSubstr("0 done, 300 not done or failed"));
  is_slow = false;
  answer_all();
  pass(10 * kMillisecond);
  o = outcome("perf sessions exchange sessions 300 rounds 2");
  EXPECT_EQ(o.status, Status::kOk);
  EXPECT_EQ(number(o, "done"), 600u);
  EXPECT_EQ(number(o, "failed") + number(o, "lost"), 0u);
}

TEST_F(PerfLate, WhatDoesNotCloseInTimeIsReset) {
  EXPECT_EQ(number(outcome("perf sessions open uri pipe://10.0.0.1/9 nclients 20"), "done"), 20u);
  is_slow = true;
  const auto o = outcome("perf sessions close timeout 1", 1100 * kMillisecond);
  EXPECT_EQ(o.status, Status::kTimedOut);
  EXPECT_THAT(o.text, HasSubstr("0 done, 20 not done or failed"));
  EXPECT_EQ(outcome("perf sessions close").status, Status::kNotFound);
  EXPECT_EQ(number(outcome("perf sessions open uri pipe://10.0.0.1/9 nclients 1"), "done"), 1u);
}

TEST_F(PerfLate, TimesAreChecked) {
  for (const char* line : {"perf sessions open uri pipe://10.0.0.1/9 timeout 0",
                           "perf sessions open uri pipe://10.0.0.1/9 timeout 86401"})
    EXPECT_EQ(run(line).status, Status::kInvalid) << line;
  EXPECT_EQ(run("perf sessions close soon").status, Status::kInvalid);
}

}  // namespace
}  // namespace loom::perf
