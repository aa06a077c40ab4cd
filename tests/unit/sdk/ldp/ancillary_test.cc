// What control messages say of a datagram to send, as Linux takes them (ip_cmsg_send,
// ip6_datagram_send_ctl).
#include "ldp/ancillary.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <linux/net_tstamp.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

namespace loom::ldp {
namespace {

struct Ancillary : testing::Test {
  alignas(cmsghdr) char bytes[512] = {};
  size_t used = 0;
  vcl::DatagramOut out;
  svm::Endpoint source{};
  template <class T>
  void put(int level, int type, const T& value) {
    cmsghdr c{};
    c.cmsg_len = CMSG_LEN(sizeof value);
    c.cmsg_level = level;
    c.cmsg_type = type;
    std::memcpy(bytes + used, &c, sizeof c);
    std::memcpy(bytes + used + CMSG_LEN(0), &value, sizeof value);
    used += CMSG_SPACE(sizeof value);
  }
  int take() {
    msghdr m{};
    m.msg_control = bytes;
    m.msg_controllen = used;
    used = 0;
    return take_control(m, out, source);
  }
  template <class T>
  int take(int level, int type, const T& value) {
    out = {};
    put(level, type, value);
    return take();
  }
};

TEST_F(Ancillary, AnInterfaceMayBeNamedWithASourceOrWithout) {
  in_pktinfo info4{};
  info4.ipi_ifindex = 3;
  EXPECT_EQ(take(IPPROTO_IP, IP_PKTINFO, info4), 0);
  EXPECT_EQ(out.interface, 3u);
  EXPECT_EQ(out.source, nullptr);
  info4.ipi_spec_dst.s_addr = htonl(0x0a000001);
  EXPECT_EQ(take(IPPROTO_IP, IP_PKTINFO, info4), 0);
  EXPECT_EQ(out.interface, 3u);
  EXPECT_NE(out.source, nullptr);
  info4.ipi_ifindex = 0;
  EXPECT_EQ(take(IPPROTO_IP, IP_PKTINFO, info4), 0);
  EXPECT_EQ(out.interface, 0u);
  info4.ipi_ifindex = -1;
  EXPECT_EQ(take(IPPROTO_IP, IP_PKTINFO, info4), -ENODEV);
  in6_pktinfo info6{};
  info6.ipi6_ifindex = 4;
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_PKTINFO, info6), 0);
  EXPECT_EQ(out.interface, 4u);
  // Beside the scope of the destination it can only say the same.
  out.interface = 4;
  put(IPPROTO_IPV6, IPV6_PKTINFO, info6);
  EXPECT_EQ(take(), 0);
  out.interface = 5;
  put(IPPROTO_IPV6, IPV6_PKTINFO, info6);
  EXPECT_EQ(take(), -EINVAL);
}

TEST_F(Ancillary, WhatTheSocketLayerIsToldIsCheckedAndOtherProtocolsArePassedOver) {
  EXPECT_EQ(take(SOL_SOCKET, 77, 1), -EINVAL);
  for (const int name : {SO_MARK, SO_PRIORITY}) {
    EXPECT_EQ(take(SOL_SOCKET, name, 1), 0);
    EXPECT_EQ(take(SOL_SOCKET, name, 'x'), -EINVAL);
  }
  EXPECT_EQ(take(SOL_SOCKET, SCM_RIGHTS, 0), 0);
  for (const int name : {SO_TIMESTAMPING, 65}) {
    EXPECT_EQ(take(SOL_SOCKET, name, SOF_TIMESTAMPING_TX_SOFTWARE), 0);
    EXPECT_EQ(take(SOL_SOCKET, name, SOF_TIMESTAMPING_RX_SOFTWARE), -EINVAL);
  }
  EXPECT_EQ(take(SOL_SOCKET, SCM_TXTIME, uint64_t{1}), -EINVAL);  // without SO_TXTIME
  EXPECT_EQ(take(IPPROTO_TCP, 1, 1), 0);
  EXPECT_EQ(take(IPPROTO_IP, 77, 1), -EINVAL);
}

TEST_F(Ancillary, WhetherADatagramOfIp6IsSplit) {  // RFC 3542 section 11.2
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_DONTFRAG, 1), 0);
  EXPECT_EQ(out.whole, 1);
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_DONTFRAG, 0), 0);
  EXPECT_EQ(out.whole, 0);
  for (const int bad : {-1, 2}) EXPECT_EQ(take(IPPROTO_IPV6, IPV6_DONTFRAG, bad), -EINVAL);
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_DONTFRAG, 'x'), -EINVAL);
}

TEST_F(Ancillary, OfIp6MinusOneIsTheSocketsOwn) {
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_HOPLIMIT, -1), 0);
  EXPECT_EQ(out.ttl, -1);
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_TCLASS, -1), 0);
  EXPECT_EQ(out.tos, -1);
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_HOPLIMIT, 9), 0);
  EXPECT_EQ(out.ttl, 9);
  EXPECT_EQ(take(IPPROTO_IPV6, IPV6_TCLASS, 8), 0);
  EXPECT_EQ(out.tos, 8);
  for (const int bad : {-2, 256}) {
    EXPECT_EQ(take(IPPROTO_IPV6, IPV6_HOPLIMIT, bad), -EINVAL);
    EXPECT_EQ(take(IPPROTO_IPV6, IPV6_TCLASS, bad), -EINVAL);
  }
  for (const int bad : {-1, 0, 256}) EXPECT_EQ(take(IPPROTO_IP, IP_TTL, bad), -EINVAL);
  EXPECT_EQ(take(IPPROTO_IP, IP_TOS, -1), -EINVAL);
}

}  // namespace
}  // namespace loom::ldp
