// The session layer's messages, and draining, with real applications behind them.
#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "congestion.api.h"
#include "drain.api.h"
#include "session.api.h"
#include "session/api.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

constexpr int32_t kNoSuchEntry = -6, kInvalidSessionId = -148, kNotConnected = -78,
                  kUnsupported = -126, kInvalidValue2 = -8, kFeatureDisabled = -30,
                  kNotAttached = -118;
using Kind = api::SessionKind;
using State = api::SessionState;

struct SessionApiTest : testing::Test {
  SessionApiTest() {
    EXPECT_TRUE(add_session_api(client.host, registry, *bed.layer));
    EXPECT_TRUE(add_drain_api(client.host, registry, *bed.layer));
    EXPECT_TRUE(add_congestion_api(registry, *bed.layer, controllers));
    for (const char* name : {"plain", "fancy"}) {
      CcOps ops;
      ops.name = name;
      ops.summary = "for this test";
      ops.on_ack = [](CcState&, const AckSample&) noexcept {};
      ops.on_congestion = [](CcState&, const LossSample&) noexcept {};
      EXPECT_TRUE(controllers.add(ops));
    }
  }
  std::vector<api::SessionDetails> sessions(const api::SessionDump& request = {}) {
    return client.dump<api::SessionDetails>(request);
  }
  int32_t disconnect(uint64_t handle) {
    return client.call<api::SessionDisconnectReply>(api::SessionDisconnect{.handle = handle})
        .retval;
  }
  api::DaemonDrainStatusReply drained() {
    return client.call<api::DaemonDrainStatusReply>(api::DaemonDrainStatus{});
  }
  uint64_t drain(bool enable, uint32_t timeout = 0) {
    const auto reply =
        client.call<api::DaemonDrainReply>(api::DaemonDrain{.enable = enable, .timeout = timeout});
    EXPECT_EQ(reply.retval, 0);
    return reply.sessions;
  }
  // What a packet for the port of a listener finds.
  FlowKind lookup(uint16_t port) {
    FlowKey4 key;
    key.local = Ip4Address{{10, 0, 0, 0}};
    key.remote = Ip4Address{{10, 0, 0, 9}};
    key.local_port = port;
    key.remote_port = 9;
    key.protocol = PipeTransport::kIpProtocol;
    FlowMatch m;
    Worker& w = bed.engine->worker(0);
    w.sessions->lookup4(w, {&key, 1}, &m);
    return m.kind;
  }

  SessionBed bed;
  CcRegistry controllers;
  ApiRegistry registry;
  DirectClient client{registry};
  TestApp app{bed};
};

TEST_F(SessionApiTest, ListsSessionsAndListenersWithWhatIsInThem) {
  ASSERT_EQ(app.listen(80, 7).status, 0);
  auto a = app.connect(80);
  EXPECT_EQ(sessions({.kind = Kind::kSessionApiKindListener}).at(0).queued, 1u);
  auto b = app.accept();
  app.write(*a, "five!");
  const auto all = sessions();
  ASSERT_EQ(all.size(), 3u);
  const auto& listener = all[0];
  EXPECT_EQ(listener.state, State::kSessionApiStateListen);
  EXPECT_EQ(listener.local_port, 80);
  EXPECT_EQ(listener.backlog, 7u);
  EXPECT_EQ(listener.queued, 0u);
  EXPECT_EQ(listener.worker, ~0u);
  const auto& client_end = all[1].handle == a->handle ? all[1] : all[2];
  const auto& server_end = all[1].handle == a->handle ? all[2] : all[1];
  EXPECT_EQ(client_end.handle, a->handle);
  EXPECT_EQ(client_end.state, State::kSessionApiStateOpen);
  EXPECT_EQ(client_end.transport, "pipe");
  EXPECT_EQ(client_end.app, "test");
  EXPECT_EQ(client_end.namespace_id, "default");
  EXPECT_EQ(client_end.remote_port, 80);
  EXPECT_EQ(client_end.remote.un.raw[0], 10);
  EXPECT_EQ(client_end.rx_fifo_size, 64u << 10);
  EXPECT_EQ(server_end.handle, b->handle);
  EXPECT_EQ(server_end.local_port, 80);
  EXPECT_EQ(server_end.rx_fifo_fill, 5u);
}

