// The commands of the plugin, against each other over the pipe transport, in virtual time.
#include <gmock/gmock.h>

#include "perf_host.h"

namespace loom::perf {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST_F(PerfTest, ARunSendsItsBytesAndSaysSo) {
  must("perf server uri pipe://10.0.0.1/80");
  const auto o = outcome("perf client uri pipe://10.0.0.1/80 bytes 1m nclients 3 fifo-size 64k");
  EXPECT_EQ(o.status, Status::kOk) << o.text;
  EXPECT_EQ(number(o, "connections"), 3u);
  EXPECT_EQ(number(o, "failed") + number(o, "reset") + number(o, "unfinished"), 0u);
  EXPECT_EQ(number(o, "bytes sent"), 3u << 20);
  EXPECT_EQ(number(o, "bytes received"), 0u);
  EXPECT_EQ(perf.servers.list()[0]->sum(&Counters::received), 3u << 20);
  EXPECT_EQ(perf.servers.list()[0]->sum(&Counters::closed), 3u);
  EXPECT_THAT(run("show perf").text, HasSubstr("over"));
}

TEST_F(PerfTest, EveryByteComesBackWhenItIsAskedFor) {
  must("perf server uri pipe://10.0.0.1/80 fifo-size 16k");
  must("echo server uri pipe://10.0.0.1/7 fifo-size 16k");
  for (const char* port : {"80", "7"}) {
    const auto o = outcome("perf client uri pipe://10.0.0.1/" + std::string(port) +
                           " bytes 300000 nclients 2 echo-bytes");
    EXPECT_EQ(number(o, "unfinished"), 0u) << port;
    EXPECT_EQ(number(o, "bytes received"), 600'000u) << port;
  }
  const auto o = outcome("perf client uri pipe://10.0.0.1/80 bytes 3 echo-bytes");
  EXPECT_EQ(number(o, "unfinished"), 1u);  // it ended within the mark: no echo
}

TEST_F(PerfTest, OtherBytesThanWereSentAreAnError) {
  AppOps ops;
  ops.name = "liar";
  ops.accepted = [](Worker&, SessionId, SessionId, void**) noexcept { return true; };
  ops.readable = [](Worker& w, SessionId id, void*) noexcept {
    AppSession s(w, id);
    std::span<const std::byte> v[1];
    while (s.peek(v) != 0) {
      std::vector<std::byte> bytes(v[0].begin(), v[0].end());
      bytes[0] ^= std::byte{1};
      s.write(bytes);
      s.consume(static_cast<uint32_t>(bytes.size()));
    }
    if (s.eof()) s.close();
  };
  const auto liar = bed.layer->add_application(ops, {});
  ASSERT_TRUE(liar);
  ASSERT_TRUE(bed.layer->listen(**liar, *parse_app_uri("pipe://10.0.0.1/9"), nullptr));
  const auto o = outcome("perf client uri pipe://10.0.0.1/9 bytes 1000 echo-bytes");
  EXPECT_EQ(o.status, Status::kMalformed);
  EXPECT_THAT(o.text, HasSubstr("1 of 1 connections got other bytes back"));
  bed.layer->remove_application(**liar);
}

TEST_F(PerfTest, ATimedRunEndsWithItsTime) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 run-time 2 nclients 2 fifo-size 4k");
  pass(kSecond);
  EXPECT_THAT(answers, IsEmpty());
  EXPECT_THAT(run("show perf").text, HasSubstr("running"));
  pass(kSecond + 100 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "connections"), 2u);
  EXPECT_EQ(number(answers[0], "unfinished"), 0u);
  EXPECT_THAT(answers[0].text, HasSubstr("\"seconds\": \"1.99"));
}

TEST_F(PerfTest, AServerThatDoesNotCloseIsNotWaitedForForEver) {
  AppOps ops;
  ops.name = "deaf";
  ops.accepted = [](Worker&, SessionId, SessionId, void**) noexcept { return true; };
  const auto deaf = bed.layer->add_application(ops, {});
  ASSERT_TRUE(deaf);
  ASSERT_TRUE(bed.layer->listen(**deaf, *parse_app_uri("pipe://10.0.0.1/9"), nullptr));
  begin("perf client uri pipe://10.0.0.1/9 run-time 1 fifo-size 4k");
  pass(10 * kSecond);
  EXPECT_THAT(answers, IsEmpty());
  pass(2 * kSecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "unfinished"), 1u);
  bed.layer->remove_application(**deaf);
}

