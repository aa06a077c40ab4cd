// Neighbours and pings over the API, and requests that are not what they should be.
#include <cmath>
#include <limits>
#include <random>

#include "api_host.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Flags = api::IpNeighborFlags;
constexpr auto kIp4 = api::AddressFamily::kAddressIp4, kIp6 = api::AddressFamily::kAddressIp6;
constexpr auto kNoFamily = static_cast<api::AddressFamily>(2);
constexpr uint32_t kUnknown = 77;

class NeighborMessages : public ::testing::Test {
 protected:
  NeighborMessages() : wire(host.add_device({"10.0.0.2/16", "2001:db8::2/64"})) {
    host.pass(2 * kSecond);
    wire.take_sent();
  }
  int32_t change(bool is_add, const std::string& address, api::MacAddress mac = {2, 0, 0, 0, 0, 9},
                 Flags flags = Flags::kIpApiNeighborFlagStatic, uint32_t index = 0) {
    const auto reply = host.call<api::IpNeighborAddDelReply>(api::IpNeighborAddDel{
        .is_add = is_add, .neighbor = {index, flags, mac, api_address(address)}});
    EXPECT_EQ(reply.stats_index, ~0u);
    return reply.retval;
  }
  std::vector<std::string> neighbors(api::AddressFamily af, uint32_t index = ~0u) {
    std::vector<std::string> all;
    for (const auto& d :
         host.dump<api::IpNeighborDetails>(api::IpNeighborDump{.sw_if_index = index, .af = af}))
      all.push_back(text_of(d.neighbor.ip_address) + " " +
                    MacAddress{d.neighbor.mac_address}.str() +
                    (d.neighbor.flags == Flags::kIpApiNeighborFlagStatic ? " static" : "") +
                    (d.age > 1 ? " old" : ""));
    return all;
  }
  void hear(const std::string& who, const std::string& with = NetHost::kPeerMac) {
    host.receive(wire, ethernet("ff:ff:ff:ff:ff:ff", with, 0x0806,
                                make_arp(1, with, who, "00:00:00:00:00:00", "10.0.0.2")));
  }
  ApiHost host;
  FakeDevice& wire;
};

TEST_F(NeighborMessages, PacketsGoToTheAddressThatWasSet) {
  EXPECT_EQ(change(true, "10.0.0.1"), 0);
  host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                              make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"},
                                       make_icmp4(8, 0, 1, counting(8)))));
  const auto sent = wire.take_sent();
  ASSERT_THAT(sent, SizeIs(1));
  EXPECT_EQ(part(sent[0].bytes, 0, 6), mac("02:00:00:00:00:09"));
  EXPECT_EQ(change(true, "10.0.0.3", {2, 0, 0, 0, 0, 3}, Flags::kIpApiNeighborFlagNone), 0);
  EXPECT_EQ(change(true, "2001:db8::1"), 0);
  host.pass(2 * kSecond);
  EXPECT_THAT(neighbors(kIp4), ElementsAre("10.0.0.1 02:00:00:00:00:09 static old",
                                           "10.0.0.3 02:00:00:00:00:03 old"));
  EXPECT_THAT(neighbors(kIp6), ElementsAre("2001:db8::1 02:00:00:00:00:09 static old"));
  EXPECT_THAT(neighbors(kIp4, 0), SizeIs(2));
  EXPECT_THAT(neighbors(kIp4, kUnknown), IsEmpty());
  EXPECT_THAT(neighbors(kNoFamily), IsEmpty());
  EXPECT_EQ(change(false, "10.0.0.1"), 0);
  EXPECT_EQ(change(false, "10.0.0.1"), -6);
  EXPECT_THAT(neighbors(kIp4), SizeIs(1));
}

TEST_F(NeighborMessages, WhatIsNoNeighbourIsRefused) {
  EXPECT_EQ(change(true, "10.0.0.1", {2, 0, 0, 0, 0, 9}, Flags{}, kUnknown), -2);
  EXPECT_EQ(change(true, "10.0.0.2"), -7);  // this host
  EXPECT_EQ(change(true, "224.0.0.1"), -7);
  EXPECT_EQ(change(true, "10.0.0.1", {}), -7);
  EXPECT_EQ(change(true, "10.0.0.1", {3, 0, 0, 0, 0, 0}), -7);
  EXPECT_EQ(
      change(true, "10.0.0.1", {2, 0, 0, 0, 0, 9}, Flags{}, must(host.net->create_loopback())), -7);
  api::IpNeighborAddDel r{.is_add = true};
  r.neighbor.ip_address.af = kNoFamily;
  EXPECT_EQ(host.call<api::IpNeighborAddDelReply>(r).retval, -97);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
}

