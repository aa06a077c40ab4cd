// The messages of interface.api.json and of addresses: what they change, and what they refuse.
#include "api_host.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr auto kUp = api::IfStatusFlags::kIfStatusApiFlagAdminUp;
constexpr auto kDown = api::IfStatusFlags{};
constexpr uint32_t kUnknown = 77;

Bytes echo(const std::string& dst = "10.0.0.2") {
  return ethernet(NetHost::kOwnMac, NetHost::kPeerMac, 0x0800,
                  make_ip4({.src = "10.0.0.1", .dst = dst}, make_icmp4(8, 0, 1, counting(8))));
}

class InterfaceMessages : public ::testing::Test {
 protected:
  InterfaceMessages() : wire(host.add_device({"10.0.0.2/24"})) { host.know(wire, "10.0.0.1"); }
  bool is_answered(const std::string& dst = "10.0.0.2") {
    host.receive(wire, echo(dst));
    for (const auto& f : wire.take_sent())
      if (get16(f.bytes, 12) == 0x0800 && f.bytes.at(34) == 0) return true;  // an echo reply
    return false;
  }
  std::vector<std::string> names(const api::SwInterfaceDump& request) {
    std::vector<std::string> all;
    for (const auto& d : host.dump<api::SwInterfaceDetails>(request))
      all.push_back(d.interface_name);
    return all;
  }
  api::SwInterfaceDetails details() {
    const auto all = host.dump<api::SwInterfaceDetails>(
        api::SwInterfaceDump{.sw_if_index = wire.index, .name_filter = ""});
    EXPECT_THAT(all, SizeIs(1));
    return all.at(0);
  }
  int32_t address(const api::SwInterfaceAddDelAddress& request) {
    return host.call<api::SwInterfaceAddDelAddressReply>(request).retval;
  }
  int32_t add_address(const std::string& prefix) {
    return address({.sw_if_index = wire.index, .is_add = true, .prefix = api_prefix(prefix)});
  }
  ApiHost host;
  FakeDevice& wire;
};

TEST_F(InterfaceMessages, DumpListsFiltersAndDescribes) {
  must(host.net->create_loopback());
  must(host.net->set_tag(wire.index, "lab"));
  EXPECT_THAT(names({.name_filter = ""}), ElementsAre("fake0", "loop0"));
  EXPECT_THAT(names({.sw_if_index = 1, .name_filter = ""}), ElementsAre("loop0"));
  EXPECT_THAT(names({.sw_if_index = kUnknown, .name_filter = ""}), IsEmpty());
  EXPECT_THAT(names({.name_filter_valid = true, .name_filter = "AKE"}), ElementsAre("fake0"));
  EXPECT_THAT(names({.name_filter_valid = true, .name_filter = "tap"}), IsEmpty());
  EXPECT_THAT(names({.name_filter_valid = false, .name_filter = "tap"}), SizeIs(2));
  const auto d = details();
  EXPECT_EQ(d.sw_if_index, wire.index);
  EXPECT_EQ(d.sup_sw_if_index, wire.index);
  EXPECT_EQ(d.l2_address, (api::MacAddress{2, 0, 0, 0, 0, 1}));
  EXPECT_EQ(static_cast<uint32_t>(d.flags), 3u);  // up, and its link
  EXPECT_EQ(d.link_mtu, 1500);
  EXPECT_THAT(d.mtu, ElementsAre(1500, 0, 0, 0));
  EXPECT_EQ(d.interface_dev_type, "fake");
  EXPECT_EQ(d.tag, "lab");
}

TEST_F(InterfaceMessages, DumpLooksOverGaps) {  // of more slots than one step looks at
  for (int i = 0; i < 600; ++i) must(host.net->create_loopback());
  for (IfIndex i = 2; i < 600; ++i) must(host.net->delete_loopback(i));
  EXPECT_THAT(names({.name_filter = ""}), ElementsAre("fake0", "loop0", "loop599"));
}

