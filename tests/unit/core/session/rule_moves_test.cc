// Rules of scope global go with their namespace to another routing table, and nobody else loses
// or gets one.
#include "session/control.h"
#include "tests/unit/core/session/command_line.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

using session::add_namespace;
using session::Filters;
using session::kActionAllow;
using session::kActionDrop;
using session::Namespace;
using session::NamespaceArgs;
using session::RuleScope;
using session::RuleSpec;

// Namespaces "blue" and "red"; tables 0, 5 and 7.
struct RuleMovesTest : testing::Test {
  RuleMovesTest() {
    for (const uint32_t table : {5u, 7u})
      for (const bool is_ip6 : {false, true}) EXPECT_TRUE(bed.net->add_table(table, is_ip6));
    blue = place("blue", 0);
    red = place("red", 0);
  }
  SessionLayer::Impl& layer() { return bed.layer->impl(); }
  Filters& filters() { return *layer().filters; }
  // Its index.
  uint32_t place(const char* id, uint32_t table, uint32_t ip6_table = 0) {
    auto ns = add_namespace(layer(), {.id = id, .ip4_table = table, .ip6_table = ip6_table});
    EXPECT_TRUE(ns) << ns.error().message;
    return (*ns)->index;
  }
  Status refused(const char* id, uint32_t table) {
    auto ns = add_namespace(layer(), {.id = id, .ip4_table = table});
    EXPECT_FALSE(ns);
    return ns ? Status::kOk : ns.error().code;
  }
  RuleSpec rule(uint32_t ns, uint32_t action = kActionDrop, const char* from = "10.0.0.9/32",
                const char* tag = "") {
    RuleSpec r;
    r.appns = ns;
    r.transport = bed.pipe.id;
    r.match.remote = *IpPrefix::parse(from);
    r.match.local = {r.match.remote.address.is_ip4 ? IpAddress(Ip4Address{}) : Ip6Address{}, 0};
    r.action = action;
    r.tag = tag;
    return r;
  }
  void add(const RuleSpec& r) {
    const auto added = filters().add(r);
    EXPECT_TRUE(added) << added.error().message;
  }
  // Whether a packet from there is denied in that table.
  bool denies(uint32_t table, Ip4Address from = {{10, 0, 0, 9}}) {
    FlowKey4 k{};
    k.local = Ip4Address{{10, 0, 0, 1}};
    k.remote = from;
    k.local_port = 80;
    k.protocol = PipeTransport::kIpProtocol;
    k.fib_index = static_cast<uint16_t>(bed.net->fib_index(table, false).value());
    FlowMatch m;
    Worker& w = bed.engine->worker(0);
    w.sessions->lookup4(w, {&k, 1}, &m);
    return m.kind == FlowKind::kDenied;
  }
  std::size_t n_rules() {
    std::size_t n = 0;
    for (uint32_t i = 0; i < filters().n_numbers(); ++i) n += filters().rule(i) != nullptr;
    return n;
  }

  SessionBed bed{{}, SessionBed::Network::kReal};
  uint32_t blue = 0, red = 0;
};

TEST_F(RuleMovesTest, ItGoesAndItsHitsGoOn) {
  add(rule(blue, kActionDrop, "10.0.0.9/32", "b"));
  EXPECT_TRUE(denies(0));
  place("blue", 5);
  EXPECT_FALSE(denies(0));
  EXPECT_TRUE(denies(5));
  EXPECT_EQ(filters().hits(0), 2u);
  EXPECT_EQ(n_rules(), 1u);
  EXPECT_TRUE(bed.net->add_table(9, false)) << "and table 0 is not in use by it";
  place("blue", 7);
  EXPECT_TRUE(bed.net->del_table(5, false)) << "no rule of it is there any more";
  // By tag and by match as ever, and the tag is free where it was.
  add(rule(red, kActionDrop, "10.0.0.8/32", "b"));
  RuleSpec tagged = rule(blue);
  tagged.tag = "b";
  tagged.has_match = false;
  EXPECT_TRUE(filters().del(tagged));
  EXPECT_FALSE(denies(7));
  EXPECT_TRUE(denies(0, {{10, 0, 0, 8}})) << "red's";
}

TEST_F(RuleMovesTest, EachVersionGoesByItsOwnTable) {
  add(rule(blue));
  add(rule(blue, kActionDrop, "2001:db8::/32"));
  place("blue", 0, 5);
  EXPECT_TRUE(denies(0));
  const uint32_t fib = bed.net->fib_index(5, true).value();
  EXPECT_EQ(filters().use_of_table(fib, false), "a session rule");
  EXPECT_EQ(filters().use_of_table(0, false), "");
  EXPECT_EQ(filters().use_of_table(0, true), "a session rule");
}

