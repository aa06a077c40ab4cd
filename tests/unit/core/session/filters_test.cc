// Session rules and deny lists where packets and connects meet them, over the binary API and the
// layer's own calls.
#include <hostloom/net.h>

#include "session.api.h"
#include "session/api.h"
#include "session/control.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

using session::DenyEntry;
using session::Filters;
using session::kActionAllow;
using session::kActionDrop;
using session::RuleScope;
using session::RuleSpec;
using Scope = api::SessionRuleScope;

constexpr int32_t kNoSuchEntry = -6, kValueExist = -81, kInvalidNamespace = -128;

// Every address 10.x is this host's; 192.x is reached from 10.0.0.7.
const NetOps kNet{.struct_size = sizeof(NetOps),
                  .route =
                      [](Worker&, const IpAddress& to, uint32_t, RouteInfo* out) noexcept {
                        out->source = Ip4Address{{10, 0, 0, 7}};
                        return to.is_ip4 && to.ip4().bytes[0] == 192 ? Status::kOk
                                                                     : Status::kUnreachable;
                      },
                  .is_local = [](Worker&, const IpAddress& a,
                                 uint32_t) noexcept { return a.is_ip4 && a.ip4().bytes[0] == 10; },
                  .generation = nullptr};

svm::AttachRequest named(const char* name) {
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

// --- Namespaces

TEST_F(FiltersTest, RulesOfANamespaceGoWithIt) {
  auto& layer = bed.layer->impl();
  const auto ns = session::add_namespace(layer, {.id = "blue"});
  ASSERT_TRUE(ns) << ns.error().message;
  RuleSpec r = rule("10.0.0.0/8", kActionDrop, RuleScope::kLocal);
  r.appns = (*ns)->index;
  ASSERT_TRUE(filters().add(r));
  r.scope = RuleScope::kGlobal;
  r.tag = "all";
  ASSERT_TRUE(filters().add(r));
  EXPECT_EQ(kind(80), FlowKind::kDenied);  // the table is the default namespace's, too
  const DenyEntry sources[] = {{.prefix = *IpPrefix::parse("192.0.2.0/24"), .tag = ""},
                               {.prefix = *IpPrefix::parse("2001:db8::/32"), .tag = ""}};
  ASSERT_TRUE(filters().add_sources((*ns)->index, sources));
  EXPECT_EQ(filters().sources(0, true)->size(), 2u);
  EXPECT_EQ(filters().use_of_table(0, true), "a session deny list");
  ASSERT_TRUE(session::delete_namespace(layer, "blue"));
  EXPECT_FALSE(filters().has_egress());
  EXPECT_EQ(kind(80), FlowKind::kDenied);  // the default namespace has the table, and the rule now
  EXPECT_EQ(filters().sources(0, true)->size(), 2u);  // lists are the table's
  EXPECT_EQ(filters().add(r).error().code, Status::kNotFound);
  r.appns = 0;
  ASSERT_TRUE(filters().del(r));
  EXPECT_EQ(kind(80), FlowKind::kNone);
}

TEST_F(FiltersTest, ARuleThatTwoNamespacesWantedStaysWithTheOther) {
  auto& layer = bed.layer->impl();
  ASSERT_TRUE(session::add_namespace(layer, {.id = "blue"}));
  RuleSpec r = rule("10.0.0.0/8", kActionDrop);
  ASSERT_TRUE(filters().add(r));
  r.appns = 1;
  ASSERT_TRUE(filters().add(r));
  ASSERT_TRUE(session::delete_namespace(layer, "blue"));
  EXPECT_EQ(kind(80), FlowKind::kDenied);
}

TEST_F(FiltersTest, AnUnknownTagDeletesNothing) {
  RuleSpec all = rule("0.0.0.0/0", kActionDrop);
  ASSERT_TRUE(filters().add(all));
  RuleSpec tagged;
  tagged.transport = bed.pipe.id;
  tagged.tag = "typo";
  tagged.has_match = false;
  EXPECT_EQ(filters().del(tagged).error().code, Status::kNotFound);
  EXPECT_EQ(kind(80), FlowKind::kDenied);
}

TEST_F(FiltersTest, AConnectIsNotRedirectedToAnotherNamespace) {
  ASSERT_TRUE(session::add_namespace(bed.layer->impl(), {.id = "blue"}));
  RuleSpec r = rule("10.0.0.0/8", 1, RuleScope::kLocal);  // an application of the default one
  r.appns = 1;
  EXPECT_EQ(filters().add(r).error().code, Status::kUnsupported);
}

TEST_F(FiltersTest, ALengthThatThereIsNotIsNoEntry) {
  const DenyEntry source{.prefix = *IpPrefix::parse("192.0.2.0/24"), .tag = ""};
  ASSERT_TRUE(filters().add_sources(0, {&source, 1}));
  EXPECT_FALSE(filters().sources(0, true)->entry({source.prefix.address, 200}));
  EXPECT_TRUE(filters().sources(0, true)->entry(source.prefix));
}

// --- Packets

TEST_F(FiltersTest, ADeniedPacketFindsNobodyUntilTheRuleGoes) {
  ASSERT_EQ(app.listen(80).status, 0);
  EXPECT_EQ(kind(80), FlowKind::kListener);
  EXPECT_EQ(kind(81), FlowKind::kNone);
  ASSERT_TRUE(filters().add(rule("10.0.0.9/32", kActionDrop)));
  const FlowMatch m = lookup(key(80));
  EXPECT_EQ(m.kind, FlowKind::kDenied);
  EXPECT_EQ(m.conn, kNoConn);
  EXPECT_EQ(kind(81), FlowKind::kDenied) << "nobody listens there, and it is not told so";
  EXPECT_EQ(kind(80, {{10, 0, 0, 8}}), FlowKind::kListener);
  EXPECT_EQ(filters().hits(0), 2u);
  ASSERT_TRUE(filters().del(rule("10.0.0.9/32", 0)));
  EXPECT_EQ(kind(80), FlowKind::kListener);
  EXPECT_FALSE(filters().has_ingress());
}

TEST_F(FiltersTest, ConnectionsThatAreThereGoOn) {
  Endpoints e;
  e.local = Ip4Address{{10, 0, 0, 0}};
  e.remote = Ip4Address{{10, 0, 0, 9}};
  e.local_port = 80;
  for (const auto& [k, port] : {std::pair{FlowKind::kEstablished, 1}, {FlowKind::kHalfOpen, 2}}) {
    e.remote_port = static_cast<uint16_t>(port);
    ASSERT_EQ(worker().sessions->flow_add(worker(), e, PipeTransport::kIpProtocol, k, 5),
              Status::kOk);
  }
  ASSERT_TRUE(filters().add(rule("0.0.0.0/0", kActionDrop)));
  const DenyEntry source{*IpPrefix::parse("10.0.0.0/8")};
  ASSERT_TRUE(filters().add_sources(0, {&source, 1}));
  EXPECT_EQ(lookup(key(80, {{10, 0, 0, 9}}, 1)).kind, FlowKind::kEstablished);
  EXPECT_EQ(lookup(key(80, {{10, 0, 0, 9}}, 2)).kind, FlowKind::kHalfOpen);
  EXPECT_EQ(lookup(key(80, {{10, 0, 0, 9}}, 3)).kind, FlowKind::kDenied);
  EXPECT_EQ(filters().hits(0), 0u);
  EXPECT_EQ(filters().denied_sources(), 1u);
}

TEST_F(FiltersTest, TheDenyListComesBeforeTheRulesAndBothAreInUse) {
  ASSERT_EQ(app.listen(80).status, 0);
  ASSERT_TRUE(filters().add(rule("10.0.0.9/32", kActionAllow)));
  ASSERT_TRUE(filters().add(rule("10.0.0.0/24", kActionDrop)));
  const DenyEntry sources[] = {{*IpPrefix::parse("10.0.0.9/32")},
                               {*IpPrefix::parse("11.0.0.0/8")},
                               {*IpPrefix::parse("11.1.0.0/16"), kActionAllow}};
  EXPECT_EQ(kind(80), FlowKind::kListener);
  EXPECT_EQ(kind(80, {{10, 0, 0, 8}}), FlowKind::kDenied);
  ASSERT_TRUE(filters().add_sources(0, sources));
  EXPECT_EQ(kind(80), FlowKind::kDenied);
  EXPECT_EQ(kind(80, {{11, 2, 0, 1}}), FlowKind::kDenied);
  EXPECT_EQ(kind(80, {{11, 1, 0, 1}}), FlowKind::kListener);
  EXPECT_EQ(filters().denied_sources(), 2u);
  EXPECT_EQ(filters().hits(0), 1u);
  EXPECT_EQ(filters().hits(1), 1u);
}

TEST_F(FiltersTest, OtherFibsAndOtherProtocolsAreNotConcerned) {
  ASSERT_TRUE(filters().add(rule("0.0.0.0/0", kActionDrop)));
  FlowKey4 k = key(80);
  k.fib_index = 1;
  EXPECT_EQ(lookup(k).kind, FlowKind::kNone);
  k.fib_index = 0xffff;
  EXPECT_EQ(lookup(k).kind, FlowKind::kNone);
  k = key(80);
  k.protocol = 17;
  EXPECT_EQ(lookup(k).kind, FlowKind::kNone);
  FlowKey6 k6{};
  k6.protocol = PipeTransport::kIpProtocol;
  FlowMatch m;
  worker().sessions->lookup6(worker(), {&k6, 1}, &m);
  EXPECT_EQ(m.kind, FlowKind::kNone);
  RuleSpec r = rule("0.0.0.0/0", kActionDrop);
  r.match.local = r.match.remote = *IpPrefix::parse("::/0");
  ASSERT_TRUE(filters().add(r));
  worker().sessions->lookup6(worker(), {&k6, 1}, &m);
  EXPECT_EQ(m.kind, FlowKind::kDenied);
}

TEST_F(FiltersTest, ARedirectGoesToTheSamePortOrElseToTheFirstListener) {
  ASSERT_EQ(app.listen(80).status, 0);
  ASSERT_EQ(other.listen(8081).status, 0);
  ASSERT_EQ(other.listen(8080).status, 0);
  ASSERT_TRUE(filters().add(rule("10.0.0.9/32", 1)));
  // The pipe's listeners have their port as id.
  EXPECT_EQ(lookup(key(80)).conn, 8081u) << "first";
  EXPECT_EQ(lookup(key(8080)).conn, 8080u) << "same port";
  EXPECT_EQ(lookup(key(79)).conn, 8081u) << "nobody listens at 79";
  EXPECT_EQ(kind(80), FlowKind::kListener);
  EXPECT_EQ(lookup(key(80, {{10, 0, 0, 8}})).conn, 80u) << "another source";
  EXPECT_EQ(filters().hits(0), 4u);
  // Listeners that come and go are seen.
  ASSERT_EQ(other.listen(79).status, 0);
  EXPECT_EQ(lookup(key(79)).conn, 79u);
  other.die();
  bed.pump();
  EXPECT_EQ(kind(80), FlowKind::kNone) << "as where nobody listens";
  EXPECT_EQ(filters().redirects_to_nobody(), 1u);
  EXPECT_FALSE(filters().has_target(0));
  EXPECT_EQ(shown("show session rules").at(0).at(7), "1 (gone)");
  TestApp third(bed, named("third"));  // gets the index
  ASSERT_EQ(third.listen(80).status, static_cast<int>(Status::kInUse));
  ASSERT_EQ(third.listen(8080).status, 0);
  EXPECT_EQ(kind(80), FlowKind::kNone) << "but not the rule";
  EXPECT_FALSE(filters().has_target(0));
  ASSERT_TRUE(filters().add(rule("10.0.0.9/32", 1))) << "until it is said anew";
  EXPECT_EQ(lookup(key(80)).conn, 8080u);
  EXPECT_TRUE(filters().has_target(0));
}

TEST_F(FiltersTest, WhatCannotBeIsRefusedAndLeavesNothing) {
  EXPECT_EQ(filters().add(rule("10.0.0.0/8", 7)).error().code, Status::kNotFound) << "application";
  EXPECT_EQ(filters().add(rule("2001:db8::/32", kActionDrop)).error().code, Status::kInvalid);
  EXPECT_EQ(filters().add(rule("10.0.0.0/8", ~0u)).error().code, Status::kInvalid);
  RuleSpec r = rule("10.0.0.0/8", kActionDrop);
  r.transport = 9;
  EXPECT_EQ(filters().add(r).error().code, Status::kNotFound);
  r = rule("10.0.0.0/8", kActionDrop);
  r.appns = 1;
  EXPECT_EQ(filters().add(r).error().code, Status::kNotFound);
  r = rule("10.0.0.0/8", kActionDrop);
  r.tag = std::string(64, 'x');
  EXPECT_EQ(filters().add(r).error().code, Status::kInvalid);
  EXPECT_EQ(filters().del(rule("10.0.0.0/8", 0)).error().code, Status::kNotFound);
  EXPECT_FALSE(filters().has_ingress());
  EXPECT_TRUE(shown("show session rules").empty());
}

TEST_F(FiltersTest, ANumberIsUsedAgainAndStartsAtNoHits) {
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(filters().add(rule("10.0.0.0/8", kActionDrop)));
    EXPECT_EQ(kind(80), FlowKind::kDenied);
    EXPECT_EQ(filters().hits(0), 1u);
    ASSERT_TRUE(filters().add(rule("10.0.0.0/8", kActionAllow))) << "replaced";
    EXPECT_EQ(kind(80), FlowKind::kNone);
    EXPECT_EQ(filters().hits(0), 2u) << "hits go on";
    ASSERT_TRUE(filters().del(rule("10.0.0.0/8", 0)));
    bed.pump();
    EXPECT_EQ(filters().n_numbers(), 1u);
  }
}

