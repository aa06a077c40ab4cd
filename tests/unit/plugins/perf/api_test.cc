// The messages of the plugin: what the commands do, and a client that leaves.
#include <gmock/gmock.h>

#include "perf.api.h"
#include "perf_host.h"

namespace loom::perf {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

constexpr int32_t kNoSuchEntry = -6, kInvalidValue2 = -8, kSessionConnect = -115;
constexpr auto kEcho = api::PerfServerKind::kPerfApiServerEcho;

class PerfMessages : public PerfTest {
 protected:
  int32_t server(const api::PerfServerAddDel& request) {
    return client.call<api::PerfServerAddDelReply>(request).retval;
  }
  std::vector<api::PerfServerDetails> servers() {
    return client.dump<api::PerfServerDetails>(api::PerfServerDump{});
  }
  // The answer to a run that is over within that time.
  api::PerfClientRunReply run_of(const api::PerfClientRun& request, TimeNs time = kSecond) {
    client.begin(request);
    auto reply = client.answer<api::PerfClientRunReply>();
    if (reply) return *reply;  // refused
    EXPECT_FALSE(*client.was_woken);
    pass(time);
    EXPECT_TRUE(*client.was_woken);
    reply = client.answer<api::PerfClientRunReply>();
    EXPECT_TRUE(reply);
    return reply.value_or(api::PerfClientRunReply{});
  }
};

TEST_F(PerfMessages, ServersComeAndGoAndAreListed) {
  EXPECT_THAT(servers(), IsEmpty());
  EXPECT_EQ(server({.uri = "pipe://10.0.0.1/80", .fifo_size = 65536}), 0);
  EXPECT_EQ(server({.kind = kEcho, .uri = "pipe://10.0.0.1/7"}), 0);
  EXPECT_EQ(server({.uri = "pipe://10.0.0.1/81"}), 0);
  EXPECT_EQ(run_of({.uri = "pipe://10.0.0.1/7", .bytes = 1000, .n_clients = 2}).retval, 0);
  auto all = servers();
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_EQ(all[0].uri, "pipe://10.0.0.1/80");
  EXPECT_EQ(all[1].uri, "pipe://10.0.0.1/7");
  EXPECT_EQ(all[1].kind, kEcho);
  EXPECT_EQ(all[1].connections, 2u);
  EXPECT_EQ(all[1].open, 0u);
  EXPECT_EQ(all[1].bytes_received, 2000u);
  EXPECT_EQ(all[1].bytes_sent, 2000u);
  EXPECT_THAT(run("show perf").text, HasSubstr("pipe://10.0.0.1/80"));  // one list for both faces

  EXPECT_EQ(server({.is_add = false, .uri = "pipe://10.0.0.1/80"}), 0);
  EXPECT_EQ(server({.is_add = false, .uri = "pipe://10.0.0.1/80"}), kNoSuchEntry);
  EXPECT_EQ(server({.is_add = false, .uri = "pipe://10.0.0.1/7"}), kNoSuchEntry);  // of that kind
  all = servers();
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].uri, "pipe://10.0.0.1/7");
  EXPECT_EQ(all[1].uri, "pipe://10.0.0.1/81");
}

