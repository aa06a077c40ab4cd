// HostImpl in front of the real core: what plugins register is found, what a refused plugin
// registered is taken back, and the tap plugin, loaded from its file, answers the kernel's ping.
#include "plugin/host_impl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/icmp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <stdexcept>

#include "api/registry.h"
#include "cli/tree.h"
#include "config/parser.h"
#include "config/stanza_registry.h"
#include "graph/engine.h"
#include "net/net.h"
#include "session/session_layer.h"
#include "stats/stats_registry.h"
#include "transport/registry.h"

namespace loom {
namespace {

using ::testing::HasSubstr;

template <class T>
T must(Result<T> r) {
  if (!r) throw std::runtime_error(r.error().message);
  return std::move(*r);
}

class HostImplTest : public ::testing::Test {
 protected:
  HostImplTest() {
    EngineConfig config;
    config.buffers.buffers_per_numa = 4096;
    engine_ = must(Engine::create(config));
    net_ = must(Net::create(*engine_));
    host_ = std::make_unique<HostImpl>(HostImpl::Parts{*engine_, *net_, transports_, congestion_,
                                                       cli_, stanzas_, messages_, stats_});
    host_->log = [this](LogLevel, const char* who, const char* text) {
      log_.push_back(std::string(who) + ": " + text);
    };
  }
  Host& host() { return host_->host(); }
  std::string run(const std::string& line) { return cli_.run(host(), line).text; }

  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Net> net_;
  TransportRegistry transports_;
  CcRegistry congestion_;
  CliTree cli_;
  StanzaRegistry stanzas_;
  ApiRegistry messages_;
  StatsRegistry stats_;
  std::unique_ptr<HostImpl> host_;
  std::vector<std::string> log_;
};

Result<void> answer(Host&, void* context, CliArgs&, CliReply& reply) {
  reply.line(static_cast<const char*>(context));
  return {};
}
char hello[] = "hello";
const CliCommand kCommand{
    .path = "say hello", .syntax = "", .help = "Says hello.", .context = hello, .run = answer};
int applied = 0;
const ConfigStanza kStanza{.name = "hello",
                           .help = "",
                           .context = &applied,
                           .apply = [](void* n, const ConfigNode&) -> Result<void> {
                             ++*static_cast<int*>(n);
                             return {};
                           }};
constexpr StatInfo kStats[] = {{"greetings", StatKind::kCounter}};
const StatSet kStatSet{
    .prefix = "/sys/hello",
    .stats = kStats,
    .read = [](void*, uint32_t, std::span<uint64_t> out) noexcept { out[0] = 1; }};
const NodeInfo kNode{
    .name = "hello-node",
    .run = [](Worker& w, NodeRuntime&, std::span<Buffer* const> in) noexcept { w.free(in); }};

CcOps controller() {
  CcOps cc;
  cc.name = "hello";
  cc.on_ack = [](CcState&, const AckSample&) noexcept {};
  cc.on_congestion = [](CcState&, const LossSample&) noexcept {};
  return cc;
}

TransportOps transport() {
  TransportOps t;
  t.name = "hello";
  t.proto = 77;
  t.tx_kind = TxKind::kInternal;
  t.connect = [](Worker&, SessionId, Endpoints&, const SocketOptionsView&, ConnId*) noexcept {
    return Status::kOk;
  };
  t.tx_ready = [](Worker&, ConnId, uint32_t) noexcept {};
  t.close = [](Worker&, ConnId, bool) noexcept {};
  t.abort = [](Worker&, ConnId) noexcept {};
  return t;
}

TEST_F(HostImplTest, WhatIsRegisteredIsFound) {
  ASSERT_TRUE(host().add_cli_command(kCommand));
  EXPECT_EQ(run("say hello"), "hello\n");
  ASSERT_TRUE(host().add_config_stanza(kStanza));
  applied = 0;
  ASSERT_TRUE(stanzas_.apply(must(parse_config("hello { x 1 }", "a.conf"))));
  EXPECT_EQ(applied, 1);
  ASSERT_TRUE(host().add_congestion_control(controller()));
  EXPECT_STREQ(host().find_congestion_control("hello")->name, "hello");
  EXPECT_EQ(host().find_congestion_control("cubic"), nullptr);
  const auto id = host().add_transport(transport());
  ASSERT_TRUE(id);
  EXPECT_EQ(transports_.find_proto(77), *id);
  const auto node = host().add_node(kNode);
  ASSERT_TRUE(node);
  EXPECT_EQ(host().find_node("hello-node"), *node);
  ASSERT_TRUE(host().add_stats(kStatSet));
  ASSERT_EQ(stats_.sets().size(), 1u);
  EXPECT_STREQ(stats_.sets()[0].set.prefix, "/sys/hello");
  EXPECT_EQ(host().n_workers(), 1u);
  host().log(LogLevel::kInfo, "me", "text");
  EXPECT_EQ(log_.back(), "me: text");
}

TEST_F(HostImplTest, RefusalsNameTheRefusedThing) {
  ASSERT_TRUE(host().add_cli_command(kCommand));
  EXPECT_THAT(host().add_cli_command(kCommand).error().message, HasSubstr("say hello"));
  ASSERT_TRUE(host().add_config_stanza(kStanza));
  EXPECT_THAT(host().add_config_stanza(kStanza).error().message, HasSubstr("hello"));
  ASSERT_TRUE(host().add_node(kNode));
  EXPECT_THAT(host().add_node(kNode).error().message, HasSubstr("hello-node"));
  EXPECT_THAT(host().add_feature({.arc = "ip4-unicast", .node = "nobody"}).error().message,
              HasSubstr("'nobody' of arc 'ip4-unicast' names a node that does not exist"));
  EXPECT_THAT(host().add_feature({.arc = "ip4-unicast"}).error().message,
              HasSubstr("lacks a name"));
  EXPECT_FALSE(host().add_ip_protocol(99, false, "nobody"));
  ASSERT_TRUE(host().add_stats(kStatSet));
  EXPECT_THAT(host().add_stats(kStatSet).error().message, HasSubstr("/sys/hello"));
  CliCommand short_table = kCommand;
  short_table.struct_size = 8;
  EXPECT_THAT(host().add_cli_command(short_table).error().message, HasSubstr("8 bytes"));
  InterfaceConfig no_driver;
  no_driver.name = "x0";
  EXPECT_THAT(host().add_interface(no_driver).error().message, HasSubstr("'x0' has no driver"));
}

TEST_F(HostImplTest, ApplicationsOfARefusedPluginEnd) {
  AppOps ops;
  ops.name = "app";
  EXPECT_EQ(host().add_application(ops).error().message, "this host has no sessions");
  SessionLayer sessions({}, *engine_, transports_);
  ASSERT_TRUE(sessions.build());
  HostImpl with(
      {*engine_, *net_, transports_, congestion_, cli_, stanzas_, messages_, stats_, &sessions});
  const PluginHooks hooks = with.plugin_hooks();
  hooks.set_owner("bad");
  ASSERT_TRUE(with.host().add_application(ops));
  hooks.set_owner("");
  EXPECT_EQ(with.host().add_application(ops).error().code, Status::kExists);
  hooks.retract("bad");
  const auto again = with.host().add_application(ops);
  ASSERT_TRUE(again);
  AppEndpoint nowhere;
  EXPECT_THAT(with.host().app_listen(*again, nowhere, nullptr).error().message,
              HasSubstr("no transport 'tcp'"));
  EXPECT_EQ(with.host().app_unlisten(*again, 1), Status::kNotFound);
  with.host().remove_application(*again);
  with.host().remove_application(*again);  // nothing
}

TEST_F(HostImplTest, NothingOfARefusedPluginRuns) {
  const PluginHooks hooks = host_->plugin_hooks();
  ASSERT_TRUE(host().add_transport([] {
    TransportOps t = transport();
    t.name = "core's own";
    t.proto = 1;
    return t;
  }()));
  hooks.set_owner("bad");
  ASSERT_TRUE(host().add_cli_command(kCommand));
  ASSERT_TRUE(host().add_config_stanza(kStanza));
  ASSERT_TRUE(host().add_congestion_control(controller()));
  ASSERT_TRUE(host().add_stats(kStatSet));
  ASSERT_TRUE(host().add_transport(transport()));
  ASSERT_TRUE(host().add_node(kNode));
  ASSERT_TRUE(host().add_feature({.arc = "ip4-unicast", .node = "hello-node"}));
  ASSERT_TRUE(engine_->build());
  const IfIndex loop = must(net_->create_loopback());
  ASSERT_TRUE(host().enable_feature("ip4-unicast", "hello-node", loop, true));
  ASSERT_EQ(engine_->features().enabled().size(), 1u);
  hooks.set_owner("");
  hooks.retract("bad");

  EXPECT_THAT(run("say hello"), HasSubstr("belongs to plugin 'bad', which was refused"));
  applied = 0;
  EXPECT_THAT(stanzas_.apply(must(parse_config("hello { x 1 }", "a.conf"))).error().message,
              HasSubstr("a.conf:1: stanza 'hello' belongs to plugin 'bad', which was refused"));
  EXPECT_EQ(applied, 0);
  EXPECT_EQ(host().find_congestion_control("hello"), nullptr);
  EXPECT_TRUE(stats_.sets().empty());
  EXPECT_EQ(transports_.find_proto(77), kNoTransport);
  EXPECT_NE(transports_.find_proto(1), kNoTransport);
  EXPECT_TRUE(engine_->features().enabled().empty());
}

TEST_F(HostImplTest, NodesOfARefusedPluginAreNotCalled) {
  static int inputs = 0, packets = 0;
  static const NodeInfo input{
      .name = "bad-input",
      .run = [](Worker&, NodeRuntime&, std::span<Buffer* const>) noexcept { ++inputs; },
      .kind = NodeKind::kInput};
  static const NodeInfo inner{
      .name = "bad-inner",
      .run = [](Worker& w, NodeRuntime&, std::span<Buffer* const> in) noexcept {
        ++packets;
        w.free(in);
      }};
  const PluginHooks hooks = host_->plugin_hooks();
  hooks.set_owner("bad");
  ASSERT_TRUE(host().add_node(input));
  ASSERT_TRUE(host().add_node(inner));
  hooks.set_owner("");
  ASSERT_TRUE(engine_->build());
  engine_->step();
  ASSERT_EQ(inputs, 1);
  hooks.retract("bad");
  Worker& w = engine_->worker(0);
  w.enqueue_to_node(engine_->find_node("bad-inner"), w.alloc());
  engine_->step();
  EXPECT_EQ(inputs, 1);
  EXPECT_EQ(packets, 0);
  EXPECT_EQ(w.node_runtime(engine_->drop_node()).counters[0], 1u);
}

TEST_F(HostImplTest, WhatAPluginThrowsIsAnAnswerAndNotTheEnd) {
  static const CliCommand command{.path = "say no",
                                  .run = [](Host&, void*, CliArgs&, CliReply&) -> Result<void> {
                                    throw std::runtime_error("no");
                                  }};
  ASSERT_TRUE(host().add_cli_command(command));
  EXPECT_EQ(run("say no"), "command 'say no' threw an exception: no\n");
  static const ConfigStanza stanza{
      .name = "no",
      .apply = [](void*, const ConfigNode&) -> Result<void> { throw std::runtime_error("no"); }};
  ASSERT_TRUE(host().add_config_stanza(stanza));
  EXPECT_EQ(stanzas_.apply(must(parse_config("no { x 1 }", "a.conf"))).error().message,
            "a.conf:1: stanza 'no' threw an exception: no");
  std::function<void()> readable;
  host_->watch_fd = [&](int, std::function<void()> fn) {
    readable = std::move(fn);
    return uint64_t{1};
  };
  host().watch_fd(
      0, [](void*) { throw 1; }, nullptr);
  readable();
  EXPECT_EQ(log_.back(),
            "plugins: a watched fd's function threw something that is no std::exception");
}

TEST_F(HostImplTest, WorkersSurviveAPluginThatThrowsOnThem) {
  ASSERT_TRUE(engine_->build());
  ASSERT_TRUE(engine_->start());
  EXPECT_THROW(host().run_on_worker(0, [](Worker&) { throw std::runtime_error("no"); }),
               std::runtime_error);
  EXPECT_THROW(host().with_barrier([] { throw std::runtime_error("no"); }), std::runtime_error);
  bool ran = false;
  host().run_on_worker(0, [&](Worker&) { ran = true; });  // hangs if the worker still stands still
  EXPECT_TRUE(ran);
  engine_->stop();
}

TEST_F(HostImplTest, AControllerIsReplacedOnlyWhileWorkersRun) {
  const PluginHooks hooks = host_->plugin_hooks();
  hooks.set_owner("cc-one");
  ASSERT_TRUE(host().add_congestion_control(controller()));
  const CcOps* one = host().find_congestion_control("hello");
  hooks.set_owner("cc-two");
  EXPECT_THAT(host().add_congestion_control(controller()).error().message,
              HasSubstr("already registered"));
  ASSERT_TRUE(engine_->build());
  ASSERT_TRUE(engine_->start());
  ASSERT_TRUE(host().add_congestion_control(controller()));
  EXPECT_NE(host().find_congestion_control("hello"), one);
  hooks.set_owner("");
  hooks.retract("cc-two");
  EXPECT_EQ(host().find_congestion_control("hello"), one);
  engine_->stop();
}

// A driver that provides memory, or does not.
struct Provider {
  std::vector<std::byte> bytes;
  bool is_willing = true;
  std::size_t lacks = 0;  // bytes, of what it lends
  const BufferPool* replaces = nullptr;
  static Status provide(void* context, uint32_t pool, std::size_t size, int,
                        std::span<std::byte>* out, uint64_t* page_size, std::string* message) {
    auto& self = *static_cast<Provider*>(context);
    EXPECT_EQ(pool, 0u);
    EXPECT_TRUE(self.replaces->memory().bytes().empty());  // huge pages are there once only
    if (!self.is_willing) {
      *message = "no memory today";
      return Status::kNoMemory;
    }
    self.bytes.resize(size + kCacheLine);
    const auto at = reinterpret_cast<uintptr_t>(self.bytes.data());
    *out = std::span(self.bytes)
               .subspan((kCacheLine - at % kCacheLine) % kCacheLine, size - self.lacks);
    *page_size = 4096;
    return Status::kOk;
  }
};

TEST_F(HostImplTest, OneDriverPlacesTheBuffersBeforeAnyIsUsed) {
  static Provider provider;  // its memory is there for longer than the engine
  provider.replaces = engine_->buffer_pools().at(0);
  BufferPlacement wanted{.front = 192, .context = &provider, .provide = Provider::provide};
  const auto refusal = [&] {
    const auto r = host().place_buffers(wanted);
    return r ? Error{Status::kOk, ""} : r.error();
  };
  BufferPoolInfo before, after;
  ASSERT_EQ(host().buffer_pool(0, before), Status::kOk);
  EXPECT_EQ(host().buffer_pool(1, after), Status::kNotFound);
  provider.is_willing = false;
  EXPECT_EQ(refusal().message, "no memory today");
  provider.is_willing = true;
  Buffer* b = nullptr;
  ASSERT_EQ(host().take_buffers(0, {&b, 1}), 1u);
  EXPECT_EQ(refusal().code, Status::kInUse);
  host().give_buffers(0, {&b, 1});
  provider.bytes.clear();
  for (const uint32_t front : {100u, kMostBufferFront + uint32_t{kCacheLine}}) {
    wanted.front = front;
    EXPECT_EQ(refusal().code, Status::kInvalid);
    EXPECT_TRUE(provider.bytes.empty());  // not even asked for memory
  }
  wanted.front = 192;
  provider.lacks = kCacheLine;
  EXPECT_EQ(refusal().code, Status::kInvalid);
  provider.lacks = 0;
  wanted.struct_size = offsetof(BufferPlacement, provide);
  EXPECT_EQ(refusal().code, Status::kInvalid);
  wanted.struct_size = sizeof wanted + 64;  // of a plugin that knows more: what we know counts
  ASSERT_EQ(host().buffer_pool(0, after), Status::kOk);
  EXPECT_EQ(after.memory.size(), before.memory.size());  // as they were
  EXPECT_EQ(after.front, 0u);
  std::vector<Buffer*> all(after.n_buffers);
  ASSERT_EQ(host().take_buffers(0, all), after.n_buffers);
  host().give_buffers(0, all);
  wanted.front = 192;
  EXPECT_EQ(refusal().code, Status::kOk);
  ASSERT_EQ(host().buffer_pool(0, after), Status::kOk);
  EXPECT_EQ(after.front, 192u);
  EXPECT_EQ(after.n_buffers, before.n_buffers);
  EXPECT_EQ(after.stride, before.stride + 192);
  ASSERT_EQ(host().take_buffers(0, {&b, 1}), 1u);
  EXPECT_GE(reinterpret_cast<std::byte*>(b) - 192, provider.bytes.data());
  EXPECT_LT(reinterpret_cast<std::byte*>(b), provider.bytes.data() + provider.bytes.size());
  host().give_buffers(0, {&b, 1});
  EXPECT_EQ(refusal().code, Status::kExists);
}

TEST_F(HostImplTest, BuffersStayWhileWorkersRun) {
  ASSERT_TRUE(engine_->build());
  ASSERT_TRUE(engine_->start());
  EXPECT_EQ(host().place_buffers({.front = 64}).error().code, Status::kInUse);
  engine_->stop();
  EXPECT_TRUE(host().place_buffers({.front = 64}));  // in the core's own memory
}

TEST_F(HostImplTest, TheTapPluginAnswersTheKernelsPing) {
  if (access("/dev/net/tun", R_OK | W_OK) != 0)
    GTEST_SKIP() << "/dev/net/tun is absent or may not be opened";
  const uid_t uid = getuid();
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0)
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
  else
    ASSERT_EQ(unshare(CLONE_NEWNET), 0) << strerror(errno);