TEST_F(NeighborMessages, LongDumpsAreFetchedInSlices) {
  for (uint32_t i = 0; i < 1000; ++i)
    must(host.net->add_neighbor(wire.index, IpAddress(Ip4Address::from_host(0x0a000100 + i)),
                                {{2, 0, 0, 0, 0, 9}}));
  EXPECT_THAT(neighbors(kIp4), SizeIs(1000));
  EXPECT_GE(host.steps, 1000 + 4);
  host.between_steps = [&](int step) {  // they go while they are dumped
    if (step == 10) must(host.net->flush_neighbors(kNoIndex, true));
  };
  EXPECT_THAT(neighbors(kIp4), SizeIs(256));  // the slice that was on its way
}

TEST_F(NeighborMessages, FlushAndLimits) {
  const auto flush = [&](api::AddressFamily af, uint32_t index) {
    return host
        .call<api::IpNeighborFlushReply>(api::IpNeighborFlush{.af = af, .sw_if_index = index})
        .retval;
  };
  EXPECT_EQ(change(true, "10.0.0.1"), 0);
  EXPECT_EQ(change(true, "2001:db8::1"), 0);
  EXPECT_EQ(flush(kIp4, kUnknown), -2);
  EXPECT_EQ(flush(kNoFamily, ~0u), -97);
  EXPECT_EQ(flush(kIp4, ~0u), 0);
  EXPECT_THAT(host.net->neighbors(), SizeIs(1));
  EXPECT_EQ(flush(kIp6, wire.index), 0);
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  const auto limit = [&](api::AddressFamily af, uint32_t n, uint32_t age, bool recycle) {
    return host
        .call<api::IpNeighborConfigReply>(
            api::IpNeighborConfig{.af = af, .max_number = n, .max_age = age, .recycle = recycle})
        .retval;
  };
  EXPECT_EQ(limit(kIp4, 1, 0xffffffff, false), 0);
  hear("10.0.0.11");
  hear("10.0.0.12");
  EXPECT_THAT(neighbors(kIp4), ElementsAre("10.0.0.11 02:00:00:00:00:99"));
  EXPECT_EQ(change(true, "10.0.0.13"), -162);
  EXPECT_EQ(limit(kIp4, 1, 5, true), 0);
  EXPECT_EQ(change(true, "10.0.0.13"), 0);
  EXPECT_THAT(neighbors(kIp4), ElementsAre("10.0.0.13 02:00:00:00:00:09 static"));
  EXPECT_EQ(limit(kIp4, 0, 5, true), -7);
  EXPECT_EQ(limit(kIp4, ~0u, 5, true), -7);
  EXPECT_EQ(limit(kNoFamily, 10, 5, true), -97);
}

