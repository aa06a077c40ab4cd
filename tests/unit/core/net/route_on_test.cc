// The way to an address by an interface that is named: NetOps::route_group.
#include "net_host.h"

namespace loom {
namespace {

class RouteOn : public ::testing::Test {
 protected:
  RouteOn()
      : near(host.add_device({"10.0.0.2/24", "2001:db8::2/64"})),
        far(host.add_device({"10.0.1.2/24", "2001:db8:1::2/64"})) {
    host.pass(10 * kSecond);  // duplicate address detection
    Route r;
    r.prefix = *IpPrefix::parse("192.0.2.0/24");
    r.gateway = *IpAddress::parse("10.0.0.1");
    must(host.net->add_route(r));
  }
  Status ask(const char* to, IfIndex by, uint32_t fib = 0) {
    GroupDestination d;
    d.to = *IpAddress::parse(to);
    d.source = d.to.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
    d.interface = by;
    d.fib_index = fib;
    way = {};
    return host.worker().net->route_group(host.worker(), d, &way);
  }
  uint32_t route_to(const char* to) {
    RouteInfo r;
    EXPECT_EQ(host.worker().net->route(host.worker(), *IpAddress::parse(to), 0, &r), Status::kOk);
    return r.adjacency;
  }
  NetHost host;
  FakeDevice &near, &far;
  RouteInfo way;
};

TEST_F(RouteOn, TheTablesRouteIsTakenWhereItLeadsByTheInterface) {
  ASSERT_EQ(ask("192.0.2.9", near.index), Status::kOk);
  EXPECT_EQ(way.adjacency, route_to("192.0.2.9"));
  EXPECT_EQ(way.tx_if, near.index);
  EXPECT_EQ(way.source.str(), "10.0.0.2");
}

TEST_F(RouteOn, ElseTheAddressLiesOnTheLink) {
  ASSERT_EQ(ask("192.0.2.9", far.index), Status::kOk);
  EXPECT_EQ(way.adjacency, route_to("10.0.1.77"));  // as any that is not known there yet
  EXPECT_EQ(way.tx_if, far.index);
  EXPECT_EQ(way.source.str(), "10.0.1.2");
  ASSERT_EQ(ask("2001:db8::9", far.index), Status::kOk);
  EXPECT_EQ(way.tx_if, far.index);
  EXPECT_EQ(way.source.str(), "2001:db8:1::2");
}

TEST_F(RouteOn, LinkLocalAddressesAreOfTheirLinkAlone) {
  for (FakeDevice* d : {&near, &far}) {
    ASSERT_EQ(ask("fe80::99", d->index), Status::kOk);
    EXPECT_EQ(way.tx_if, d->index);
    EXPECT_EQ(way.source.str(), d == &near ? "fe80::ff:fe00:1" : "fe80::ff:fe00:2");
    EXPECT_FALSE(way.is_local);
  }
  ASSERT_EQ(ask("fe80::ff:fe00:2", far.index), Status::kOk);
  EXPECT_TRUE(way.is_local);
  EXPECT_EQ(way.tx_if, far.index);
  ASSERT_EQ(ask("fe80::ff:fe00:2", near.index), Status::kOk);
  EXPECT_FALSE(way.is_local);
}

TEST_F(RouteOn, WhatThereIsNotIsUnreachable) {
  EXPECT_EQ(ask("192.0.2.9", 77), Status::kUnreachable);
  EXPECT_EQ(ask("192.0.2.9", near.index, 5), Status::kUnreachable);  // another table's
  EXPECT_EQ(ask("192.0.2.9", kNoIndex), Status::kUnreachable);       // no group
  EXPECT_EQ(ask("fe80::99", kNoIndex), Status::kUnreachable);
  ASSERT_EQ(ask("10.0.1.2", near.index), Status::kOk);  // this host's, wherever
  EXPECT_TRUE(way.is_local);
}

}  // namespace
}  // namespace loom
