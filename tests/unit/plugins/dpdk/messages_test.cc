// What the messages say of a device that is to be made, beside what `dev default { }` says.
#include "messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>

namespace loom::dpdk {
namespace {

using ::testing::HasSubstr;

DeviceConfig defaults() {
  DeviceConfig d;
  d.n_rx_queues = 2;
  d.n_tx_queues = 3;
  d.n_rx_descriptors = 256;
  d.n_tx_descriptors = 512;
  d.rss = RTE_ETH_RSS_NONFRAG_IPV4_UDP;
  d.has_tso = false;
  d.has_rx_interrupts = false;
  d.strips_vlan = true;
  return d;
}

template <class Request>
class DpdkMessages : public ::testing::Test {};
using Requests = ::testing::Types<api::DpdkVdevCreate, api::DpdkVdevCreateV2>;
TYPED_TEST_SUITE(DpdkMessages, Requests);

TYPED_TEST(DpdkMessages, WhatIsLeftOutIsAsTheDefaultsHaveIt) {
  TypeParam r;
  r.device = "net_null0,size=64";
  const auto d = config_of(r, defaults());
  ASSERT_TRUE(d) << d.error().message;
  EXPECT_EQ(d->probe_text(), "net_null0,size=64");
  EXPECT_EQ(d->n_rx_queues, 2);
  EXPECT_EQ(d->n_tx_queues, 3);
  EXPECT_EQ(d->n_rx_descriptors, 256);
  EXPECT_EQ(d->n_tx_descriptors, 512);
  EXPECT_EQ(d->rss, RTE_ETH_RSS_NONFRAG_IPV4_UDP);
  EXPECT_FALSE(d->has_tso);
  EXPECT_FALSE(d->has_rx_interrupts);
  EXPECT_TRUE(d->strips_vlan);
  EXPECT_FALSE(d->trusts_peer);
  const auto plain = config_of(r, {});
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->n_rx_queues, 1);
  EXPECT_EQ(plain->n_tx_queues, 0);
  EXPECT_TRUE(plain->has_tso);
  EXPECT_TRUE(plain->has_rx_interrupts);
  EXPECT_FALSE(plain->strips_vlan);
}

TYPED_TEST(DpdkMessages, WhatIsSaidIsSo) {
  TypeParam r;
  r.device = "net_null0";
  r.interface_name = "lan";
  r.num_rx_queues = 4;
  r.num_tx_queues = 5;
  r.num_rx_desc = 1024;
  r.num_tx_desc = 2048;
  r.no_tso = true;
  r.no_rx_interrupts = true;
  for (const DeviceConfig& before : {defaults(), DeviceConfig()}) {
    const auto d = config_of(r, before);
    ASSERT_TRUE(d) << d.error().message;
    EXPECT_EQ(d->name, "lan");
    EXPECT_EQ(d->n_rx_queues, 4);
    EXPECT_EQ(d->n_tx_queues, 5);
    EXPECT_EQ(d->n_rx_descriptors, 1024);
    EXPECT_EQ(d->n_tx_descriptors, 2048);
    EXPECT_FALSE(d->has_tso);
    EXPECT_FALSE(d->has_rx_interrupts);
  }
}

TEST(DpdkMessagesV2, SayWhatElseThereIs) {
  api::DpdkVdevCreateV2 r;
  r.device = "net_null0";
  r.rss = "ipv4-tcp";
  r.vlan_strip = true;
  r.trust_peer = true;
  const auto d = config_of(r, {});
  ASSERT_TRUE(d) << d.error().message;
  EXPECT_EQ(d->rss, RTE_ETH_RSS_NONFRAG_IPV4_TCP);
  EXPECT_EQ(config_of(r, defaults())->rss, RTE_ETH_RSS_NONFRAG_IPV4_TCP);
  EXPECT_TRUE(d->strips_vlan);
  EXPECT_TRUE(d->trusts_peer);
}

TYPED_TEST(DpdkMessages, NoArgumentsThatEalTakesForAnotherDevice) {
  TypeParam r;
  r.device = "net_null5,x/bus=vdev,name=net_vhost7";
  const auto d = config_of(r, {});
  ASSERT_FALSE(d);
  EXPECT_EQ(d.error().code, Status::kInvalid);
  EXPECT_THAT(d.error().message, HasSubstr("'/bus=' in 'x/bus=vdev,name=net_vhost7'"));
}

}  // namespace
}  // namespace loom::dpdk