TEST_F(NeighborMessages, EventsAreOfWhatWasAskedFor) {
  const auto want = [&](uint32_t client, bool enable, uint32_t pid, const std::string& ip,
                        uint32_t index = ~0u) {
    return host
        .call<api::WantIpNeighborEventsReply>(
            api::WantIpNeighborEvents{
                .enable = enable, .pid = pid, .ip = api_address(ip), .sw_if_index = index},
            client)
        .retval;
  };
  const auto story = [&](uint32_t client) {
    std::vector<std::string> all;
    for (const auto& e : host.take<api::IpNeighborEvent>(client)) {
      EXPECT_EQ(e.client_index, client);
      all.push_back(std::to_string(e.pid) + " " + text_of(e.neighbor.ip_address) + " " +
                    MacAddress{e.neighbor.mac_address}.str());
    }
    return all;
  };
  EXPECT_EQ(want(1, true, 11, "0.0.0.0"), 0);
  EXPECT_EQ(want(2, true, 21, "10.0.0.7"), 0);
  EXPECT_EQ(want(2, true, 22, "10.0.0.8", wire.index), 0);
  EXPECT_EQ(want(2, true, 23, "0.0.0.0", must(host.net->create_loopback())), 0);
  EXPECT_EQ(want(1, true, 1, "0.0.0.0", kUnknown), -2);
  hear("10.0.0.7", "02:00:00:00:00:07");
  hear("10.0.0.8", "02:00:00:00:00:08");
  EXPECT_THAT(story(1), ElementsAre("11 10.0.0.7 02:00:00:00:00:07",  //
                                    "11 10.0.0.8 02:00:00:00:00:08"));
  EXPECT_THAT(story(2), ElementsAre("21 10.0.0.7 02:00:00:00:00:07",  //
                                    "22 10.0.0.8 02:00:00:00:00:08"));
  EXPECT_EQ(want(2, false, 0, "10.0.0.7"), 0);
  EXPECT_EQ(want(2, false, 0, "10.0.0.7"), -6);
  EXPECT_EQ(want(1, false, 0, "::"), 0);  // any is any, in either family
  hear("10.0.0.7", "02:00:00:00:00:17");
  hear("10.0.0.8", "02:00:00:00:00:18");
  EXPECT_THAT(story(1), IsEmpty());
  EXPECT_THAT(story(2), ElementsAre("22 10.0.0.8 02:00:00:00:00:18"));
}

TEST_F(NeighborMessages, WatchesGoWithTheirClientAndHaveABound) {
  const auto want = [&](uint32_t client, const std::string& ip) {
    return host
        .call<api::WantIpNeighborEventsReply>(
            api::WantIpNeighborEvents{.enable = true, .ip = api_address(ip)}, client)
        .retval;
  };
  for (int i = 0; i < 64; ++i) EXPECT_EQ(want(1, "10.0.1." + std::to_string(i)), 0);
  EXPECT_EQ(want(1, "10.0.2.1"), -162);
  EXPECT_EQ(want(1, "10.0.1.5"), 0);  // takes its own place
  host.gone.insert(1);
  host.registry.subscriptions().remove_client(1);
  hear("10.0.1.5");
  EXPECT_THAT(host.take<api::IpNeighborEvent>(1), IsEmpty());
  host.gone.clear();
  EXPECT_EQ(want(1, "10.0.2.1"), 0);  // another one of that index: what was before is forgotten
  hear("10.0.1.6");
  hear("10.0.2.1");
  EXPECT_THAT(host.take<api::IpNeighborEvent>(1), SizeIs(1));
}

TEST_F(NeighborMessages, AWatchEndsWithItsInterface) {
  const auto want = [&](bool enable, uint32_t index) {
    return host
        .call<api::WantIpNeighborEventsReply>(
            api::WantIpNeighborEvents{
                .enable = enable, .ip = api_address("0.0.0.0"), .sw_if_index = index},
            1)
        .retval;
  };
  FakeDevice& doomed = host.add_device({"10.9.0.2/24"});
  const IfIndex index = doomed.index;
  EXPECT_EQ(want(true, wire.index), 0);
  EXPECT_EQ(want(true, index), 0);
  ASSERT_EQ(host.net->remove_interface(index), Status::kOk);
  EXPECT_EQ(want(false, index), -6);  // ended already
  FakeDevice& next = host.add_device({"10.9.0.2/24"});
  ASSERT_EQ(next.index, index);
  host.know(next, "10.9.0.1");
  EXPECT_THAT(host.take<api::IpNeighborEvent>(1), IsEmpty());
  hear("10.0.0.7");
  EXPECT_THAT(host.take<api::IpNeighborEvent>(1), SizeIs(1));
  EXPECT_EQ(want(false, wire.index), 0);
  EXPECT_FALSE(host.registry.subscriptions().has(api::WantIpNeighborEvents::kInfo, 1));
  EXPECT_EQ(want(true, next.index), 0);
  ASSERT_EQ(host.net->remove_interface(next.index), Status::kOk);  // the last watch of all
  EXPECT_FALSE(host.registry.subscriptions().has(api::WantIpNeighborEvents::kInfo, 1));
  EXPECT_FALSE(host.net->state().neighbor_news->is_watched());
}

