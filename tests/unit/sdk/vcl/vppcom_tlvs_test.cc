// What libvppcom's endpoints say beside address and port: app_tlvs, and IP_PKTINFO.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <vcl/vppcom.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "svm/datagram.h"
#include "vppcom_bed.h"

namespace loom {
namespace {

using namespace vppcom_bed;

// Lists are on the heap in their size, so that a sanitizer sees who reads beyond.
class List {
 public:
  List& add(uint32_t type, const void* data, uint32_t n) { return add(type, data, n, n); }
  // `claims` bytes, of which `n` are there.
  List& add(uint32_t type, const void* data, uint32_t n, uint32_t claims) {
    const auto* d = static_cast<const uint8_t*>(data);
    const auto put = [this](const void* p, size_t len) {
      const auto* b = static_cast<const uint8_t*>(p);
      bytes_.insert(bytes_.end(), b, b + len);
    };
    put(&type, sizeof type);
    put(&claims, sizeof claims);
    put(d, n);
    return *this;
  }
  List& segment(uint16_t size) { return add(VCL_UDP_SEGMENT, &size, sizeof size); }
  List& room(size_t n) {
    bytes_.resize(bytes_.size() + n);
    return *this;
  }
  void give(vppcom_endpt_t& ep) {
    bytes_.shrink_to_fit();
    ep.app_tlvs = reinterpret_cast<vppcom_endpt_tlv_t*>(bytes_.data());
    ep.app_tlv_len = static_cast<uint32_t>(bytes_.size());
  }
  const std::vector<uint8_t>& bytes() const { return bytes_; }

