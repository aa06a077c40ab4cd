// See packet_bytes.h.
#include "packet_bytes.h"

#include <gtest/gtest.h>

#include <hostloom/checksum.h>
#include <hostloom/wire.h>

#include <cstring>

#include "tcp/options.h"
#include "tcp/segment.h"

namespace loom::script {
namespace {
constexpr uint32_t kPeerIss = 0xfffff000;  // wraps early
constexpr char kFlagLetters[] = "FSRP.U";

// Byte number `offset` of a stream; both directions differ.
char stream_byte(uint32_t offset, bool from_peer) {
  return static_cast<char>((offset * 31 + (offset >> 8) + (from_peer ? 101 : 7)) & 0xff);
}

std::string be32(uint32_t v) {
  v = byteswap(v);
  return {reinterpret_cast<char*>(&v), 4};
}
}  // namespace

std::string stream_bytes(uint32_t offset, uint32_t n, bool from_peer) {
  std::string s(n, '\0');
  for (uint32_t i = 0; i < n; ++i) s[i] = stream_byte(offset + i, from_peer);
  return s;
}
IpAddress stack_address(bool ip6, bool link_local) {
  return *IpAddress::parse(link_local ? "fe80::1" : ip6 ? "fd00::1" : "10.0.0.1");
}
IpAddress peer_address(bool ip6, bool link_local) {
  return *IpAddress::parse(link_local ? "fe80::2" : ip6 ? "fd00::2" : "10.0.0.2");
}

std::string PacketBytes::options_bytes(const Packet& p, const Peer& peer) const {
  if (!p.raw_options.empty()) return p.raw_options;
  std::string o;
  if (p.mss_option) {
    o += std::string("\x02\x04", 2) + static_cast<char>(*p.mss_option >> 8) +
         static_cast<char>(*p.mss_option);
  }
  if (p.wscale_option) o += std::string("\x01\x03\x03", 3) + static_cast<char>(*p.wscale_option);
  if (p.sack_permitted) o += std::string("\x01\x01\x04\x02", 4);
  if (p.tsval) o += std::string("\x01\x01\x08\x0a", 4) + be32(*p.tsval) + be32(p.tsecr.value_or(0));
  if (!p.sack_blocks.empty()) {
    o += std::string("\x01\x01\x05", 3) + static_cast<char>(2 + 8 * p.sack_blocks.size());
    for (const auto& [from, to] : p.sack_blocks) o += be32(peer.iss + from) + be32(peer.iss + to);
  }
  return o;
}

Buffer* PacketBytes::build(const Packet& wanted, uint16_t port, uint32_t tsval) {
  Packet p = wanted;
  Peer& peer = peers[port];
  if (peer.timestamps && !p.tsval && !p.without_timestamps && p.raw_options.empty() && !p.has('R'))
    p.ts(tsval, peer.tsecr);
  if (p.has('S') && p.tsval) peer.timestamps = true;
  std::string options = options_bytes(p, peer);
  while (options.size() % 4) options += '\0';
  TcpHeader h{};
  h.src_port = port;
  h.dst_port = peer.stack_port;
  const uint32_t seq = p.seq.value_or(peer.next);
  h.seq = kPeerIss + seq;
  h.ack = p.has('.') ? peer.iss + p.ack_number.value_or(peer.wanted) : 0;
  h.data_offset = static_cast<uint8_t>((20 + options.size()) << 2);
  for (int i = 0; i < 6; ++i)
    if (p.has(kFlagLetters[i])) h.flags |= static_cast<uint8_t>(1 << i);
  h.window = static_cast<uint16_t>(p.window.value_or(window_));
  if (!p.has('R'))
    peer.next = std::max(peer.next, seq + p.length + (p.has('S') ? 1 : 0) + (p.has('F') ? 1 : 0));
  const std::string bytes = std::string(reinterpret_cast<char*>(&h), sizeof h) + options +
                            stream_bytes(seq - 1, p.length, true);
  return build_ip(bytes, static_cast<uint32_t>(bytes.size()));
}

Buffer* PacketBytes::build_ip(const std::string& tcp, uint32_t length) {
  Buffer* b = host_.alloc_buffer();
  b->l3_offset = b->offset_of_data();
  b->rx_if = link;
  if (!ip6_) {
    auto* ip = reinterpret_cast<Ip4Header*>(b->append(sizeof(Ip4Header)));
    *ip = {};
    ip->version_ihl = 0x45;
    ip->total_length = static_cast<uint16_t>(length + sizeof(Ip4Header));
    ip->protocol = kProtoTcp;
    ip->src = peer_.ip4();
    ip->dst = stack_.ip4();
  } else {
    auto* ip = reinterpret_cast<Ip6Header*>(b->append(sizeof(Ip6Header)));
    *ip = {};
    ip->version_class_flow = 6u << 28;
    ip->payload_length = static_cast<uint16_t>(length);
    ip->next_header = kProtoTcp;
    ip->src = peer_.ip6();
    ip->dst = stack_.ip6();
  }
  b->advance(b->len);
  // At least 128 bytes of a packet lie in the first segment; the rest in odd pieces.
  Buffer* last = b;
  for (std::size_t at = 0; at < tcp.size();) {
    const std::size_t limit = last == b ? 555 : 777;
    if (last->len >= limit) {
      last->next = host_.alloc_buffer();
      last = last->next;
    }
    const auto n = static_cast<uint32_t>(std::min(tcp.size() - at, limit - last->len));
    std::memcpy(last->append(n), tcp.data() + at, n);
    if (last != b) b->rest_len += n;
    at += n;
  }
  if (b->len >= sizeof(TcpHeader)) {
    auto* h = b->peek<TcpHeader>();
    h->checksum = 0;
    const uint32_t n = std::min(length, b->length());
    const ChecksumSum pseudo =
        ip6_ ? pseudo_header_sum(peer_.ip6(), stack_.ip6(), kProtoTcp, length)
             : pseudo_header_sum(peer_.ip4(), stack_.ip4(), kProtoTcp, length);
    h->checksum = checksum_finish(checksum_add_chain(pseudo, b, 0, n));
  }
  return b;
}

void PacketBytes::read(const FakeHost::Captured& captured, std::deque<Sent>& out) {
  Buffer& b = *captured.packet;
  std::string bytes;
  uint32_t counted = 0;
  for (const Buffer* part = &b; part; part = part->next) {
    bytes.append(reinterpret_cast<const char*>(part->data), part->len);
    if (part != &b) counted += part->len;
  }
  ASSERT_EQ(counted, b.rest_len);
  ASSERT_TRUE(b.flags & kBufferLocallyOriginated);
  ASSERT_EQ(b.l3_offset, b.offset_of_data());
  uint32_t ip_bytes;
  ChecksumSum pseudo;
  Packet p;
  if (!ip6_) {
    const auto& ip = *b.at<Ip4Header>(b.l3_offset);
    ip_bytes = sizeof(Ip4Header);
    p.hops = ip.ttl;
    p.tos = ip.tos;
    ASSERT_EQ(ip.total_length, bytes.size());
    ASSERT_TRUE(ip4_header_checksum_ok(ip));
    ASSERT_EQ(ip.src, stack_.ip4());
    ASSERT_EQ(ip.dst, peer_.ip4());
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, b.length() - ip_bytes);
  } else {
    const auto& ip = *b.at<Ip6Header>(b.l3_offset);
    ip_bytes = sizeof(Ip6Header);
    p.hops = ip.hop_limit;
    p.tos = ip.traffic_class();
    ASSERT_EQ(ip.payload_length + ip_bytes, bytes.size());
    ASSERT_TRUE(b.flags & kBufferIsIp6);
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, b.length() - ip_bytes);
  }
  ASSERT_EQ(b.l4_offset, b.l3_offset + static_cast<int>(ip_bytes));
  const auto& h = *reinterpret_cast<const TcpHeader*>(bytes.data() + ip_bytes);
  if (b.flags & kBufferTxTcpChecksum) {
    ASSERT_EQ(h.checksum, checksum_fold(pseudo));
  } else {
    ASSERT_EQ(checksum_fold(checksum_add_chain(pseudo, &b, ip_bytes, b.length() - ip_bytes)),
              0xffff);
  }
  Peer& peer = peers[h.dst_port];
  if (!peer.knows_iss && (h.flags & tcp::kSyn)) {
    peer.iss = h.seq;
    peer.knows_iss = true;
    peer.stack_port = h.src_port;
  }
  for (int i = 0; i < 6; ++i)
    if (h.flags & 1 << i) p.flags += kFlagLetters[i];
  p.seq = h.seq - peer.iss;
  if (h.flags & tcp::kAck) p.ack_number = h.ack - kPeerIss;
  p.window = h.window;
  tcp::Options o;
  ASSERT_EQ(tcp::parse_options(
                {reinterpret_cast<const std::byte*>(&h + 1), h.header_length() - sizeof h}, o),
            tcp::OptionFault::kNone);
  ASSERT_EQ(o.ignored, 0u);
  if (o.has(tcp::kOptMss)) p.mss_option = o.mss;
  if (o.has(tcp::kOptWscale)) p.wscale_option = o.wscale;
  p.sack_permitted = o.has(tcp::kOptSackPermitted);
  if (o.has(tcp::kOptTimestamps)) {
    p.tsval = o.tsval;
    p.tsecr = o.tsecr;
    peer.tsecr = o.tsval;
  }
  for (uint32_t i = 0; i < o.n_sack; ++i)
    p.sack_blocks.emplace_back(o.sack[i].start.raw() - kPeerIss, o.sack[i].end.raw() - kPeerIss);
  const std::string text = bytes.substr(ip_bytes + h.header_length());
  ASSERT_EQ(text, stream_bytes(*p.seq - 1, static_cast<uint32_t>(text.size()), false));
  const auto size = static_cast<uint32_t>(text.size());
  if (b.gso_size != 0) {
    ASSERT_GT(size, b.gso_size) << "gso on a single segment";
  }
  // The wire's view: one packet a segment, FIN and PSH on the last.
  const uint32_t step = b.gso_size ? b.gso_size : std::max(size, 1u);
  for (uint32_t at = 0; at == 0 || at < size; at += step) {
    Packet part = p;
    part.seq = *p.seq + at;
    part.length = std::min(step, size - at);
    if (at + part.length < size)
      std::erase_if(part.flags, [](char c) { return c == 'F' || c == 'P'; });
    out.push_back({captured.when, h.dst_port, part, b.tx_if, b.adjacency});
  }
}

}  // namespace loom::script
