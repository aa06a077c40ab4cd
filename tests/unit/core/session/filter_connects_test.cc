// Session rules where connects of applications meet them.
#include "tests/unit/core/session/filters_bed.h"

namespace loom::test {
namespace {

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

TEST_F(FiltersTest, AConnectThatWaitsForThePairsMemoryIsOneHit) {
  ASSERT_EQ(other.listen(80).status, 0);
  ASSERT_TRUE(filters().add(rule("10.0.0.0/24", kActionAllow, RuleScope::kLocal)));
  EXPECT_EQ(connect(app, 80), Status::kOk);
  EXPECT_EQ(filters().hits(0), 1u);
  EXPECT_EQ(connect(app, 80), Status::kOk);
  EXPECT_EQ(filters().hits(0), 2u);
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

// Namespaces reach each other over the network only, but where a rule of the connecting one says so.
TEST_F(FiltersTest, ARulesConnectReachesAnotherNamespace) {
  ASSERT_TRUE(session::add_namespace(bed.layer->impl(), {.id = "blue"}));
  svm::AttachRequest request{};
  std::strcpy(request.namespace_id, "blue");
  TestApp blue(bed, request);
  ASSERT_EQ(blue.reply.status, 0);
  ASSERT_EQ(other.listen(80).status, 0);
  ASSERT_EQ(blue.listen(81).status, 0);
  const auto is_direct = [](TestApp& a, uint16_t port) {
    a.start_connect(port);
    const auto c = a.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(c.status, 0);
    return c.cut_through != svm::CutThrough::kNo;
  };
  EXPECT_FALSE(is_direct(blue, 80));
  RuleSpec r = rule("10.0.0.0/8", 1, RuleScope::kLocal);  // an application of the default one
  r.appns = 1;
  ASSERT_TRUE(filters().add(r));
  EXPECT_TRUE(is_direct(blue, 80));
  EXPECT_TRUE(has_connection(other));
  EXPECT_FALSE(is_direct(app, 81));  // it does not lead back
  ASSERT_TRUE(filters().del(r));
  EXPECT_FALSE(is_direct(blue, 80));
}

}  // namespace
}  // namespace loom::test
