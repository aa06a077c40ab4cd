// The devices of the daemon: when EAL starts, what ticks, who lets go of what other threads free.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_mbuf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>
#include <semaphore>
#include <thread>

#include "harness.h"

namespace loom::dpdk {
namespace {

using ::testing::HasSubstr;

struct Counted {  // an application's bytes
  ExternalOwner owner{.release = [](Worker&, ExternalOwner& o, uint32_t) noexcept {
    ++reinterpret_cast<Counted&>(o).released;
  }};
  uint32_t released = 0;
  std::byte bytes[100];
};

TEST(Devices, EalDoesNotStartForBuffersThatMayNotMove) {
  DriverHarness h(kInputNode, 64);
  HostOps ops = *h.host.ops;
  ops.buffer_pool = [](Host&, uint32_t, BufferPoolInfo*) { return Status::kNotFound; };
  ops.place_buffers = [](Host&, const BufferPlacement* p, std::string* message) {
    EXPECT_EQ(p->front, kFront);
    *message = "the buffers are another driver's already";
    return Status::kExists;
  };
  h.host.ops = &ops;
  Devices devices(h.host);
  devices.config.is_given = true;
  const auto started = devices.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().message, "the buffers are another driver's already");
  EXPECT_TRUE(devices.eal().arguments.empty());
  EXPECT_FALSE(devices.is_started());
}

TEST(Devices, WhatOtherThreadsFreeIsLetGoAFrameARound) {
  Harness& h = Harness::get();
  const uint32_t before = h.free_buffers();
  h.device().traits.copies_at_once = true;
  Counted owned;
  constexpr uint32_t kMany = 2 * kFrameSize + 10;
  std::vector<rte_mbuf*> sent;
  for (uint32_t i = 0; i < kMany; ++i) {
    Buffer* b = make_packet(h.worker(), tcp_frame(0));
    b->next = h.worker().alloc_external(std::span(owned.bytes), &owned.owner, 0);
    b->rest_len = b->next->len;
    ASSERT_EQ(h.send({&b, 1}), 1u);
    sent.push_back(h.taken());
  }
  h.devices->look_soon();
  ASSERT_TRUE(h.news());  // with what was to be looked at before
  std::thread([&] {
    for (rte_mbuf* m : sent) rte_pktmbuf_free(m);
  }).join();
  EXPECT_EQ(owned.released, 0u);
  const uint32_t calls = h.n_worker_calls;
  ASSERT_TRUE(h.news());  // without being asked
  EXPECT_EQ(owned.released, kMany);
  EXPECT_EQ(h.n_worker_calls, calls + 3);
  EXPECT_EQ(h.free_buffers(), before);
}

TEST(Devices, OnlyALinkThatBringsNoNewsIsLookedAtTwiceASecond) {
  Harness& h = Harness::get();
  Device& d = h.device();
  const auto look = [&] {
    h.devices->look_soon();
    ASSERT_TRUE(h.news());
  };
  look();
  EXPECT_FALSE(h.devices->is_ticking());  // net_ring's link is up, whatever happens
  d.traits.has_fixed_link = false;
  look();
  EXPECT_TRUE(h.devices->is_ticking());
  ASSERT_EQ(set_admin(&d, false), Status::kOk);
  look();
  EXPECT_FALSE(h.devices->is_ticking());  // nothing changes while it is down
  d.traits.is_restarted = true;
  ASSERT_EQ(set_admin(&d, true), Status::kOk);
  d.has_link_interrupt = true;
  d.is_link_up = true;
  look();
  EXPECT_FALSE(h.devices->is_ticking());
  d.is_started = false;  // its peer was not there
  look();
  EXPECT_TRUE(h.devices->is_ticking());
  d.is_started = true;
  d.traits.is_restarted = false;
  look();
  EXPECT_FALSE(h.devices->is_ticking());
  d.info.if_index = 1;  // loopback, of which the kernel tells
  d.has_link_interrupt = false;
  look();
  EXPECT_FALSE(h.devices->is_ticking());
  d.info.if_index = 0;
  d.traits.has_fixed_link = true;
}

TEST(Devices, DevicesOfSoftwareAreNamedAsEalTakesThem) {
  const auto parsed = parse_vdev("net_tap0,iface=dtap0,mac=fixed");
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->is_virtual);
  EXPECT_EQ(parsed->address, "net_tap0");
  EXPECT_EQ(parsed->probe_text(), "net_tap0,iface=dtap0,mac=fixed");
  for (const char* text : {"", ",iface=x", "pci:0000:03:00.0", "0000:03:00.0", "net tap0", "a/b"})
    EXPECT_THAT(parse_vdev(text).error().message, HasSubstr("needs a device")) << text;
  EXPECT_THAT(parse_vdev(std::string(64, 'a')).error().message, HasSubstr("63 characters"));
}