TEST_F(RuleMovesTest, OthersKeepWhatTheyHaveAddedToo) {
  add(rule(red, kActionAllow));
  add(rule(blue));  // replaces it
  EXPECT_TRUE(denies(0));
  place("blue", 5);
  EXPECT_TRUE(denies(5));
  EXPECT_TRUE(denies(0)) << "red had asked for a rule there";
  EXPECT_EQ(n_rules(), 2u);
  // From now on they are two.
  ASSERT_TRUE(filters().del(rule(red)));
  EXPECT_FALSE(denies(0));
  EXPECT_TRUE(denies(5));
  ASSERT_TRUE(filters().del(rule(blue)));
  EXPECT_EQ(n_rules(), 0u);
  EXPECT_FALSE(filters().has_ingress());
}

TEST_F(RuleMovesTest, WhoHadAddedItFirstTakesItAlong) {
  add(rule(blue, kActionAllow));
  add(rule(red));
  place("blue", 5);
  EXPECT_TRUE(denies(5));
  EXPECT_TRUE(denies(0));
  place("red", 7);
  EXPECT_FALSE(denies(0));
  EXPECT_TRUE(denies(7));
  EXPECT_EQ(n_rules(), 2u);
}

TEST_F(RuleMovesTest, TheSameRuleIsThereOnce) {
  place("red", 5);
  add(rule(red));
  add(rule(blue));
  EXPECT_EQ(n_rules(), 2u);
  place("blue", 5);
  EXPECT_EQ(n_rules(), 1u);
  EXPECT_FALSE(denies(0));
  EXPECT_TRUE(denies(5));
  place("red", 0);
  EXPECT_TRUE(denies(5)) << "blue's as well";
  EXPECT_TRUE(denies(0));
  ASSERT_TRUE(session::delete_namespace(layer(), "blue"));
  EXPECT_FALSE(denies(5));
  EXPECT_TRUE(denies(0));
}

TEST_F(RuleMovesTest, ARuleInTheWayKeepsTheNamespaceWhereItIs) {
  place("red", 5);
  add(rule(red, kActionAllow));
  add(rule(blue, kActionDrop, "10.0.0.7/32"));
  add(rule(blue));
  add(rule(blue, kActionDrop, "10.0.0.6/32"));
  EXPECT_EQ(refused("blue", 5), Status::kExists);
  const Namespace& ns = *layer().namespaces[blue];
  EXPECT_EQ(ns.ip4_table, 0u);
  EXPECT_EQ(ns.fibs().ip4, 0u);
  EXPECT_TRUE(denies(0));
  EXPECT_TRUE(denies(0, {{10, 0, 0, 7}}));
  EXPECT_FALSE(denies(5, {{10, 0, 0, 7}})) << "what had been put there is gone";
  EXPECT_EQ(n_rules(), 4u);
  // Nor does a tag that is taken there move.
  place("red", 7);
  add(rule(red, kActionDrop, "10.0.0.5/32", "x"));
  add(rule(blue, kActionDrop, "10.0.0.4/32", "x"));
  EXPECT_EQ(refused("blue", 7), Status::kExists);
  ASSERT_TRUE(filters().del(rule(blue, kActionDrop, "10.0.0.4/32")));
  place("blue", 5);
  EXPECT_TRUE(denies(5, {{10, 0, 0, 7}}));
}

TEST_F(RuleMovesTest, TheSecretStaysWhenTheNamespaceDoes) {
  place("red", 5);
  add(rule(red, kActionAllow));
  add(rule(blue));
  EXPECT_FALSE(add_namespace(layer(), {.id = "blue", .secret = 9, .ip4_table = 5}));
  EXPECT_EQ(layer().namespaces[blue]->secret, 0u);
}

TEST_F(RuleMovesTest, RulesGoWithTheInterface) {
  const IfIndex loop = bed.net->create_loopback().value();
  ASSERT_TRUE(add_namespace(layer(), {.id = "blue", .interface = loop}));
  add(rule(blue));
  EXPECT_TRUE(denies(0));
  // An interface changes its table without addresses, and the namespace goes with the next one.
  const IpPrefix address{IpAddress::parse("10.0.0.1").value(), 24};
  ASSERT_TRUE(bed.net->set_table(loop, 5, false));
  ASSERT_TRUE(bed.net->add_address(loop, address));
  bed.pump();
  EXPECT_FALSE(denies(0));
  EXPECT_TRUE(denies(5));
  // Where one is in the way it stays, and the log says so. The others go on with the interface.
  add(rule(blue, kActionDrop, "10.0.0.6/32"));
  add(rule(blue, kActionDrop, "10.0.0.4/32"));
  place("red", 7);
  add(rule(red, kActionAllow));
  bed.log.clear();
  ASSERT_TRUE(bed.net->del_address(loop, address));
  ASSERT_TRUE(bed.net->set_table(loop, 7, false));
  ASSERT_TRUE(bed.net->add_address(loop, address));
  bed.pump();
  EXPECT_FALSE(denies(7));
  EXPECT_TRUE(denies(5));
  for (const uint8_t last : {uint8_t{6}, uint8_t{4}}) {
    EXPECT_TRUE(denies(7, {{10, 0, 0, last}}));
    EXPECT_FALSE(denies(5, {{10, 0, 0, last}}));
  }
  EXPECT_NE(bed.log.find("session rules of namespace 'blue'"), std::string::npos) << bed.log;
  EXPECT_NE(bed.log.find("1 of 3 stay"), std::string::npos) << bed.log;
  // Without an interface it has no table to go to.
  ASSERT_EQ(bed.net->remove_interface(loop), Status::kOk);
  bed.pump();
  EXPECT_TRUE(denies(5));
  // It is deleted as it was added, wherever it is.
  EXPECT_TRUE(filters().del(rule(blue)));
  EXPECT_FALSE(denies(5));
}