// --- Connects

TEST_F(FiltersTest, ADeniedConnectIsRefusedUntilTheRuleGoes) {
  ASSERT_EQ(other.listen(80).status, 0);
  RuleSpec r = rule("10.0.0.0/24", kActionDrop, RuleScope::kLocal);
  r.match.remote_port = 80;
  ASSERT_TRUE(filters().add(r));
  EXPECT_EQ(connect(app, 80), Status::kRefused);
  EXPECT_TRUE(bed.pipe.ends.empty()) << "no transport was asked";
  EXPECT_EQ(kind(80), FlowKind::kListener) << "packets are not concerned";
  EXPECT_EQ(filters().hits(0), 1u);
  ASSERT_TRUE(filters().del(r));
  EXPECT_EQ(connect(app, 80), Status::kOk);
  EXPECT_TRUE(has_connection(other));
}

TEST_F(FiltersTest, RulesOfScopeGlobalDoNotConcernConnects) {
  ASSERT_EQ(other.listen(80).status, 0);
  ASSERT_TRUE(filters().add(rule("0.0.0.0/0", kActionDrop)));
  EXPECT_EQ(connect(app, 80), Status::kOk);
  EXPECT_TRUE(has_connection(other));
}

TEST_F(FiltersTest, ARedirectedConnectReachesTheOtherApplication) {
  ASSERT_EQ(other.listen(8080).status, 0);
  ASSERT_TRUE(filters().add(rule("10.0.0.0/8", 1, RuleScope::kLocal)));
  app.start_connect(5432);  // nobody listens there
  const auto c = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(c.status, 0);
  EXPECT_NE(c.cut_through, svm::CutThrough::kNo);
  EXPECT_EQ(Be16::from_raw(c.remote.port), 5432);
  EXPECT_TRUE(has_connection(other));
  other.die();
  bed.pump();
  while (!app.no_event()) {}
  EXPECT_EQ(connect(app, 5432), Status::kRefused);
}