TEST_F(SessionApiTest, EveryFilterFilters) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  const auto n = [&](const api::SessionDump& d) { return sessions(d).size(); };
  EXPECT_EQ(n({.namespace_id = "default"}), 3u);
  EXPECT_EQ(n({.namespace_id = "blue"}), 0u);
  EXPECT_EQ(n({.app = "test"}), 3u);
  EXPECT_EQ(n({.app = "tes"}), 0u);
  EXPECT_EQ(n({.app_index = 0}), 3u);
  EXPECT_EQ(n({.app_index = 1}), 0u);
  EXPECT_EQ(n({.transport = "tcp"}), 0u);
  EXPECT_EQ(n({.state = State::kSessionApiStateOpen}), 2u);
  EXPECT_EQ(n({.state = static_cast<State>(99)}), 0u);
  EXPECT_EQ(n({.kind = Kind::kSessionApiKindConnection}), 2u);
  EXPECT_EQ(n({.kind = Kind::kSessionApiKindListener}), 1u);
  EXPECT_EQ(n({.remote_port = 80}), 1u);
  EXPECT_EQ(n({.local_port = 80}), 2u);
  api::Prefix prefix;
  prefix.address.un.raw = {10};
  for (const auto& [length, expected] : {std::pair{8, 1u}, {32, 1u}, {33, 0u}, {255, 0u}}) {
    prefix.len = static_cast<uint8_t>(length);
    EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), expected) << length;
  }
  prefix.len = 7;
  prefix.address.un.raw = {12};
  EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), 0u);
  prefix.address.un.raw = {11};
  EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), 1u);
  prefix.address.af = api::AddressFamily::kAddressIp6;
  EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), 0u);
}

TEST_F(SessionApiTest, ThousandsAreListedOnceEachAndInSlices) {
  ASSERT_EQ(app.listen(80, 1024).status, 0);
  std::set<uint64_t> handles;
  std::vector<std::unique_ptr<TestApp::Connection>> open;
  for (int i = 0; i < 700; ++i) {
    open.push_back(app.connect(80));
    open.push_back(app.accept());
    ASSERT_TRUE(open.back());
  }
  for (const auto& c : open) handles.insert(c->handle);
  std::set<uint64_t> listed;
  for (const auto& d : sessions({.kind = Kind::kSessionApiKindConnection}))
    EXPECT_TRUE(listed.insert(d.handle).second);
  EXPECT_EQ(listed, handles);
  EXPECT_GE(client.n_steps, 1400u + 1400 / 256);
}

TEST_F(SessionApiTest, DisconnectResetsOneAndRefusesWhatIsNone) {
  const auto bound = app.listen(80);
  auto a = app.connect(80);
  auto b = app.accept();
  EXPECT_EQ(disconnect(bound.handle), kUnsupported);
  EXPECT_EQ(disconnect(bound.handle ^ uint64_t{1} << 40), kInvalidSessionId);
  for (const uint64_t bad : {a->handle ^ uint64_t{1} << 40, a->handle ^ uint64_t{7} << 32,
                             a->handle | 0xfffff000, ~uint64_t{0}, uint64_t{0xffff'ffff}})
    EXPECT_EQ(disconnect(bad), kInvalidSessionId) << bad;
  EXPECT_FALSE(a->rx.reset());
  EXPECT_EQ(disconnect(a->handle), 0);
  bed.pump();
  EXPECT_TRUE(a->rx.reset());
  EXPECT_EQ(a->rx.error(), ECONNABORTED);
  EXPECT_TRUE(b->rx.reset());
  EXPECT_EQ(disconnect(a->handle), kNotConnected);
  app.push(svm::ToDaemon::kReset, a->handle);
  EXPECT_EQ(disconnect(a->handle), kInvalidSessionId);
}

TEST_F(SessionApiTest, ListsApplications) {
  TestApp second(bed, app);  // another process of the same
  svm::AttachRequest r{};
  std::strcpy(r.app_name, "other");
  TestApp other(bed, r);
  const auto all = client.dump<api::AppDetails>(api::AppDump{});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].app, "test");
  EXPECT_EQ(all[0].pids, std::vector<uint32_t>(2, static_cast<uint32_t>(::getpid())));
  EXPECT_TRUE(all[0].is_attached);
  EXPECT_GE(all[0].segment_bytes, 16u << 20);
  const auto one = client.dump<api::AppDetails>(api::AppDump{.app = "other"});
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].app_index, 1u);
}

