// sw_interface_set_unnumbered, ip_unnumbered_dump, sw_interface_ip6_enable_disable,
// sw_interface_set_interface_name, sw_interface_set_rx_placement: what they change and refuse.
#include "api_host.h"

namespace loom {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

class UnnumberedMessages : public ::testing::Test {
 protected:
  int32_t unnumbered(uint32_t index, uint32_t lender, bool is_add = true) {
    return host
        .call<api::SwInterfaceSetUnnumberedReply>(api::SwInterfaceSetUnnumbered{
            .sw_if_index = lender, .unnumbered_sw_if_index = index, .is_add = is_add})
        .retval;
  }
  std::vector<api::IpUnnumberedDetails> dump(uint32_t index) {
    return host.dump<api::IpUnnumberedDetails>(api::IpUnnumberedDump{.sw_if_index = index});
  }
  int32_t ip6(uint32_t index, bool enable) {
    return host
        .call<api::SwInterfaceIp6EnableDisableReply>(
            api::SwInterfaceIp6EnableDisable{.sw_if_index = index, .enable = enable})
        .retval;
  }
  int32_t rename(uint32_t index, const std::string& name) {
    return host
        .call<api::SwInterfaceSetInterfaceNameReply>(
            api::SwInterfaceSetInterfaceName{.sw_if_index = index, .name = name})
        .retval;
  }
  int32_t place(uint32_t index, uint32_t queue, uint32_t worker, bool is_main = false) {
    return host
        .call<api::SwInterfaceSetRxPlacementReply>(api::SwInterfaceSetRxPlacement{
            .sw_if_index = index, .queue_id = queue, .worker_id = worker, .is_main = is_main})
        .retval;
  }
  ApiHost host;
  FakeDevice& wire = host.add_device({});
  FakeDevice& other = host.add_device({"10.0.1.2/24"});
};

TEST_F(UnnumberedMessages, BorrowAndGiveBack) {
  EXPECT_EQ(unnumbered(77, other.index), -2);
  EXPECT_EQ(unnumbered(77, 78), -2);
  EXPECT_EQ(unnumbered(77, other.index, false), -2);
  EXPECT_EQ(unnumbered(wire.index, 77), -10);
  EXPECT_EQ(unnumbered(wire.index, wire.index), -7);
  EXPECT_EQ(unnumbered(other.index, wire.index), -114);
  EXPECT_EQ(unnumbered(wire.index, other.index, false), -74);
  EXPECT_THAT(dump(~0u), IsEmpty());
  EXPECT_EQ(unnumbered(wire.index, other.index), 0);
  ASSERT_THAT(dump(~0u), SizeIs(1));
  EXPECT_EQ(dump(wire.index).at(0).sw_if_index, wire.index);
  EXPECT_EQ(dump(wire.index).at(0).ip_sw_if_index, other.index);
  EXPECT_THAT(dump(other.index), IsEmpty());
  EXPECT_EQ(unnumbered(wire.index, ~0u, false), 0);
  EXPECT_THAT(dump(~0u), IsEmpty());
  must(host.net->add_table(5, false));
  must(host.net->set_table(wire.index, 5, false));
  EXPECT_EQ(unnumbered(wire.index, other.index), -155);
}

TEST_F(UnnumberedMessages, EnableAndDisableIp6) {
  EXPECT_EQ(ip6(77, true), -2);
  EXPECT_EQ(ip6(wire.index, true), 0);
  EXPECT_THAT(must(host.net->interface(wire.index)).addresses, SizeIs(1));
  EXPECT_EQ(ip6(wire.index, false), 0);
  EXPECT_EQ(ip6(wire.index, false), -62);
  must(host.net->add_address(other.index, *IpPrefix::parse("2001:db8::2/64")));
  EXPECT_EQ(ip6(other.index, false), -114);
}

TEST_F(UnnumberedMessages, NamesAndPlacement) {
  EXPECT_EQ(rename(77, "a"), -2);
  EXPECT_EQ(rename(wire.index, ""), -7);
  EXPECT_EQ(rename(77, ""), -7);
  EXPECT_EQ(rename(wire.index, "a b"), -133);
  EXPECT_EQ(rename(wire.index, "fake1"), -79);
  EXPECT_EQ(rename(wire.index, "uplink"), 0);
  EXPECT_EQ(host.net->find_interface("uplink"), wire.index);
  const IfIndex vlan = must(host.net->create_sub_interface(wire.index, 10, 10));
  EXPECT_EQ(rename(vlan, "other"), -126);
  EXPECT_EQ(place(77, 0, 0), -2);
  EXPECT_EQ(place(wire.index, 0, 0), 0);
  EXPECT_EQ(place(wire.index, 1, 0), -125);
  EXPECT_EQ(place(vlan, 0, 0), -125);
  EXPECT_EQ(place(wire.index, 0, 1), -89);
  EXPECT_EQ(place(wire.index, 0, ~0u), -89);
  EXPECT_EQ(place(wire.index, 0, 0, true), -126);
  const auto placed = host.dump<api::SwInterfaceRxPlacementDetails>(
      api::SwInterfaceRxPlacementDump{.sw_if_index = wire.index});
  ASSERT_THAT(placed, SizeIs(1));
  EXPECT_EQ(placed[0].worker_id, 0u);
}

}  // namespace
}  // namespace loom