TEST_F(InterfaceMessages, FlagsLetPacketsThroughOrNot) {
  const auto set = [&](uint32_t index, api::IfStatusFlags flags) {
    return host
        .call<api::SwInterfaceSetFlagsReply>(
            api::SwInterfaceSetFlags{.sw_if_index = index, .flags = flags})
        .retval;
  };
  EXPECT_TRUE(is_answered());
  EXPECT_EQ(set(wire.index, kDown), 0);
  EXPECT_FALSE(is_answered());
  EXPECT_EQ(static_cast<uint32_t>(details().flags), 2u);
  EXPECT_EQ(set(wire.index, kUp), 0);
  wire.to_receive.clear();
  host.run();
  wire.take_sent();
  host.know(wire, "10.0.0.1");
  EXPECT_TRUE(is_answered());
  EXPECT_EQ(set(kUnknown, kUp), -2);
  EXPECT_EQ(set(~0u, kUp), -2);
}

TEST_F(InterfaceMessages, AddressesComeAndGo) {
  EXPECT_FALSE(is_answered("10.0.5.2"));
  EXPECT_EQ(add_address("10.0.5.2/24"), 0);
  host.run();
  wire.take_sent();
  EXPECT_TRUE(is_answered("10.0.5.2"));
  EXPECT_EQ(add_address("10.0.5.2/24"), -105);
  const api::SwInterfaceAddDelAddress del{
      .sw_if_index = wire.index, .is_add = false, .prefix = api_prefix("10.0.5.2/24")};
  EXPECT_EQ(address(del), 0);
  EXPECT_FALSE(is_answered("10.0.5.2"));
  EXPECT_EQ(address(del), -60);
  EXPECT_EQ(add_address("2001:db8::2/64"), 0);
  EXPECT_EQ(address({.sw_if_index = wire.index, .is_add = false, .del_all = true, .prefix = {}}),
            0);
  EXPECT_THAT(must(host.net->interface(wire.index)).addresses, IsEmpty());
  EXPECT_FALSE(is_answered());
}

TEST_F(InterfaceMessages, AddressesThatCannotBeAreRefused) {
  api::SwInterfaceAddDelAddress r{
      .sw_if_index = kUnknown, .is_add = true, .prefix = api_prefix("10.9.0.1/24")};
  EXPECT_EQ(address(r), -2);
  r.sw_if_index = wire.index;
  r.prefix.len = 33;
  EXPECT_EQ(address(r), -171);
  r.prefix = api_prefix("2001:db8::1/64");
  r.prefix.len = 129;
  EXPECT_EQ(address(r), -171);
  r.prefix.len = 255;
  r.is_add = false;
  EXPECT_EQ(address(r), -171);
  r.is_add = true;
  r.prefix.len = 64;
  r.prefix.address.af = static_cast<api::AddressFamily>(2);
  EXPECT_EQ(address(r), -97);
  for (const char* bad : {"0.0.0.0/8", "224.0.0.1/4", "10.9.0.255/24", "ff02::1/64", "10.9.0.1/0"})
    EXPECT_EQ(add_address(bad), -7) << bad;
  EXPECT_THAT(must(host.net->interface(wire.index)).addresses, SizeIs(1));
}

TEST_F(InterfaceMessages, AddressDumpsAreOfAFamily) {
  EXPECT_EQ(add_address("2001:db8::2/64"), 0);
  must(host.net->create_loopback());
  const auto addresses = [&](uint32_t index, bool is_ipv6) {
    std::vector<std::string> all;
    for (const auto& d : host.dump<api::IpAddressDetails>(
             api::IpAddressDump{.sw_if_index = index, .is_ipv6 = is_ipv6})) {
      EXPECT_EQ(d.sw_if_index, index);
      all.push_back(text_of(d.prefix));
    }
    return all;
  };
  EXPECT_THAT(addresses(wire.index, false), ElementsAre("10.0.0.2/24"));
  EXPECT_THAT(addresses(wire.index, true), ElementsAre("fe80::ff:fe00:1/64", "2001:db8::2/64"));
  EXPECT_THAT(addresses(1, false), IsEmpty());
  EXPECT_THAT(addresses(kUnknown, false), IsEmpty());
  const auto with_ip = host.dump<api::IpDetails>(api::IpDump{.is_ipv6 = true});
  ASSERT_THAT(with_ip, SizeIs(1));
  EXPECT_EQ(with_ip[0].sw_if_index, wire.index);
  EXPECT_TRUE(with_ip[0].is_ipv6);
}

