// The stanza `dpdk { }`: what is read, and what is refused with its line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_ethdev.h>

#include "config.h"
#include "config/parser.h"

namespace loom::dpdk {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

Result<Config> read(const std::string& text) {
  const auto parsed = parse_config(text, "t.conf");
  if (!parsed) return parsed.error();
  Config c;
  if (auto ok = read_stanza(parsed->children.at(0), c); !ok) return ok.error();
  return c;
}
std::string refusal(const std::string& text) {
  const auto c = read(text);
  return c ? "" : c.error().message;
}

TEST(DpdkConfig, ReadsDevicesAndTheirKeys) {
  const auto c = read(
      "dpdk {\n dev 3:0.1 { name wan num-rx-queues 4 num-tx-queues 2 num-rx-desc 1024\n"
      " num-tx-desc 2048 rss { ipv4-tcp ipv6-udp } tso off no-rx-interrupts\n"
      " vlan-strip-offload on trust-peer devargs a=1 }\n"
      " vdev net_tap0,iface=x,mac=fixed dev 0001:82:00.0\n"
      " socket-mem 512,256 iova-mode va uio-driver vfio-pci log-level debug no-multi-seg\n"
      " no-tx-checksum-offload no-hugetlb enable-lro }");
  ASSERT_TRUE(c) << c.error().message;
  ASSERT_EQ(c->devices.size(), 3u);
  const DeviceConfig& d = c->devices[0];
  EXPECT_EQ(d.address, "0000:03:00.1");
  EXPECT_EQ(d.probe_text(), "0000:03:00.1,a=1");
  EXPECT_EQ(d.name, "wan");
  EXPECT_FALSE(d.is_virtual);
  EXPECT_EQ(d.n_rx_queues, 4);
  EXPECT_EQ(d.n_tx_queues, 2);
  EXPECT_EQ(d.n_rx_descriptors, 1024);
  EXPECT_EQ(d.n_tx_descriptors, 2048);
  EXPECT_EQ(d.rss, RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP);
  EXPECT_EQ(rss_text(d.rss), "ipv4-tcp ipv6-udp");
  EXPECT_FALSE(d.has_tso);
  EXPECT_FALSE(d.has_rx_interrupts);
  EXPECT_TRUE(d.strips_vlan);
  EXPECT_TRUE(d.trusts_peer);
  EXPECT_FALSE(c->devices[1].trusts_peer);
  EXPECT_TRUE(c->devices[1].is_virtual);
  EXPECT_EQ(c->devices[1].address, "net_tap0");
  EXPECT_EQ(c->devices[1].devargs, "iface=x,mac=fixed");
  EXPECT_EQ(c->devices[2].address, "0001:82:00.0");
  EXPECT_EQ(c->socket_mem, "512,256");
  EXPECT_EQ(c->iova_mode, "va");
  EXPECT_EQ(c->log_level, "debug");
  EXPECT_FALSE(c->has_multi_segment);
  EXPECT_FALSE(c->has_tx_checksum);
  EXPECT_TRUE(c->has_lro);
  EXPECT_FALSE(c->has_huge_pages);
  EXPECT_TRUE(c->has_pci);
}

TEST(DpdkConfig, APeerIsTrustedByEachDeviceByItself) {
  EXPECT_THAT(refusal("dpdk {\n dev default { trust-peer } vdev net_memif0 }"),
              HasSubstr("t.conf:2: 'trust-peer' is said of each device by itself"));
}

TEST(DpdkConfig, DefaultsAreForAllDevicesThatDoNotSayOtherwise) {
  const auto c = read(
      "dpdk { vdev net_null0 vdev net_null1 { num-rx-queues 3 } dev default { num-rx-queues 2 } }");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_EQ(c->devices.at(0).n_rx_queues, 2);
  EXPECT_EQ(c->devices.at(1).n_rx_queues, 3);
  EXPECT_EQ(c->defaults.n_rx_queues, 2);
  EXPECT_EQ(parse_vdev("net_null2", c->defaults)->n_rx_queues, 2);
}

std::string refusal_of_words(std::vector<std::string_view> words) {
  DeviceConfig d;
  const auto read = read_words(words, d);
  return read ? "" : read.error().message;
}

TEST(DpdkConfig, ACommandHasTheWordsOfTheStanza) {
  DeviceConfig d = *parse_vdev("net_null0,size=64");
  const std::string_view words[] = {"name",     "lan",
                                    "rss",      "{",
                                    "ipv4-tcp", "ipv6-udp",
                                    "}",        "vlan-strip-offload",
                                    "on",       "tso",
                                    "off",      "num-rx-queues",
                                    "3",        "no-rx-interrupts"};
  const auto read = read_words(words, d);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(d.probe_text(), "net_null0,size=64");
  EXPECT_EQ(d.name, "lan");
  EXPECT_EQ(d.rss, RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP);
  EXPECT_TRUE(d.strips_vlan);
  EXPECT_FALSE(d.has_tso);
  EXPECT_EQ(d.n_rx_queues, 3);
  EXPECT_FALSE(d.has_rx_interrupts);
  EXPECT_THAT(refusal_of_words({"name", "x", "tos", "on"}), HasSubstr("word 3: unknown key 'tos'"));
  EXPECT_THAT(refusal_of_words({"rss", "{", "ipv4-tpc", "}"}), HasSubstr("word 3: "));
  EXPECT_THAT(refusal_of_words({"rss", "{", "ipv4"}), HasSubstr("word 3: '}' is missing"));
  EXPECT_THAT(refusal_of_words({"{", "ipv4", "}"}), HasSubstr("word 1: a block behind no word"));
  EXPECT_THAT(refusal_of_words({"rss", "{", "{"}), HasSubstr("word 3: a block"));
  EXPECT_THAT(refusal_of_words({"tso", "on", "}"}), HasSubstr("word 3: '}' without '{'"));
  EXPECT_THAT(refusal_of_words({"num-rx-queues"}), HasSubstr("word 1: "));
}

TEST(DpdkConfig, WordsOfRssInOneText) {
  EXPECT_EQ(*rss_of_words(""), 0u);
  EXPECT_EQ(*rss_of_words("  ipv4-tcp  l2-payload "),
            RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_L2_PAYLOAD);
  EXPECT_THAT(rss_of_words("ipv4 ipv4-tpc").error().message,
              HasSubstr("'ipv4-tpc' is nothing to spread packets by; did you mean 'ipv4-tcp'?"));
}

TEST(DpdkConfig, RefusalsNameLineAndTheNearestWord) {
  EXPECT_THAT(refusal("dpdk {\n\n vdevs net_null0 }"), HasSubstr("t.conf:3: "));
  EXPECT_THAT(refusal("dpdk { vdevs net_null0 }"), HasSubstr("'vdev'"));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 {\n num-rx-queue 1 } }"), HasSubstr("t.conf:2: "));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 { num-rx-queues 0 } }"), HasSubstr("from 1 to 64"));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 { num-rx-desc 40000 } }"), HasSubstr("to 32768"));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 { tso maybe } }"), HasSubstr("one of on, off"));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 { rss { ipv4-tpc } } }"), HasSubstr("ipv4-tcp"));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 { rss ipv4 } }"), HasSubstr("needs a block"));
  EXPECT_THAT(refusal("dpdk { vdev }"), HasSubstr("'vdev' needs a device"));
  EXPECT_THAT(refusal("dpdk { vdev ,x=1 }"), HasSubstr("needs a device"));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 vdev net_null0,copy=1 }"), HasSubstr("already"));
  EXPECT_THAT(refusal("dpdk { dev eth0 }"), HasSubstr("not a PCI address"));
  EXPECT_THAT(refusal("dpdk { dev 03:20.0 }"), HasSubstr("not a PCI address"));
  EXPECT_THAT(refusal("dpdk { dev 03:00.8 }"), HasSubstr("not a PCI address"));
  EXPECT_THAT(refusal("dpdk { dev 03:00.0x }"), HasSubstr("not a PCI address"));
  for (const char* address : {"-3:00.0", "+3:00.0", "0x3:0.0", "\" 3:00.0\"", "3:\t0.0"})
    EXPECT_NE(refusal(std::string("dpdk { dev ") + address + " }"), "") << address;
  EXPECT_THAT(refusal("dpdk {\n dev default { name x } }"), HasSubstr("t.conf:2: "));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 { name x }\n vdev net_null1 { name x } }"),
              HasSubstr("t.conf:2: 'net_null0' has the name 'x' already"));
  EXPECT_THAT(refusal("dpdk { vdev net_null0 vdev net_null1 { name net_null0 } }"),
              HasSubstr("'net_null0' has the name"));
  for (const char* list : {",", "512,", ",512", "512,,512"})
    EXPECT_THAT(refusal(std::string("dpdk { socket-mem ") + list + " }"),
                HasSubstr("MB a NUMA node"));
  EXPECT_THAT(refusal("dpdk { no-pci dev 03:00.0 }"), HasSubstr("contradict"));
  EXPECT_THAT(refusal("dpdk { socket-mem 1g }"), HasSubstr("MB a NUMA node"));
  EXPECT_THAT(refusal("dpdk { iova-mode dc }"), HasSubstr("one of pa, va"));
}