TEST_F(FiltersTest, ARedirectedConnectToAnotherHostComesFromTheRoutesSource) {
  ASSERT_EQ(other.listen(8080).status, 0);
  RuleSpec r = rule("192.0.2.1/32", 1, RuleScope::kLocal);
  r.match.local = *IpPrefix::parse("10.0.0.7/32");
  ASSERT_TRUE(filters().add(r));
  svm::ConnectEvent e{};
  e.context = 1;
  e.remote = TestApp::end(5432);
  const uint8_t far[] = {192, 0, 2, 1};
  std::memcpy(e.remote.ip, far, 4);
  e.local.is_ip4 = 1;
  app.push(svm::ToDaemon::kConnect, e);
  const auto c = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(c.status, 0);
  EXPECT_NE(c.cut_through, svm::CutThrough::kNo);
  EXPECT_EQ(c.local.ip[3], 7);
  EXPECT_TRUE(has_connection(other));
}

// --- The API

api::Prefix prefix(const char* text) {
  const auto p = *IpPrefix::parse(text);
  api::Prefix to;
  to.address.af =
      p.address.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6;
  to.address.un.raw = p.address.bits.bytes;
  to.len = p.length;
  return to;
}

struct FiltersApiTest : FiltersTest {
  int32_t change(api::SessionRuleAddDel m) {
    return client.call<api::SessionRuleAddDelReply>(std::move(m)).retval;
  }
  static api::SessionRuleAddDel message(const char* tag = "") {
    api::SessionRuleAddDel m;
    m.lcl = prefix("0.0.0.0/0");
    m.rmt = prefix("192.0.2.1/24");
    m.rmt_port = 7;
    m.action_index = kActionDrop;
    m.is_add = true;
    m.tag = tag;
    return m;
  }
  std::vector<api::SessionRulesV2Details> rules() {
    return client.dump<api::SessionRulesV2Details>(api::SessionRulesV2Dump{});
  }
  int32_t change_sources(bool is_add, std::vector<std::pair<const char*, uint32_t>> sources,
                         uint32_t appns = 0) {
    api::SessionSdlAddDelV2 m;
    m.appns_index = appns;
    m.is_add = is_add;
    for (const auto& [p, action] : sources) {
      api::SdlRuleV2 r;
      r.rmt = prefix(p);
      r.action_index = action;
      r.tag = "t";
      m.r.push_back(r);
    }
    return client.call<api::SessionSdlAddDelV2Reply>(m).retval;
  }
};

