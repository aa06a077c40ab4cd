// Packets between our pool and a port of DPDK's: the same bytes, no buffer lost, lies bounded.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <thread>

#include "harness.h"
#include "system_calls.h"

namespace loom::dpdk {
namespace {

using ::testing::HasSubstr;

struct Fifo {  // an application's bytes
  ExternalOwner owner{.release = [](Worker& w, ExternalOwner& o, uint32_t token) noexcept {
    auto& self = reinterpret_cast<Fifo&>(o);
    ++self.released;
    self.by = &w;
    self.token = token;
  }};
  int released = 0;
  const Worker* by = nullptr;
  uint32_t token = 0;
  std::string bytes = pattern(3000);
};

class PortTest : public ::testing::Test {
 protected:
  void SetUp() override {
    before_ = h_.free_buffers();
    h_.device().traits.copies_at_once = false;
  }
  void TearDown() override {
    h_.clear();
    EXPECT_EQ(h_.free_buffers(), before_);
  }
  // What holds of an mbuf in the pool (mempool.h).
  void expect_pristine(Buffer* b) {
    const rte_mbuf* m = mbuf_of(b);
    EXPECT_EQ(m->next, nullptr);
    EXPECT_EQ(m->nb_segs, 1);
    EXPECT_EQ(rte_mbuf_refcnt_read(m), 1);
    EXPECT_EQ(m->buf_addr, b->start());
    EXPECT_EQ(m->buf_len, kHeadroom + b->data_size);
    EXPECT_EQ(m->shinfo, nullptr);
  }
  Buffer* with_external(Fifo& fifo) {
    Buffer* b = make_packet(h_.worker(), tcp_frame(0));
    b->next = h_.worker().alloc_external(std::as_bytes(std::span(fifo.bytes)), &fifo.owner, 5);
    b->rest_len = b->next->len;
    return b;
  }
  std::array<uint64_t, kRxCounterCount> counters() {
    std::array<uint64_t, kRxCounterCount> c;
    for (uint16_t i = 0; i < kRxCounterCount; ++i) c[i] = h_.counter(i);
    return c;
  }
  Harness& h_ = Harness::get();
  uint32_t before_ = 0;
};

TEST_F(PortTest, AReceivedPacketIsTheBufferBehindItsMbuf) {
  rte_mbuf* m = h_.mbuf(pattern(1000));
  ASSERT_TRUE(h_.put(m));
  const uint64_t received = h_.counter(kReceived);
  EXPECT_EQ(h_.receive(), 1u);
  h_.engine->step();
  ASSERT_EQ(h_.sink.size(), 1u);
  EXPECT_EQ(h_.sink[0], buffer_of(m));
  EXPECT_EQ(bytes_of(*h_.sink[0]), pattern(1000));
  EXPECT_EQ(h_.sink[0]->rx_if, 7u);
  EXPECT_EQ(h_.counter(kReceived), received + 1);
  EXPECT_EQ(h_.receive(), 0u);
}

TEST_F(PortTest, AReceivedPacketHasNothingOfItsBuffersPast) {
  rte_mbuf* m = h_.mbuf(tcp_frame(10));
  Buffer* b = buffer_of(m);
  const Buffer before = *b;
  std::memset(static_cast<void*>(b), 0xee, offsetof(Buffer, opaque));
  ASSERT_TRUE(h_.put(m));
  ASSERT_EQ(h_.receive(), 1u);
  h_.engine->step();
  ASSERT_EQ(h_.sink.size(), 1u);
  Buffer expected;
  expected.pool = before.pool;
  expected.data_size = before.data_size;
  expected.data = b->start() + kHeadroom;
  expected.len = 64;
  expected.rx_if = 7;
  const auto differs = [&](std::size_t from, std::size_t to) {  // between them is padding
    return std::memcmp(reinterpret_cast<std::byte*>(b) + from,
                       reinterpret_cast<std::byte*>(&expected) + from, to - from) != 0;
  };
  EXPECT_FALSE(differs(0, offsetof(Buffer, feature_end) + sizeof expected.feature_end));
  EXPECT_FALSE(differs(offsetof(Buffer, owner), offsetof(Buffer, opaque)));
}

TEST_F(PortTest, WhatTheDeviceHasVerifiedIsSaid) {
  const auto flags_of = [&](uint64_t ol_flags) {
    rte_mbuf* m = h_.mbuf(tcp_frame(10));
    m->ol_flags |= ol_flags;
    EXPECT_TRUE(h_.put(m));
    EXPECT_EQ(h_.receive(), 1u);
    h_.engine->step();
    const uint32_t flags = h_.sink.empty() ? ~0u : h_.sink.back()->flags;
    h_.clear();
    return flags;
  };
  EXPECT_EQ(flags_of(0), 0u);
  EXPECT_EQ(flags_of(RTE_MBUF_F_RX_IP_CKSUM_GOOD), kBufferIp4ChecksumOk);
  EXPECT_EQ(flags_of(RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD),
            kBufferIp4ChecksumOk | kBufferL4ChecksumOk);
  EXPECT_EQ(flags_of(RTE_MBUF_F_RX_IP_CKSUM_BAD | RTE_MBUF_F_RX_L4_CKSUM_BAD), 0u);
  EXPECT_EQ(flags_of(RTE_MBUF_F_RX_IP_CKSUM_NONE), 0u);
  EXPECT_EQ(flags_of(RTE_MBUF_F_RX_L4_CKSUM_NONE), kBufferL4ChecksumOk | kBufferTxTcpChecksum);
}

TEST_F(PortTest, AChainIsReceivedAsOne) {
  rte_mbuf* m = h_.mbuf(pattern(2048));
  ASSERT_EQ(rte_pktmbuf_chain(m, h_.mbuf("tail of it")), 0);
  ASSERT_EQ(rte_pktmbuf_chain(m, h_.mbuf("more")), 0);
  ASSERT_TRUE(h_.put(m));
  EXPECT_EQ(h_.receive(), 1u);
  h_.engine->step();
  ASSERT_EQ(h_.sink.size(), 1u);
  EXPECT_EQ(bytes_of(*h_.sink[0]), pattern(2048) + "tail of itmore");
  EXPECT_EQ(h_.sink[0]->length(), 2048u + 14);
  for (Buffer* b = h_.sink[0]; b; b = b->next) expect_pristine(b);
}

TEST_F(PortTest, LiesAreCountedAndNothingIsLost) {
  const auto before = counters();
  const auto lie = [&](auto&& change) {
    rte_mbuf* m = h_.mbuf(pattern(200));
    EXPECT_EQ(rte_pktmbuf_chain(m, h_.mbuf(pattern(100))), 0);
    change(*m);
    EXPECT_TRUE(h_.put(m));
    EXPECT_EQ(h_.receive(), 1u);
  };
  lie([](rte_mbuf& m) { m.data_len = 60000; });
  lie([](rte_mbuf& m) { m.data_off = 2100; });
  lie([](rte_mbuf& m) { m.next->data_len = 2100; });
  lie([](rte_mbuf& m) { m.pkt_len = 299; });
  lie([](rte_mbuf& m) { m.pkt_len = 1u << 30; });
  lie([](rte_mbuf& m) { m.nb_segs = 3; });
  lie([](rte_mbuf& m) { m.nb_segs = 1; });
  rte_mbuf* single = h_.mbuf(pattern(200));
  single->pkt_len = single->data_len = 2100;
  EXPECT_TRUE(h_.put(single));
  EXPECT_EQ(h_.receive(), 1u);
  rte_mbuf* runt = h_.mbuf("short");
  EXPECT_TRUE(h_.put(runt));
  EXPECT_EQ(h_.receive(), 1u);
  const auto after = counters();
  EXPECT_EQ(after[kMalformed], before[kMalformed] + 8);
  EXPECT_EQ(after[kRunt], before[kRunt] + 1);
  EXPECT_EQ(after[kReceived], before[kReceived]);
  h_.engine->step();
  EXPECT_TRUE(h_.sink.empty());
}

TEST_F(PortTest, APacketInADriversOwnMemoryIsCopied) {
  static rte_mempool* foreign = rte_pktmbuf_pool_create("foreign", 31, 0, 0, 2176, SOCKET_ID_ANY);
  ASSERT_NE(foreign, nullptr);
  rte_mbuf* m = rte_pktmbuf_alloc(foreign);
  std::memcpy(rte_pktmbuf_append(m, 100), pattern(100).data(), 100);
  rte_mbuf* ours = h_.mbuf(pattern(50));  // a first segment that is too short for headers
  ASSERT_EQ(rte_pktmbuf_chain(ours, h_.mbuf(pattern(2000))), 0);
  ASSERT_TRUE(h_.put(m) && h_.put(ours));
  const uint64_t copied = h_.counter(kCopied);
  EXPECT_EQ(h_.receive(), 2u);
  EXPECT_EQ(h_.counter(kCopied), copied + 2);
  EXPECT_EQ(rte_mempool_avail_count(foreign), 31u);
  h_.engine->step();
  ASSERT_EQ(h_.sink.size(), 2u);
  EXPECT_EQ(bytes_of(*h_.sink[0]), pattern(100));
  EXPECT_EQ(bytes_of(*h_.sink[1]), pattern(50) + pattern(2000));
  EXPECT_GE(h_.sink[1]->len, 128u);
}

TEST_F(PortTest, APacketThatTheDriverKeepsIsCopied) {
  rte_mbuf* m = h_.mbuf(pattern(100));
  rte_mbuf_refcnt_update(m, 1);
  ASSERT_TRUE(h_.put(m));
  const uint64_t copied = h_.counter(kCopied);
  EXPECT_EQ(h_.receive(), 1u);
  EXPECT_EQ(h_.counter(kCopied), copied + 1);
  h_.engine->step();
  ASSERT_EQ(h_.sink.size(), 1u);
  EXPECT_NE(h_.sink[0], buffer_of(m));
  EXPECT_EQ(bytes_of(*h_.sink[0]), pattern(100));
  EXPECT_EQ(rte_mbuf_refcnt_read(m), 1);
  h_.free(m);
}

TEST_F(PortTest, AStrippedTagIsPutBack) {
  rte_mbuf* m = h_.mbuf(tcp_frame(10));
  m->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
  m->vlan_tci = 0x2064;
  ASSERT_TRUE(h_.put(m));
  EXPECT_EQ(h_.receive(), 1u);
  h_.engine->step();
  ASSERT_EQ(h_.sink.size(), 1u);
  const std::string frame = tcp_frame(10);
  EXPECT_EQ(bytes_of(*h_.sink[0]),
            frame.substr(0, 12) + std::string("\x81\x00\x20\x64", 4) + frame.substr(12));
}

TEST_F(PortTest, ASentPacketIsItsMbufsAndComesBackWhenTheDriverFreesIt) {
  Buffer* b = make_packet(h_.worker(), pattern(3000), 100);
  Buffer* second = b->next;
  ASSERT_EQ(h_.send({&b, 1}), 1u);
  rte_mbuf* m = h_.taken();
  ASSERT_EQ(m, mbuf_of(b));
  EXPECT_EQ(m->next, mbuf_of(second));
  EXPECT_EQ(m->nb_segs, 3);
  EXPECT_EQ(m->pkt_len, 3000u);
  EXPECT_EQ(rte_pktmbuf_mtod(m, std::byte*), b->data);
  const uint32_t held = before_ - h_.free_buffers();
  EXPECT_EQ(held, 3u);
  h_.free(m);
  expect_pristine(b);
  expect_pristine(second);
}

TEST_F(PortTest, AnApplicationsBytesAreCopiedForADeviceThatCannotReachThem) {
  Fifo fifo;
  Buffer* b = with_external(fifo);
  ASSERT_EQ(h_.send({&b, 1}), 1u);
  EXPECT_EQ(fifo.released, 1);  // at once
  EXPECT_EQ(fifo.token, 5u);
  rte_mbuf* m = h_.taken();
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->pkt_len, 3054u);
  std::string bytes(m->pkt_len, 0);
  std::memcpy(bytes.data(), rte_pktmbuf_read(m, 0, m->pkt_len, bytes.data()), 0);
  EXPECT_EQ(bytes.substr(54), fifo.bytes);
  for (const rte_mbuf* s = m; s; s = s->next) EXPECT_TRUE(h_.devices->mempools().owns(s));
  h_.free(m);
}

TEST_F(PortTest, AnApplicationsBytesStayWhereTheyAreForOneThatCopiesAtOnce) {
  h_.device().traits.copies_at_once = true;
  Fifo fifo;
  Buffer* b = with_external(fifo);
  Buffer* external = b->next;
  ASSERT_EQ(h_.send({&b, 1}), 1u);
  rte_mbuf* m = h_.taken();
  ASSERT_EQ(m, mbuf_of(b));
  EXPECT_EQ(rte_pktmbuf_mtod(m->next, char*), fifo.bytes.data());
  EXPECT_EQ(m->next->data_len, fifo.bytes.size());
  EXPECT_EQ(fifo.released, 0);
  h_.free(m);
  EXPECT_EQ(fifo.released, 1);
  expect_pristine(external);
}

TEST_F(PortTest, WhatAnotherThreadFreesIsLetGoOnAWorker) {
  h_.device().traits.copies_at_once = true;
  Fifo fifo;
  Buffer* b = with_external(fifo);
  ASSERT_EQ(h_.send({&b, 1}), 1u);
  rte_mbuf* m = h_.taken();
  std::thread([&] { rte_pktmbuf_free(m); }).join();  // as a device that is stopped
  EXPECT_EQ(fifo.released, 0);
  const_cast<Mempools&>(h_.devices->mempools()).free_orphans();
  EXPECT_EQ(fifo.released, 1);
}

// A driver that keeps packets after all may free one in a burst of another worker's. The sessions
// of the bytes are where they were sent from.
TEST_F(PortTest, WhatAnotherWorkerFreesIsLetGoByTheOneThatSentIt) {
  h_.device().traits.copies_at_once = true;
  Fifo fifos[2];
  std::array<Buffer*, 2> sent{with_external(fifos[0]), with_external(fifos[1])};
  ASSERT_EQ(h_.send(sent), 2u);
  Worker other;  // without a pool: whatever it would let go itself, it could not
  other.index = 1;
  rte_mbuf *one = h_.taken(), *two = h_.taken();
  rte_mbuf *first = one->next, *second = two->next;  // those of the fifos
  one->next = two->next = nullptr;
  one->nb_segs = two->nb_segs = 1;
  calling_worker = &other;
  rte_pktmbuf_free_seg(first);
  rte_pktmbuf_free_seg(second);
  h_.free(one);
  h_.free(two);
  EXPECT_EQ(fifos[0].released + fifos[1].released, 0);
  HostOps ops = *h_.host.ops;  // of two workers
  ops.n_workers = [](Host&) { return 2u; };
  static const HostOps* before = nullptr;
  before = std::exchange(h_.host.ops, &ops);
  ops.run_on_worker = [](Host& h, uint32_t worker, void (*fn)(Worker&, void*), void* arg) {
    EXPECT_EQ(worker, 0u);
    before->run_on_worker(h, 0, fn, arg);
  };
  for (int turn = 0; turn < 2; ++turn) const_cast<Mempools&>(h_.devices->mempools()).free_orphans();
  h_.host.ops = before;
  for (const Fifo& fifo : fifos) {
    EXPECT_EQ(fifo.released, 1);
    EXPECT_EQ(fifo.by, &h_.worker());
  }
}

// Some drivers receive into memory of their own, to which they let our mbufs refer.
TEST_F(PortTest, AnMbufThatReferredToADriversMemoryIsABufferAgain) {
  static char memory[256];
  rte_mbuf_ext_shared_info shared{};
  shared.free_cb = [](void*, void* context) { ++*static_cast<int*>(context); };
  int freed = 0;
  shared.fcb_opaque = &freed;
  rte_mbuf_ext_refcnt_set(&shared, 1);
  rte_mbuf* m = h_.mbuf("");
  Buffer* b = buffer_of(m);
  rte_pktmbuf_attach_extbuf(m, memory, 0, sizeof memory, &shared);
  std::thread([&] { rte_pktmbuf_free(m); }).join();
  EXPECT_EQ(freed, 1);
  expect_pristine(b);
}

TEST_F(PortTest, AFullRingPushesBackAndThePacketsAreOursAsTheyWere) {
  h_.device().traits.copies_at_once = true;
  Fifo fifo;
  uint32_t n = 0;
  const uint64_t full = h_.device().tx_counters.ring_full;
  std::vector<Buffer*> rest;
  for (;; ++n) {
    std::array<Buffer*, 2> two{make_packet(h_.worker(), pattern(60)), with_external(fifo)};
    const uint32_t sent = h_.send(two);
    rest.assign(two.begin() + sent, two.end());
    if (sent != 2) break;
    ASSERT_LT(n, 1024u);
  }
  ASSERT_FALSE(rest.empty());
  EXPECT_EQ(h_.device().tx_counters.ring_full, full + rest.size());
  Buffer* b = rest.back();
  EXPECT_EQ(bytes_of(*b), tcp_frame(0) + fifo.bytes);
  for (Buffer* s = b; s; s = s->next) expect_pristine(s);
  const int released = fifo.released;
  h_.worker().free(rest);
  EXPECT_EQ(fifo.released, released + 1);
  while (rte_mbuf* m = h_.taken()) h_.free(m);
}

TEST_F(PortTest, APacketThatCannotBeSentHoldsUpNoOther) {
  const uint64_t bad = h_.device().tx_counters.bad_offsets;
  std::array<Buffer*, 3> three;
  for (Buffer*& b : three) b = make_packet(h_.worker(), tcp_frame(10));
  three[1]->flags |= kBufferTxTcpChecksum;
  three[1]->l3_offset = three[1]->l4_offset = 0;
  EXPECT_EQ(h_.send(three), 3u);
  EXPECT_EQ(h_.device().tx_counters.bad_offsets, bad + 1);
  int n = 0;
  while (rte_mbuf* m = h_.taken()) {
    h_.free(m);
    ++n;
  }
  EXPECT_EQ(n, 2);
}

TEST_F(PortTest, PacketsThatAreNotCutHaveALimitOfTheirOwn) {
  Device& d = h_.device();
  const uint32_t most = std::exchange(d.most_mtu_segments, 2);
  const uint64_t refused = d.tx_counters.too_many_segments;
  Buffer* cut = make_packet(h_.worker(), tcp_frame(3000), 100);
  cut->l3_offset = static_cast<int16_t>(cut->offset_of_data() + 14);
  cut->l4_offset = static_cast<int16_t>(cut->l3_offset + 20);
  cut->flags |= kBufferTxTcpChecksum;
  cut->gso_size = 500;
  ASSERT_EQ(h_.send({&cut, 1}), 1u);
  EXPECT_EQ(d.tx_counters.too_many_segments, refused);
  rte_mbuf* m = h_.taken();
  ASSERT_NE(m, nullptr);
  EXPECT_EQ(m->nb_segs, 3);
  h_.free(m);
  Buffer* plain = make_packet(h_.worker(), pattern(3000), 100);
  EXPECT_EQ(h_.send({&plain, 1}), 1u);
  EXPECT_EQ(d.tx_counters.too_many_segments, refused + 1);
  EXPECT_EQ(h_.taken(), nullptr);
  d.most_mtu_segments = most;
}

TEST_F(PortTest, AStoppedDeviceSendsAndReceivesNothing) {
  EXPECT_EQ(set_admin(&h_.device(), false), Status::kOk);
  Buffer* b = make_packet(h_.worker(), pattern(60));
  const uint64_t stopped = h_.device().tx_counters.stopped;
  EXPECT_EQ(h_.send({&b, 1}), 1u);
  EXPECT_EQ(h_.device().tx_counters.stopped, stopped + 1);
  ASSERT_TRUE(h_.put(h_.mbuf(pattern(60))));
  EXPECT_EQ(h_.receive(), 0u);
  EXPECT_EQ(set_admin(&h_.device(), true), Status::kOk);
  EXPECT_EQ(h_.receive(), 1u);
  h_.engine->step();
}

TEST_F(PortTest, ADeviceThatIsGoneKeepsItsMtu) {
  Device& d = h_.device();
  const uint32_t mtu = d.mtu;
  d.is_removed = true;
  EXPECT_EQ(set_mtu(&d, 1400), Status::kNotFound);
  EXPECT_EQ(d.mtu, mtu);
  EXPECT_TRUE(d.is_started);
  d.is_removed = false;
  EXPECT_EQ(set_mtu(&d, 1400), Status::kOk);
  EXPECT_EQ(set_mtu(&d, mtu), Status::kOk);
  EXPECT_TRUE(d.is_started);
}

// net_ring has no interrupts; here its queue has a descriptor as if it had.
TEST_F(PortTest, AQueueThatIsPolledAsksTheKernelForNothing) {
  RxQueue& q = *h_.device().queues[0];
  q.ready = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  q.needs_arming = q.is_edge = true;
  Worker& w = h_.worker();
  NodeRuntime& rt = h_.input();
  Device& d = h_.device();
  const auto empty_rounds = [&] {
    return count_system_calls([&] {
      for (int i = 0; i < 96; ++i) dpdk::rx(w, rt, &d, 0);
    });
  };
  EXPECT_GE(empty_rounds(), 3);  // every 32nd
  kDriver.set_rx_mode(&h_.device(), 0, RxMode::kPolling);
  EXPECT_EQ(empty_rounds(), 0);
  kDriver.set_rx_mode(&h_.device(), 0, RxMode::kAdaptive);
  EXPECT_GE(count_system_calls([&] { dpdk::rx(w, rt, &d, 0); }), 1);  // the very next is armed
  q.ready = UniqueFd();
  q.needs_arming = q.is_edge = q.is_armed = false;
}

TEST_F(PortTest, AnEmptyPoolIsSaidToTheDriver) {
  std::vector<Buffer*> all(Harness::kBuffers);
  all.resize(h_.worker().alloc(all));
  calling_worker = &h_.worker();
  EXPECT_EQ(rte_pktmbuf_alloc(h_.devices->mempools().pools().at(0)->mempool), nullptr);
  calling_worker = nullptr;
  EXPECT_EQ(rte_pktmbuf_alloc(h_.devices->mempools().pools().at(0)->mempool), nullptr);
  h_.worker().free(all);
}

TEST_F(PortTest, TheDeviceIsDescribed) {
  std::string text;
  describe(&h_.device(), text);
  EXPECT_THAT(text, HasSubstr("dpdk net_ring net_ring0, port 0"));
  EXPECT_THAT(text, HasSubstr("polled"));
  EXPECT_EQ(h_.interface.name, "ring0");
  EXPECT_EQ(h_.interface.rx_queues.at(0).event_fd, -1);
}

}  // namespace
}  // namespace loom::dpdk
