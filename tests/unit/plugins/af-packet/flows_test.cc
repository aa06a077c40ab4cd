// Several rx queues: which of them a packet comes by (PACKET_FANOUT_HASH).
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>

#include "harness.h"

namespace loom::af_packet {
namespace {

struct Flow {
  uint8_t protocol = kProtoUdp;
  bool is_ip4 = true;
  uint16_t port = 0;  // of the one end; the other's is 53
};

std::string be16(std::size_t n) { return {static_cast<char>(n >> 8), static_cast<char>(n)}; }

// A packet of the flow, or of its other direction.
std::string packet(const Flow& f, bool is_back) {
  const std::size_t l4_size = f.protocol == kProtoUdp ? 8 : 20;
  std::string ends[] = {be16(f.port), be16(53)};
  std::string hosts[] = {std::string(f.is_ip4 ? 3 : 15, '\x0a') + '\1',
                         std::string(f.is_ip4 ? 3 : 15, '\x0a') + '\2'};
  std::string l4 = ends[is_back] + ends[!is_back] + std::string(l4_size - 4, '\0');
  if (f.protocol == kProtoUdp)
    l4.replace(4, 2, be16(l4_size));
  else
    l4[12] = 0x50;
  std::string ip(f.is_ip4 ? 12 : 8, '\0');
  if (f.is_ip4) {
    ip[0] = 0x45;
    ip.replace(2, 2, be16(20 + l4_size));
    ip[8] = 64;
    ip[9] = static_cast<char>(f.protocol);
  } else {
    ip[0] = 0x60;
    ip.replace(4, 2, be16(l4_size));
    ip[6] = static_cast<char>(f.protocol);
    ip[7] = 64;
  }
  return frame(0).substr(0, 12) + (f.is_ip4 ? be16(kEtherTypeIp4) : be16(kEtherTypeIp6)) + ip +
         hosts[is_back] + hosts[!is_back] + l4;
}

class FlowsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    enter_private_network();
    make_veth();
  }
  void TearDown() override { delete_veth(); }
  // Waits (bounded) until that many of the test's frames have come; how many by each queue.
  std::vector<std::size_t> come(Device& d, std::size_t n) {
    std::vector<std::size_t> by_queue(d.queues.size());
    std::vector<pollfd> fds;
    for (const auto& q : d.queues)
      fds.push_back({.fd = q->ready.get(), .events = POLLIN, .revents = 0});
    harness_.clear();
    while (harness_.own().size() < n && poll(fds.data(), fds.size(), 20'000) > 0) {
      for (uint16_t q = 0; q < d.queues.size(); ++q) {
        const std::size_t before = harness_.own().size();
        while (harness_.rx(d, q) != 0) {}
        by_queue[q] += harness_.own().size() - before;
      }
    }
    EXPECT_EQ(harness_.own().size(), n);
    return by_queue;
  }
  Harness harness_{4096};
};

TEST_F(FlowsTest, AFlowComesByOneQueueBothDirectionsByTheSame) {
  Device& d = harness_.made("num-rx-queues 4");
  Far far;
  constexpr std::size_t kEach = 8;
  for (const Flow kind : {Flow{kProtoUdp, true}, Flow{kProtoTcp, true}, Flow{kProtoUdp, false},
                          Flow{kProtoTcp, false}}) {
    for (uint16_t port = 1000; port < 1008; ++port) {
      const Flow f{kind.protocol, kind.is_ip4, port};
      for (std::size_t i = 0; i < kEach; ++i)
        for (const bool is_back : {false, true}) far.send(packet(f, is_back));
      const auto by_queue = come(d, 2 * kEach);
      EXPECT_EQ(std::count(by_queue.begin(), by_queue.end(), 2 * kEach), 1)
          << "port " << port << ": " << ::testing::PrintToString(by_queue);
    }
  }
}

TEST_F(FlowsTest, FlowsSpreadOverTheQueues) {
  Device& d = harness_.made("num-rx-queues 4");
  Far far;
  for (uint16_t port = 1000; port < 1256; ++port) far.send(packet({.port = port}, false));
  // The kernel's hash has a secret: that one of four gets none of 256 has a probability of 1e-31.
  const auto by_queue = come(d, 256);
  EXPECT_EQ(std::count(by_queue.begin(), by_queue.end(), 0u), 0)
      << ::testing::PrintToString(by_queue);
}

}  // namespace
}  // namespace loom::af_packet
