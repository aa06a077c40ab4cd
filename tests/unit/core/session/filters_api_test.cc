// Session rules and deny lists over the binary API.
#include "tests/unit/core/session/command_line.h"
#include "tests/unit/core/session/filters_bed.h"

namespace loom::test {
namespace {

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

TEST_F(FiltersApiTest, SourcesAreDeletedByTheirTag) {
  const auto del = [&](const char* tag, uint32_t appns = 0) {
    const auto reply = client.call<api::SessionSdlDelTagReply>(
        api::SessionSdlDelTag{.appns_index = appns, .tag = tag});
    return std::pair{reply.retval, reply.count};
  };
  ASSERT_EQ(change_sources(true, {{"192.0.2.0/24", kActionDrop}, {"2001:db8::/32", 0}}), 0);
  const DenyEntry other{.prefix = *IpPrefix::parse("192.0.3.0/24"), .tag = "other"};
  ASSERT_TRUE(filters().add_sources(0, {&other, 1}));
  EXPECT_EQ(del("t", 1), std::pair(kInvalidNamespace, 0u));
  EXPECT_EQ(del(""), std::pair(kApiInvalidValue, 0u));
  EXPECT_EQ(del("s"), std::pair(kNoSuchEntry, 0u));
  EXPECT_EQ(del("t"), std::pair(0, 2u));
  EXPECT_EQ(kind(80, {{192, 0, 2, 1}}), FlowKind::kNone);
  EXPECT_EQ(kind(80, {{192, 0, 3, 1}}), FlowKind::kDenied);
  EXPECT_EQ(del("t"), std::pair(kNoSuchEntry, 0u));
  EXPECT_EQ(del("other"), std::pair(0, 1u));
  EXPECT_FALSE(filters().has_ingress());
}

TEST_F(FiltersApiTest, SourcesAreDeletedByTheirTagByCommand) {
  CommandLine commands(*bed.layer);
  commands.run("session sdl add 192.0.2.0/24 192.0.3.0/24 tag bad");
  commands.run("session sdl add 192.0.4.0/24");
  EXPECT_NE(commands.run("session sdl del tag bad 192.0.4.0/24", Status::kInvalid).find("not both"),
            std::string::npos);
  EXPECT_EQ(kind(80, {{192, 0, 4, 1}}), FlowKind::kDenied);
  EXPECT_EQ(commands.json("session sdl del tag bad")["deleted"], 2);
  EXPECT_EQ(kind(80, {{192, 0, 2, 1}}), FlowKind::kNone);
  EXPECT_EQ(kind(80, {{192, 0, 4, 1}}), FlowKind::kDenied);
  commands.run("session sdl del tag bad", Status::kNotFound);
  commands.run("session sdl del", Status::kInvalid);
  commands.run("session sdl del tag", Status::kInvalid);
}

TEST_F(FiltersApiTest, ATagIsThatOfOneNamespacesTables) {
  // Table 1 of one version is namespace "mixed"'s, and of the other somebody else's.
  bed.layer->impl().namespaces[0]->ip6_fib.store(1);
  auto& mixed = **session::add_namespace(bed.layer->impl(), {.id = "mixed"});
  mixed.ip4_fib.store(1);
  ASSERT_EQ(change_sources(true, {{"192.0.2.0/24", 0}, {"2001:db8::/32", 0}}), 0);
  ASSERT_EQ(change_sources(true, {{"192.0.2.0/24", 0}}, mixed.index), 0);
  EXPECT_EQ(*filters().del_sources_with(mixed.index, "t"), 1u);
  EXPECT_EQ(filters().sources(0, true)->size(true), 1u);
  EXPECT_EQ(filters().sources(0, false)->size(false), 1u) << "in the same list as mixed's";
  EXPECT_EQ(filters().sources(mixed.index, true)->size(true), 0u);
}

}  // namespace
}  // namespace loom::test