TEST_F(FiltersApiTest, ARuleIsAddedListedAndDeleted) {
  ASSERT_EQ(change(message("x")), 0);
  auto all = rules();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].transport_proto, api::TransportProto::kTransportProtoApiTcp);
  EXPECT_EQ(all[0].rmt.address.un.raw[2], 2);
  EXPECT_EQ(all[0].rmt.address.un.raw[3], 0) << "without host bits";
  EXPECT_EQ(all[0].rmt.len, 24);
  EXPECT_EQ(all[0].lcl.len, 0);
  EXPECT_EQ(all[0].rmt_port, 7);
  EXPECT_EQ(all[0].lcl_port, 0);
  EXPECT_EQ(all[0].action_index, kActionDrop);
  EXPECT_EQ(all[0].scope, Scope::kSessionRuleScopeApiGlobal);
  EXPECT_EQ(all[0].tag, "x");
  EXPECT_EQ(all[0].appns_index, std::vector<uint32_t>{0});
  EXPECT_EQ(lookup(key(80, {{192, 0, 2, 3}}, 7)).kind, FlowKind::kDenied);
  auto m = message();
  m.is_add = false;
  EXPECT_EQ(change(m), 0);
  EXPECT_EQ(change(m), kNoSuchEntry);
  EXPECT_TRUE(rules().empty());
}

