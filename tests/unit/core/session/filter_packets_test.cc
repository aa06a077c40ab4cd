// Session rules and deny lists where packets meet them, and the namespaces that these are of.
#include "tests/unit/core/session/filters_bed.h"

namespace loom::test {
namespace {

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

// The worker that a new flow is for looks again.
TEST(FiltersOfWorkers, AFlowThatIsHandedOverIsOneHit) {
  SessionConfig config;
  config.spread_flows = true;
  SessionBed bed(config, SessionBed::Network::kNone, 2);
  TestApp app(bed);
  ASSERT_EQ(app.listen(80).status, 0);
  Filters& filters = *bed.layer->impl().filters;
  RuleSpec r;
  r.transport = bed.pipe.id;
  r.match.local = r.match.remote = *IpPrefix::parse("0.0.0.0/0");
  r.action = kActionAllow;
  ASSERT_TRUE(filters.add(r));
  for (uint16_t port = 1; port <= 20; ++port) {  // some are for either worker
    const FlowKey4 k = FiltersTest::key(80, {{10, 0, 0, 9}}, port);
    uint32_t at = port % 2, looks = 0;
    for (bool is_there = false; !is_there; ++looks) {
      ASSERT_LT(looks, 2u);
      Worker& w = bed.engine->worker(at);
      FlowMatch m;
      w.sessions->lookup4(w, {&k, 1}, &m);
      ASSERT_EQ(m.kind, FlowKind::kListener);
      is_there = m.worker == at;
      at = m.worker;
    }
    EXPECT_EQ(filters.hits(0), port);
  }
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

TEST_F(FiltersTest, ALengthThatThereIsNotIsNoEntry) {
  const DenyEntry source{.prefix = *IpPrefix::parse("192.0.2.0/24"), .tag = ""};
  ASSERT_TRUE(filters().add_sources(0, {&source, 1}));
  EXPECT_FALSE(filters().sources(0, true)->entry({source.prefix.address, 200}));
  EXPECT_TRUE(filters().sources(0, true)->entry(source.prefix));
}

}  // namespace
}  // namespace loom::test