TEST_F(NeighborMessages, NobodyIsToldWhenTheLastWatcherHasLeft) {
  const api::WantIpNeighborEvents want{.enable = true, .ip = api_address("0.0.0.0")};
  EXPECT_EQ(host.call<api::WantIpNeighborEventsReply>(want, 1).retval, 0);
  EXPECT_EQ(host.call<api::WantIpNeighborEventsReply>(want, 2).retval, 0);
  const auto& news = *host.net->state().neighbor_news;
  const auto leave = [&](uint32_t client) {
    host.gone.insert(client);
    host.registry.subscriptions().remove_client(client);
  };
  leave(1);
  hear("10.0.0.7");
  EXPECT_THAT(host.take<api::IpNeighborEvent>(2), SizeIs(1));
  EXPECT_TRUE(news.is_watched());
  leave(2);
  hear("10.0.0.8");  // the first that nobody wants
  host.run();
  EXPECT_FALSE(news.is_watched());
  EXPECT_EQ(host.call<api::WantIpNeighborEventsReply>(want, 3).retval, 0);
  hear("10.0.0.9");
  EXPECT_THAT(host.take<api::IpNeighborEvent>(3), SizeIs(1));
}

class PingMessages : public NeighborMessages {
 protected:
  PingMessages() { host.know(wire, "10.0.0.1"); }
  int32_t ping(const std::string& to, uint32_t repeat, double interval, uint32_t client = 1) {
    return host
        .call<api::WantPingFinishedEventsReply>(
            api::WantPingFinishedEvents{
                .address = api_address(to), .repeat = repeat, .interval = interval},
            client)
        .retval;
  }
  void answer() {
    host.run();
    for (const auto& f : wire.take_sent()) {
      const Bytes p = part(f.bytes, 14);
      host.receive(wire, ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                                  make_ip4({.src = "10.0.0.1", .dst = "10.0.0.2"},
                                           make_icmp4(0, 0, get32(p, 24), part(p, 28)))));
    }
  }
};

TEST_F(PingMessages, TheReplyComesAtOnceAndTheEventAtTheEnd) {
  EXPECT_EQ(ping("10.0.0.1", 2, 30), 0);
  answer();
  EXPECT_THAT(host.take<api::PingFinishedEvent>(), IsEmpty());
  EXPECT_EQ(ping("10.0.0.1", 1, 1), 0);  // another one meanwhile, of the same client
  EXPECT_EQ(ping("172.16.0.1", 3, 0.01, 2), 0);
  host.pass(2 * kSecond);
  wire.take_sent();
  auto events = host.take<api::PingFinishedEvent>();
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].request_count, 1u);
  EXPECT_EQ(events[0].reply_count, 0u);
  events = host.take<api::PingFinishedEvent>(2);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].client_index, 2u);
  EXPECT_EQ(events[0].request_count, 0u);  // no way there
  host.pass(30 * kSecond);
  answer();
  events = host.take<api::PingFinishedEvent>();
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].request_count, 2u);
  EXPECT_EQ(events[0].reply_count, 2u);
  EXPECT_FALSE(host.registry.subscriptions().has(api::WantPingFinishedEvents::kInfo, 1));
}

TEST_F(PingMessages, WhatCannotBeIsRefused) {
  EXPECT_EQ(ping("10.0.0.1", 0, 1), -7);
  EXPECT_EQ(ping("10.0.0.1", 1001, 1), -7);
  for (const double bad : {-1.0, 60.5, std::nan(""), std::numeric_limits<double>::infinity()})
    EXPECT_EQ(ping("10.0.0.1", 1, bad), -7);
  EXPECT_EQ(ping("10.0.0.1", 61, 1), -7);  // a minute at most
  EXPECT_EQ(ping("10.0.0.1", 1000, 0.0601), -7);
  api::WantPingFinishedEvents r;
  r.address.af = kNoFamily;
  EXPECT_EQ(host.call<api::WantPingFinishedEventsReply>(r).retval, -97);
  for (uint32_t i = 0; i < Net::kMaxPingRuns; ++i) EXPECT_EQ(ping("10.0.0.1", 1, 1), 0);
  EXPECT_EQ(ping("10.0.0.1", 1, 1), -167);
  EXPECT_EQ(ping("10.0.0.1", 1, 1, 2), -167);
  host.gone.insert(1);  // whoever asked may leave
  host.registry.subscriptions().remove_client(1);
  host.pass(5 * kSecond);
  EXPECT_THAT(host.take<api::PingFinishedEvent>(), IsEmpty());
  EXPECT_EQ(ping("10.0.0.1", 1, 1, 2), 0);
}