TEST(Devices, WhatIsThereIsNotMadeTwiceAndWhatIsNotIsNotRemoved) {
  Harness& h = Harness::get();
  const auto made = h.create(*parse_vdev("net_ring0"));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Status::kExists);
  DeviceConfig other = *parse_vdev("net_null7");
  other.name = "ring0";
  EXPECT_EQ(h.create(other).error().message, "interface 'ring0' is there already");
  EXPECT_EQ(h.remove(8).error().code, Status::kNotFound);
  h.device().config.is_virtual = false;
  EXPECT_EQ(h.remove(7).error().code, Status::kInvalid);
  h.device().config.is_virtual = true;
  EXPECT_EQ(h.devices->find(7), &h.device());
  EXPECT_EQ(h.devices->next_from(8), nullptr);
}

TEST(Devices, AFileThatWouldKeepAWorkerWaitingIsRefused) {
  Harness& h = Harness::get();
  const std::string fifo = ::testing::TempDir() + "hostloom-fifo-" + std::to_string(::getpid());
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  for (const std::string& one :
       {"net_pcap9,rx_pcap=" + fifo, "net_pcap9,tx_pcap=" + fifo,
        std::string("net_pcap9,rx_pcap=-"), "net_pcap9,iface=lo,rx_pcap=" + fifo,
        "eth_pcap9,rx_pcap=" + fifo, "net_failsafe9,dev(net_pcap9,rx_pcap=" + fifo + ")",
        "net_failsafe9,dev(net_pcap9,iface=lo,tx_pcap=" + fifo + "),dev(net_null9)"}) {
    const auto made = h.create(*parse_vdev(one));
    ASSERT_FALSE(made) << one;
    EXPECT_THAT(made.error().message, HasSubstr("is no regular file")) << one;
  }
  EXPECT_EQ(::unlink(fifo.c_str()), 0);
}

TEST(Devices, OneThatWaitsForItsPeerHoldsNobodyUpAndIsGivenUp) {
  Harness& h = Harness::get();
  const std::string path = ::testing::TempDir() + "hostloom-peer-" + std::to_string(::getpid());
  const std::size_t before = h.devices->all().size();
  std::optional<Status> made, gone;
  h.devices->create_vdev(
      trusting("net_virtio_user7,path=" + path + ",server=1"),
      [&](const Result<IfIndex>& r) { made = r ? Status::kOk : r.error().code; });
  EXPECT_FALSE(made);
  EXPECT_THAT(h.log, ::testing::Contains(HasSubstr("trusts its peer: who is at " + path)));
  ASSERT_EQ(h.devices->making().size(), 1u);
  EXPECT_FALSE(h.devices->give_up("nobody", [](const Result<void>&) {}));
  ASSERT_TRUE(h.devices->give_up(
      "net_virtio_user7", [&](const Result<void>& r) { gone = r ? Status::kOk : Status::kIo; }));
  EXPECT_EQ(made, Status::kClosed);
  while (!gone) ASSERT_TRUE(h.news());
  EXPECT_EQ(gone, Status::kOk);
  EXPECT_TRUE(h.devices->making().empty());
  EXPECT_EQ(h.devices->all().size(), before);
  EXPECT_NE(::access(path.c_str(), F_OK), 0) << "its socket is left";
}

