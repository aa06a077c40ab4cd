// Routing tables and routes over the API: effect on lookups, every refusal, and long tables.
#include "api_host.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Type = api::FibPathType;
using Proto = api::FibPathNhProto;
constexpr uint32_t kUnknown = 77;

class RouteMessages : public ::testing::Test {
 protected:
  RouteMessages()
      : left(host.add_device({"10.0.0.2/24", "2001:db8::2/64"})),
        right(host.add_device({"10.0.1.2/24"})) {}

  static api::FibPath via(const std::string& gateway, uint32_t interface = ~0u) {
    api::FibPath path;
    path.sw_if_index = interface;
    path.weight = 1;
    const api::Address a = api_address(gateway);
    path.proto = a.af == api::AddressFamily::kAddressIp4 ? Proto::kFibApiPathNhProtoIp4
                                                         : Proto::kFibApiPathNhProtoIp6;
    path.nh.address = a.un;
    return path;
  }
  int32_t change(bool is_add, const std::string& prefix, std::vector<api::FibPath> paths,
                 bool is_multipath = false, uint32_t table = 0) {
    api::IpRouteAddDel r{.is_add = is_add, .is_multipath = is_multipath};
    r.route = {.table_id = table, .prefix = api_prefix(prefix), .paths = std::move(paths)};
    const auto reply = host.call<api::IpRouteAddDelReply>(r);
    EXPECT_EQ(reply.stats_index, ~0u);
    return reply.retval;
  }
  int32_t add(const std::string& prefix, api::FibPath path) { return change(true, prefix, {path}); }
  int32_t table(bool is_add, uint32_t number, bool is_ip6 = false, const std::string& name = "") {
    return host
        .call<api::IpTableAddDelReply>(
            api::IpTableAddDel{.is_add = is_add, .table = {number, is_ip6, name}})
        .retval;
  }
  // The interface by which packets to an address leave; kNoIndex: none.
  IfIndex way(const std::string& to, uint32_t fib_index = 0) {
    RouteInfo r;
    Worker& w = host.worker();
    return w.net->route(w, *IpAddress::parse(to), fib_index, &r) == Status::kOk ? r.tx_if
                                                                                : kNoIndex;
  }
  static std::string text(const api::IpRoute& r) {
    EXPECT_EQ(r.paths.size(), 1u);
    const api::FibPath& p = r.paths.at(0);
    const bool is_ip6 = p.proto == Proto::kFibApiPathNhProtoIp6;
    const std::string nh = text_of(api::Address{
        is_ip6 ? api::AddressFamily::kAddressIp6 : api::AddressFamily::kAddressIp4, p.nh.address});
    return text_of(r.prefix) + " " + std::to_string(static_cast<uint32_t>(p.type)) + " " + nh +
           " if " + (p.sw_if_index == ~0u ? "-" : std::to_string(p.sw_if_index));
  }
  std::vector<std::string> routes(uint32_t table = 0, bool is_ip6 = false) {
    std::vector<std::string> all;
    for (const auto& d :
         host.dump<api::IpRouteDetails>(api::IpRouteDump{.table = {table, is_ip6, ""}})) {
      EXPECT_EQ(d.route.table_id, table);
      all.push_back(text(d.route));
    }
    return all;
  }
  std::vector<std::string> tables() {
    std::vector<std::string> all;
    for (const auto& d : host.dump<api::IpTableDetails>(api::IpTableDump{}))
      all.push_back(std::to_string(d.table.table_id) + (d.table.is_ip6 ? " ip6 " : " ip4 ") +
                    d.table.name);
    return all;
  }
  ApiHost host;
  FakeDevice &left, &right;
};

TEST_F(RouteMessages, ARouteLeadsWhereItSays) {
  EXPECT_EQ(way("192.0.2.1"), kNoIndex);
  EXPECT_EQ(add("192.0.2.0/24", via("10.0.1.1")), 0);
  EXPECT_EQ(way("192.0.2.1"), right.index);
  EXPECT_EQ(add("192.0.2.0/24", via("10.0.0.1", left.index)), 0);  // replaces it
  EXPECT_EQ(way("192.0.2.1"), left.index);
  EXPECT_EQ(add("2001:db8:9::/48", via("2001:db8::1")), 0);
  EXPECT_EQ(way("2001:db8:9::1"), left.index);
  EXPECT_EQ(add("198.51.100.0/24", via("0.0.0.0", right.index)), 0);  // on the link itself
  EXPECT_EQ(way("198.51.100.1"), right.index);
  EXPECT_EQ(change(false, "192.0.2.0/24", {}), 0);
  EXPECT_EQ(way("192.0.2.1"), kNoIndex);
  EXPECT_EQ(change(false, "192.0.2.0/24", {}), -6);
  EXPECT_EQ(change(false, "10.0.0.0/24", {}), -6);  // the interface's own stays
  EXPECT_EQ(way("10.0.0.9"), left.index);
}

