// What is done in the pass that copies when something is sent: a large TCP packet is cut, and
// checksums are finished. Compared with plainly written packets.
#include <thread>

#include "copy_sum.h"
#include "segments.h"

namespace loom::memif {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

using Cut = Segments;

TEST(CopyAndSum, IsACopyAndTheSumOfAnyLengthAnywhere) {
  for (const auto& copy : {copy_and_sum, detail::copy_sse2, detail::copy_avx2}) {
    if (copy == detail::copy_avx2 && !__builtin_cpu_supports("avx2")) continue;
    Bytes from = counting(700);
    std::fill(from.begin() + 100, from.begin() + 400, uint8_t{0xff});  // carries
    for (std::size_t begin = 0; begin < 9; ++begin)
      for (std::size_t n = 0; n + begin <= from.size(); n += n < 200 ? 1 : 37) {
        Bytes to(n + 2, 0xaa);
        const auto sum = copy(reinterpret_cast<std::byte*>(to.data()) + 1,
                              reinterpret_cast<const std::byte*>(from.data()) + begin, n);
        ASSERT_EQ(part(to, 1, n), part(from, begin, n)) << begin << " " << n;
        ASSERT_EQ(to.front(), 0xaa);
        ASSERT_EQ(to.back(), 0xaa);
        ASSERT_EQ(__builtin_bswap16(checksum_fold(sum)), plain_sum(part(from, begin, n)))
            << begin << " " << n;
      }
  }
}

TEST_F(Cut, ALargePacketIsCutAsItsHeadersSay) {
  for (const uint16_t buffer : {2048, 300, 80, 9216}) {
    join(11, buffer);
    for (const bool is_ip6 : {false, true})
      for (const std::size_t size : {1449u, 2896u, 10'000u, 60'001u}) {
        const Tcp t{.flags = kAck | kPsh | kFin | kCwr, .id = 0xfffe, .is_ip6 = is_ip6};
        ASSERT_TRUE(send(unfinished(t, frame(t, counting(size)), 1448)));
        EXPECT_THAT(wire(), ElementsAreArray(segments(t, counting(size), 1448)))
            << buffer << " " << is_ip6 << " " << size;
      }
  }
}

TEST_F(Cut, OneBehindATagAndWithPayloadBehindItsHeaders) {
  join();
  const Tcp t{.flags = kAck | kPsh, .vlan = 7};
  for (const uint32_t first : {1u, 999u, 1500u}) {
    ASSERT_TRUE(send(unfinished(t, frame(t, counting(5001)), 999, first)));
    EXPECT_THAT(wire(), ElementsAreArray(segments(t, counting(5001), 999))) << first;
  }
}

TEST_F(Cut, AsManyAsThereIsRoomForGoOutAndTheRestLater) {
  for (const uint16_t buffer : {2048, 700}) {
    join(2, buffer);
    for (const uint32_t first : {0u, 1u, 1448u, 1500u})
      for (const bool is_ip6 : {false, true}) {
        const Tcp t{.flags = kAck | kPsh | kFin | kCwr, .is_ip6 = is_ip6};
        Buffer* b = unfinished(t, frame(t, counting(20'001)), 1448, first);
        std::vector<Bytes> seen;
        for (bool is_done = false; !is_done;) {
          is_done = send(b);
          const auto some = wire();
          ASSERT_THAT(some, Not(IsEmpty()));
          seen.insert(seen.end(), some.begin(), some.end());
        }
        EXPECT_THAT(seen, ElementsAreArray(segments(t, counting(20'001), 1448))) << first;
      }
  }
}

// A small MSS: there is no bound but the ring's.
TEST_F(Cut, OneOfVeryManySegmentsIsCutAsWell) {
  for (const uint8_t log2 : {11, 4}) {
    join(log2);
    const Tcp t{.flags = kAck | kPsh};
    Buffer* b = unfinished(t, frame(t, counting(3000)), 10);
    std::vector<Bytes> seen;
    for (bool is_done = false; !is_done;) {
      is_done = send(b);
      ASSERT_EQ(last_put.bad_headers, 0u);
      const auto some = wire();
      seen.insert(seen.end(), some.begin(), some.end());
    }
    EXPECT_THAT(seen, ElementsAreArray(segments(t, counting(3000), 10)));
  }
}

// As a fifo's are: they are read, and never written to.
TEST_F(Cut, PayloadMayLieOutsideTheBuffers) {
  static int n_released;
  n_released = 0;
  ExternalOwner owner{[](Worker&, ExternalOwner&, uint32_t) noexcept { ++n_released; }};
  join(2);
  const Tcp t{.flags = kAck | kPsh};
  const Bytes payload = counting(20'001);
  Bytes outside = payload;
  Buffer* b = unfinished(t, frame(t, payload), 1448);
  uint32_t n = 0, at = 0;
  for (Buffer* s = b->next; s; s = s->next, ++n) {
    s->flags |= kBufferExternal;
    s->owner = &owner;
    s->data = reinterpret_cast<std::byte*>(outside.data()) + at;
    at += s->len;
  }
  ASSERT_EQ(at, payload.size());
  std::vector<Bytes> seen;
  for (bool is_done = false; !is_done;) {
    is_done = send(b);
    const auto some = wire();
    ASSERT_THAT(some, Not(IsEmpty()));
    seen.insert(seen.end(), some.begin(), some.end());
  }
  EXPECT_THAT(seen, ElementsAreArray(segments(t, payload, 1448)));
  EXPECT_EQ(outside, payload);
  EXPECT_EQ(n_released, static_cast<int>(n));
}

TEST_F(Cut, BytesThatACallMaySendAreCountedBySegment) {
  join();
  const Tcp t;
  Buffer* b = unfinished(t, frame(t, counting(10'000)), 1000);
  EXPECT_FALSE(send(b, 3000));
  EXPECT_EQ(last_put.bytes, 3 * 1066u);
  EXPECT_TRUE(send(b));
  EXPECT_THAT(wire(), ElementsAreArray(segments(t, counting(10'000), 1000)));
}

TEST_F(Cut, OneSegmentAfterAllIsWhole) {
  join();
  const Tcp t{.flags = kAck | kPsh};
  for (const uint16_t gso : {0, 1448}) {
    for (const std::size_t n : {0u, 1u, 333u, 1448u}) {
      ASSERT_TRUE(send(unfinished(t, frame(t, counting(n)), gso)));
      EXPECT_THAT(wire(), ElementsAre(frame(t, counting(n)))) << gso << " " << n;
    }
  }
}

TEST_F(Cut, ADatagramGetsItsChecksumWhichIsNeverZero) {
  join();
  const auto datagram = [](const Bytes& payload) {
    Bytes u(8);
    put16(u, 0, 53);
    put16(u, 2, 54);
    put16(u, 4, static_cast<uint32_t>(8 + payload.size()));
    u = u + payload;
    const uint16_t sum = plain_checksum(pseudo(ip4("10.0.0.2"), ip4("10.0.0.1"), 17, u.size()) + u);
    put16(u, 6, sum ? sum : 0xffff);
    return ethernet(kDst, kSrc, 0x0800,
                    make_ip4({.src = "10.0.0.2", .dst = "10.0.0.1", .protocol = 17}, u));
  };
  const auto sends = [&](const Bytes& payload) {
    Bytes want = datagram(payload);
    EXPECT_TRUE(send(unfinished({}, want, 0, 0, kBufferTxUdpChecksum, 17, 6)));
    EXPECT_THAT(wire(), ElementsAre(want)) << payload.size();
    return get16(want, 14 + 20 + 6);
  };
  sends({});
  sends(counting(1401));
  Bytes p(2);
  for (uint32_t i = 0; i < 0x10000; ++i) {  // the payload of which the sum would be zero
    put16(p, 0, i);
    if (get16(datagram(p), 14 + 20 + 6) == 0xffff) break;
  }
  EXPECT_EQ(sends(p), 0xffffu);
}

TEST_F(Cut, AChecksumIsFinishedWhereverItsHeaderIs) {
  constexpr std::size_t kL4 = 214;  // behind long extension headers
  for (const uint32_t flag : {kBufferTxUdpChecksum, kBufferTxTcpChecksum}) {
    join(3, 300);
    const Bytes bytes = counting(kL4 + 1001);
    Bytes want = bytes;
    put16(want, kL4 + (flag == kBufferTxTcpChecksum ? 16 : 6),
          plain_checksum(part(bytes, kL4, bytes.size())));
    Buffer* b = host.make(part(bytes, 0, 301));
    b->next = host.make(part(bytes, 301, bytes.size()));
    b->rest_len = b->next->len;
    b->l4_offset = static_cast<int16_t>(b->offset_of_data() + static_cast<int>(kL4));
    b->flags |= flag;
    send_plain({packet(60), packet(60), packet(60), packet(60)});
    EXPECT_FALSE(send(b)) << "no room yet";
    EXPECT_THAT(wire(), SizeIs(4));
    ASSERT_TRUE(send(b));
    EXPECT_EQ(last_put.bad_headers, 0u);
    EXPECT_THAT(wire(), ElementsAre(want));
  }
}

// The peer makes a slot larger when its room has been added up, and one will do.
TEST_F(Cut, ASlotThatIsNotWrittenIsNotSent) {
  join(1, 16384);
  constexpr uint32_t kUntouched = 5000;
  TxRing& ring = *ends.master->tx[0];
  Descriptor* slots = ring.shared->descriptors;
  std::atomic<bool> ends_now{false};
  std::thread changing([&] {
    while (!ends_now.load(std::memory_order_relaxed))
      for (const uint32_t n : {40u, 5000u}) {
        __atomic_store_n(&slots[0].length, n, __ATOMIC_RELAXED);
        for (int i = 0; i < 20; ++i) __builtin_ia32_pause();
      }
  });
  Buffer* b = unfinished({}, frame({}, counting(1000)), 1448);
  uint32_t n_of_one = 0, n_of_two = 0, n_unwritten = 0;
  for (int round = 0; round < 20'000 || n_of_one == 0 || n_of_two == 0; ++round) {
    slots[1].length = kUntouched;
    ring.next = 0;
    ring.shared->head = 2;
    const Put done = put(*ends.master, ring, {&b, 1});
    if (done.fault != Fault::kNone) continue;
    (ring.next == 1 ? n_of_one : n_of_two) += 1;
    n_unwritten += ring.next == 2 && slots[1].length == kUntouched;
  }
  ends_now = true;
  changing.join();
  host.worker().free(b);
  EXPECT_EQ(n_unwritten, 0u) << "of " << n_of_two;
}

TEST_F(Cut, WhatIsNotWhatItSaysIsDroppedAndCounted) {
  join();
  const Tcp t;
  const auto refused = [&](auto&& change, uint16_t gso = 1000, std::size_t size = 3000) {
    Buffer* b = unfinished(t, frame(t, counting(size)), gso);
    change(*b);
    EXPECT_TRUE(send(b));
    EXPECT_EQ(last_put.bad_headers, 1u);
    EXPECT_THAT(wire(), IsEmpty());
  };
  for (const uint16_t gso : {1000, 0}) {
    refused([](Buffer& b) { b.l4_offset = static_cast<int16_t>(b.offset_of_data() - 1); }, gso);
    refused([](Buffer& b) { b.l4_offset = static_cast<int16_t>(b.l4_offset + 13); }, gso);
  }
  refused([](Buffer& b) { b.l3_offset = static_cast<int16_t>(b.offset_of_data() - 1); });
  refused([](Buffer& b) { b.l3_offset = b.l4_offset; });
  refused([](Buffer& b) { b.data[14] = std::byte{0x4f}; });
  refused([](Buffer& b) { b.data[14 + 20 + 12] = std::byte{0x40}; });
  refused([](Buffer& b) { b.data[14 + 20 + 12] = std::byte{0xf0}; });
  refused([](Buffer& b) { b.flags |= kBufferTxUdpChecksum; });
}

TEST_F(Cut, HeadersThatAreNotInABufferOfOursAreNone) {
  join();
  const Tcp t;
  Buffer* b = unfinished(t, frame(t, counting(3000)), 1000);
  b->flags |= kBufferExternal;
  last_put = put(*ends.slave, *tx, {&b, 1});
  b->flags &= ~uint32_t{kBufferExternal};
  EXPECT_EQ(last_put.n, 1u);
  EXPECT_EQ(last_put.bad_headers, 1u);
  host.worker().free(b);
}

TEST_F(Cut, OneThatTheWholeRingCannotHoldIsTooLong) {
  join(1, 128);
  const Tcp t;
  EXPECT_TRUE(send(unfinished(t, frame(t, counting(3000)), 1000)));
  EXPECT_EQ(last_put.too_long, 1u);
}

}  // namespace
}  // namespace loom::memif