TEST_F(SessionApiTest, DisabledEndsApplicationsAndEnabledTakesThemAgain) {
  const auto enable = [&](bool on) {
    return client.call<api::SessionEnableDisableReply>(api::SessionEnableDisable{.is_enable = on})
        .retval;
  };
  const auto engine = [&](api::RtBackendEngine e) {
    return client
        .call<api::SessionEnableDisableV2Reply>(api::SessionEnableDisableV2{.rt_engine_type = e})
        .retval;
  };
  EXPECT_EQ(enable(true), 0);
  EXPECT_EQ(engine(api::RtBackendEngine::kRtBackendEngineApiSdl), 0);
  EXPECT_EQ(engine(static_cast<api::RtBackendEngine>(9)), kApiInvalidValue);
  EXPECT_EQ(enable(false), 0);
  bed.pump();
  EXPECT_TRUE(client.dump<api::AppDetails>(api::AppDump{}).empty());
  EXPECT_NE(::access(bed.layer->default_socket_path().c_str(), F_OK), 0);
  EXPECT_EQ(enable(false), 0);
  EXPECT_EQ(engine(api::RtBackendEngine::kRtBackendEngineApiRuleTable), 0);
  TestApp again(bed);
  EXPECT_EQ(again.reply.status, 0);
  EXPECT_EQ(again.listen(80).status, 0);
}

TEST_F(SessionApiTest, ControllersAreListedAndTheDefaultIsSet) {
  const auto set = [&](const char* name) {
    return client.call<api::CcSetDefaultReply>(api::CcSetDefault{.name = name}).retval;
  };
  EXPECT_STREQ(controllers.default_ops()->name, "plain");
  EXPECT_EQ(set("fancy"), 0);
  EXPECT_STREQ(controllers.default_ops()->name, "fancy");
  EXPECT_EQ(set("fanc"), kNoSuchEntry);
  EXPECT_EQ(set(""), kNoSuchEntry);
  EXPECT_EQ(set("a-name-of-exactly-16"), kNoSuchEntry);
  EXPECT_STREQ(controllers.default_ops()->name, "fancy");
  const auto all = client.dump<api::CcDetails>(api::CcDump{});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].name, "plain");
  EXPECT_FALSE(all[0].is_default);
  EXPECT_EQ(all[1].name, "fancy");
  EXPECT_TRUE(all[1].is_default);
  EXPECT_EQ(all[1].summary, "for this test");
}

TEST_F(SessionApiTest, TheControllerOfOneConnectionIsSet) {
  const auto bound = app.listen(80);
  auto a = app.connect(80);
  auto b = app.accept();
  const auto set = [&](uint64_t handle, const char* name) {
    return client
        .call<api::CcSetConnectionReply>(
            api::CcSetConnection{.session_handle = handle, .name = name})
        .retval;
  };
  EXPECT_EQ(set(a->handle, "fancy"), 0);
  EXPECT_EQ(bed.pipe.end(0).congestion, "fancy");
  EXPECT_EQ(bed.pipe.end(1).congestion, "");
  EXPECT_EQ(set(a->handle, "vegas"), kNoSuchEntry);
  EXPECT_EQ(set(a->handle, ""), kNoSuchEntry);
  EXPECT_EQ(set(a->handle ^ uint64_t{1} << 40, "plain"), kInvalidSessionId);
  EXPECT_EQ(set(bound.handle, "plain"), kUnsupported);
  EXPECT_EQ(bed.pipe.end(0).congestion, "fancy");
}

TEST_F(SessionApiTest, DrainingHidesListenersAndEndsWithTheLastSession) {
  (void)client.call<api::WantDrainEventsReply>(api::WantDrainEvents{.enable = true, .pid = 1});
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  EXPECT_EQ(lookup(80), FlowKind::kListener);
  EXPECT_EQ(drain(true), 2u);
  EXPECT_EQ(lookup(80), FlowKind::kNone);
  EXPECT_EQ(drained().refused_packets, 1u);
  app.write(*a, "goes on");
  EXPECT_EQ(app.read(*b), "goes on");
  app.close(*a);
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDraining);
  app.close(*b);
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
  EXPECT_EQ(drained().sessions, 0u);
  EXPECT_EQ(lookup(80), FlowKind::kNone);
  drain(false);
  EXPECT_EQ(lookup(80), FlowKind::kListener);
  const auto events = client.events<api::DrainEvent>();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].state, api::DrainState::kDrainApiStateDraining);
  EXPECT_EQ(events[0].sessions, 2u);
  EXPECT_EQ(events[1].state, api::DrainState::kDrainApiStateDrained);
  EXPECT_EQ(events[1].resets, 0u);
  EXPECT_EQ(events[2].state, api::DrainState::kDrainApiStateOff);
}