TEST_F(FiltersApiTest, ATagIsOneRulesAndDeletesIt) {
  ASSERT_EQ(change(message("x")), 0);
  auto second = message("x");
  second.rmt_port = 8;
  EXPECT_EQ(change(second), kValueExist);
  EXPECT_EQ(change(message("y")), 0) << "the same match, retagged";
  EXPECT_EQ(change(second), 0) << "so x is free";
  auto m = message("y");
  m.rmt_port = 8;  // the tag counts
  m.is_add = false;
  EXPECT_EQ(change(m), 0);
  ASSERT_EQ(rules().size(), 1u);
  EXPECT_EQ(rules()[0].tag, "x");
}

TEST_F(FiltersApiTest, BothScopesAreTwoRulesOrNone) {
  auto m = message();
  m.scope = Scope::kSessionRuleScopeApiBoth;
  ASSERT_EQ(change(m), 0);
  ASSERT_EQ(rules().size(), 2u);
  EXPECT_NE(rules()[0].scope, rules()[1].scope);
  m.is_add = false;
  ASSERT_EQ(change(m), 0);
  EXPECT_TRUE(rules().empty());
  auto local = message();
  local.scope = Scope::kSessionRuleScopeApiLocal;
  local.rmt_port = 9;
  local.tag = "z";
  ASSERT_EQ(change(local), 0);
  m = message("z");
  m.scope = Scope::kSessionRuleScopeApiBoth;
  EXPECT_EQ(change(m), kValueExist) << "scope local has the tag";
  EXPECT_EQ(rules().size(), 1u) << "and scope global nothing";
  ASSERT_EQ(change(message()), 0);
  m = message();
  m.scope = Scope::kSessionRuleScopeApiBoth;
  m.is_add = false;
  EXPECT_EQ(change(m), kNoSuchEntry) << "not in scope local";
  EXPECT_EQ(rules().size(), 2u) << "and still in scope global";
}

