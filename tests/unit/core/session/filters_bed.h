// Session rules and deny lists with two applications beside them, "first" and "second". For tests.
#pragma once
#include <hostloom/net.h>

#include "session.api.h"
#include "session/api.h"
#include "session/control.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {

using session::DenyEntry;
using session::Filters;
using session::kActionAllow;
using session::kActionDrop;
using session::RuleScope;
using session::RuleSpec;
using Scope = api::SessionRuleScope;

constexpr int32_t kNoSuchEntry = -6, kValueExist = -81, kInvalidNamespace = -128;

// Every address 10.x is this host's; 192.x is reached from 10.0.0.7.
inline const NetOps kNet{
    .struct_size = sizeof(NetOps),
    .route =
        [](Worker&, const IpAddress& to, uint32_t, RouteInfo* out) noexcept {
          out->source = Ip4Address{{10, 0, 0, 7}};
          return to.is_ip4 && to.ip4().bytes[0] == 192 ? Status::kOk : Status::kUnreachable;
        },
    .is_local = [](Worker&, const IpAddress& a,
                   uint32_t) noexcept { return a.is_ip4 && a.ip4().bytes[0] == 10; },
    .generation = nullptr,
    .route_group = nullptr,
    .listen_group = nullptr,
    .hears_group = nullptr};

inline svm::AttachRequest named(const char* name) {
  svm::AttachRequest r{};
  std::strcpy(r.app_name, name);
  return r;
}

struct FiltersTest : testing::Test {
  FiltersTest() {
    EXPECT_TRUE(add_session_api(client.host, registry, *bed.layer));
    bed.engine->worker(0).net = &kNet;
  }
  Filters& filters() { return *bed.layer->impl().filters; }
  Worker& worker() { return bed.engine->worker(0); }

  static FlowKey4 key(uint16_t port, Ip4Address from = {{10, 0, 0, 9}}, uint16_t from_port = 9) {
    FlowKey4 k{};
    k.local = Ip4Address{{10, 0, 0, 0}};
    k.remote = from;
    k.local_port = port;
    k.remote_port = from_port;
    k.protocol = PipeTransport::kIpProtocol;
    return k;
  }
  FlowMatch lookup(const FlowKey4& k) {
    FlowMatch m;
    worker().sessions->lookup4(worker(), {&k, 1}, &m);
    return m;
  }
  FlowKind kind(uint16_t port, Ip4Address from = {{10, 0, 0, 9}}) {
    return lookup(key(port, from)).kind;
  }

  RuleSpec rule(const char* remote, uint32_t action, RuleScope scope = RuleScope::kGlobal) {
    RuleSpec r;
    r.scope = scope;
    r.transport = bed.pipe.id;
    r.match.local = *IpPrefix::parse("0.0.0.0/0");
    r.match.remote = *IpPrefix::parse(remote);
    r.action = action;
    return r;
  }
  std::vector<std::vector<std::string>> shown(const char* command) {
    for (const CliCommand& c : session::rule_commands()) {
      if (std::string(command) != c.path) continue;
      CliArgs args({}, 0);
      CliReply reply;
      EXPECT_TRUE(c.run(client.host, &bed.layer->impl(), args, reply));
      for (const auto& item : reply.items())
        if (const auto* t = std::get_if<CliTable>(&item)) return t->rows;
    }
    ADD_FAILURE() << "no table from " << command;
    return {};
  }
  // What the application's connect to that port is told.
  Status connect(TestApp& a, uint16_t port) {
    a.start_connect(port);
    return static_cast<Status>(a.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status);
  }
  static bool has_connection(TestApp& a) {
    return svm::AcceptConsumer(*a.listener, a.listener->capacity).pop(last_accepted);
  }
  static inline svm::AcceptedSession last_accepted;

  SessionBed bed;
  ApiRegistry registry;
  DirectClient client{registry};
  TestApp app{bed, named("first")}, other{bed, named("second")};  // 0 and 1
};

}  // namespace loom::test