  PluginLoader loader(host(), host_->plugin_hooks());
  ASSERT_EQ(must(loader.load_one(TAP_PLUGIN)), "tap");
  ASSERT_TRUE(engine_->build());
  ASSERT_TRUE(loader.start_all());
  ASSERT_EQ(run("create tap id 0 host-if-name loomtap host-ip4-addr 10.88.0.1/24"), "tap0\n");
  const IfIndex tap = net_->find_interface("tap0");
  ASSERT_TRUE(net_->add_address(tap, *IpPrefix::parse("10.88.0.2/24")));
  ASSERT_TRUE(net_->set_admin(tap, true));

  const int fd = socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP);
  ASSERT_GE(fd, 0) << strerror(errno);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(0x0a580002);
  icmphdr echo{};
  echo.type = ICMP_ECHO;
  echo.un.echo.id = 77;
  echo.checksum = static_cast<uint16_t>(~(ICMP_ECHO + 77));
  ASSERT_EQ(sendto(fd, &echo, sizeof echo, 0, reinterpret_cast<sockaddr*>(&to), sizeof to),
            static_cast<ssize_t>(sizeof echo));
  // The kernel asks for our link-layer address first: two packets each way.
  char reply[128];
  ssize_t n = -1;
  for (int i = 0; i < 2000 && n < 0; ++i) {
    engine_->step();
    pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
    if (poll(&p, 1, 1) == 1) n = recv(fd, reply, sizeof reply, 0);
  }
  close(fd);
  ASSERT_EQ(n, static_cast<ssize_t>(20 + sizeof echo)) << "no reply";
  icmphdr answer;
  std::memcpy(&answer, reply + 20, sizeof answer);
  EXPECT_EQ(answer.type, ICMP_ECHOREPLY);
  EXPECT_EQ(answer.un.echo.id, 77);
  EXPECT_THAT(run("show tap"), HasSubstr("loomtap"));
  loader.stop_all();
  EXPECT_EQ(net_->find_interface("tap0"), kNoIndex);
}

}  // namespace
}  // namespace loom
