// The plugin's messages.
#include "udp/api.h"

#include "tests/unit/core/api/direct_client.h"
#include "udp.api.h"
#include "udp_bed.h"

namespace loom::test {
namespace {

// A registry as the daemon has one.
class UdpApi : public testing::Test {
 protected:
  UdpApi() : ops_(*bed.fake.host.ops) {
    self_ = this;
    ops_.add_api_module = [](Host&, const ApiModule* m, std::string*) {
      return self_->registry_.add_module(*m) ? Status::kOk : Status::kExists;
    };
    ops_.add_api_handler = [](Host&, const ApiHandler* h, std::string*) {
      return self_->registry_.add_handler(*h) ? Status::kOk : Status::kExists;
    };
    host_.ops = &ops_;
    host_.impl = bed.fake.host.impl;
    EXPECT_TRUE(udp::add_api(host_));
  }
  UdpBed bed;

 private:
  static inline UdpApi* self_ = nullptr;
  HostOps ops_;
  Host host_;
  ApiRegistry registry_;

 protected:
  DirectClient client{registry_};
};

TEST_F(UdpApi, PortsWithTheirSocketsAndDatagrams) {
  EXPECT_TRUE(client.dump<api::UdpPortDetails>(api::UdpPortDump{}).empty());
  const ConnId c = bed.bind(53);
  bed.connect(7);  // has no port of its own in the list
  bed.options.reuseport = true;
  bed.bind(4096);
  bed.bind(4096);
  bed.bind(65'535);
  bed.receive({});
  bed.receive({});
  bed.send(c, "answer", bed.to(bed.remote(false), 9));
  bed.rx_answer = Status::kAgain;
  bed.receive({});
  const auto all = client.dump<api::UdpPortDetails>(api::UdpPortDump{});
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].port, 53);
  EXPECT_EQ(all[0].sockets, 1u);
  EXPECT_EQ(all[0].received, 2u);
  EXPECT_EQ(all[0].sent, 1u);
  EXPECT_EQ(all[0].overflowed, 1u);
  EXPECT_EQ(all[1].port, 4096);
  EXPECT_EQ(all[1].sockets, 2u);
  EXPECT_EQ(all[2].port, 65'535);
}

TEST_F(UdpApi, WhatEachWorkerHas) {
  bed.bind(53);
  bed.bind(54);
  bed.connect(7);
  udp::udp_worker(bed.fake.worker)
      .destinations.get(bed.remote(false), 0, bed.fake.worker.now)
      .learn(1300, bed.fake.worker.now);
  const auto all = client.dump<api::UdpStatsDetails>(api::UdpStatsDump{});
  ASSERT_EQ(all.size(), bed.fake.host.n_workers());
  EXPECT_EQ(all[0].worker, 0u);
  EXPECT_EQ(all[0].sockets_without_peer, 2u);
  EXPECT_EQ(all[0].sockets_with_peer, 1u);
  EXPECT_EQ(all[0].group_memberships, 0u);
  EXPECT_EQ(all[0].known_paths, 1u);
}

}  // namespace
}  // namespace loom::test