TEST_F(PerfTest, WithoutAnyConnectionItFails) {
  const auto o = outcome("perf client uri pipe://10.0.0.1/80 bytes 1 nclients 70");  // two turns
  EXPECT_EQ(o.status, Status::kRefused);
  EXPECT_THAT(o.text, HasSubstr("no connection to pipe://10.0.0.1/80: refused"));
  EXPECT_EQ(outcome("perf client uri pipe://10.0.0.1/1 bytes 1").status, Status::kUnreachable);
}

TEST_F(PerfTest, StopEndsRunsAndAnswersWhoWaits) {
  must("perf server uri pipe://10.0.0.1/80");
  for (int i = 0; i < 2; ++i)
    begin("perf client uri pipe://10.0.0.1/80 run-time 600 nclients 5 fifo-size 4k");
  pass(10 * kMillisecond);
  must("perf client stop");
  pass(10 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(2));
  EXPECT_EQ(number(answers[0], "unfinished"), 5u);
  begin("perf client uri pipe://10.0.0.1/80 run-time 600 fifo-size 4k");
  must("perf client stop");  // before it has opened anything
  pass(10 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(3));
  EXPECT_THAT(answers[2].text, HasSubstr("stopped"));
  must("perf client stop");  // none is left: nothing
}

TEST_F(PerfTest, AServerThatGoesResetsWhatItHas) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 run-time 600 nclients 2 fifo-size 4k");
  pass(10 * kMillisecond);
  must("perf server delete uri pipe://10.0.0.1/80");
  pass(10 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(number(answers[0], "reset"), 2u);
  EXPECT_EQ(run("perf server delete uri pipe://10.0.0.1/80").status, Status::kNotFound);
}

TEST_F(PerfTest, TheDaemonsEndIsTheRunsEnd) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 run-time 600 nclients 2 fifo-size 4k");
  pass(10 * kMillisecond);
  bed.layer->stop();
  pass(10 * kMillisecond);
  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_EQ(run("perf server uri pipe://10.0.0.1/81").status, Status::kClosed);
}

TEST_F(PerfTest, AScriptBeginsARunAndGoesOn) {
  must("perf server uri pipe://10.0.0.1/80");
  EXPECT_THAT(run("perf client uri pipe://10.0.0.1/80 bytes 1000").text,
              HasSubstr("run 1 has begun"));
  pass(kSecond);
  EXPECT_TRUE(perf.runs[0]->is_over());
  for (std::size_t i = 0; i < Perf::kKept + 3; ++i) {
    must("perf client uri pipe://10.0.0.1/80 bytes 1");
    pass(100 * kMillisecond);
  }
  EXPECT_LE(perf.runs.size(), Perf::kKept + 1);  // the last, which was not over yet, and the rest
}

TEST_F(PerfTest, RefusesWhatMakesNoSense) {
  must("perf server uri pipe://10.0.0.1/80");
  for (const char* line :
       {"perf server", "perf server uri", "perf server uri 10.0.0.1",
        "perf server uri x://10.0.0.1/1", "perf server uri pipe://10.0.0.1/80",
        "perf server uri pipe://10.0.0.1/81 fifo-size 1",
        "perf server uri pipe://10.0.0.1/81 and more", "echo server uri pipe://10.0.0.1/80",
        "echo server delete uri pipe://10.0.0.1/80", "perf client", "perf client stop it",
        "perf client uri pipe://10.0.0.1/80 bytes 0",
        "perf client uri pipe://10.0.0.1/80 nclients 0",
        "perf client uri pipe://10.0.0.1/80 run-time 1 bytes 1",
        "perf client uri pipe://10.0.0.1/80 quickly", "show perf now"}) {
    const CliOutcome o = outcome(line, 0);
    EXPECT_NE(o.status, Status::kOk) << line;
    EXPECT_NE(o.status, Status::kTimedOut) << line;
  }
  EXPECT_EQ(bed.layer->stats().applications, 1u);
  EXPECT_THAT(outcome("perf client uri smoke://10.0.0.1/1 bytes 1").text,
              HasSubstr("no connection"));
}

}  // namespace
}  // namespace loom::perf
