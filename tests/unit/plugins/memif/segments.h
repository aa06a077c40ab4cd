// TCP segments, plainly written; and a ring between two ends to compare with.
#pragma once
#include "pair.h"

namespace loom::memif {

constexpr uint8_t kFin = 1, kPsh = 8, kAck = 16, kUrg = 32, kEce = 64, kCwr = 128;
constexpr uint32_t kSeq = 0xfffff000;  // goes round
inline const std::string kSrc = "02:00:00:00:00:01", kDst = "02:00:00:00:00:02";

struct Tcp {
  uint32_t at = 0, ack = 77;  // where its payload begins, of the flow's
  uint8_t flags = kAck;
  uint16_t port = 4000, window = 1000, id = 500, df = 0x4000;
  uint8_t ttl = 64, tos = 0;
  uint8_t reserved = 0;  // and AE (RFC 9768): the lower half of the data offset's byte
  Bytes options = {1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9};
  bool is_ip6 = false;
  uint16_t vlan = 0;
};

inline Bytes frame(const Tcp& t, const Bytes& payload) {
  Bytes b(20);
  put16(b, 0, t.port);
  put16(b, 2, 80);
  put32(b, 4, kSeq + t.at);
  put32(b, 8, t.ack);
  b[12] = static_cast<uint8_t>((20 + t.options.size()) / 4 << 4 | t.reserved);
  b[13] = t.flags;
  put16(b, 14, t.window);
  b = b + t.options + payload;
  const auto finish = [&](const Bytes& src, const Bytes& dst) {
    put16(b, 16, plain_checksum(pseudo(src, dst, 6, b.size()) + b));
  };
  Bytes packet;
  if (t.is_ip6) {
    finish(ip6("2001:db8::2"), ip6("2001:db8::1"));
    packet = make_ip6({.src = "2001:db8::2", .dst = "2001:db8::1", .next_header = 6}, b);
    packet[7] = t.ttl;
    packet[1] = static_cast<uint8_t>(t.tos << 4);
  } else {
    finish(ip4("10.0.0.2"), ip4("10.0.0.1"));
    packet = make_ip4({.src = "10.0.0.2",
                       .dst = "10.0.0.1",
                       .protocol = 6,
                       .ttl = t.ttl,
                       .tos = t.tos,
                       .id = t.id,
                       .flags_fragment = t.df},
                      b);
  }
  const uint16_t type = t.is_ip6 ? 0x86dd : 0x0800;
  if (t.vlan == 0) return ethernet(kDst, kSrc, type, packet);
  Bytes tag(4);
  put16(tag, 0, t.vlan);
  put16(tag, 2, type);
  return ethernet(kDst, kSrc, 0x8100, tag + packet);
}

inline std::size_t l3_of(const Tcp& t) { return t.vlan ? 18 : 14; }
inline std::size_t l4_of(const Tcp& t) { return l3_of(t) + (t.is_ip6 ? 40 : 20); }

// The segments of `payload`, as whoever cuts a large packet of theirs must write them.
inline std::vector<Bytes> segments(const Tcp& first, const Bytes& payload, std::size_t mss) {
  std::vector<Bytes> all;
  for (std::size_t at = 0; at < payload.size(); at += mss) {
    Tcp t = first;
    t.at = static_cast<uint32_t>(first.at + at);
    t.id = static_cast<uint16_t>(first.id + at / mss);
    if (at + mss < payload.size()) t.flags &= static_cast<uint8_t>(~(kFin | kPsh));
    if (at != 0) t.flags &= static_cast<uint8_t>(~kCwr);
    all.push_back(frame(t, part(payload, at, mss)));
  }
  return all;
}

class Segments : public RingBed {
 protected:
  void join(uint8_t log2_ring_size = 10, uint16_t buffer_size = 2048) {
    ends = memif::join({.log2_ring_size = log2_ring_size, .buffer_size = buffer_size});
    tx = ends.slave->tx[0].get();
    rx = ends.master->rx[0].get();
  }
  // As the stack hands it on: in pieces of odd lengths, the checksum field with the pseudo-header's
  // sum only.
  Buffer* unfinished(const Tcp& t, Bytes bytes, uint16_t gso_size, uint32_t first_piece = 0,
                     uint32_t flags = kBufferTxTcpChecksum, uint8_t protocol = 6,
                     std::size_t field = 16) {
    const std::size_t l4 = l4_of(t), n = bytes.size() - l4;
    const Bytes src = t.is_ip6 ? ip6("2001:db8::2") : ip4("10.0.0.2");
    const Bytes dst = t.is_ip6 ? ip6("2001:db8::1") : ip4("10.0.0.1");
    put16(bytes, l4 + field, plain_sum(pseudo(src, dst, protocol, n)));
    const std::size_t headers =
        std::min(l4 + (protocol == 6 ? 20 + t.options.size() : 8) + first_piece, bytes.size());
    Buffer* b = host.make(part(bytes, 0, headers));
    Buffer* last = b;
    for (std::size_t at = headers; at < bytes.size(); at += 1999) {
      last = last->next = host.make(part(bytes, at, 1999));
      b->rest_len += last->len;
    }
    b->l2_offset = b->offset_of_data();
    b->l3_offset = static_cast<int16_t>(b->l2_offset + static_cast<int>(l3_of(t)));
    b->l4_offset = static_cast<int16_t>(b->l2_offset + static_cast<int>(l4));
    b->gso_size = gso_size;
    b->flags |= flags | (t.is_ip6 ? kBufferIsIp6 : 0u);
    return b;
  }
  // False: some of it is left.
  bool send(Buffer* b, uint64_t most_bytes = ~uint64_t{0}) {
    last_put = put(*ends.slave, *tx, {&b, 1}, most_bytes);
    if (last_put.n == 1) host.worker().free(b);
    return last_put.n == 1;
  }
  // What lies in the ring, as it does.
  std::vector<Bytes> wire() {
    std::vector<Bytes> all;
    bool goes_on = false;
    const uint16_t n = rx->ready();
    for (uint16_t i = 0; i < n; ++i) {
      const Descriptor d = rx->read(static_cast<uint16_t>(rx->next + i));
      const auto* at = ends.master->regions[d.region].at(d.offset, d.length);
      const auto* bytes = reinterpret_cast<const uint8_t*>(at);
      if (!goes_on) all.emplace_back();
      all.back().insert(all.back().end(), bytes, bytes + d.length);
      goes_on = d.flags & kDescriptorNext;
    }
    rx->release(n);
    return all;
  }
  void send_plain(const std::vector<Bytes>& packets) {
    ASSERT_EQ(RingBed::send(*ends.slave, *tx, packets), packets.size());
  }
  // The packets that are received, to be freed by the test's end.
  std::vector<Buffer*> gets() {
    std::vector<Buffer*> out(kFrameSize);
    work = RxWork();
    last_taken = take(host.worker(), *ends.master, *rx, out, work, counts);
    out.resize(last_taken.n);
    got.insert(got.end(), out.begin(), out.end());
    return out;
  }
  static Bytes bytes_of(const Buffer& b) {
    Bytes p(b.length());
    chain_copy_out(b, 0, std::as_writable_bytes(std::span(p)));
    return p;
  }
  // Sends them on as the daemon would by another memif: what the wire sees then.
  std::vector<Bytes> sent_on(const std::vector<Buffer*>& packets) {
    for (Buffer* b : packets) {
      b->l3_offset = static_cast<int16_t>(b->offset_of_data() + 14);
      EXPECT_EQ(put(*ends.slave, *tx, {&b, 1}).n, 1u);
    }
    return wire();
  }
  void TearDown() override { host.worker().free(got); }

  Ends ends;
  TxRing* tx = nullptr;
  RxRing* rx = nullptr;
  std::vector<Buffer*> got;
};

}  // namespace loom::memif
