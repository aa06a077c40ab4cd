// `api trace` and `show api`: what is kept, saved, refused and answered again.
#include "api/trace.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>

#include "api/cli.h"
#include "api/core_handlers.h"
#include "api/replay.h"
#include "cli/tree.h"
#include "client/client.h"
#include "server_fixture.h"
#include "stream_test.api.h"
#include "vlib.api.h"
#include "vpe.api.h"

namespace loom {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ApiTraceTest : public ServerFixture {
 protected:
  void SetUp() override {
    static HostOps ops{};
    ops.struct_size = sizeof ops;
    ops.add_cli_command = [](Host& h, const CliCommand* c, std::string* message) {
      auto& self = *static_cast<ApiTraceTest*>(h.impl);
      auto added = self.cli_.add(self.commands_.emplace_back(*c));
      if (added) return Status::kOk;
      *message = added.error().message;
      return added.error().code;
    };
    host_.ops = &ops;
    host_.impl = this;
    ASSERT_TRUE(register_api_commands(host_, api_commands_));
    ASSERT_TRUE(add_core_modules(registry_));
    ASSERT_TRUE(registry_.add_module(api::kStreamTestModule));
    add_core_handlers(registry_, {.host = host_,
                                  .cli = cli_,
                                  .version = "1",
                                  .build_date = "",
                                  .uptime_s = [] { return 0.0; },
                                  .find_node = {},
                                  .node = {},
                                  .threads = {},
                                  .log_lines = {}});
    registry_.handle<api::ItemSet, api::ItemSetReply>([this](ApiCall&, const api::ItemSet& m) {
      set_.push_back(m.value);
      return api::ItemSetReply{.retval = m.value == 13 ? kApiInvalidValue : 0, .value = m.value};
    });
    registry_.dump<api::ItemDump, api::ItemDetails>(
        [](const api::ItemDump& m, uint64_t& cursor, api::ItemDetails& d) {
          if (cursor == m.count) return ApiStep::kEnd;
          d.index = static_cast<uint32_t>(cursor++);
          return ApiStep::kItem;
        });
    registry_.events<api::WantItemEvents, api::WantItemEventsReply>();
    registry_.handle<api::ItemLock, api::ItemLockReply>([this](ApiCall&, const api::ItemLock& m) {
      locked_ = m;
      return api::ItemLockReply{};
    });
    registry_.handle<api::ItemKey, api::ItemKeyReply>([this](ApiCall&, const api::ItemKey& m) {
      key_ = m;
      return api::ItemKeyReply{};
    });
    start();
  }
  CliOutcome run(const std::string& line) {
    return on_server([&] { return cli_.run(host_, line); });
  }
  void set(Client& c, uint32_t value) {
    ASSERT_TRUE(
        c.call<api::ItemSetReply>(api::ItemSet{.client_index = 0, .context = 0, .value = value}));
  }
  std::string write(const std::string& text) {
    std::ofstream(file_) << text;
    return file_;
  }
  void TearDown() override {
    ::unlink(file_.c_str());
    ServerFixture::TearDown();
  }

