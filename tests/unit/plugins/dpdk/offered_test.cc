// What a device is told of the operator's wishes, as DPDK has it, and what the core hears of its
// link.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include "harness.h"

namespace loom::dpdk {
namespace {

using ::testing::ElementsAre;

// The harness has one interface: it is lent to another device.
class Lent {
 public:
  explicit Lent(const std::string& text, const std::function<void(DeviceConfig&)>& wish) {
    DeviceConfig c = *parse_vdev(text);
    wish(c);
    const auto made = h_.create(c);
    EXPECT_TRUE(made) << made.error().message;
    device_ = h_.devices->all().back().get();
  }
  ~Lent() {
    EXPECT_TRUE(h_.remove(device_->index));
    h_.interface = before_;
    h_.has_interface = true;
  }
  rte_eth_conf conf() const {
    rte_eth_conf c{};
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"  // DPDK's word for "new" is this, too
    EXPECT_EQ(rte_eth_dev_conf_get(device_->port, &c), 0);
#pragma GCC diagnostic pop
    return c;
  }

 private:
  Harness& h_ = Harness::get();
  const InterfaceConfig before_ = h_.interface;
  const Device* device_ = nullptr;
};

TEST(Offered, PacketsAreSpreadByWhatIsAsked) {
  const Lent asked("net_null8", [](DeviceConfig& c) {
    c.n_rx_queues = 2;
    c.rss = rss_of("ipv4-tcp") | rss_of("ipv6-udp");
  });
  const rte_eth_conf conf = asked.conf();
  EXPECT_EQ(conf.rxmode.mq_mode, RTE_ETH_MQ_RX_RSS);
  EXPECT_EQ(conf.rx_adv_conf.rss_conf.rss_hf,
            RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP);
}

TEST(Offered, PacketsAreSpreadByAddressesAndPortsUnlessAsked) {
  const Lent plain("net_null8", [](DeviceConfig& c) { c.n_rx_queues = 2; });
  const uint64_t hash = plain.conf().rx_adv_conf.rss_conf.rss_hf;
  EXPECT_EQ(hash & RTE_ETH_RSS_NONFRAG_IPV4_TCP, RTE_ETH_RSS_NONFRAG_IPV4_TCP);
  EXPECT_EQ(hash & RTE_ETH_RSS_NONFRAG_IPV6_UDP, RTE_ETH_RSS_NONFRAG_IPV6_UDP);
  EXPECT_EQ(hash & ~kRssFiveTuple, 0u);
}

TEST(Offered, OneQueueNeedsNoSpreading) {
  const Lent one("net_null8", [](DeviceConfig& c) { c.rss = rss_of("ipv4-tcp"); });
  EXPECT_EQ(one.conf().rx_adv_conf.rss_conf.rss_hf, 0u);
  EXPECT_EQ(one.conf().rxmode.mq_mode, RTE_ETH_MQ_RX_NONE);
}

TEST(Offered, PacketsOfOneSegmentWhereThatIsAsked) {
  Config& config = Harness::get().devices->config;
  {
    const Lent chains("net_ring8", [](DeviceConfig&) {});
    EXPECT_NE(chains.conf().txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 0u);
  }
  config.has_multi_segment = false;
  const Lent single("net_ring8", [](DeviceConfig&) {});
  EXPECT_EQ(single.conf().txmode.offloads & RTE_ETH_TX_OFFLOAD_MULTI_SEGS, 0u);
  config.has_multi_segment = true;
}

TEST(Offered, TheCoreHearsOfALink) {
  Harness& h = Harness::get();
  Device& d = h.device();
  const auto look = [&] {
    h.devices->look_soon();
    ASSERT_TRUE(h.news());
  };
  h.links.clear();
  look();
  EXPECT_TRUE(h.links.empty()) << "nothing has changed";
  ASSERT_EQ(rte_eth_dev_set_link_down(d.port), 0);
  look();
  EXPECT_THAT(h.links, ElementsAre(false));
  ASSERT_EQ(rte_eth_dev_set_link_up(d.port), 0);
  look();
  EXPECT_THAT(h.links, ElementsAre(false, true));
}

}  // namespace
}  // namespace loom::dpdk