TEST_F(RouteMessages, PacketsGoTheNewWay) {
  host.know(right, "10.0.1.1");
  const auto send = [&] {
    host.receive(left, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                                make_ip4({.src = "10.0.0.1", .dst = "192.0.2.1", .protocol = 17},
                                         counting(30))));
    return right.take_sent().size();
  };
  EXPECT_EQ(send(), 0u);
  EXPECT_EQ(add("192.0.2.0/24", via("10.0.1.1")), 0);
  EXPECT_EQ(send(), 1u);
  api::FibPath drop;
  drop.type = Type::kFibApiPathTypeDrop;
  EXPECT_EQ(add("192.0.2.0/24", drop), 0);
  EXPECT_EQ(send(), 0u);
}

TEST_F(RouteMessages, WhatARouteCannotBeIsRefused) {
  const auto with = [&](auto change) {
    api::FibPath path = via("10.0.1.1");
    change(path);
    return add("192.0.2.0/24", path);
  };
  EXPECT_EQ(change(true, "192.0.2.0/24", {}), -52);
  EXPECT_EQ(change(true, "192.0.2.0/24", std::vector(255, via("10.0.1.1"))), -126);
  EXPECT_EQ(change(true, "192.0.2.0/24", {via("10.0.1.1")}, false, 9), -3);
  EXPECT_EQ(change(false, "192.0.2.0/24", {}, false, 9), -3);
  EXPECT_EQ(with([](auto& p) { p.sw_if_index = kUnknown; }), -2);
  EXPECT_EQ(with([](auto& p) { p.proto = Proto::kFibApiPathNhProtoIp6; }), -157);
  EXPECT_EQ(with([](auto& p) { p.proto = Proto::kFibApiPathNhProtoMpls; }), -157);
  EXPECT_EQ(with([](auto& p) { p.proto = static_cast<Proto>(0xdeadbeef); }), -157);
  EXPECT_EQ(with([](auto& p) { p.type = Type::kFibApiPathTypeUdpEncap; }), -126);
  EXPECT_EQ(with([](auto& p) { p.type = Type::kFibApiPathTypeLocal; }), -126);
  EXPECT_EQ(with([](auto& p) { p.type = static_cast<Type>(99); }), -126);
  EXPECT_EQ(with([](auto& p) { p.n_labels = 1; }), -126);
  EXPECT_EQ(with([](auto& p) { p.flags = api::FibPathFlags::kFibApiPathFlagPopPwCw; }), -126);
  EXPECT_EQ(with([](auto& p) { p.nh.address = {}; }), -54);
  EXPECT_EQ(with([](auto& p) { p.nh.address.set_ip4({172, 16, 0, 1}); }), -50);
  EXPECT_EQ(with([](auto& p) { p.nh.address.set_ip4({10, 0, 1, 2}); }), -7);  // this host
  EXPECT_EQ(with([](auto& p) { p.table_id = 9; }), -3);
  api::IpRouteAddDel r{.is_add = true};
  r.route = {.prefix = api_prefix("192.0.2.0/24"), .paths = {via("10.0.1.1")}};
  r.route.prefix.len = 33;
  EXPECT_EQ(host.call<api::IpRouteAddDelReply>(r).retval, -171);
  r.route.prefix.address.af = static_cast<api::AddressFamily>(7);
  EXPECT_EQ(host.call<api::IpRouteAddDelReply>(r).retval, -97);
  EXPECT_EQ(way("192.0.2.1"), kNoIndex);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());  // none is held for a route that was refused
}

TEST_F(RouteMessages, MultipathIsOnePath) {
  EXPECT_EQ(change(true, "192.0.2.0/24", {via("10.0.1.1")}, true), 0);
  EXPECT_EQ(change(true, "192.0.2.0/24", {via("10.0.1.1")}, true), 0);     // is there
  EXPECT_EQ(change(true, "192.0.2.0/24", {via("10.0.0.1")}, true), -126);  // a second one
  EXPECT_EQ(way("192.0.2.1"), right.index);
  EXPECT_EQ(change(false, "192.0.2.0/24", {via("10.0.0.1")}, true), -53);
  EXPECT_EQ(change(false, "192.0.2.0/24", {via("10.0.1.1"), via("10.0.0.1")}, true), -53);
  EXPECT_EQ(change(false, "192.0.2.0/24", {}, true), -52);
  EXPECT_EQ(way("192.0.2.1"), right.index);
  EXPECT_EQ(change(false, "192.0.2.0/24", {via("10.0.1.1")}, true), 0);
  EXPECT_EQ(way("192.0.2.1"), kNoIndex);
}

