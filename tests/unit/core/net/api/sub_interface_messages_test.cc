// create_vlan_subif, create_subif, delete_subif, and what sw_interface_dump says of a
// sub-interface.
#include "api_host.h"

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

constexpr uint32_t kOneTag = 2, kTwoTags = 4, kDot1ad = 8, kExactMatch = 16, kDefault = 32,
                   kOuterAny = 64, kInnerAny = 128, kDot1ah = 256, kNoTags = 1;

class SubInterfaceMessages : public ::testing::Test {
 protected:
  api::CreateVlanSubifReply vlan(uint32_t parent, uint32_t id) {
    return host.call<api::CreateVlanSubifReply>(
        api::CreateVlanSubif{.sw_if_index = parent, .vlan_id = id});
  }
  api::CreateSubifReply sub(uint32_t parent, uint32_t sub_id, uint32_t flags, uint16_t outer,
                            uint16_t inner = 0) {
    return host.call<api::CreateSubifReply>(
        api::CreateSubif{.sw_if_index = parent,
                         .sub_id = sub_id,
                         .sub_if_flags = static_cast<api::SubIfFlags>(flags),
                         .outer_vlan_id = outer,
                         .inner_vlan_id = inner});
  }
  int32_t remove(uint32_t index) {
    return host.call<api::DeleteSubifReply>(api::DeleteSubif{.sw_if_index = index}).retval;
  }
  std::vector<api::SwInterfaceDetails> all() {
    return host.dump<api::SwInterfaceDetails>(api::SwInterfaceDump{.name_filter = ""});
  }
  ApiHost host;
  FakeDevice& wire = host.add_device({"10.0.0.2/24"});
};

TEST_F(SubInterfaceMessages, AreMadeListedAndRemoved) {
  // Events go to a client of their own.
  host.call<api::WantInterfaceEventsReply>(api::WantInterfaceEvents{.enable_disable = 1, .pid = 9},
                                           2);
  const auto made = vlan(wire.index, 10);
  EXPECT_EQ(made.retval, 0);
  const auto events = host.take<api::SwInterfaceEvent>(2);
  ASSERT_THAT(events, SizeIs(1));
  EXPECT_EQ(events[0].sw_if_index, made.sw_if_index);
  const auto other = sub(wire.index, 7, kOneTag | kExactMatch, 300);
  EXPECT_EQ(other.retval, 0);
  EXPECT_EQ(sub(wire.index, 8, kOneTag, 301).retval, 0);
  must(host.net->set_mtu(other.sw_if_index, 1400));
  const auto listed = all();
  ASSERT_THAT(listed, SizeIs(4));
  const auto& d = listed[2];
  EXPECT_EQ(d.sw_if_index, other.sw_if_index);
  EXPECT_EQ(d.sup_sw_if_index, wire.index);
  EXPECT_EQ(d.type, api::IfType::kIfApiTypeSub);
  EXPECT_EQ(d.interface_name, "fake0.7");
  EXPECT_EQ(d.interface_dev_type, "fake");
  EXPECT_EQ(d.sub_id, 7u);
  EXPECT_EQ(d.sub_number_of_tags, 1);
  EXPECT_EQ(d.sub_outer_vlan_id, 300);
  EXPECT_EQ(d.sub_inner_vlan_id, 0);
  EXPECT_EQ(static_cast<uint32_t>(d.sub_if_flags), kOneTag | kExactMatch);
  EXPECT_EQ(static_cast<uint32_t>(d.flags), 2u);  // down, its link up
  EXPECT_EQ(d.l2_address, listed[0].l2_address);
  EXPECT_THAT(d.mtu, ElementsAre(1400, 0, 0, 0));
  EXPECT_EQ(listed[0].type, api::IfType::kIfApiTypeHardware);
  EXPECT_EQ(listed[0].sub_number_of_tags, 0);
  EXPECT_EQ(static_cast<uint32_t>(listed[0].sub_if_flags), 0u);
  host.take<api::SwInterfaceEvent>(2);
  EXPECT_EQ(remove(made.sw_if_index), 0);
  const auto gone = host.take<api::SwInterfaceEvent>(2);
  ASSERT_THAT(gone, SizeIs(1));
  EXPECT_TRUE(gone[0].deleted);
  EXPECT_EQ(remove(made.sw_if_index), -2);
  EXPECT_EQ(remove(wire.index), -98);
}

TEST_F(SubInterfaceMessages, WhatCannotBeIsRefused) {
  const uint32_t loop = must(host.net->create_loopback());
  const uint32_t had = vlan(wire.index, 10).sw_if_index;
  const auto refused = [](const auto& reply) {
    EXPECT_EQ(reply.sw_if_index, ~0u);
    return reply.retval;
  };
  EXPECT_EQ(refused(vlan(77, 10)), -2);
  EXPECT_EQ(refused(vlan(~0u, 10)), -2);
  EXPECT_EQ(refused(vlan(loop, 10)), -151);
  EXPECT_EQ(refused(vlan(had, 10)), -71);
  for (const uint32_t id : {0u, 4095u, 4096u, 65536u + 10u, ~0u})
    EXPECT_EQ(refused(vlan(wire.index, id)), -55) << id;
  EXPECT_EQ(refused(vlan(wire.index, 10)), -56);
  EXPECT_EQ(refused(sub(77, 11, kOneTag, 11)), -2);
  EXPECT_EQ(refused(sub(wire.index, 10, kOneTag, 11)), -56);
  EXPECT_EQ(refused(sub(wire.index, 11, kOneTag, 10)), -56);
  EXPECT_EQ(refused(sub(wire.index, 11, kOneTag, 4095)), -55);
  EXPECT_EQ(refused(sub(wire.index, 11, kOneTag, 0)), -55);
  for (const uint32_t flags : {kTwoTags, kDot1ad, kDefault, kOuterAny, kInnerAny, kDot1ah, kNoTags})
    EXPECT_EQ(refused(sub(wire.index, 11, kOneTag | flags, 11)), -126) << flags;
  EXPECT_EQ(refused(sub(wire.index, 11, kOneTag | kExactMatch, 11, 12)), -126);
  EXPECT_EQ(refused(sub(wire.index, 11, kExactMatch, 11)), -7);
  EXPECT_EQ(refused(sub(wire.index, 11, 0, 11)), -7);
  EXPECT_EQ(refused(sub(wire.index, 11, kOneTag | 512, 11)), -7);
  EXPECT_THAT(all(), SizeIs(3));
}

TEST(SubInterfaceLimit, IsThatOfInterfaces) {
  ApiHost host({.max_interfaces = 2});
  FakeDevice& wire = host.add_device({});
  const auto make = [&](uint32_t id) {
    return host.call<api::CreateVlanSubifReply>(
        api::CreateVlanSubif{.sw_if_index = wire.index, .vlan_id = id});
  };
  EXPECT_EQ(make(1).retval, 0);
  EXPECT_EQ(make(2).retval, -162);
  EXPECT_THAT(host.net->interfaces(), SizeIs(2));
}

}  // namespace
}  // namespace loom