// EAL would make another device of them than the one that was looked at.
TEST(DpdkConfig, NoArgumentsThatEalTakesForAnotherDevice) {
  for (const std::string layer : {"/bus=", "/class=", "/driver="})
    for (const std::string& devargs :
         {"x" + layer + "vdev,name=net_vhost7", layer + "pci,addr=0000:00:03.0",
          "iface=/tmp" + layer + "x", "iface=a,b" + layer, "dev(net_null1" + layer + "vdev)"}) {
      const std::string why = "'" + layer + "' in '" + devargs + "'";
      EXPECT_THAT(refusal("dpdk {\n vdev net_null5," + devargs + " }"),
                  AllOf(HasSubstr("t.conf:2: "), HasSubstr(why)));
      for (const char* device : {"vdev net_null5", "dev 3:0.0", "dev default"})
        EXPECT_THAT(
            refusal("dpdk {\n " + std::string(device) + " { devargs \"" + devargs + "\" } }"),
            AllOf(HasSubstr("t.conf:2: "), HasSubstr(why)))
            << device;
      const auto parsed = parse_vdev("net_null5," + devargs);
      ASSERT_FALSE(parsed) << devargs;
      EXPECT_EQ(parsed.error().code, Status::kInvalid);
      EXPECT_THAT(refusal_of_words({"devargs", devargs}),
                  AllOf(HasSubstr("word 1"), HasSubstr(why)));
    }
  for (const char* devargs : {"bus=vdev", "x,driver=y", "path=/tmp/bus/class.sock,server=1",
                              "iface=/run/driver/=", "dev(bus=vdev,name=net_null1)"}) {
    EXPECT_TRUE(parse_vdev(std::string("net_null5,") + devargs)) << devargs;
    EXPECT_EQ(refusal_of_words({"devargs", devargs}), "");
  }
}

TEST(DpdkConfig, OnlyDevicesThatAreMadeOfOthersHaveThemInside) {
  const auto has = [](const char* text) { return has_inside(*parse_vdev(text), "net_memif"); };
  EXPECT_TRUE(has("net_failsafe0,dev(net_memif0,id=1)"));
  EXPECT_TRUE(has("net_failsafe0,dev(net_tap0,iface=a),dev(vdev:net_memif)"));
  EXPECT_TRUE(has("net_failsafe0,dev(bus=vdev,name=net_memif3)"));
  EXPECT_TRUE(has("net_bonding0,mode=1,slave=net_memif7,slave=net_null0"));
  EXPECT_TRUE(has("eth_bond0,slave=net_memif7"));
  EXPECT_FALSE(has("net_bonding0,slave=my_net_memif0"));
  EXPECT_FALSE(has("net_failsafe0,dev(net_tap0)"));
  EXPECT_FALSE(has("net_memif0,id=1"));
  EXPECT_FALSE(has("net_tap0,iface=net_memif0"));
  EXPECT_FALSE(has("net_pcap0,rx_pcap=/tmp/net_memif.pcap"));
}

}  // namespace
}  // namespace loom::dpdk
