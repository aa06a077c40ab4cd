// The C++ client against the server on a real socket.
#include "client/client.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "memclnt.api.h"
#include "server_bed.h"
#include "stream_test.api.h"
#include "vlib.api.h"
#include "vpe.api.h"

namespace loom {
namespace {

TEST_F(ApiServerTest, ClientCallsAndDumps) {
  start();
  auto c = Client::connect(path_);
  ASSERT_TRUE(c) << c.error().message;
  const auto version = c->call<api::ShowVersionReply>(api::ShowVersion{});
  ASSERT_TRUE(version) << version.error().message;
  EXPECT_EQ(version->program, "hostloom");
  const auto all = c->dump<api::LogDetails>(api::LogDump{});
  ASSERT_TRUE(all) << all.error().message;
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ((*all)[1].message, "second");
  EXPECT_EQ((*all)[1].level, api::LogLevel::kVpeApiLogLevelWarning);
  EXPECT_EQ(c->dump<api::LogDetails>(api::LogDump{.start_timestamp = 1.5})->size(), 1u);
  EXPECT_EQ(c->call<api::ShowVpeSystemTimeReply>(api::ShowVpeSystemTime{})->vpe_system_time, 2.5);
  const auto threads = c->call<api::ShowThreadsReply>(api::ShowThreads{});
  ASSERT_EQ(threads->thread_data.size(), 2u);
  EXPECT_EQ(threads->thread_data[1].name, "loom_wk_0");
  EXPECT_EQ(c->call<api::GetNodeIndexReply>(api::GetNodeIndex{.node_name = "drop"})->node_index,
            4u);
  EXPECT_EQ(c->call<api::GetNodeIndexReply>(api::GetNodeIndex{.node_name = "x"})->retval, -63);
  const auto first = c->call<api::GetFirstMsgIdReply>(api::GetFirstMsgId{.name = "vpe_01234567"});
  EXPECT_EQ(first->first_msg_id, registry_.modules()[1].first_id);
  EXPECT_EQ(c->call<api::GetFirstMsgIdReply>(api::GetFirstMsgId{.name = "nothing"})->retval, -7);
  // A module of types has no messages, and so no first one.
  EXPECT_EQ(c->call<api::GetFirstMsgIdReply>(api::GetFirstMsgId{.name = "ip_types"})->retval, -7);
  EXPECT_EQ(c->call<api::ApiVersionsReply>(api::ApiVersions{})->api_versions.size(),
            registry_.modules().size());
}

TEST_F(ApiServerTest, TheGraphIsGivenByACursor) {
  start();
  auto c = Client::connect(path_);
  ASSERT_TRUE(c);
  EXPECT_EQ(c->call<api::GetNodeGraphReply>(api::GetNodeGraph{})->retval, -126);
  RawClient raw(path_);
  raw.create();
  uint32_t cursor = ~0u, seen = 0;
  do {
    ASSERT_TRUE(
        raw.send(raw.request(api_table_name(api::NodeGraphGet::kInfo).c_str(), 1, be32(cursor))));
    Bytes m = raw.receive();
    while (number(m, 0, 2) == raw.ids.at(api_table_name(api::NodeGraphDetails::kInfo))) {
      EXPECT_EQ(number(m, 6, 4), seen);
      EXPECT_EQ(reinterpret_cast<const char*>(&m[10]), "node-" + std::to_string(seen));
      EXPECT_EQ(number(m, 74, 4), 2u);
      EXPECT_EQ(number(m, 78, 4), ++seen);
      EXPECT_EQ(number(m, 82, 4), ~0u);
      m = raw.receive();
    }
    EXPECT_EQ(number(m, 0, 2), raw.ids.at(api_table_name(api::NodeGraphGetReply::kInfo)));
    EXPECT_EQ(static_cast<int32_t>(number(m, 6, 4)), seen < 600 ? -165 : 0);
    cursor = number(m, 10, 4);
  } while (cursor != ~0u);
  EXPECT_EQ(seen, 600u);
}

TEST_F(ApiServerTest, ClientRunsCommands) {
  start();
  auto c = Client::connect(path_);
  const auto good = c->cli("json say 5");
  ASSERT_TRUE(good);
  EXPECT_EQ(good->retval, 0);
  EXPECT_EQ(nlohmann::json::parse(good->text), nlohmann::json({{"said", 5}}));
  const auto bad = c->cli("sey hello");
  ASSERT_TRUE(bad);
  EXPECT_EQ(bad->retval, -6);
  EXPECT_EQ(bad->text, "unknown word 'sey' at position 1; did you mean 'say'?\n");
}

// Half of a JSON value is none.
TEST_F(ApiServerTest, AnAnswerThatIsTooLongIsWholeOrAnErrorAsJson) {
  start();
  auto c = Client::connect(path_);
  const auto whole = c->cli("json pour 5000");
  ASSERT_TRUE(whole);
  EXPECT_EQ(whole->retval, 0);
  EXPECT_EQ(nlohmann::json::parse(whole->text)["rows"].size(), 5000u);
  const auto much = c->cli("json pour 10000");
  ASSERT_TRUE(much);
  EXPECT_NE(much->retval, 0);
  EXPECT_LT(much->text.size(), 400u);
  EXPECT_THAT(much->text, testing::HasSubstr("ask for less of it: pour N"));
  ASSERT_EQ(c->cli("say a")->text, "said  a\n") << "the connection goes on";
}

TEST_F(ApiServerTest, AnAnswerThatIsTooLongIsCutBehindALineAsText) {
  start();
  auto c = Client::connect(path_);
  const auto much = c->cli("pour 15000");
  ASSERT_TRUE(much);
  EXPECT_EQ(much->retval, 0);
  EXPECT_LE(much->text.size(), std::size_t{kMaxApiMessage});
  const auto note = much->text.rfind("[cut");
  ASSERT_NE(note, std::string::npos);
  EXPECT_THAT(much->text.substr(note), testing::HasSubstr("ask for less of it: pour N"));
  // The line in front of it is a row, and a whole one: each is as wide as the widest.
  const auto line = much->text.rfind('\n', note - 2) + 1;
  EXPECT_EQ(note - 1 - line, 100u);
}

TEST_F(ApiServerTest, ACommandThatTakesItsTimeHoldsBackOnlyItsClient) {
  start();
  RawClient slow(path_), other(path_);
  slow.create();
  other.create();
  ASSERT_TRUE(slow.send(slow.request("cli_inband_f8377302", 1, be32(6) + text("dawdle", 6)) +
                        slow.request("control_ping_51077d14", 2)));
  wait_until([] { return dawdling.size() == 1; });
  ASSERT_TRUE(other.send(other.request("control_ping_51077d14", 3)));
  EXPECT_EQ(number(other.receive(), 2, 4), 3u);
  on_server([] {
    dawdling[0]->reply().line("done");
    dawdling[0]->finish();
    dawdling.clear();
  });
  const Bytes answer = slow.receive();
  EXPECT_EQ(number(answer, 2, 4), 1u);
  EXPECT_EQ(number(answer, 6, 4), 0u);
  EXPECT_EQ(std::string(answer.end() - 5, answer.end()), "done\n");
  EXPECT_EQ(number(slow.receive(), 2, 4), 2u);
}

TEST_F(ApiServerTest, AClientMayLeaveACommandThatTakesItsTime) {
  start();
  {
    RawClient c(path_);
    c.create();
    ASSERT_TRUE(c.send(c.request("cli_inband_f8377302", 1, be32(6) + text("dawdle", 6))));
    wait_until([] { return dawdling.size() == 1; });
  }
  wait_until([&] { return server_->clients().empty(); });  // its place is free before the answer
  RawClient next(path_);
  next.create();
  on_server([] { dawdling.clear(); });  // given up: that, too, is an answer
  ASSERT_TRUE(next.send(next.request("control_ping_51077d14", 3)));
  EXPECT_EQ(number(next.receive(), 2, 4), 3u);
}

TEST_F(ApiServerTest, WhoHasSaidAllStillGetsTheLateAnswer) {
  start();
  RawClient c(path_);
  c.create();
  ASSERT_TRUE(c.send(c.request("cli_inband_f8377302", 1, be32(6) + text("dawdle", 6))));
  c.shut_down();
  wait_until([] { return dawdling.size() == 1; });
  on_server([] {
    dawdling[0]->finish();
    dawdling.clear();
  });
  EXPECT_EQ(number(c.receive(), 2, 4), 1u);
}

TEST_F(ApiServerTest, ACommandThatThrowsIsAnswered) {
  start();
  RawClient c(path_);
  c.create();
  ASSERT_TRUE(c.send(c.request("cli_inband_f8377302", 1, be32(6) + text("tumble", 6))));
  EXPECT_EQ(number(c.receive(), 6, 4), 0xffffffffu);
}

TEST_F(ApiServerTest, TheDescriptionOfEveryMessageCanBeAskedFor) {
  start();
  auto c = Client::connect(path_);
  const auto reply = c->call<api::GetApiJsonReply>(api::GetApiJson{});
  ASSERT_TRUE(reply);
  const auto json = nlohmann::json::parse(reply->json);
  ASSERT_EQ(json.size(), registry_.modules().size());
  std::size_t n = 0;
  bool has_types = false;  // without which those of fib_path could not be read
  for (const auto& module : json) {
    n += module["messages"].size();
    for (const auto& type : module["types"]) has_types |= type[0] == "fib_path";
  }
  EXPECT_EQ(n, registry_.entries().size());
  EXPECT_TRUE(has_types);
}

TEST_F(ApiServerTest, ClientNoticesThatTheDaemonWentAway) {
  start();
  auto c = Client::connect(path_);
  ASSERT_TRUE(c);
  std::promise<void> closed;
  boost::asio::post(io_, [&] {
    server_->close();
    closed.set_value();
  });
  closed.get_future().get();
  EXPECT_EQ(c->cli("say x").error().code, Status::kClosed);
}

}  // namespace
}  // namespace loom
