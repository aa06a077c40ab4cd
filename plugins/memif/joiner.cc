#include "joiner.h"

#include <algorithm>
#include <utility>

#include "copy_sum.h"
#include "tcp_flags.h"

namespace loom::memif {
namespace {

constexpr uint32_t kMostIp = 65535;

// Bytes behind a chain's last.
class Tail {
 public:
  Tail(Worker& w, Buffer* last) noexcept : w_(w), last_(last) {}
  Buffer* last() const noexcept { return last_; }
  ChecksumSum sum() const noexcept { return sum_.value(); }
  bool append(const std::byte* from, uint32_t n) noexcept {
    while (n != 0) {
      const uint32_t room = last_->data_size - last_->len;
      if (room == 0) {
        Buffer* b = w_.alloc();
        if (!b) return false;
        last_ = last_->next = b;
        continue;
      }
      const uint32_t part = std::min(n, room);
      sum_.add(copy_and_sum(last_->data + last_->len, from, part), part);
      last_->len += part;
      from += part;
      n -= part;
    }
    return true;
  }

 private:
  Worker& w_;
  Buffer* last_;
  RunningSum sum_;
};

bool same(const std::byte* a, const std::byte* b, std::size_t n) noexcept {
  return std::memcmp(a, b, n) == 0;
}

}  // namespace

bool Head::parse_ip(uint32_t length) noexcept {
  uint8_t protocol = 0;
  if (n < l3 + sizeof(Ip4Header)) return false;
  if (const auto& ip = at<Ip4Header>(l3); ip.version_ihl == 0x45) {
    l4 = l3 + uint32_t{sizeof ip};
    if (ip.is_fragment() || ip.total_length != length - l3 || !ip4_header_checksum_ok(ip))
      return false;
    protocol = ip.protocol;
    pseudo = pseudo_header_sum(ip.src, ip.dst, protocol, length - l4);
  } else {
    const auto& ip6 = at<Ip6Header>(l3);
    l4 = l3 + uint32_t{sizeof ip6};
    if (ip.version() != 6 || n < l4 || ip6.payload_length != length - l4) return false;
    is_ip6 = true;
    protocol = ip6.next_header;
    pseudo = pseudo_header_sum(ip6.src, ip6.dst, protocol, length - l4);
  }
  is_tcp = protocol == kProtoTcp;
  return is_tcp || protocol == kProtoUdp;
}

bool Head::parse(uint32_t length, bool is_ethernet) noexcept {
  uint16_t type = 0;
  if (is_ethernet) {
    l3 = sizeof(EthernetHeader);
    type = at<EthernetHeader>(0).type;
    if (type == kEtherTypeVlan && n >= l3 + sizeof(VlanTag)) {
      type = at<VlanTag>(l3).type;
      l3 += uint32_t{sizeof(VlanTag)};
    }
  }
  if (!parse_ip(length)) return false;
  if (is_ethernet && type != (is_ip6 ? kEtherTypeIp6 : kEtherTypeIp4)) return false;
  if (!is_tcp) {
    end = l4 + uint32_t{sizeof(UdpHeader)};
    if (n < end) return false;
    const auto& udp = at<UdpHeader>(l4);
    return udp.checksum != 0 && udp.length == length - l4;
  }
  if (n < l4 + sizeof(TcpHeader)) return false;
  end = l4 + tcp().header_length();
  return tcp().header_length() >= sizeof(TcpHeader) && end <= n;
}

// By Linux's rules for GRO: all that differs is what whoever cuts the packet again would make so.
bool Joiner::is_next(const Head& h, uint32_t n) const noexcept {
  if (!first_ || !h.is_tcp || h.is_ip6 != head_.is_ip6 || h.l3 != head_.l3) return false;
  const uint32_t size = n - h.end;
  const auto &tcp = h.tcp(), &before = head_.tcp();
  if (size == 0 || size > mss_ || (tcp.flags & ~(kPsh | kFin)) != kAck ||
      tcp.seq != before.seq + payload_)
    return false;
  if (h.end - h.l3 + payload_ + size > kMostIp || n_segments_ == kMostSegments) return false;
  // Ports; acknowledgement; length, reserved bits and AE (RFC 9768) in one byte; window; urgent
  // pointer and options.
  if (!same(h.bytes, head_.bytes, h.l3) || tcp.src_port != before.src_port ||
      tcp.dst_port != before.dst_port || tcp.ack != before.ack ||
      tcp.data_offset != before.data_offset || tcp.window != before.window ||
      !same(h.bytes + h.l4 + offsetof(TcpHeader, urgent),
            head_.bytes + h.l4 + offsetof(TcpHeader, urgent),
            h.end - h.l4 - offsetof(TcpHeader, urgent)))
    return false;
  if (h.is_ip6) {
    const auto &ip = h.at<Ip6Header>(h.l3), &first = head_.at<Ip6Header>(h.l3);
    return ip.version_class_flow == first.version_class_flow && ip.hop_limit == first.hop_limit &&
           ip.src == first.src && ip.dst == first.dst;
  }
  const auto &ip = h.at<Ip4Header>(h.l3), &first = head_.at<Ip4Header>(h.l3);
  // Where the next link is too narrow, a router fragments a packet, but not a large one. Of one
  // that must not be fragmented the identification says nothing (RFC 6864).
  return ip.tos == first.tos && ip.ttl == first.ttl && ip.src == first.src && ip.dst == first.dst &&
         ip.flags_fragment == first.flags_fragment && ip.flags_fragment & kIp4DontFragment;
}

// False: the checksum is wrong, or there are no buffers; the chain is as it was.
bool Joiner::join(const Head& h, const std::byte* from, uint32_t n) noexcept {
  Tail tail(w_, last_);
  const uint32_t length_before = last_->len;
  bool is_good = tail.append(h.bytes + h.end, h.n - h.end) && tail.append(from + h.n, n - h.n);
  if (is_good) {
    const ChecksumSum sum = checksum_add(h.pseudo + tail.sum(), h.bytes + h.l4, h.end - h.l4);
    is_good = checksum_fold(sum) == 0xffff;
  }
  if (!is_good) [[unlikely]] {
    last_->len = length_before;
    if (Buffer* more = std::exchange(last_->next, nullptr)) w_.free(more);
    return false;
  }
  last_ = tail.last();
  payload_ += n - h.end;
  first_->rest_len = h.end + payload_ - first_->len;
  ++n_segments_;
  const uint8_t flags = h.tcp().flags;
  first_->peek<TcpHeader>(h.l4)->flags |= flags;
  if (n - h.end < mss_ || flags != kAck) close();
  return true;
}

void Joiner::open(Buffer* b, const Head& h, uint32_t n) noexcept {
  if (!h.is_tcp || n == h.end || h.tcp().flags != kAck) return;
  first_ = last_ = b;
  while (last_->next) last_ = last_->next;
  std::memcpy(&head_, &h, offsetof(Head, bytes) + h.end);
  mss_ = payload_ = n - h.end;
  n_segments_ = 1;
}

void Joiner::close() noexcept {
  Buffer* b = std::exchange(first_, nullptr);
  if (!b || n_segments_ == 1) return;
  const uint32_t l4_length = head_.end - head_.l4 + payload_;
  ChecksumSum pseudo;
  if (head_.is_ip6) {
    auto& ip = *b->peek<Ip6Header>(head_.l3);
    ip.payload_length = static_cast<uint16_t>(l4_length);
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, l4_length);
    b->flags |= kBufferIsIp6;
  } else {
    auto& ip = *b->peek<Ip4Header>(head_.l3);
    ip.total_length = static_cast<uint16_t>(head_.l4 - head_.l3 + l4_length);
    ip.checksum = 0;
    ip.checksum = ip4_header_checksum(ip);
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, l4_length);
  }
  // Verified, and to be made again should the packet leave by another interface.
  b->peek<TcpHeader>(head_.l4)->checksum = checksum_fold(pseudo);
  b->flags |= kBufferTxTcpChecksum;
  b->gso_size = static_cast<uint16_t>(mss_);
  b->l4_offset = static_cast<int16_t>(b->offset_of_data() + static_cast<int32_t>(head_.l4));
}

