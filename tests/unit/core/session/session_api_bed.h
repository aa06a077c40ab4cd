// A client of the binary API beside the session layer and an application. For tests.
#pragma once
#include "congestion.api.h"
#include "drain.api.h"
#include "session.api.h"
#include "session/api.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {

constexpr int32_t kNoSuchEntry = -6, kInvalidSessionId = -148, kNotConnected = -78,
                  kUnsupported = -126, kInvalidValue2 = -8, kFeatureDisabled = -30,
                  kNotAttached = -118, kLimitExceeded = -162;
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

}  // namespace loom::test
