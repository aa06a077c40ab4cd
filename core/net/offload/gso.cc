#include "net/offload/gso.h"

#include <hostloom/checksum.h>

namespace loom {
namespace {

constexpr uint8_t kFin = 0x01, kPsh = 0x08, kCwr = 0x80;

// Keeps the packet while segments refer to its bytes. Lives in the packet's opaque.
struct Hold : ExternalOwner {
  Buffer* packet;
  uint32_t references;
};
static_assert(sizeof(Hold) <= sizeof(Buffer::opaque) && alignof(Hold) <= 8);

void release_hold(Worker& w, ExternalOwner& owner, uint32_t) noexcept {
  auto& hold = static_cast<Hold&>(owner);
  if (--hold.references == 0) w.free(hold.packet);
}

struct Layout {
  uint32_t l3 = 0, l4 = 0, headers = 0;  // bytes from the packet's data
  bool is_ip6 = false;
};

// Everything about the headers that the segments depend on is checked here once.
bool parse(Buffer& b, Layout& at) noexcept {
  if (b.is_external() || b.gso_size == 0 || b.l3_offset < b.offset_of_data() ||
      b.l4_offset <= b.l3_offset)
    return false;
  if (b.flags & kBufferTxUdpChecksum) return false;  // datagrams that a device has put together
  at.l3 = static_cast<uint32_t>(b.l3_offset - b.offset_of_data());
  at.l4 = static_cast<uint32_t>(b.l4_offset - b.offset_of_data());
  const auto* ip = b.peek<Ip4Header>(at.l3);
  const auto* tcp = b.peek<TcpHeader>(at.l4);
  if (!ip || !tcp) return false;
  at.is_ip6 = ip->version() == 6;
  if (at.l4 < at.l3 + (at.is_ip6 ? sizeof(Ip6Header) : ip->header_length())) return false;
  at.headers = at.l4 + tcp->header_length();
  return tcp->header_length() >= sizeof(TcpHeader) && at.headers <= b.len &&
         at.headers <= kHeadroom && b.length() > at.headers;
}

// A walk over the payload, segment by segment of the chain.
struct Cursor {
  Buffer* segment;
  uint32_t offset;
  std::span<const std::byte> take(uint32_t most) noexcept {
    while (segment && offset == segment->len) {
      segment = segment->next;
      offset = 0;
    }
    if (!segment) return {};
    const uint32_t n = std::min(most, segment->len - offset);
    const std::span<const std::byte> bytes(segment->data + offset, n);
    offset += n;
    return bytes;
  }
};

// Appends a link to the chain.
void link(Buffer& first, Buffer*& last, Buffer* more) noexcept {
  last->next = more;
  last = more;
  first.rest_len += more->len;
}

bool add_payload(Worker& w, Buffer& first, Cursor& from, uint32_t size, Hold* hold) noexcept {
  Buffer* last = &first;
  while (size) {
    const auto bytes = from.take(size);
    if (bytes.empty()) return false;
    if (hold) {
      Buffer* b = w.alloc_external(bytes, hold, 0);
      if (!b) return false;
      ++hold->references;
      link(first, last, b);
      size -= static_cast<uint32_t>(bytes.size());
      continue;
    }
    for (std::size_t done = 0; done < bytes.size();) {
      if (last->tailroom() == 0) {
        Buffer* b = w.alloc();
        if (!b) return false;
        link(first, last, b);
      }
      const auto n =
          std::min<uint32_t>(last->tailroom(), static_cast<uint32_t>(bytes.size() - done));
      std::memcpy(last->append(n), bytes.data() + done, n);
      if (last != &first) first.rest_len += n;
      done += n;
    }
    size -= static_cast<uint32_t>(bytes.size());
  }
  return true;
}

// Headers of segment `i`, which starts at payload byte `at` and carries `size`.
void fix_headers(Buffer& b, const Layout& at, uint32_t i, uint32_t start, uint32_t size,
                 bool is_last) noexcept {
  const uint32_t l4_length = at.headers - at.l4 + size;
  auto& tcp = *b.peek<TcpHeader>(at.l4);
  tcp.seq = tcp.seq + start;
  if (!is_last) tcp.flags &= static_cast<uint8_t>(~(kFin | kPsh));
  if (i != 0) tcp.flags &= static_cast<uint8_t>(~kCwr);  // RFC 3168 section 6.1.2: once
  ChecksumSum pseudo;
  if (at.is_ip6) {
    auto& ip = *b.peek<Ip6Header>(at.l3);
    ip.payload_length = static_cast<uint16_t>(at.headers - at.l3 - sizeof(Ip6Header) + size);
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, l4_length);
  } else {
    auto& ip = *b.peek<Ip4Header>(at.l3);
    ip.total_length = static_cast<uint16_t>(at.headers - at.l3 + size);
    ip.id = static_cast<uint16_t>(ip.id + i);
    ip.checksum = 0;
    ip.checksum = ip4_header_checksum(ip);
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, l4_length);
  }
  tcp.checksum = checksum_fold(pseudo);
}

}  // namespace

GsoStatus gso_segment(Worker& w, Buffer* packet, bool is_flat,
                      std::span<Buffer*, kMaxGsoSegments> out, uint32_t& n_out) noexcept {
  n_out = 0;
  Layout at;
  if (!parse(*packet, at)) return GsoStatus::kBadPacket;
  const uint32_t payload = packet->length() - at.headers, mss = packet->gso_size;
  const uint32_t n = (payload + mss - 1) / mss;
  if (n > kMaxGsoSegments) return GsoStatus::kBadPacket;

  Hold* hold = nullptr;
  if (!is_flat) {
    hold = new (packet->opaque) Hold{{release_hold}, packet, 1};  // one for this function
  }
  Cursor from{packet, at.headers};
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t start = i * mss, size = std::min(mss, payload - start);
    Buffer* b = w.alloc();
    if (b) {
      out[n_out++] = b;
      std::memcpy(b->append(at.headers), packet->data, at.headers);
    }
    if (!b || !add_payload(w, *b, from, size, hold)) {
      w.free(out.first(n_out));
      n_out = 0;
      return GsoStatus::kNoBuffer;  // the references went with the segments; ours is void
    }
    fix_headers(*b, at, i, start, size, i + 1 == n);
    b->flags = (packet->flags & (kBufferIsIp6 | kBufferLocallyOriginated)) | kBufferTxTcpChecksum;
    b->l4_protocol = kProtoTcp;
    b->rx_if = packet->rx_if;
    b->tx_if = packet->tx_if;
    b->hash = packet->hash;
    b->l2_offset = b->offset_of_data();
    b->l3_offset = static_cast<int16_t>(b->l2_offset + static_cast<int32_t>(at.l3));
    b->l4_offset = static_cast<int16_t>(b->l2_offset + static_cast<int32_t>(at.l4));
  }
  if (hold)
    release_hold(w, *hold, 0);
  else
    w.free(packet);
  return GsoStatus::kOk;
}

}  // namespace loom