Buffer* Joiner::begin(const Head& h, bool is_l4, const std::byte* from, uint32_t n) noexcept {
  Buffer* b = w_.alloc();
  if (!b) return nullptr;
  std::memcpy(b->append(h.n), h.bytes, h.n);
  Tail tail(w_, b);
  if (!tail.append(from + h.n, n - h.n)) {
    w_.free(b);
    return nullptr;
  }
  b->rest_len = n - b->len;
  if (!is_l4) return b;
  if (!h.is_ip6) b->flags |= kBufferIp4ChecksumOk;
  const ChecksumSum sum = checksum_add(h.pseudo + tail.sum(), h.bytes + h.l4, h.n - h.l4);
  if (checksum_fold(sum) != 0xffff) return b;  // for whoever counts it
  b->flags |= kBufferL4ChecksumOk;
  open(b, h, n);
  return b;
}

Joiner::Came Joiner::take(const std::byte* from, uint32_t n, bool is_ethernet,
                          Buffer*& packet) noexcept {
  Head h;
  h.n = std::min(n, Head::kSize);
  std::memcpy(h.bytes, from, h.n);
  use_copy_of(h.bytes);
  const bool is_l4 = h.parse(n, is_ethernet);
  if (is_l4 && is_next(h, n) && join(h, from, n)) return Came::kJoined;
  close();
  packet = begin(h, is_l4, from, n);
  return packet ? Came::kPacket : Came::kNoBuffers;
}

}  // namespace loom::memif