TEST_F(FiltersApiTest, EveryFieldIsChecked) {
  const auto with = [&](auto&& set) {
    auto m = message();
    set(m);
    return change(m);
  };
  using M = api::SessionRuleAddDel;
  EXPECT_EQ(with([](M& m) { m.appns_index = 1; }), kInvalidNamespace);
  EXPECT_EQ(with([](M& m) { m.scope = static_cast<Scope>(3); }), kApiInvalidValue);
  EXPECT_EQ(with([](M& m) { m.transport_proto = static_cast<api::TransportProto>(1); }),
            kNoSuchEntry);
  EXPECT_EQ(with([](M& m) { m.rmt.len = 33; }), kApiInvalidValue);
  EXPECT_EQ(with([](M& m) { m.lcl = prefix("::/0"); }), kApiInvalidValue);
  EXPECT_EQ(with([](M& m) { m.lcl.address.af = static_cast<api::AddressFamily>(2); }),
            kApiInvalidValue);
  EXPECT_EQ(with([](M& m) { m.action_index = 2; }), kNoSuchEntry) << "no such application";
  EXPECT_EQ(with([](M& m) { m.action_index = ~0u; }), kApiInvalidValue);
  EXPECT_EQ(with([](M& m) { m.action_index = 1; }), 0);
  EXPECT_EQ(rules().size(), 1u);
  EXPECT_EQ(change_sources(true, {{"10.0.0.0/8", kActionDrop}}, 1), kInvalidNamespace);
}

TEST_F(FiltersApiTest, SourcesAreAddedListedAndDeletedTogether) {
  EXPECT_EQ(change_sources(false, {{"10.0.0.0/8", 0}}), kNoSuchEntry);
  EXPECT_EQ(change_sources(true, {}), 0);
  ASSERT_EQ(change_sources(true, {{"192.0.2.0/24", kActionDrop},
                                  {"2001:db8::/32", 0},
                                  {"10.0.0.9/32", kActionAllow}}),
            0);
  EXPECT_EQ(change_sources(true, {{"1.0.0.0/8", 0}, {"10.0.0.9/32", 0}}), kValueExist);
  EXPECT_EQ(kind(80, {{192, 0, 2, 1}}), FlowKind::kDenied);
  EXPECT_EQ(kind(80, {{1, 0, 0, 1}}), FlowKind::kNone);
  const auto all = client.dump<api::SessionSdlV3Details>(api::SessionSdlV3Dump{});
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].rmt.address.un.raw[0], 10);
  EXPECT_EQ(all[0].action_index, kActionAllow);
  EXPECT_EQ(all[1].rmt.len, 24);
  EXPECT_EQ(all[1].tag, "t");
  EXPECT_EQ(all[2].rmt.address.af, api::AddressFamily::kAddressIp6);
  EXPECT_EQ(all[2].action_index, 0u);
  EXPECT_EQ(all[2].appns_index, std::vector<uint32_t>{0});
  EXPECT_EQ(change_sources(false, {{"192.0.2.0/24", 0}, {"9.9.9.9/32", 0}}), kNoSuchEntry);
  EXPECT_EQ(change_sources(false, {{"192.0.2.0/24", 0}, {"2001:db8::/32", 0}, {"10.0.0.9/32", 0}}),
            0);
  EXPECT_TRUE(client.dump<api::SessionSdlV3Details>(api::SessionSdlV3Dump{}).empty());
  EXPECT_FALSE(filters().has_ingress());
}

}  // namespace
}  // namespace loom::test