TEST_F(InterfaceMessages, SizesAreSetTogetherOrNotAtAll) {
  const auto set = [&](std::array<uint32_t, 4> mtu, uint32_t index = 0) {
    return host
        .call<api::SwInterfaceSetMtuReply>(api::SwInterfaceSetMtu{.sw_if_index = index, .mtu = mtu})
        .retval;
  };
  EXPECT_EQ(set({9000, 1400, 1300, 0}), 0);
  EXPECT_THAT(details().mtu, ElementsAre(9000, 1400, 1300, 0));
  EXPECT_EQ(details().link_mtu, 9000);
  RouteInfo r;
  Worker& w = host.worker();
  ASSERT_EQ(w.net->route(w, *IpAddress::parse("10.0.0.1"), 0, &r), Status::kOk);
  EXPECT_EQ(r.mtu, 1400u);
  EXPECT_EQ(set({10'000, 1000, 1280, 0}), -7);  // beyond the device: nothing changes
  EXPECT_EQ(set({0, 1000, 1000, 0}), -7);       // below RFC 8200's least
  EXPECT_EQ(set({0, 0xffffffff, 0, 0}), -7);
  EXPECT_EQ(set({0, 0, 0, 1500}), -7);  // no MPLS
  EXPECT_THAT(details().mtu, ElementsAre(9000, 1400, 1300, 0));
  EXPECT_EQ(set({1500, 0, 0, 1500}), 0);
  EXPECT_THAT(details().mtu, ElementsAre(1500, 0, 0, 0));
  EXPECT_EQ(set({1500, 0, 0, 0}, kUnknown), -2);
  const auto set_hw = [&](uint16_t mtu, uint32_t index = 0) {
    return host
        .call<api::HwInterfaceSetMtuReply>(api::HwInterfaceSetMtu{.sw_if_index = index, .mtu = mtu})
        .retval;
  };
  EXPECT_EQ(set_hw(2000), 0);
  EXPECT_EQ(details().link_mtu, 2000);
  EXPECT_EQ(set_hw(67), -7);
  EXPECT_EQ(set_hw(65'535), -7);
  EXPECT_EQ(set_hw(1500, kUnknown), -2);
}

TEST_F(InterfaceMessages, ADriverThatFollowsLaterIsSaidSo) {
  wire.answer = Status::kInProgress;
  const auto set = api::SwInterfaceSetMtu{.sw_if_index = wire.index, .mtu = {1450, 1400, 1300, 0}};
  EXPECT_EQ(host.call<api::SwInterfaceSetMtuReply>(set).retval, kApiAgain);
  EXPECT_THAT(details().mtu, ElementsAre(1450, 1400, 1300, 0)) << "all of them";
  const auto down = api::SwInterfaceSetFlags{.sw_if_index = wire.index, .flags = kDown};
  EXPECT_EQ(host.call<api::SwInterfaceSetFlagsReply>(down).retval, kApiAgain);
  EXPECT_EQ(details().flags, api::IfStatusFlags::kIfStatusApiFlagLinkUp) << "down";
}

TEST_F(InterfaceMessages, TablesAreSetByFamily) {
  const auto set = [&](uint32_t index, bool is_ipv6, uint32_t table) {
    return host
        .call<api::SwInterfaceSetTableReply>(
            api::SwInterfaceSetTable{.sw_if_index = index, .is_ipv6 = is_ipv6, .vrf_id = table})
        .retval;
  };
  const auto get = [&](uint32_t index, bool is_ipv6) {
    return host.call<api::SwInterfaceGetTableReply>(
        api::SwInterfaceGetTable{.sw_if_index = index, .is_ipv6 = is_ipv6});
  };
  must(host.net->add_table(7, true));
  EXPECT_EQ(set(wire.index, true, 7), 0);
  EXPECT_EQ(get(wire.index, true).vrf_id, 7u);
  EXPECT_EQ(get(wire.index, false).vrf_id, 0u);
  EXPECT_EQ(set(wire.index, false, 7), -3);
  must(host.net->add_table(7, false));
  EXPECT_EQ(set(wire.index, false, 7), -114);  // it has an address
  EXPECT_EQ(set(kUnknown, true, 7), -2);
  EXPECT_EQ(get(kUnknown, true).retval, -2);
  must(host.net->set_table(wire.index, 0, true));
}

TEST_F(InterfaceMessages, LoopbacksAreMadeAndRemoved) {
  const auto first = host.call<api::CreateLoopbackReply>(
      api::CreateLoopback{.mac_address = {2, 0, 0, 0, 0, 0x77}});
  ASSERT_EQ(first.retval, 0);
  const auto made = must(host.net->interface(first.sw_if_index));
  EXPECT_EQ(made.name, "loop0");
  EXPECT_EQ(made.mac.str(), "02:00:00:00:00:77");
  const auto instance = [&](bool is_specified, uint32_t n) {
    return host.call<api::CreateLoopbackInstanceReply>(
        api::CreateLoopbackInstance{.is_specified = is_specified, .user_instance = n});
  };
  const auto ninth = instance(true, 9);
  ASSERT_EQ(ninth.retval, 0);
  EXPECT_EQ(must(host.net->interface(ninth.sw_if_index)).name, "loop9");
  EXPECT_EQ(instance(true, 9).retval, -147);
  EXPECT_EQ(instance(true, 9).sw_if_index, ~0u);
  EXPECT_EQ(instance(true, ~0u).retval, -7);
  EXPECT_EQ(must(host.net->interface(instance(false, 9).sw_if_index)).name, "loop1");
  EXPECT_EQ(
      host.call<api::CreateLoopbackReply>(api::CreateLoopback{.mac_address = {1, 0, 0, 0, 0, 0}})
          .retval,
      -7);
  const auto remove = [&](uint32_t index) {
    return host.call<api::DeleteLoopbackReply>(api::DeleteLoopback{.sw_if_index = index}).retval;
  };
  EXPECT_EQ(remove(ninth.sw_if_index), 0);
  EXPECT_EQ(host.net->find_interface("loop9"), kNoIndex);
  EXPECT_EQ(remove(ninth.sw_if_index), -2);
  EXPECT_EQ(remove(wire.index), -2);
  EXPECT_NE(host.net->find_interface("fake0"), kNoIndex);
}

TEST_F(InterfaceMessages, ReceiveModesAndPlacement) {
  const int fd = eventfd(0, EFD_NONBLOCK);
  FakeDevice d;
  InterfaceConfig c;
  c.name = "two0";
  c.ops = &kFakeDriver;
  c.device = &d;
  c.rx_queues = {{.event_fd = fd}, {}};
  d.index = must(host.net->add_interface(c));
  const auto set = [&](api::SwInterfaceSetRxMode r) {
    return host.call<api::SwInterfaceSetRxModeReply>(r).retval;
  };
  using Mode = api::RxMode;
  const auto modes = [&](uint32_t index) {
    std::vector<std::string> all;
    for (const auto& q : host.dump<api::SwInterfaceRxPlacementDetails>(
             api::SwInterfaceRxPlacementDump{.sw_if_index = index})) {
      EXPECT_EQ(q.worker_id, 0u);
      all.push_back(std::to_string(q.sw_if_index) + "." + std::to_string(q.queue_id) + " " +
                    std::to_string(static_cast<uint32_t>(q.mode)));
    }
    return all;
  };
  EXPECT_THAT(modes(~0u), ElementsAre("0.0 3", "1.0 3", "1.1 3"));
  EXPECT_EQ(set({.sw_if_index = d.index,
                 .queue_id_valid = true,
                 .queue_id = 1,
                 .mode = Mode::kRxModeApiPolling}),
            0);
  EXPECT_THAT(modes(d.index), ElementsAre("1.0 3", "1.1 1"));
  EXPECT_EQ(set({.sw_if_index = d.index, .mode = Mode::kRxModeApiDefault}), 0);
  EXPECT_THAT(modes(d.index), ElementsAre("1.0 3", "1.1 3"));
  EXPECT_EQ(set({.sw_if_index = d.index,
                 .queue_id_valid = true,
                 .queue_id = 2,
                 .mode = Mode::kRxModeApiPolling}),
            -125);
  EXPECT_EQ(set({.sw_if_index = d.index, .mode = Mode::kRxModeApiInterrupt}), -126);
  EXPECT_EQ(set({.sw_if_index = d.index, .mode = Mode::kRxModeApiUnknown}), -7);
  EXPECT_EQ(set({.sw_if_index = d.index, .mode = static_cast<Mode>(5)}), -7);
  EXPECT_EQ(set({.sw_if_index = kUnknown, .mode = Mode::kRxModeApiPolling}), -2);
  EXPECT_THAT(modes(kUnknown), IsEmpty());
  ASSERT_EQ(host.net->remove_interface(d.index), Status::kOk);
  close(fd);
}

TEST_F(InterfaceMessages, LinkLayerAddresses) {
  const auto set = [&](uint32_t index, api::MacAddress mac) {
    return host
        .call<api::SwInterfaceSetMacAddressReply>(
            api::SwInterfaceSetMacAddress{.sw_if_index = index, .mac_address = mac})
        .retval;
  };
  const auto get = [&](uint32_t index) {
    return host.call<api::SwInterfaceGetMacAddressReply>(
        api::SwInterfaceGetMacAddress{.sw_if_index = index});
  };
  EXPECT_EQ(set(wire.index, {2, 0, 0, 0, 0, 0x55}), 0);
  EXPECT_EQ(get(wire.index).mac_address, (api::MacAddress{2, 0, 0, 0, 0, 0x55}));
  host.run();
  wire.take_sent();
  EXPECT_FALSE(is_answered());  // to the old one
  EXPECT_EQ(set(wire.index, {1, 0, 0, 0, 0, 0}), -7);
  EXPECT_EQ(set(wire.index, {}), -7);
  wire.refuses_mac = true;
  EXPECT_EQ(set(wire.index, {2, 0, 0, 0, 0, 0x56}), -11);
  const IfIndex loop = must(host.net->create_loopback());
  EXPECT_EQ(set(loop, {2, 0, 0, 0, 0, 0x57}), -151);
  EXPECT_EQ(set(kUnknown, {2, 0, 0, 0, 0, 0x57}), -2);
  EXPECT_EQ(get(kUnknown).retval, -2);
}

TEST_F(InterfaceMessages, TagsAndCounters) {
  const auto tag = [&](uint32_t index, bool is_add, std::string text) {
    return host
        .call<api::SwInterfaceTagAddDelReply>(
            api::SwInterfaceTagAddDel{.is_add = is_add, .sw_if_index = index, .tag = text})
        .retval;
  };
  EXPECT_EQ(tag(wire.index, true, "uplink"), 0);
  EXPECT_EQ(details().tag, "uplink");
  EXPECT_EQ(tag(wire.index, false, "other"), 0);
  EXPECT_EQ(details().tag, "");
  EXPECT_EQ(tag(kUnknown, true, "x"), -2);
  EXPECT_TRUE(is_answered());
  EXPECT_GT(must(host.net->interface(wire.index)).tx.packets, 0u);
  const auto clear = [&](uint32_t index) {
    return host
        .call<api::SwInterfaceClearStatsReply>(api::SwInterfaceClearStats{.sw_if_index = index})
        .retval;
  };
  EXPECT_EQ(clear(kUnknown), -2);
  EXPECT_GT(must(host.net->interface(wire.index)).tx.packets, 0u);
  EXPECT_EQ(clear(~0u), 0);
  EXPECT_EQ(must(host.net->interface(wire.index)).tx.packets, 0u);
}

TEST_F(InterfaceMessages, EventsGoToThoseWhoAsked) {
  const auto want = [&](uint32_t client, uint32_t enable) {
    EXPECT_EQ(
        host.call<api::WantInterfaceEventsReply>(
                api::WantInterfaceEvents{.enable_disable = enable, .pid = 1000 + client}, client)
            .retval,
        0);
  };
  const auto story = [&](uint32_t client) {
    std::vector<std::string> all;
    for (const auto& e : host.take<api::SwInterfaceEvent>(client)) {
      EXPECT_EQ(e.client_index, client);
      EXPECT_EQ(e.pid, 1000 + client);
      all.push_back(std::to_string(e.sw_if_index) + " " +
                    std::to_string(static_cast<uint32_t>(e.flags)) + (e.deleted ? " deleted" : ""));
    }
    return all;
  };
  want(1, 1);
  want(2, 1);
  must(host.net->set_admin(wire.index, false));
  EXPECT_THAT(story(1), ElementsAre("0 2"));
  EXPECT_THAT(story(2), ElementsAre("0 2"));
  EXPECT_THAT(story(3), IsEmpty());
  want(2, 0);
  ASSERT_EQ(host.net->set_link(wire.index, false), Status::kOk);
  const IfIndex loop = must(host.net->create_loopback());
  must(host.net->delete_loopback(loop));
  EXPECT_THAT(story(1), ElementsAre("0 0", "1 2", "1 2 deleted"));
  EXPECT_THAT(story(2), IsEmpty());
}

}  // namespace
}  // namespace loom