 private:
  std::vector<uint8_t> bytes_;
};

class VppcomTlvs : public Vppcom {
 protected:
  void SetUp() override {
    Vppcom::SetUp();
    u_ = static_cast<uint32_t>(vppcom_session_create(VPPCOM_PROTO_UDP, 1));
    Address any(53);
    std::memset(any.ip, 0, sizeof any.ip);
    ASSERT_EQ(vppcom_session_bind(u_, &any.ep), VPPCOM_OK);
  }
  int send(List list, std::string text = "hello") {
    Address peer(9000);
    list.give(peer.ep);
    return vppcom_session_sendto(u_, text.data(), static_cast<uint32_t>(text.size()), 0, &peer.ep);
  }
  // The header of the next that was sent.
  svm::DatagramHeader sent(size_t length = 5) {
    svm::DatagramHeader h{};
    std::string all;
    while ((all += daemon_->sent(0)).size() < sizeof h + length) std::this_thread::yield();
    std::memcpy(&h, all.data(), sizeof h);
    return h;
  }
  void inject(uint16_t gso_size, bool is_ip4 = true, size_t session = 0) {
    svm::DatagramHeader h{};
    h.flags = svm::kDatagramKnownFlags;
    h.length = 6;
    h.gso_size = gso_size;
    h.is_ip4 = is_ip4;
    h.remote_port = htons(9000);
    h.local_port = htons(53);
    h.remote_ip[0] = 10;
    for (uint8_t i = 0; i < 16; ++i) h.local_ip[i] = static_cast<uint8_t>(200 + i);
    daemon_->inject(session, std::string(reinterpret_cast<const char*>(&h), sizeof h) + "abcdef");
  }
  int set(uint32_t op, uint32_t value) {
    uint32_t len = sizeof value;
    return vppcom_session_attr(u_, op, &value, &len);
  }
  uint32_t get(uint32_t op) {
    uint32_t value = ~0u, len = sizeof value;
    EXPECT_EQ(vppcom_session_attr(u_, op, &value, &len), VPPCOM_OK);
    return value;
  }
  int receive(vppcom_endpt_t& ep) {
    char buf[100];
    return vppcom_session_recvfrom(u_, buf, sizeof buf, 0, &ep);
  }
  uint32_t u_ = 0;
};

constexpr uint8_t kSource[16] = {10, 0, 0, 77, 1, 2, 3, 4};

TEST_F(VppcomTlvs, ADatagramIsSentInSegmentsAndFromTheSourceThatItNames) {
  EXPECT_EQ(send(List().segment(1400), std::string(14'000, 'x')), 14'000);
  svm::DatagramHeader h = sent(14'000);
  EXPECT_EQ(h.gso_size, 1400);
  EXPECT_EQ(h.length, 14'000u);
  EXPECT_FALSE(h.flags & kDatagramLocal);
  // What one says is not the next one's.
  EXPECT_EQ(send(List().add(VCL_IP_PKTINFO, kSource, 4)), 5);
  h = sent();
  EXPECT_EQ(h.gso_size, 0);
  EXPECT_TRUE(h.flags & kDatagramLocal);
  EXPECT_EQ(std::memcmp(h.local_ip, kSource, 4), 0);
  // Both, behind each other without padding, in any order; what nobody knows is skipped.
  EXPECT_EQ(send(List().add(7, "odd", 3).segment(3).add(VCL_IP_PKTINFO, kSource, 4)), 5);
  h = sent();
  EXPECT_EQ(h.gso_size, 3);
  EXPECT_EQ(std::memcmp(h.local_ip, kSource, 4), 0);
  EXPECT_EQ(send(List()), 5);
  h = sent();
  EXPECT_EQ(h.gso_size, 0);
  EXPECT_FALSE(h.flags & kDatagramLocal);
  // The end of a C structure with one TLV in it; no address; no segments.
  EXPECT_EQ(send(List().segment(3).room(2)), 5);
  EXPECT_EQ(sent().gso_size, 3);
  const uint8_t none[4] = {};
  EXPECT_EQ(send(List().add(VCL_IP_PKTINFO, none, 4).segment(0)), 5);
  EXPECT_FALSE(sent().flags & kDatagramLocal);
}

TEST_F(VppcomTlvs, AListThatMakesNoSenseIsRefusedAndNotReadBeyondItsEnd) {
  const uint16_t size = 1400;
  EXPECT_EQ(send(List().room(4)), VPPCOM_EINVAL);  // half a header
  EXPECT_EQ(send(List().segment(1).room(7)), VPPCOM_EINVAL);
  for (const uint32_t claims : {3u, 100u, 0x7fffffffu, 0xfffffff8u, 0xffffffffu})
    EXPECT_EQ(send(List().add(VCL_UDP_SEGMENT, &size, 2, claims)), VPPCOM_EINVAL) << claims;
  EXPECT_EQ(send(List().add(7, "", 0, 1)), VPPCOM_EINVAL);
  EXPECT_EQ(send(List().add(VCL_UDP_SEGMENT, &size, 1)), VPPCOM_EINVAL);
  EXPECT_EQ(send(List().add(VCL_UDP_SEGMENT, kSource, 4)), VPPCOM_EINVAL);
  EXPECT_EQ(send(List().add(VCL_IP_PKTINFO, kSource, 5)), VPPCOM_EINVAL);
  EXPECT_EQ(send(List().add(VCL_IP_PKTINFO, kSource, 16)), VPPCOM_EINVAL);   // to an IPv4 address
  EXPECT_EQ(send(List().segment(1), std::string(200, 'x')), VPPCOM_EINVAL);  // too many segments
  Address peer(9000);
  char text[] = "hello";
  peer.ep.app_tlv_len = 10;  // of nothing
  EXPECT_EQ(vppcom_session_sendto(u_, text, 5, 0, &peer.ep), VPPCOM_EINVAL);
  peer.ep.app_tlv_len = 0;
  EXPECT_EQ(vppcom_session_sendto(u_, text, 5, 0, &peer.ep), 5);
  EXPECT_EQ(sent().gso_size, 0);  // nothing of the others has been sent
}

TEST_F(VppcomTlvs, WhatIsAskedForComesWithADatagram) {
  constexpr uint32_t kBoth = VPPCOM_ENDPT_TLV_UDP_SEGMENT | VPPCOM_ENDPT_TLV_IP_PKTINFO;
  EXPECT_EQ(set(VPPCOM_ATTR_SET_ENDPT_TLVS, kBoth + 4), VPPCOM_EINVAL);
  ASSERT_EQ(set(VPPCOM_ATTR_SET_ENDPT_TLVS, kBoth), VPPCOM_OK);
  EXPECT_EQ(get(VPPCOM_ATTR_GET_ENDPT_TLVS), kBoth);
  while (!daemon_->options(0).gro) std::this_thread::yield();
  Address from(0);
  List got, expected;
  inject(3);
  // Room for less than may come: nothing is read.
  got.room(8 + 2 + 8 + 3).give(from.ep);
  EXPECT_EQ(receive(from.ep), VPPCOM_EINVAL);
  from.ep.app_tlvs = nullptr;
  EXPECT_EQ(receive(from.ep), VPPCOM_EINVAL);
  got.room(1).give(from.ep);
  EXPECT_EQ(receive(from.ep), 6);
  constexpr uint8_t kLocal[16] = {200, 201, 202, 203, 204, 205, 206, 207,
                                  208, 209, 210, 211, 212, 213, 214, 215};
  expected.segment(3).add(VCL_IP_PKTINFO, kLocal, 4);
  ASSERT_EQ(from.ep.app_tlv_len, expected.bytes().size());
  EXPECT_TRUE(std::equal(expected.bytes().begin(), expected.bytes().end(), got.bytes().begin()));
  EXPECT_EQ(from.ep.port, htons(9000));
  // One alone is no group of them; an address of IPv6 is longer, and its socket wants room for it.
  u_ = static_cast<uint32_t>(vppcom_session_create(VPPCOM_PROTO_UDP, 1));
  Address any6(53);
  any6.ep.is_ip4 = 0;
  ASSERT_EQ(vppcom_session_bind(u_, &any6.ep), VPPCOM_OK);
  ASSERT_EQ(set(VPPCOM_ATTR_SET_ENDPT_TLVS, kBoth), VPPCOM_OK);
  inject(0, false, 1);
  got.room(11).give(from.ep);
  EXPECT_EQ(receive(from.ep), VPPCOM_EINVAL);
  got.room(1).give(from.ep);
  EXPECT_EQ(receive(from.ep), 6);
  List longer;
  longer.add(VCL_IP_PKTINFO, kLocal, 16);
  ASSERT_EQ(from.ep.app_tlv_len, longer.bytes().size());
  EXPECT_TRUE(std::equal(longer.bytes().begin(), longer.bytes().end(), got.bytes().begin()));
  inject(0, false, 1);
  char c[6];
  EXPECT_EQ(vppcom_session_recvfrom(u_, c, 6, 0, nullptr), 6);  // who wants to hear nothing

  // Nobody has asked: what VPP's programs do not set is not looked at.
  ASSERT_EQ(set(VPPCOM_ATTR_SET_ENDPT_TLVS, 0), VPPCOM_OK);
  while (daemon_->options(1).gro) std::this_thread::yield();
  ASSERT_EQ(set(VPPCOM_ATTR_SET_IP_PKTINFO, 1), VPPCOM_OK);
  from.ep.app_tlvs = reinterpret_cast<vppcom_endpt_tlv_t*>(8);
  from.ep.app_tlv_len = 1000;
  inject(3, true, 1);
  EXPECT_EQ(receive(from.ep), 6);
  EXPECT_EQ(from.ep.app_tlv_len, 1000u);
}

TEST_F(VppcomTlvs, WithIpPktinfoTheLocalAddressIsWhereTheLastDatagramWent) {
  EXPECT_EQ(get(VPPCOM_ATTR_GET_IP_PKTINFO), 0u);
  const auto local = [&] {
    Address a(0);
    uint32_t len = sizeof a.ep;
    EXPECT_EQ(vppcom_session_attr(u_, VPPCOM_ATTR_GET_LCL_ADDR, &a.ep, &len), VPPCOM_OK);
    EXPECT_EQ(a.ep.port, htons(53));
    return a.ip[0];
  };
  Address from(0);
  inject(0);
  ASSERT_EQ(set(VPPCOM_ATTR_SET_IP_PKTINFO, 1), VPPCOM_OK);
  EXPECT_EQ(get(VPPCOM_ATTR_GET_IP_PKTINFO), 1u);
  EXPECT_EQ(local(), 10);  // none has come
  ASSERT_EQ(set(VPPCOM_ATTR_SET_IP_PKTINFO, 0), VPPCOM_OK);
  EXPECT_EQ(receive(from.ep), 6);
  EXPECT_EQ(local(), 10);
  ASSERT_EQ(set(VPPCOM_ATTR_SET_IP_PKTINFO, 1), VPPCOM_OK);
  EXPECT_EQ(local(), 200);
  ASSERT_EQ(set(VPPCOM_ATTR_SET_IP_PKTINFO, 0), VPPCOM_OK);
  EXPECT_EQ(local(), 10);
  EXPECT_EQ(set(VPPCOM_ATTR_SET_ENDPT_TLVS, VPPCOM_ENDPT_TLV_IP_PKTINFO), VPPCOM_OK);
  u_ = session();
  EXPECT_EQ(set(VPPCOM_ATTR_SET_ENDPT_TLVS, 1), VPPCOM_ENOTSUP);  // of a stream
}

}  // namespace
}  // namespace loom