TEST_F(RouteMessages, APathByAnotherTableIsAnotherPath) {
  EXPECT_EQ(table(true, 7), 0);
  FakeDevice& other = host.add_device({});
  must(host.net->set_table(other.index, 7, false));
  must(host.net->add_address(other.index, *IpPrefix::parse("10.0.1.3/24")));
  const auto by = [&](uint32_t table, uint32_t interface = ~0u) {
    api::FibPath path = via("10.0.1.1", interface);
    path.table_id = table;
    return std::vector{path};
  };
  EXPECT_EQ(change(true, "192.0.2.0/24", by(0), true), 0);
  EXPECT_EQ(change(true, "192.0.2.0/24", by(7), true), -126);
  EXPECT_EQ(change(false, "192.0.2.0/24", by(7), true), -53);
  EXPECT_EQ(way("192.0.2.1"), right.index);
  EXPECT_EQ(change(true, "192.0.2.0/24", by(0, other.index)), 0);  // the table is the interface's
  EXPECT_EQ(change(true, "192.0.2.0/24", by(0), true), -126);
  EXPECT_EQ(change(false, "192.0.2.0/24", by(7), true), 0);
}

TEST_F(RouteMessages, DumpSaysWhatPacketsSee) {
  api::FibPath drop;
  drop.type = Type::kFibApiPathTypeDrop;
  drop.sw_if_index = ~0u;
  EXPECT_EQ(add("192.0.2.0/24", via("10.0.1.1")), 0);
  EXPECT_EQ(add("0.0.0.0/0", drop), 0);
  EXPECT_EQ(add("10.0.0.0/24", via("10.0.1.1")), 0);               // beaten by the interface's own
  EXPECT_THAT(routes(), ElementsAre("0.0.0.0/0 2 0.0.0.0 if -",    //
                                    "10.0.0.0/24 0 0.0.0.0 if 0",  //
                                    "10.0.0.2/32 1 0.0.0.0 if 0",  //
                                    "10.0.0.255/32 0 0.0.0.0 if 0",  //
                                    "10.0.1.0/24 0 0.0.0.0 if 1",    //
                                    "10.0.1.2/32 1 0.0.0.0 if 1",    //
                                    "10.0.1.255/32 0 0.0.0.0 if 1",  //
                                    "192.0.2.0/24 0 10.0.1.1 if 1"));
  EXPECT_THAT(routes(0, true), SizeIs(4));  // subnets and addresses, the link-local one's too
  EXPECT_THAT(routes(9), IsEmpty());
}

TEST_F(RouteMessages, LookupIsExactOrLongest) {
  EXPECT_EQ(add("192.0.2.0/24", via("10.0.1.1")), 0);
  EXPECT_EQ(add("192.0.0.0/16", via("10.0.0.1")), 0);
  const auto look = [&](const std::string& prefix, bool exact, uint32_t table = 0) {
    const auto reply = host.call<api::IpRouteLookupReply>(
        api::IpRouteLookup{.table_id = table, .exact = exact, .prefix = api_prefix(prefix)});
    return reply.retval ? std::to_string(reply.retval) : text(reply.route);
  };
  EXPECT_EQ(look("192.0.2.7/32", false), "192.0.2.0/24 0 10.0.1.1 if 1");
  EXPECT_EQ(look("192.0.3.0/24", false), "192.0.0.0/16 0 10.0.0.1 if 0");
  EXPECT_EQ(look("192.0.2.7/32", true), "-6");
  EXPECT_EQ(look("192.0.2.0/24", true), "192.0.2.0/24 0 10.0.1.1 if 1");
  EXPECT_EQ(look("172.16.0.0/12", false), "-6");
  EXPECT_EQ(look("192.0.2.0/24", false, 9), "-3");
  EXPECT_EQ(look("2001:db8::77/128", false), "2001:db8::/64 0 :: if 0");
  api::IpRouteLookup r{.prefix = api_prefix("10.0.0.0/8")};
  r.prefix.len = 200;
  EXPECT_EQ(host.call<api::IpRouteLookupReply>(r).retval, -171);
}

TEST_F(RouteMessages, TablesAreMadeListedAndRemoved) {
  EXPECT_EQ(table(true, 7, false, "blue"), 0);
  EXPECT_EQ(table(true, 7, true), 0);
  EXPECT_EQ(table(true, 7, false, "again"), 0);  // is there, and keeps its name
  EXPECT_THAT(tables(), ElementsAre("0 ip4 ip4-table-0", "7 ip4 blue", "0 ip6 ip6-table-0",
                                    "7 ip6 ip6-table-7"));
  EXPECT_EQ(table(true, ~0u), -7);
  EXPECT_EQ(table(false, 9), -3);
  EXPECT_EQ(table(false, 0), -7);
  const uint32_t fib = must(host.net->fib_index(7, false));
  EXPECT_EQ(change(true, "192.0.2.0/24", {via("10.0.1.1")}, false, 7), 0);  // by table 0
  EXPECT_EQ(way("192.0.2.1", fib), right.index);
  EXPECT_EQ(way("192.0.2.1"), kNoIndex);
  EXPECT_THAT(routes(7), ElementsAre("192.0.2.0/24 0 10.0.1.1 if 1"));
  EXPECT_EQ(table(false, 7), 0);  // with its routes
  EXPECT_EQ(way("192.0.2.1", fib), kNoIndex);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  EXPECT_EQ(host.call<api::IpTableAddDelV2Reply>(
                    api::IpTableAddDelV2{.table = {8, true, "v2"}, .is_add = true})
                .retval,
            0);
  EXPECT_THAT(tables(), ElementsAre("0 ip4 ip4-table-0", "0 ip6 ip6-table-0", "7 ip6 ip6-table-7",
                                    "8 ip6 v2"));
}