TEST_F(SessionApiTest, WithNothingOpenItIsDrainedAtOnce) {
  EXPECT_EQ(drain(true), 0u);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
}

TEST_F(SessionApiTest, DrainingRefusesApplicationsAndSaysWhy) {
  auto a = app.listen(80).status == 0 ? app.connect(80) : nullptr;
  auto b = app.accept();
  drain(true);
  TestApp late(bed);
  EXPECT_EQ(late.reply.status, static_cast<int32_t>(Status::kRefused));
  EXPECT_THAT(late.reply.message, testing::HasSubstr("drains"));
  EXPECT_EQ(drained().refused_apps, 1u);
  TestApp forked(bed, app);  // what is attached goes on, its children too
  EXPECT_EQ(forked.reply.status, 0);
  drain(false);
  TestApp later(bed);
  EXPECT_EQ(later.reply.status, 0);
}

TEST_F(SessionApiTest, AHandshakeUnderWayIsWaitedFor) {
  Worker& w = bed.engine->worker(0);
  Endpoints e;
  e.local = Ip4Address{{10, 0, 0, 1}};
  e.remote = Ip4Address{{10, 0, 0, 2}};
  e.local_port = 80;
  e.remote_port = 4000;
  ASSERT_EQ(w.sessions->flow_add(w, e, 6, FlowKind::kHalfOpen, 1), Status::kOk);
  drain(true);
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDraining);
  EXPECT_EQ(drained().half_open, 1u);
  w.sessions->flow_del(w, e, 6);  // it has come to nothing
  bed.engine->step();
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
}

TEST_F(SessionApiTest, TheTimeoutResetsWhatIsLeftAndCountsIt) {
  (void)client.call<api::WantDrainEventsReply>(api::WantDrainEvents{.enable = true, .pid = 1});
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  drain(true, 5);
  drain(true, 10);  // another timeout; the first is void
  bed.pump(6 * kSecond);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDraining);
  EXPECT_FALSE(a->rx.reset());
  bed.pump(5 * kSecond);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
  EXPECT_GE(drained().resets, 1u);
  EXPECT_TRUE(a->rx.reset());
  EXPECT_TRUE(b->rx.reset());
  EXPECT_EQ(client.events<api::DrainEvent>().back().resets, drained().resets);
}

TEST_F(SessionApiTest, AVoidTimeoutHarmsNobody) {
  auto a = app.listen(80).status == 0 ? app.connect(80) : nullptr;
  auto b = app.accept();
  drain(true, 5);
  drain(false);
  bed.pump(6 * kSecond);
  EXPECT_FALSE(a->rx.reset());
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateOff);
}

TEST_F(SessionApiTest, DrainedMeansThatNothingIsAcceptedAnyMore) {
  ASSERT_EQ(app.listen(80).status, 0);
  drain(true);
  // The transport of this test asks no lookup table: it comes through to accepted().
  app.start_connect(80);
  bed.pump();
  EXPECT_NE(app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status, 0);
}

TEST_F(SessionApiTest, WhatIsDrainedStaysEmpty) {
  ASSERT_EQ(app.listen(80).status, 0);
  drain(true);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
  const std::size_t ends = bed.pipe.ends.size();
  app.start_connect(80);
  const auto refused = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(static_cast<Status>(refused.status), Status::kRefused);
  EXPECT_EQ(bed.pipe.ends.size(), ends);  // no transport was asked
  EXPECT_EQ(drained().sessions, 0u);
}

