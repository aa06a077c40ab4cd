#include "unfinished.h"

#include "tcp_flags.h"

namespace loom::memif {
namespace {

constexpr uint32_t kTcp = sizeof(TcpHeader), kUdp = sizeof(UdpHeader);

template <class T>
T& at(std::byte* headers, uint32_t offset) noexcept {
  return *reinterpret_cast<T*>(headers + offset);
}

}  // namespace

bool Unfinished::parse(Buffer& b) noexcept {
  is_large_ = b.gso_size != 0;
  is_tcp_ = is_large_ || b.flags & kBufferTxTcpChecksum;
  // Offsets are relative to start(), which external segments do not have. Datagrams that a device
  // has put together are not cut again.
  if (b.is_external() || (is_large_ && b.flags & kBufferTxUdpChecksum)) return false;
  if (b.l4_offset < b.offset_of_data()) return false;
  l4_ = static_cast<uint32_t>(b.l4_offset - b.offset_of_data());
  header_ = l4_ + (is_tcp_ ? kTcp : kUdp);
  if (header_ > b.len) return false;
  if (is_large_) return parse_large(b);
  mss_ = left_ = b.length() - header_;
  // The field holds the pseudo-header's sum, which is thus part of what is summed.
  l4_sum_ = checksum_add(0, b.data + l4_, header_ - l4_);
  if (!is_far()) std::memcpy(bytes_, b.data, header_);
  return true;
}

bool Unfinished::parse_large(Buffer& b) noexcept {
  if (b.l3_offset < b.offset_of_data() || b.l4_offset <= b.l3_offset) return false;
  l3_ = static_cast<uint32_t>(b.l3_offset - b.offset_of_data());
  const auto* ip4 = b.peek<Ip4Header>(l3_);
  is_ip6_ = ip4 && ip4->version() == 6;
  if (!ip4 || l4_ < l3_ + (is_ip6_ ? sizeof(Ip6Header) : ip4->header_length())) return false;
  const uint32_t tcp_size = b.peek<TcpHeader>(l4_)->header_length();
  header_ = l4_ + tcp_size;
  if (tcp_size < kTcp || header_ > b.len || is_far()) return false;
  mss_ = b.gso_size;
  left_ = b.length() - header_;
  std::memcpy(bytes_, b.data, header_);
  auto& tcp = at<TcpHeader>(bytes_, l4_);
  seq_ = tcp.seq;
  flags_ = tcp.flags;
  tcp.seq = tcp.flags = 0;
  tcp.checksum = 0;
  if (is_ip6_) {
    const auto& ip = at<Ip6Header>(bytes_, l3_);
    l4_sum_ = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, 0);
  } else {
    auto& ip = at<Ip4Header>(bytes_, l3_);
    id_ = ip.id;
    ip.id = ip.total_length = 0;
    ip.checksum = 0;
    ip4_sum_ = checksum_add(0, &ip, ip.header_length());
    l4_sum_ = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, 0);
  }
  l4_sum_ = checksum_add(l4_sum_, &tcp, tcp_size);
  return true;
}

void Unfinished::write_headers(std::byte* to, ChecksumSum payload) const noexcept {
  std::memcpy(to, bytes_, header_);
  ChecksumSum sum = l4_sum_ + payload;
  if (is_large_) {
    auto& tcp = at<TcpHeader>(to, l4_);
    const auto l4_length = static_cast<uint16_t>(header_ - l4_ + size());
    const uint8_t flags = size() == left_ ? flags_ : flags_ & static_cast<uint8_t>(~(kFin | kPsh));
    tcp.seq = seq_;
    tcp.flags = flags;
    // Flags are the second byte of their word, in memory order.
    sum += uint64_t{byteswap(l4_length)} + byteswap(seq_) + (uint32_t{flags} << 8);
    if (is_ip6_) {
      at<Ip6Header>(to, l3_).payload_length =
          static_cast<uint16_t>(l4_ - l3_ - sizeof(Ip6Header) + l4_length);
    } else {
      auto& ip = at<Ip4Header>(to, l3_);
      const auto length = static_cast<uint16_t>(l4_ - l3_ + l4_length);
      ip.total_length = length;
      ip.id = id_;
      ip.checksum = checksum_finish(ip4_sum_ + byteswap(length) + byteswap(id_));
    }
  }
  write_checksum(to, sum);
}

void Unfinished::write_checksum(std::byte* to, ChecksumSum sum) const noexcept {
  const uint16_t finished = checksum_finish(sum);
  if (is_tcp_)
    at<TcpHeader>(to, l4_).checksum = finished;
  else
    at<UdpHeader>(to, l4_).checksum = finished ? finished : 0xffff;  // zero means "none" (RFC 768)
}

void Unfinished::finish(Buffer& b, ChecksumSum payload) const noexcept {
  write_checksum(b.data, l4_sum_ + payload);
  b.flags &= ~uint32_t{kBufferTxL4Checksum};
}

void Unfinished::next() noexcept {
  const uint32_t n = size();
  sent_ += n;
  left_ -= n;
  seq_ += n;
  ++id_;
  flags_ &= static_cast<uint8_t>(~kCwr);  // RFC 3168 section 6.1.2: once
}

void Unfinished::drop_sent(Buffer& b) const noexcept {
  if (sent_ == 0) return;
  const uint32_t first = std::min(sent_, b.len - header_);
  b.advance(first);  // the headers go where this payload ends
  for (int16_t* offset : {&b.l2_offset, &b.l3_offset, &b.l4_offset})
    *offset = static_cast<int16_t>(*offset + static_cast<int32_t>(first));
  std::memcpy(b.data, bytes_, header_);
  at<TcpHeader>(b.data, l4_).seq = seq_;
  at<TcpHeader>(b.data, l4_).flags = flags_;
  if (!is_ip6_) at<Ip4Header>(b.data, l3_).id = id_;
  uint32_t left = sent_ - first;
  b.rest_len -= left;
  for (Buffer* s = b.next; left != 0; s = s->next) {
    const uint32_t n = std::min(left, s->len);
    s->advance(n);
    left -= n;
  }
}

}  // namespace loom::memif