  CliTree cli_;
  Host host_;
  std::deque<CliCommand> commands_;
  ApiCommands api_commands_{server_, registry_};
  std::vector<uint32_t> set_;
  api::ItemLock locked_;
  api::ItemKey key_;
  std::string file_ = dir_ + "/trace";
};

TEST_F(ApiTraceTest, RequestsAreKeptWhileItIsOn) {
  auto c = Client::connect(path_);
  ASSERT_TRUE(c);
  set(*c, 1);
  EXPECT_EQ(run("api trace on 2").status, Status::kOk);
  set(*c, 2);
  set(*c, 3);
  set(*c, 0x44);
  EXPECT_EQ(run("api trace off").status, Status::kOk);
  set(*c, 5);
  const std::string shown = run("show api trace").text;
  EXPECT_THAT(shown, HasSubstr("tracing  off"));
  EXPECT_THAT(shown, HasSubstr("dropped  1"));
  EXPECT_THAT(shown, HasSubstr("00000044"));
  const auto n = on_server([&] { return server_->trace().records().size(); });
  EXPECT_EQ(n, 2u);
}

TEST_F(ApiTraceTest, ASavedTraceIsAnsweredAgain) {
  ASSERT_EQ(run("api trace on").status, Status::kOk);
  {
    auto c = Client::connect(path_);  // sockclnt_create is not traced
    ASSERT_TRUE(c);
    set(*c, 7);
    set(*c, 13);
    ASSERT_TRUE(c->dump<api::ItemDetails>(
        api::ItemDump{.client_index = 0, .context = 0, .count = 3, .every = 0}));
    ASSERT_TRUE(c->call<api::WantItemEventsReply>(
        api::WantItemEvents{.client_index = 0, .context = 0, .enable = true, .pid = 1}));
  }
  wait_until([&] { return server_->clients().empty(); });
  write("anybody may read this");
  ::chmod(file_.c_str(), 0644);
  const CliOutcome saved = run("api trace save " + file_);
  EXPECT_EQ(saved.status, Status::kOk) << saved.text;
  struct stat s {};
  ASSERT_EQ(::stat(file_.c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 0777, 0600u);
  set_.clear();
  const CliOutcome replayed = run("json api trace replay " + file_);
  EXPECT_EQ(replayed.status, Status::kOk) << replayed.text;
  EXPECT_EQ(set_, (std::vector<uint32_t>{7, 13}));
  const auto records = load_api_trace(file_);
  ASSERT_TRUE(records);
  const auto r = on_server([&] { return replay_api_trace(registry_, *records); });
  EXPECT_EQ(r.requests, 5u);  // 7, 13, the dump and its ping, want
  EXPECT_EQ(r.failed, 1u);
  EXPECT_EQ(r.unknown + r.malformed, 0u);
  EXPECT_EQ(r.answers, 2u + 3 + 1 + 1);
  EXPECT_EQ(on_server([&] {
              return registry_.subscriptions().each(api::WantItemEvents::kInfo, nullptr, nullptr);
            }),
            0u);
}

TEST_F(ApiTraceTest, AFileIsChecked) {
  const auto refused = [&](const std::string& text) {
    return run("api trace replay " + write(text)).text;
  };
  const std::string head = "hostloom api trace 1\n";
  EXPECT_THAT(refused("something\n"), HasSubstr(":1: does not start with"));
  EXPECT_THAT(refused(head + "0.1 1\n"), HasSubstr(":2: not 'SECONDS CLIENT MESSAGE HEX'"));
  EXPECT_THAT(refused(head + "\n0.1 1 m_00000000 abc\n"), HasSubstr(":3: what follows"));
  EXPECT_THAT(refused(head + "0.1 1 m_00000000 0g\n"), HasSubstr(":2: what follows"));
  EXPECT_THAT(refused(head + "0.1 1 m_00000000 00 00\n"), HasSubstr(":2: what follows"));
  EXPECT_THAT(run("api trace replay /none").text, HasSubstr("No such file"));
  EXPECT_THAT(run("api trace replay /dev/zero").text, HasSubstr("not a file"));
  EXPECT_THAT(run("api trace save /none/x").text, HasSubstr("No such file"));
}

TEST_F(ApiTraceTest, AReplayMeetsWhatThisRunDoesNotKnow) {
  const std::string set_name = api_table_name(api::ItemSet::kInfo);
  const std::string cli_name = api_table_name(api::CliInband::kInfo);
  const std::string again = "api trace replay " + file_;
  const auto body =
      be32(1) + be32(2) + be32(static_cast<uint32_t>(again.size())) + text(again, again.size());
  write("hostloom api trace 1\n0.1 1 gone_00000000 00\n0.2 1 sockclnt_delete_8ac76db6 00\n0.3 1 " +
        set_name + " 0000\n0.4 1 " + cli_name + " " + to_hex(std::as_bytes(std::span(body))) +
        "\n");
  const auto records = load_api_trace(file_);
  ASSERT_TRUE(records);
  on_server([&] { api_commands_.is_replaying = true; });
  const auto r = on_server([&] { return replay_api_trace(registry_, *records); });
  EXPECT_EQ(r.requests, 4u);
  EXPECT_EQ(r.unknown, 2u);
  EXPECT_EQ(r.malformed, 1u);
  EXPECT_EQ(r.failed, 1u);  // a replay does not replay
}

TEST_F(ApiTraceTest, SecretsAreKeptAsZeros) {
  ASSERT_EQ(run("api trace on").status, Status::kOk);
  auto c = Client::connect(path_);
  ASSERT_TRUE(c);
  ASSERT_TRUE(c->call<api::ItemLockReply>(
      api::ItemLock{.index = 0x11111111, .word = "abcdefg", .code = ~0ull, .value = 0x22222222}));
  ASSERT_TRUE(c->call<api::ItemKeyReply>(api::ItemKey{.key = {'k', 'e', 'y'}, .text = "phrase"}));
  EXPECT_EQ(locked_.word, "abcdefg");
  EXPECT_EQ(locked_.code, ~0ull);
  EXPECT_EQ(key_.key, (std::vector<uint8_t>{'k', 'e', 'y'}));
  EXPECT_EQ(key_.text, "phrase");
  const auto kept = on_server([&] {
    std::vector<std::string> bodies;
    for (const ApiTraceRecord& r : server_->trace().records())
      bodies.push_back(to_hex(std::span(r.body).subspan(8)));
    return bodies;
  });
  ASSERT_EQ(kept.size(), 2u);
  EXPECT_EQ(kept[0], "11111111" + std::string(32, '0') + "22222222");
  EXPECT_EQ(kept[1], "00000003" + std::string(2 * (3 + 4 + 6), '0'));
}

TEST_F(ApiTraceTest, BytesAreBounded) {
  ApiTrace trace;
  trace.start(ApiTrace::kMostRecords);
  const std::vector<std::byte> large(1u << 20);
  for (int i = 0; i < 40; ++i) trace.add(1, api::ItemSet::kInfo, large);
  EXPECT_EQ(trace.records().size(), ApiTrace::kMostBytes / large.size());
  EXPECT_EQ(trace.n_dropped(), 40 - trace.records().size());
}

TEST_F(ApiTraceTest, MessagesAndClientsAreShown) {
  auto c = Client::connect(path_, {.name = "shown"});
  ASSERT_TRUE(c);
  EXPECT_THAT(run("show api clients").text, HasSubstr("shown"));
  EXPECT_THAT(run("show api").text, HasSubstr("slow-readers"));
  const std::string all = run("show api messages").text;
  EXPECT_THAT(all, HasSubstr("sockclnt_create"));
  EXPECT_THAT(all, HasSubstr("item_set"));
  const std::string one = run("show api messages vpe").text;
  EXPECT_THAT(one, HasSubstr("show_version"));
  EXPECT_THAT(one, Not(HasSubstr("item_set")));
  EXPECT_THAT(run("show api messages none").text, HasSubstr("no module 'none'"));
}

}  // namespace
}  // namespace loom