// As somebody at a terminal does, whose next command is there already.
TEST(Devices, WhoIsToldThatOneWaitsMayMakeOthersAndGiveThemUp) {
  Harness& h = Harness::get();
  const auto device = [](int i) {
    const std::string name = "net_virtio_user" + std::to_string(i);
    return trusting(name + ",path=" + ::testing::TempDir() + name + "-" +
                    std::to_string(::getpid()) + ",server=1");
  };
  constexpr int kFirst = 10, kLast = 17;
  int n_gone = 0;
  const auto gone = [&](const Result<void>& r) { n_gone += r.has_value(); };
  std::optional<Status> told;
  const auto ignored = [](const Result<IfIndex>&) {};
  h.devices->create_vdev(device(kFirst), [&](const Result<IfIndex>& made) {
    told = made ? Status::kOk : made.error().code;
    for (int i = kFirst + 2; i <= kLast; ++i) h.devices->create_vdev(device(i), ignored);
    EXPECT_TRUE(h.devices->give_up("net_virtio_user" + std::to_string(kFirst + 1), gone));
  });
  h.devices->create_vdev(device(kFirst + 1), ignored);
  while (!told) ASSERT_TRUE(h.news());
  EXPECT_EQ(told, Status::kInProgress);
  for (int i = kFirst; i <= kLast; ++i)
    EXPECT_EQ(h.devices->give_up("net_virtio_user" + std::to_string(i), gone), i != kFirst + 1);
  while (n_gone <= kLast - kFirst) ASSERT_TRUE(h.news());
  EXPECT_TRUE(h.devices->making().empty());
}

// A device that is called on a thread of its own and there on EAL's, which the test keeps busy, as
// a peer that does not answer does. DPDK refuses to give it so many queues.
TEST(Devices, AnMtuThatIsRefusedTooLateStaysTheInterfaces) {
  Harness& h = Harness::get();
  Device& d = h.device();
  const uint32_t before = d.mtu;
  const uint16_t n_tx_queues = d.n_tx_queues;
  d.thread = std::make_unique<CallThread>([&] { h.devices->look_soon(); });
  d.traits.is_run_by_interrupts = true;
  std::binary_semaphore is_over{0};
  const auto keep_busy = [](void* over) { static_cast<std::binary_semaphore*>(over)->acquire(); };

  d.n_tx_queues = 5000;
  EXPECT_EQ(set_mtu(&d, before - 100), Status::kIo) << "in time: neither has it";
  EXPECT_EQ(d.wanted_mtu, before);
  while (d.is_called) ASSERT_TRUE(h.news());
  EXPECT_EQ(d.mtu, before);

  d.n_tx_queues = n_tx_queues;
  d.is_admin_up = false;
  ASSERT_EQ(set_admin(&d, true), Status::kOk);
  d.n_tx_queues = 5000;
  ASSERT_EQ(rte_eal_alarm_set(1, keep_busy, &is_over), 0);
  ASSERT_EQ(set_mtu(&d, before - 200), Status::kInProgress);
  is_over.release();
  while (d.is_called) ASSERT_TRUE(h.news());
  EXPECT_EQ(d.wanted_mtu, before - 200);
  EXPECT_EQ(d.mtu, before - 200);
  EXPECT_FALSE(d.is_started);
  EXPECT_THAT(h.log, ::testing::Contains(HasSubstr(
                         "ring0: rte_eth_dev_configure: Invalid argument; the interface has mtu " +
                         std::to_string(before - 200) + ", and the device is stopped")));

  d.n_tx_queues = n_tx_queues;
  EXPECT_EQ(set_mtu(&d, before), Status::kOk);
  while (d.is_called) ASSERT_TRUE(h.news());
  EXPECT_EQ(d.mtu, before);
  EXPECT_TRUE(d.is_started);
  d.traits.is_run_by_interrupts = false;
  d.thread.reset();
}

// The harness has one interface: it is lent to another device.
TEST(Devices, OneThatDpdkDoesNotLetGoOfIsNamedInTheReply) {
  Harness& h = Harness::get();
  const InterfaceConfig before = h.interface;
  const DeviceConfig other = *parse_vdev("net_null7");
  ASSERT_TRUE(h.create(other));
  EXPECT_TRUE(h.remove(7));
  ASSERT_TRUE(h.create(other)) << "its name is free again";
  ASSERT_EQ(rte_eal_hotplug_remove("vdev", "net_null7"), 0);  // behind the plugin's back
  const auto removed = h.remove(7);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Status::kIo);
  EXPECT_THAT(removed.error().message, HasSubstr("net_null7 is not removed from DPDK"));
  EXPECT_THAT(h.log, ::testing::Contains(removed.error().message));
  EXPECT_EQ(h.devices->all().size(), 1u) << "the interface is gone all the same";
  h.interface = before;
  h.has_interface = true;
}

}  // namespace
}  // namespace loom::dpdk