TEST_F(PingMessages, APingOfAClientThatHasLeftMakesRoom) {
  EXPECT_EQ(ping("10.0.0.1", 2, 30, 2), 0);
  for (uint32_t i = 1; i < Net::kMaxPingRuns; ++i) EXPECT_EQ(ping("10.0.0.1", 60, 1, 1), 0);
  EXPECT_EQ(ping("10.0.0.1", 1, 1, 3), -167);
  host.gone.insert(1);
  host.registry.subscriptions().remove_client(1);
  EXPECT_EQ(ping("10.0.0.1", 1, 1, 3), 0);
  host.run();
  wire.take_sent();
  host.pass(2 * kSecond);
  EXPECT_THAT(wire.take_sent(), IsEmpty());  // the others have ended
  EXPECT_THAT(host.take<api::PingFinishedEvent>(3), SizeIs(1));
  for (uint32_t i = 1; i < Net::kMaxPingRuns; ++i) EXPECT_EQ(ping("10.0.0.1", 1, 1, 3), 0);
  EXPECT_EQ(ping("10.0.0.1", 1, 1, 3), -167);  // one of them is client 2's, who is there
  host.pass(60 * kSecond);
  EXPECT_THAT(host.take<api::PingFinishedEvent>(1), IsEmpty());
  const auto events = host.take<api::PingFinishedEvent>(2);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].request_count, 2u);
}

// Every request of these modules cut at every length, and full of anything.
TEST_F(NeighborMessages, HostileRequestsChangeNothingThatTheyDoNotSay) {
  std::mt19937 random(1);
  for (std::size_t i = 0; i < host.registry.entries().size(); ++i) {
    const auto& entry = host.registry.entries()[i];
    const std::string module = host.registry.module_of(entry.info)->name;
    if (!entry.handler.begin ||
        (module != "interface" && !module.starts_with("ip") && module != "ping"))
      continue;
    for (std::size_t length = 0; length < 700; length += length < 100 ? 1 : 29) {
      for (const int kind : {0, 0xff, -1}) {
        std::vector<std::byte> body(length);
        for (auto& b : body) b = static_cast<std::byte>(kind < 0 ? random() : kind);
        host.ask(entry.info, body, 1);
        if (host.outcome == ApiOutcome::kMalformed && length >= 8 && !host.sent[1].empty()) {
          EXPECT_THAT(host.sent[1], SizeIs(1)) << entry.info.name;
          ApiReader r(host.sent[1][0].body);
          ApiReader request{std::span<const std::byte>(body).subspan(4)};  // behind client_index
          EXPECT_EQ(r.number<uint32_t>(), request.number<uint32_t>());
          EXPECT_EQ(r.number<int32_t>(), -7) << entry.info.name;
        }
        host.sent.clear();
      }
    }
  }
  host.run();
  // It still is a host, of many loopbacks.
  for (const auto& i : host.net->interfaces())
    if (i.is_loopback) must(host.net->delete_loopback(i.index));
  must(host.net->set_admin(wire.index, true));
  FakeDevice& fresh = host.add_device({"192.168.7.2/24"});
  host.know(fresh, "192.168.7.1");
  host.receive(fresh, ethernet("02:00:00:00:00:02", NetHost::kPeerMac, 0x0800,
                               make_ip4({.src = "192.168.7.1", .dst = "192.168.7.2"},
                                        make_icmp4(8, 0, 1, counting(8)))));
  EXPECT_THAT(fresh.take_sent(), SizeIs(1));
}

TEST_F(NeighborMessages, EveryRequestOfTheModulesHasSomebodyWhoAnswers) {
  for (const auto& entry : host.registry.entries()) {
    const std::string name = entry.info.name, module = host.registry.module_of(entry.info)->name;
    if (module != "interface" && !module.starts_with("ip") && module != "ping") continue;
    const bool is_request =
        !name.ends_with("_reply") && !name.ends_with("_details") && !name.ends_with("_event");
    EXPECT_EQ(entry.handler.begin != nullptr, is_request) << name;
  }
}

}  // namespace
}  // namespace loom
