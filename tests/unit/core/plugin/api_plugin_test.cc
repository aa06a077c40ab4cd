// Messages of plugins: real shared objects, loaded at run time in front of the API's server.
#include <gmock/gmock.h>

#include "api/core_handlers.h"
#include "api_plugin.api.h"
#include "cli/tree.h"
#include "client/client.h"
#include "config/stanza_registry.h"
#include "graph/engine.h"
#include "net/net.h"
#include "plugin.api.h"
#include "plugin/api.h"
#include "plugin/host_impl.h"
#include "server_fixture.h"
#include "stats/stats_registry.h"
#include "transport/registry.h"
#include "vpe.api.h"

namespace loom {
namespace {

using ::testing::HasSubstr;

class ApiPlugins : public ServerFixture {
 protected:
  void SetUp() override {
    EngineConfig config;
    config.buffers.buffers_per_numa = 1024;
    engine_ = std::move(Engine::create(config).value());
    net_ = std::move(Net::create(*engine_).value());
    host_ = std::make_unique<HostImpl>(HostImpl::Parts{*engine_, *net_, transports_, congestion_,
                                                       cli_, stanzas_, registry_, stats_});
    plugins_ = std::make_unique<PluginLoader>(host_->host(), host_->plugin_hooks());
    ASSERT_TRUE(add_core_modules(registry_));
    add_core_handlers(registry_, {.host = host_->host(),
                                  .cli = cli_,
                                  .version = "9",
                                  .build_date = "",
                                  .uptime_s = [] { return 0.0; },
                                  .find_node = {},
                                  .node = {},
                                  .threads = {},
                                  .log_lines = {}});
    ASSERT_TRUE(add_plugin_api(registry_, *plugins_));
    n_core_messages_ = registry_.entries().size();
    start();
  }
  Result<std::string> load(const std::string& name) {
    return on_server([&] { return plugins_->load_one(API_PLUGIN_DIR "/" + name + ".so"); });
  }
  Result<Client> connect() { return Client::connect(path_); }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Net> net_;
  TransportRegistry transports_;
  CcRegistry congestion_;
  CliTree cli_;
  StanzaRegistry stanzas_;
  StatsRegistry stats_;
  std::unique_ptr<HostImpl> host_;
  std::unique_ptr<PluginLoader> plugins_;
  std::size_t n_core_messages_ = 0;
};

TEST_F(ApiPlugins, APluginsMessagesAreThereForWhoConnectsLater) {
  auto early = connect();
  ASSERT_TRUE(early);
  EXPECT_FALSE(early->knows(api::MemoSet::kInfo));
  const auto loaded = load("memo");
  ASSERT_TRUE(loaded) << loaded.error().message;
  auto c = connect();
  ASSERT_TRUE(c);
  EXPECT_TRUE(c->knows(api::MemoSet::kInfo));
  for (uint32_t i = 5; i < 8; ++i)
    EXPECT_EQ(c->call<api::MemoSetReply>(
                   api::MemoSet{.client_index = 0, .context = 0, .index = i, .text = "t"})
                  ->retval,
              0);
  const auto all = c->dump<api::MemoDetails>(api::MemoDump{});
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 3u);
  EXPECT_EQ((*all)[2].index, 7u);
  EXPECT_EQ((*all)[2].text, "t");
  // The early one goes on with what it knew.
  EXPECT_EQ(early->call<api::ShowVersionReply>(api::ShowVersion{})->version, "9");
}

TEST_F(ApiPlugins, HandlersRefuseAndMayThrow) {
  ASSERT_TRUE(load("memo"));
  auto c = connect();
  ASSERT_TRUE(c);
  const auto retval = [&](uint32_t index, std::string text) {
    return c
        ->call<api::MemoSetReply>(
            api::MemoSet{.client_index = 0, .context = 0, .index = index, .text = std::move(text)})
        ->retval;
  };
  EXPECT_EQ(retval(100, "x"), kApiInvalidValue);
  EXPECT_EQ(retval(1, ""), kApiUnspecified);
  EXPECT_EQ(retval(1, "x"), 0);
}

TEST_F(ApiPlugins, EventsOfAPlugin) {
  ASSERT_TRUE(load("memo"));
  RawClient listener(path_);
  listener.create();
  ASSERT_TRUE(listener.send(listener.request(api_table_name(api::WantMemoEvents::kInfo).c_str(), 1,
                                             be32(1) + be32(4711))));
  EXPECT_EQ(number(listener.receive(), 2, 4), 1u);
  EXPECT_EQ(on_server([&] { return host_->host().api().n_subscribers<api::WantMemoEvents>(); }),
            1u);
  auto c = connect();
  ASSERT_TRUE(c->call<api::MemoSetReply>(
      api::MemoSet{.client_index = 0, .context = 0, .index = 42, .text = "x"}));
  const Bytes event = listener.receive();
  EXPECT_EQ(number(event, 0, 2), listener.ids.at(api_table_name(api::MemoEvent::kInfo)));
  EXPECT_EQ(number(event, 2, 4), listener.client_index);
  EXPECT_EQ(number(event, 6, 4), 4711u);
  EXPECT_EQ(number(event, 10, 4), 42u);
}

TEST_F(ApiPlugins, ARefusedPluginLeavesNoMessageBehind) {
  EXPECT_THAT(load("memo_init_fails").error().message, HasSubstr("no paper left"));
  EXPECT_THAT(load("memo_registers_twice").error().message,
              HasSubstr("API module 'api_plugin' is there already"));
  EXPECT_THAT(load("memo_answers_twice").error().message,
              HasSubstr("API message 'memo_set' has a handler already"));
  EXPECT_THAT(
      load("memo_steals_a_message").error().message,
      HasSubstr("API message 'show_version' is in module 'vpe', which is not this plugin's"));
  auto c = connect();
  ASSERT_TRUE(c);
  EXPECT_FALSE(c->knows(api::MemoSet::kInfo));
  EXPECT_EQ(c->call<api::ShowVersionReply>(api::ShowVersion{})->version, "9");
  // Their numbers are nobody's.
  RawClient raw(path_);
  raw.create();
  EXPECT_EQ(raw.ids.size(), n_core_messages_);
  const auto before = counters().unknown;
  const auto first = static_cast<unsigned>(kFirstMessageId + n_core_messages_);
  const auto last = static_cast<unsigned>(kFirstMessageId + registry_.entries().size());
  EXPECT_GT(last, first);
  for (unsigned id = first; id < last; ++id)
    ASSERT_TRUE(raw.send(frame(be16(id) + be32(0) + be32(1) + Bytes(20))));
  ASSERT_TRUE(raw.send(raw.request("control_ping_51077d14", 8)));
  EXPECT_EQ(number(raw.receive(), 2, 4), 8u);
  EXPECT_EQ(counters().unknown - before, last - first);
  // And their names are free.
  ASSERT_TRUE(load("memo"));
  EXPECT_TRUE(connect()->knows(api::MemoSet::kInfo));
}

TEST_F(ApiPlugins, AModuleThatAnotherPluginHasIsRefused) {
  ASSERT_TRUE(load("memo"));
  EXPECT_THAT(load("memo_again").error().message,
              HasSubstr("API module 'api_plugin' is there already"));
  auto c = connect();
  EXPECT_EQ(c->call<api::MemoSetReply>(
                 api::MemoSet{.client_index = 0, .context = 0, .index = 1, .text = "t"})
                ->retval,
            0);
}

TEST_F(ApiPlugins, LoadedAndListedOverTheApi) {
  auto c = connect();
  ASSERT_TRUE(c);
  const auto load_over_api = [&](std::string what) {
    return c->call<api::PluginLoadReply>(api::PluginLoad{.plugin = std::move(what)}).value();
  };
  const std::string folder = API_PLUGIN_DIR "/";
  auto reply = load_over_api(folder + "memo_init_fails.so");
  EXPECT_EQ(reply.retval, -144);
  EXPECT_THAT(reply.reason, HasSubstr("no paper left"));
  EXPECT_EQ(reply.name, "");
  reply = load_over_api(folder + "memo.so");
  EXPECT_EQ(reply.retval, 0);
  EXPECT_EQ(reply.name, "memo");
  EXPECT_EQ(reply.reason, "");
  reply = load_over_api(folder + "memo.so");
  EXPECT_EQ(reply.retval, -81);
  EXPECT_THAT(reply.reason, HasSubstr("was loaded before"));
  reply = load_over_api("nowhere");
  EXPECT_EQ(reply.retval, -6);
  EXPECT_THAT(reply.reason, HasSubstr("'nowhere'"));
  EXPECT_EQ(load_over_api(folder + "nowhere.so").retval, -144);

  const auto all = c->dump<api::PluginDetails>(api::PluginDump{});
  ASSERT_TRUE(all);
  ASSERT_EQ(all->size(), 3u);
  const auto& memo = (*all)[1];
  EXPECT_EQ(memo.name, "memo");
  EXPECT_EQ(memo.path, folder + "memo.so");
  EXPECT_EQ(memo.abi_major << 16 | memo.abi_minor, kPluginAbi);
  EXPECT_EQ(memo.reason, "");
  EXPECT_EQ((*all)[0].name, "memo_init_fails");
  EXPECT_EQ((*all)[0].state, api::PluginState::kPluginApiStateRefused);
  EXPECT_THAT((*all)[0].reason, HasSubstr("no paper left"));
  EXPECT_EQ((*all)[2].name, "");
  EXPECT_THAT((*all)[2].reason, HasSubstr("No such file"));
  const auto one = c->dump<api::PluginDetails>(api::PluginDump{.name = "memo"});
  ASSERT_TRUE(one);
  EXPECT_EQ(one->size(), 1u);
}

TEST_F(ApiPlugins, NamesThatAreNoneAreRefusedBeforeTheyReachAFile) {
  auto c = connect();
  ASSERT_TRUE(c);
  const std::string file = API_PLUGIN_DIR "/memo.so";
  for (const std::string& name :
       {std::string(), std::string(1, '\0'), file + std::string(1, '\0') + "x",
        std::string("line\nend"), std::string(100'000, '/')}) {
    const auto reply = c->call<api::PluginLoadReply>(api::PluginLoad{.plugin = name});
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->retval, kApiInvalidValue) << name.substr(0, 80);
    EXPECT_NE(reply->reason, "");
  }
  EXPECT_TRUE(on_server([&] { return plugins_->list().empty(); }));
}

TEST_F(ApiPlugins, AskingForWhatIsNotThereCostsNoMemory) {
  on_server([&] {
    for (std::size_t i = 0; i < PluginLoader::kMaxRows + 50; ++i)
      EXPECT_FALSE(plugins_->load_one("/nowhere/" + std::to_string(i) + ".so"));
    EXPECT_EQ(plugins_->list().size(), PluginLoader::kMaxRows);
  });
  EXPECT_TRUE(load("memo"));
  EXPECT_EQ(on_server([&] { return plugins_->list().size(); }), PluginLoader::kMaxRows + 1);
}

}  // namespace
}  // namespace loom