TEST_F(PerfMessages, ARunIsAnsweredAtItsEnd) {
  must("perf server uri pipe://10.0.0.1/80");
  const auto r =
      run_of({.uri = "pipe://10.0.0.1/80", .bytes = 300'000, .n_clients = 3, .echo_bytes = true});
  EXPECT_EQ(r.retval, 0);
  EXPECT_EQ(r.connections, 3u);
  EXPECT_EQ(r.failed + r.reset + r.unfinished + r.mismatched, 0u);
  EXPECT_EQ(r.bytes_sent, 900'000u);
  EXPECT_EQ(r.bytes_received, 900'000u);
  EXPECT_EQ(servers()[0].bytes_received, 900'000u);

  const auto timed =
      run_of({.uri = "pipe://10.0.0.1/80", .run_time = 2, .fifo_size = 4096}, 3 * kSecond);
  EXPECT_EQ(timed.connections, 1u);
  EXPECT_GT(timed.bytes_sent, 0u);
  EXPECT_NEAR(timed.seconds, 2, 0.1);  // virtual time

  // Neither is said: 10 seconds.
  client.begin(api::PerfClientRun{.uri = "pipe://10.0.0.1/80", .fifo_size = 4096});
  EXPECT_FALSE(client.answer<api::PerfClientRunReply>());
  pass(9 * kSecond);
  EXPECT_FALSE(client.answer<api::PerfClientRunReply>());
  pass(2 * kSecond);
  EXPECT_TRUE(client.answer<api::PerfClientRunReply>());
}

TEST_F(PerfMessages, SaysWhatWentWrong) {
  EXPECT_EQ(run_of({.uri = "pipe://10.0.0.1/80", .bytes = 1, .n_clients = 2}).failed, 2u);
  const auto r = run_of({.uri = "pipe://10.0.0.1/80", .bytes = 1});
  EXPECT_EQ(r.retval, kSessionConnect);
  EXPECT_THAT(log, HasSubstr("perf_client_run: no connection to pipe://10.0.0.1/80: refused"));

  AppOps ops;  // answers the end of the stream with a byte that nobody has sent
  ops.name = "liar";
  ops.accepted = [](Worker&, SessionId, SessionId, void**) noexcept { return true; };
  ops.readable = [](Worker& w, SessionId id, void*) noexcept {
    AppSession s(w, id);
    s.consume(s.unread());
    if (!s.eof()) return;
    const std::byte other{0};
    s.write({&other, 1});
    s.close();
  };
  const auto liar = bed.layer->add_application(ops, {});
  ASSERT_TRUE(liar);
  ASSERT_TRUE(bed.layer->listen(**liar, *parse_app_uri("pipe://10.0.0.1/9"), nullptr));
  const auto lied = run_of({.uri = "pipe://10.0.0.1/9", .bytes = 1, .echo_bytes = true});
  EXPECT_EQ(lied.retval, kInvalidValue2);
  EXPECT_EQ(lied.mismatched, 1u);
  EXPECT_EQ(lied.bytes_received, 1u);
  bed.layer->remove_application(**liar);
}

TEST_F(PerfMessages, RefusesWhatTheCommandsRefuse) {
  must("perf server uri pipe://10.0.0.1/80");
  const std::string uri = "pipe://10.0.0.1/80";
  const std::string other = "pipe://10.0.0.1/81";
  for (const api::PerfServerAddDel& r : std::vector<api::PerfServerAddDel>{
           {.uri = ""},
           {.uri = "10.0.0.1"},
           {.uri = std::string(128, 'x')},  // no zero behind it
           {.uri = other, .fifo_size = kLeastFifo - 1},
           {.uri = other, .fifo_size = kMostFifo + 1},
           {.kind = static_cast<api::PerfServerKind>(2), .uri = other},
           {.is_add = false, .kind = static_cast<api::PerfServerKind>(255), .uri = uri}})
    EXPECT_EQ(server(r), kApiInvalidValue) << r.uri << ' ' << r.fifo_size;
  EXPECT_THAT(log, HasSubstr("fifo size 4095 is not from 4096 to 1073741824"));
  EXPECT_THAT(log, HasSubstr("no kind of servers 255"));
  EXPECT_NE(server({.uri = uri}), 0);                 // is there
  EXPECT_NE(server({.kind = kEcho, .uri = uri}), 0);  // its place is taken
  EXPECT_NE(server({.uri = "smoke://10.0.0.1/1"}), 0);

  for (const api::PerfClientRun& r :
       std::vector<api::PerfClientRun>{{.uri = ""},
                                       {.uri = std::string(128, 'x')},
                                       {.uri = uri, .run_time = 1, .bytes = 1},
                                       {.uri = uri, .run_time = kMostSeconds + 1},
                                       {.uri = uri, .run_time = ~0u},
                                       {.uri = uri, .n_clients = 0},
                                       {.uri = uri, .n_clients = kMostClients + 1},
                                       {.uri = uri, .bytes = 1, .fifo_size = 1}})
    EXPECT_EQ(run_of(r).retval, kApiInvalidValue) << r.uri << ' ' << r.n_clients;
  EXPECT_THAT(perf.runs, IsEmpty());
  EXPECT_EQ(bed.layer->stats().applications, 1u);
}

TEST_F(PerfMessages, ARequestThatIsCutShortIsAnswered) {
  const auto* entry = registry.find(registry.id_of(api::PerfClientRun::kInfo));
  ASSERT_TRUE(entry);
  static std::vector<std::string> sent;
  sent.clear();
  static const ApiCallOps kOps{
      .struct_size = sizeof(ApiCallOps),
      .send = [](ApiCall&, const ApiMessageInfo* info, const std::byte*,
                 std::size_t) { sent.push_back(info->name); },
      .has_room = [](const ApiCall&) { return true; },
      .subscribe = [](ApiCall&, const ApiMessageInfo*, bool, uint32_t, uint32_t) {}};
  ApiCall call(kOps, 1);
  const std::byte context_only[8]{};
  void* walk = nullptr;
  EXPECT_EQ(entry->handler.begin(entry->handler, call, context_only, sizeof context_only, &walk),
            ApiOutcome::kMalformed);
  EXPECT_EQ(walk, nullptr);
  EXPECT_THAT(sent, testing::ElementsAre("perf_client_run_reply"));
  EXPECT_THAT(perf.runs, IsEmpty());
}

TEST_F(PerfMessages, ARunEndsWithTheClientThatWaitsForIt) {
  must("perf server uri pipe://10.0.0.1/80");
  const api::PerfClientRun long_run{
      .uri = "pipe://10.0.0.1/80", .run_time = 600, .n_clients = 5, .fifo_size = 4096};
  client.begin(long_run);
  EXPECT_FALSE(client.answer<api::PerfClientRunReply>());
  pass(10 * kMillisecond);
  EXPECT_EQ(servers()[0].open, 5u);
  client.leave();
  pass(10 * kMillisecond);
  EXPECT_EQ(servers()[0].open, 0u);
  EXPECT_TRUE(perf.runs[0]->is_over());
  EXPECT_EQ(bed.layer->stats().applications, 1u);  // the server

  client.begin(long_run);  // leaves before it has opened anything, or was even asked
  EXPECT_FALSE(client.answer<api::PerfClientRunReply>());
  client.leave();
  client.begin(long_run);
  client.leave();
  pass(10 * kMillisecond);
  EXPECT_THAT(perf.runs, SizeIs(2));
  EXPECT_EQ(bed.layer->stats().applications, 1u);

  // One that is over, and whose end the client has not seen.
  client.begin(api::PerfClientRun{.uri = "pipe://10.0.0.1/80", .bytes = 1});
  EXPECT_FALSE(client.answer<api::PerfClientRunReply>());
  pass(kSecond);
  client.leave();
  EXPECT_EQ(run("show perf").status, Status::kOk);
}

TEST_F(PerfMessages, SourcesAreServersOfTheSecondVersion) {
  using Kind = api::PerfServerKindV2;
  const auto change = [&](const api::PerfServerAddDelV2& r) {
    return client.call<api::PerfServerAddDelV2Reply>(r).retval;
  };
  EXPECT_EQ(server({.uri = "pipe://10.0.0.1/80"}), 0);
  EXPECT_EQ(change({.kind = Kind::kPerfApiServerV2Source, .uri = "pipe://10.0.0.1/19"}), 0);
  EXPECT_EQ(change({.kind = Kind::kPerfApiServerV2Echo, .uri = "pipe://10.0.0.1/7"}), 0);
  EXPECT_EQ(change({.kind = static_cast<Kind>(3), .uri = "pipe://10.0.0.1/8"}), kApiInvalidValue);
  ASSERT_THAT(servers(), SizeIs(2));  // the first version has no name for a source
  EXPECT_EQ(servers()[1].uri, "pipe://10.0.0.1/7");

  bed.pipe.total_retrans = 2;
  client.begin(api::PerfClientRunV2{
      .uri = "pipe://10.0.0.1/19", .bytes = 100'000, .reverse = true, .verify = true});
  EXPECT_FALSE(client.answer<api::PerfClientRunV2Reply>());
  pass(kSecond);
  const auto r = client.answer<api::PerfClientRunV2Reply>();
  ASSERT_TRUE(r);
  EXPECT_EQ(r->retval, 0);
  EXPECT_GE(r->bytes_received, 100'000u);
  const auto all = client.dump<api::PerfServerV2Details>(api::PerfServerV2Dump{});
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_EQ(all[1].kind, Kind::kPerfApiServerV2Source);
  EXPECT_EQ(all[1].bytes_sent, r->bytes_received);
  EXPECT_EQ(all[1].retransmitted, 2u);
  EXPECT_EQ(
      change({.is_add = false, .kind = Kind::kPerfApiServerV2Source, .uri = "pipe://10.0.0.1/19"}),
      0);
}

TEST_F(PerfMessages, ARunOfTheSecondVersionTellsTimesAndKinds) {
  must("perf server uri pipe://10.0.0.1/80");
  bed.pipe.total_retrans = 5;
  const auto run_v2 = [&](const api::PerfClientRunV2& request) {
    client.begin(request);
    auto r = client.answer<api::PerfClientRunV2Reply>();
    if (r) return *r;  // refused
    pass(4 * kSecond);
    r = client.answer<api::PerfClientRunV2Reply>();
    EXPECT_TRUE(r);
    return r.value_or(api::PerfClientRunV2Reply{});
  };
  auto r = run_v2({.uri = "pipe://10.0.0.1/80",
                   .requests = 10,
                   .n_clients = 4,
                   .over = 1,
                   .request = 100,
                   .response = 200,
                   .requests_per_second = 20,
                   .fifo_size = 4096});
  EXPECT_EQ(r.retval, 0);
  EXPECT_EQ(r.connections, 4u);
  EXPECT_EQ(r.failed + r.reset + r.unfinished + r.mismatched, 0u);
  EXPECT_EQ(r.bytes_sent, 4u * (24 + 1000));
  EXPECT_EQ(r.bytes_received, 8000u);
  EXPECT_EQ(r.retransmitted, 20u);
  EXPECT_EQ(r.connect.count, 4u);
  EXPECT_EQ(r.round_trip.count, 40u);
  EXPECT_LE(r.round_trip.min, r.round_trip.p50);
  EXPECT_LE(r.round_trip.p50, r.round_trip.p99);
  EXPECT_LE(r.round_trip.p99, r.round_trip.p999);
  EXPECT_LE(r.round_trip.p999, r.round_trip.max);
  EXPECT_NEAR(r.seconds, 2, 0.1);  // 40 at 20 a second
  EXPECT_NEAR(r.round_trips_per_second, 20, 1);
  EXPECT_NEAR(r.connections_per_second, 4 / 0.75, 0.1);

  r = run_v2({.uri = "pipe://10.0.0.1/80", .run_time = 1, .rate = 50'000});
  EXPECT_LE(r.bytes_sent, 50'000u);
  EXPECT_GE(r.bytes_sent, 47'000u);  // in pieces of a segment
  r = run_v2({.uri = "pipe://10.0.0.1/99", .bytes = 1, .n_clients = 3});
  EXPECT_EQ(r.retval, kSessionConnect);
  EXPECT_EQ(r.refused, 3u);
  EXPECT_EQ(run_v2({.uri = "pipe://10.0.0.1/80", .request = 1, .response = ~0u}).retval,
            kApiInvalidValue);
  EXPECT_EQ(run_v2({.uri = "pipe://10.0.0.1/80", .over = ~0u}).retval, kApiInvalidValue);
  EXPECT_THAT(log, HasSubstr("perf_client_run_v2: over 4294967295 is above 86400"));
}

TEST_F(PerfMessages, StopEndsRunsOfMessagesAndOfCommands) {
  must("perf server uri pipe://10.0.0.1/80");
  begin("perf client uri pipe://10.0.0.1/80 run-time 600 fifo-size 4k");
  test::DirectClient other(registry);
  other.begin(api::PerfClientRun{.uri = "pipe://10.0.0.1/80", .run_time = 600, .fifo_size = 4096});
  EXPECT_FALSE(other.answer<api::PerfClientRunReply>());
  pass(10 * kMillisecond);
  EXPECT_EQ(client.call<api::PerfClientStopReply>(api::PerfClientStop{}).retval, 0);
  pass(10 * kMillisecond);
  EXPECT_THAT(answers, SizeIs(1));
  const auto reply = other.answer<api::PerfClientRunReply>();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->unfinished, 1u);
}

}  // namespace
}  // namespace loom::perf
