#include "vcl/endpoint_tlvs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(vppcom_endpt_tlv_t);
constexpr uint16_t kTlvs = VPPCOM_ENDPT_TLV_UDP_SEGMENT | VPPCOM_ENDPT_TLV_IP_PKTINFO;
constexpr uint16_t kPktinfo = 1u << 15;  // in Session::ancillary, beside kTlvs

uint32_t bytes_of(bool is_ip4) noexcept { return is_ip4 ? 4 : 16; }

int take_one(uint32_t type, const uint8_t* data, uint32_t n, DatagramOut& out,
             svm::Endpoint& source) noexcept {
  switch (type) {
    case VCL_UDP_SEGMENT:
      if (n != sizeof out.gso_size) return -EINVAL;
      std::memcpy(&out.gso_size, data, n);
      return 0;
    case VCL_IP_PKTINFO:
      if (n != bytes_of(true) && n != bytes_of(false)) return -EINVAL;
      source = {};
      source.is_ip4 = n == bytes_of(true);
      std::memcpy(source.ip, data, n);
      out.source =
          std::all_of(data, data + n, [](uint8_t b) { return b == 0; }) ? nullptr : &source;
      return 0;
    default:
      return 0;
  }
}

uint8_t* put(uint8_t* to, uint32_t type, const void* data, uint32_t n) noexcept {
  std::memcpy(to + offsetof(vppcom_endpt_tlv_t, data_type), &type, sizeof type);
  std::memcpy(to + offsetof(vppcom_endpt_tlv_t, data_len), &n, sizeof n);
  std::memcpy(to + kHeader, data, n);
  return to + kHeader + n;
}

}  // namespace

int take_tlvs(const vppcom_endpt_t& ep, DatagramOut& out, svm::Endpoint& source) noexcept {
  const auto* at = reinterpret_cast<const uint8_t*>(ep.app_tlvs);
  uint32_t left = ep.app_tlv_len;
  if (!at) return left == 0 ? 0 : -EINVAL;
  // Less than the alignment is the end of a structure with a TLV in it.
  while (left >= alignof(vppcom_endpt_tlv_t)) {
    uint32_t type, n;
    if (left < kHeader) return -EINVAL;
    std::memcpy(&type, at + offsetof(vppcom_endpt_tlv_t, data_type), sizeof type);
    std::memcpy(&n, at + offsetof(vppcom_endpt_tlv_t, data_len), sizeof n);
    at += kHeader;
    left -= kHeader;
    if (n > left) return -EINVAL;
    if (const int e = take_one(type, at, n, out, source); e != 0) return e;
    at += n;
    left -= n;
  }
  return 0;
}

int ask_tlvs(Session& s, uint32_t wanted) {
  if (!s.is_connectionless()) return -EPROTONOSUPPORT;
  if (wanted & ~uint32_t{kTlvs}) return -EINVAL;
  s.ancillary.fetch_and(static_cast<uint16_t>(~kTlvs));
  s.ancillary.fetch_or(static_cast<uint16_t>(wanted));
  s.change_options(
      [=](svm::SocketOptions& o) { o.gro = (wanted & VPPCOM_ENDPT_TLV_UDP_SEGMENT) != 0; });
  return 0;
}

uint32_t asked_tlvs(const Session& s) noexcept { return s.ancillary.load() & kTlvs; }

bool has_room_for_tlvs(const Session& s, const vppcom_endpt_t& ep) noexcept {
  const uint32_t wanted = asked_tlvs(s);
  if (wanted == 0) return true;
  uint32_t most = 0;
  if (wanted & VPPCOM_ENDPT_TLV_UDP_SEGMENT) most += kHeader + sizeof(uint16_t);
  if (wanted & VPPCOM_ENDPT_TLV_IP_PKTINFO) most += kHeader + bytes_of(s.socket_is_ip4);
  return ep.app_tlvs && ep.app_tlv_len >= most;
}

void give_tlvs(const Session& s, const DatagramIn& in, vppcom_endpt_t& ep) noexcept {
  const uint32_t wanted = asked_tlvs(s);
  // Another thread may have asked since.
  if (wanted == 0 || !has_room_for_tlvs(s, ep)) return;
  const svm::DatagramHeader& h = in.header;
  auto* const start = reinterpret_cast<uint8_t*>(ep.app_tlvs);
  uint8_t* at = start;
  if ((wanted & VPPCOM_ENDPT_TLV_UDP_SEGMENT) && h.gso_size != 0)
    at = put(at, VCL_UDP_SEGMENT, &h.gso_size, sizeof h.gso_size);
  if ((wanted & VPPCOM_ENDPT_TLV_IP_PKTINFO) && bytes_of(h.is_ip4) <= bytes_of(s.socket_is_ip4))
    at = put(at, VCL_IP_PKTINFO, h.local_ip, bytes_of(h.is_ip4));
  ep.app_tlv_len = static_cast<uint32_t>(at - start);
}

void ask_pktinfo(Session& s, bool on) noexcept {
  if (on)
    s.ancillary.fetch_or(kPktinfo);
  else
    s.ancillary.fetch_and(static_cast<uint16_t>(~kPktinfo));
}

bool asks_pktinfo(const Session& s) noexcept { return s.ancillary.load() & kPktinfo; }

svm::Endpoint local_name(Session& s) {
  const svm::Endpoint last = asks_pktinfo(s) ? s.last_datagram().to : svm::Endpoint{};
  return last.port != 0 ? last : s.local();
}

}  // namespace loom::vcl