TEST_F(RuleMovesTest, RedirectsGoToo) {
  TestApp server(bed);
  ASSERT_EQ(server.listen(80).status, 0);
  add(rule(red, 0));
  add(rule(blue, 0));
  place("blue", 5);
  EXPECT_EQ(n_rules(), 2u);
  for (uint32_t i = 0; i < filters().n_numbers(); ++i) {
    if (filters().rule(i)) {
      EXPECT_TRUE(filters().has_target(i));
    }
  }
  ASSERT_TRUE(filters().del(rule(red)));
  FlowKey4 k{};
  k.remote = Ip4Address{{10, 0, 0, 9}};
  k.local_port = 81;
  k.protocol = PipeTransport::kIpProtocol;
  k.fib_index = static_cast<uint16_t>(bed.net->fib_index(5, false).value());
  FlowMatch m;
  Worker& w = bed.engine->worker(0);
  w.sessions->lookup4(w, {&k, 1}, &m);
  EXPECT_EQ(m.kind, FlowKind::kListener) << "the target is in use still";
}

TEST_F(RuleMovesTest, AllThatHaveAddedItAreListed) {
  add(rule(red, kActionAllow, "10.0.0.9/32", "x"));
  add(rule(blue, kActionDrop, "10.0.0.9/32", "x"));
  add(rule(0, kActionDrop, "10.0.0.8/32"));
  EXPECT_EQ(filters().namespaces_of(0), (std::vector<uint32_t>{blue, red}));
  CommandLine commands(*bed.layer);
  const auto listed = [&](const std::string& words) {
    return commands.json("show session rules " + words)["rules"];
  };
  EXPECT_EQ(listed("").size(), 2u);
  EXPECT_EQ(listed("appns red").at(0)["appns"], std::to_string(blue) + "," + std::to_string(red));
  EXPECT_EQ(listed("appns blue").size(), 1u);
  EXPECT_EQ(listed("appns default").size(), 1u);
  EXPECT_EQ(listed("tag x").size(), 1u);
  EXPECT_EQ(listed("tag y").size(), 0u);
  add(rule(red, kActionDrop, "10.0.0.9/32", "x"));
  EXPECT_EQ(filters().namespaces_of(0), (std::vector<uint32_t>{red, blue})) << "each once";
}

// --- app ns add: all of it or nothing

struct NamespaceAddTest : RuleMovesTest {
  CommandLine commands{*bed.layer};
  const Namespace& ns() { return *layer().namespaces[blue]; }
};

TEST_F(NamespaceAddTest, AnAccessThatCannotBeChangesNothing) {
  commands.run("app ns add id blue secret 1");
  // The file of its socket has gone: it gets no mode.
  std::filesystem::remove(ns().socket.name);
  const auto before = ns().access;
  commands.run("app ns add id blue secret 2 mode 0600 ip4-fib-id 5 max-apps 3", Status::kIo);
  EXPECT_EQ(ns().secret, 1u);
  EXPECT_EQ(ns().ip4_table, 0u);
  EXPECT_EQ(ns().quota.applications, 0u);
  EXPECT_TRUE(ns().access == before);
}

TEST_F(NamespaceAddTest, APlaceThatCannotBeChangesNothing) {
  commands.run("app ns add id blue secret 1");
  const auto mode = [&] { return std::filesystem::status(ns().socket.name).permissions(); };
  const auto before = ns().access;
  const auto mode_before = mode();
  commands.run("app ns add id blue secret 2 mode 0600 ip4-fib-id 99", Status::kNotFound);
  EXPECT_EQ(ns().secret, 1u);
  EXPECT_TRUE(ns().access == before);
  EXPECT_EQ(mode(), mode_before);
  commands.run("app ns add id blue secret 2 mode 0600 ip4-fib-id 5");
  EXPECT_EQ(ns().secret, 2u);
  EXPECT_EQ(ns().access.mode, 0600u);
  EXPECT_EQ(mode(), std::filesystem::perms(0600));
  EXPECT_EQ(ns().ip4_table, 5u);
}

}  // namespace
}  // namespace loom::test