TEST_F(RouteMessages, ATableInUseStaysAsItIs) {
  EXPECT_EQ(table(true, 7), 0);
  FakeDevice& other = host.add_device({});
  must(host.net->set_table(other.index, 7, false));
  EXPECT_EQ(change(true, "192.0.2.0/24", {via("10.0.1.1")}, false, 7), 0);
  EXPECT_EQ(table(false, 7), -155);
  EXPECT_THAT(routes(7), SizeIs(1));
}

TEST_F(RouteMessages, TablesHaveABound) {
  int n = 0;
  while (table(true, 100 + n) == 0) ++n;
  EXPECT_EQ(n, static_cast<int>(RouteTables::kMaxTables) - 1);
  EXPECT_EQ(table(true, 5000), -162);
  EXPECT_EQ(table(false, 100), 0);
  EXPECT_EQ(table(true, 5000), 0);
}

class LongTables : public RouteMessages {
 protected:
  static constexpr uint32_t kMany = 20'000;
  LongTables() {
    Route r;
    r.is_drop = true;
    for (uint32_t i = 0; i < kMany; ++i) {
      r.prefix = {IpAddress(Ip4Address::from_host(0x14000000 + (i << 8))), 24};
      must(host.net->add_route(r));
    }
  }
};

TEST_F(LongTables, ADumpGoesOnWhileRoutesComeAndGo) {
  Route r;
  r.is_drop = true;
  host.between_steps = [&](int step) {
    if (step != 100) return;
    r.prefix = *IpPrefix::parse("20.0.0.0/24");  // behind us, the next ones, and one far ahead
    must(host.net->del_route(r));
    for (uint32_t i = 90; i < 120; ++i) {
      r.prefix = {IpAddress(Ip4Address::from_host(0x14000000 + (i << 8))), 24};
      must(host.net->del_route(r));
    }
    r.prefix = *IpPrefix::parse("203.0.113.0/24");
    must(host.net->add_route(r));
  };
  const auto all = routes();
  // Of the 30 the dump had sent those before its 100th step, less the six of the interfaces.
  EXPECT_EQ(all.back(), "203.0.113.0/24 2 0.0.0.0 if -");
  EXPECT_EQ(all.size(), 6 + kMany + 1 - (120 - 94));
  EXPECT_GE(host.steps, static_cast<int>(all.size()));
  host.between_steps = {};
  EXPECT_EQ(routes().size(), 6 + kMany + 1 - 1 - 30);
}

TEST_F(LongTables, AFlushTakesSlicesAndSparesTheInterfaces) {
  const auto flush = [&](uint32_t number) {
    return host.call<api::IpTableFlushReply>(api::IpTableFlush{.table = {number, false, "any"}})
        .retval;
  };
  EXPECT_EQ(flush(9), -3);
  EXPECT_EQ(flush(0), 0);
  EXPECT_GE(host.steps, static_cast<int>(kMany / 64));
  EXPECT_THAT(routes(), SizeIs(6));
  EXPECT_EQ(way("10.0.0.9"), left.index);
  EXPECT_THAT(routes(0, true), SizeIs(4));
}

TEST_F(LongTables, ATableThatIsUsedWhileItIsRemovedStays) {
  EXPECT_EQ(table(true, 7), 0);
  Route r;
  r.table = 7;
  r.is_drop = true;
  for (uint32_t i = 0; i < 1000; ++i) {
    r.prefix = {IpAddress(Ip4Address::from_host(0x14000000 + (i << 8))), 24};
    must(host.net->add_route(r));
  }
  host.between_steps = [&](int step) {
    r.prefix = *IpPrefix::parse("10.0.0.0/24");  // behind where it is
    if (step == 2) must(host.net->add_route(r));
  };
  EXPECT_EQ(table(false, 7), -155);
  host.between_steps = {};
  EXPECT_THAT(routes(7), SizeIs(1));
  EXPECT_EQ(table(false, 7), 0);
}

}  // namespace
}  // namespace loom