TEST_F(SessionApiTest, ChangingTheTimeoutAgainAndAgainKeepsNothing) {
  auto a = app.listen(80).status == 0 ? app.connect(80) : nullptr;
  auto b = app.accept();
  const std::size_t before = bed.later.size();
  for (uint32_t i = 0; i < 100; ++i) {
    drain(true, 604'800 - i);
    drain(false);
  }
  EXPECT_LE(bed.later.size(), before + 1);
  EXPECT_EQ(client.call<api::DaemonDrainReply>(api::DaemonDrain{.timeout = 604'801}).retval,
            kApiInvalidValue);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateOff);
}

TEST_F(SessionApiTest, WhoCameBeforeItWasDisabledCannotAttachBehindIt) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, bed.layer->default_socket_path().c_str());
  ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  bed.pump();
  EXPECT_EQ(
      client.call<api::SessionEnableDisableReply>(api::SessionEnableDisable{.is_enable = false})
          .retval,
      0);
  svm::AttachRequest request{};
  request.version = svm::kProtocolVersion;
  request.op = svm::AttachOp::kAttach;
  ASSERT_EQ(::send(fd, &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
  bed.pump();
  svm::AttachReply reply{};
  ASSERT_EQ(::recv(fd, &reply, sizeof reply, MSG_DONTWAIT), static_cast<ssize_t>(sizeof reply));
  EXPECT_EQ(static_cast<Status>(reply.status), Status::kRefused);
  EXPECT_THAT(reply.message, testing::HasSubstr("disabled"));
  ::close(fd);
}

// Connects and asks to attach; the daemon's answer, or an errno of connect() as a negative number.
int attach_status(SessionBed& bed) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, bed.layer->default_socket_path().c_str());
  int status = 0;
  if (::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) {
    status = -errno;
  } else {
    svm::AttachRequest request{};
    request.version = svm::kProtocolVersion;
    request.op = svm::AttachOp::kAttach;
    EXPECT_EQ(::send(fd, &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
    bed.pump();
    svm::AttachReply reply{};
    EXPECT_EQ(::recv(fd, &reply, sizeof reply, MSG_DONTWAIT), static_cast<ssize_t>(sizeof reply));
    status = reply.status;
  }
  ::close(fd);
  bed.pump();
  return status;
}

struct AttachSocketTest : SessionApiTest {
  int32_t sapi(bool on) {
    return client
        .call<api::SessionSapiEnableDisableReply>(api::SessionSapiEnableDisable{.is_enable = on})
        .retval;
  }
  int32_t layer(bool on) {
    return client.call<api::SessionEnableDisableReply>(api::SessionEnableDisable{.is_enable = on})
        .retval;
  }
  bool is_there() { return ::access(bed.layer->default_socket_path().c_str(), F_OK) == 0; }
};

TEST_F(AttachSocketTest, ClosedItTakesNobodyNewAndWhoIsAttachedGoesOn) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  EXPECT_EQ(sapi(false), 0);
  EXPECT_EQ(sapi(false), 0);
  bed.pump();
  EXPECT_FALSE(is_there());
  EXPECT_EQ(attach_status(bed), -ENOENT);
  app.write(*a, "goes on");
  EXPECT_EQ(app.read(*b), "goes on");
  auto c = app.connect(80);
  EXPECT_TRUE(app.accept());
  TestApp forked(bed, app);
  EXPECT_EQ(forked.reply.status, 0);
  EXPECT_EQ(sapi(true), 0);
  EXPECT_EQ(sapi(true), 0);
  EXPECT_TRUE(is_there());
  EXPECT_EQ(attach_status(bed), 0);
}

TEST_F(AttachSocketTest, WhoCameBeforeItWasClosedCannotAttachBehindIt) {
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::strcpy(to.sun_path, bed.layer->default_socket_path().c_str());
  ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  bed.pump();
  EXPECT_EQ(sapi(false), 0);
  svm::AttachRequest request{};
  request.version = svm::kProtocolVersion;
  request.op = svm::AttachOp::kAttach;
  ASSERT_EQ(::send(fd, &request, sizeof request, 0), static_cast<ssize_t>(sizeof request));
  bed.pump();
  svm::AttachReply reply{};
  ASSERT_EQ(::recv(fd, &reply, sizeof reply, MSG_DONTWAIT), static_cast<ssize_t>(sizeof reply));
  EXPECT_EQ(static_cast<Status>(reply.status), Status::kRefused);
  EXPECT_STREQ(reply.message, "the attach socket is disabled");
  ::close(fd);
}

TEST_F(AttachSocketTest, IsThereWhileItAndTheLayerAreEnabledInWhateverOrder) {
  for (const bool layer_first : {false, true}) {
    EXPECT_EQ(layer_first ? layer(false) : sapi(false), 0);
    EXPECT_EQ(layer_first ? sapi(false) : layer(false), 0);
    EXPECT_FALSE(is_there());
    EXPECT_EQ(layer_first ? layer(true) : sapi(true), 0);
    EXPECT_FALSE(is_there()) << "one of two is disabled still";
    EXPECT_EQ(layer_first ? sapi(true) : layer(true), 0);
    EXPECT_TRUE(is_there());
    EXPECT_EQ(attach_status(bed), 0);
  }
}

TEST_F(AttachSocketTest, ThatCannotBeOpenedStaysDisabledAndSaysSo) {
  EXPECT_EQ(sapi(false), 0);
  const std::string path = bed.layer->default_socket_path();
  std::filesystem::create_directories(path + "/in-the-way");
  EXPECT_EQ(sapi(true), -11);
  EXPECT_EQ(attach_status(bed), -ECONNREFUSED);
  std::filesystem::remove_all(path);
  EXPECT_EQ(sapi(true), 0);
  EXPECT_EQ(attach_status(bed), 0);
}

TEST_F(SessionApiTest, AttachingOverTheApiIsRefusedAndTheLogSaysWhereToOnce) {
  for (int i = 0; i < 3; ++i) {
    const auto reply = client.call<api::AppAttachReply>(api::AppAttach{.namespace_id = "default"});
    EXPECT_EQ(reply.retval, kUnsupported);
    EXPECT_EQ(reply.app_index, ~0u);
    EXPECT_EQ(reply.n_fds, 0);
    EXPECT_EQ(reply.segment_name, "");
  }
  const std::string path = bed.layer->default_socket_path();
  const auto at = bed.log.find(path);
  EXPECT_NE(at, std::string::npos) << bed.log;
  EXPECT_EQ(bed.log.find(path, at + 1), std::string::npos) << bed.log;
  EXPECT_EQ(client.call<api::ApplicationDetachReply>(api::ApplicationDetach{}).retval,
            kNotAttached);
  EXPECT_EQ(client.dump<api::AppDetails>(api::AppDump{}).size(), 1u) << "the other one";
}

TEST_F(SessionApiTest, AWorkerIsRemovedAsIfItsProcessHadEnded) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  TestApp second(bed, app);
  EXPECT_EQ(second.reply.worker_index, 1u);
  const auto remove = [&](uint32_t index, uint32_t worker) {
    const auto reply = client.call<api::AppWorkerAddDelReply>(
        api::AppWorkerAddDel{.app_index = index, .wrk_index = worker, .is_add = false});
    EXPECT_EQ(reply.wrk_index, worker);
    EXPECT_FALSE(reply.is_add);
    return reply.retval;
  };
  const auto n_pids = [&] {
    const auto all = client.dump<api::AppDetails>(api::AppDump{});
    return all.empty() ? 0 : all[0].pids.size();
  };
  EXPECT_EQ(remove(1, 0), kApiInvalidValue);
  EXPECT_EQ(remove(~0u, 0), kApiInvalidValue);
  EXPECT_EQ(remove(0, 2), kInvalidValue2);
  EXPECT_EQ(remove(0, ~0u), kInvalidValue2);
  EXPECT_EQ(
      client.call<api::AppWorkerAddDelReply>(api::AppWorkerAddDel{.app_index = 0, .is_add = true})
          .retval,
      kUnsupported);
  EXPECT_EQ(n_pids(), 2u);
  EXPECT_EQ(remove(0, 1), 0);
  bed.pump();
  EXPECT_EQ(n_pids(), 1u);
  char byte;
  EXPECT_EQ(::recv(second.socket, &byte, 1, MSG_DONTWAIT), 0) << "its attach connection";
  EXPECT_EQ(remove(0, 1), kInvalidValue2);
  app.write(*a, "the first goes on");
  EXPECT_EQ(app.read(*b), "the first goes on");
  EXPECT_EQ(remove(0, 0), 0);
  bed.pump(2 * kSecond);
  EXPECT_TRUE(client.dump<api::AppDetails>(api::AppDump{}).empty()) << "it ended with its last";
  EXPECT_TRUE(sessions().empty());
}

TEST_F(SessionApiTest, WithTheLayerDisabledApplicationsAreNotDealtWith) {
  ASSERT_TRUE(bed.layer->set_enabled(false));
  EXPECT_EQ(client.call<api::AppAttachReply>(api::AppAttach{}).retval, kFeatureDisabled);
  EXPECT_EQ(client.call<api::ApplicationDetachReply>(api::ApplicationDetach{}).retval,
            kFeatureDisabled);
  EXPECT_EQ(client.call<api::AppWorkerAddDelReply>(api::AppWorkerAddDel{.is_add = false}).retval,
            kFeatureDisabled);
}

}  // namespace
}  // namespace loom::test
