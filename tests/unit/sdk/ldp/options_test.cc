// Options of datagram sockets as programs set and read them, on sessions of a daemon in the test.
#include "ldp/options.h"

#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/udp.h>

#include <array>
#include <string>
#include <tuple>
#include <vector>

#include "datagram_bed.h"
#include "ldp/ancillary.h"
#include "ldp/scope.h"

namespace loom::ldp {
namespace {

struct DatagramOptions : vcl::test_bed::Datagrams {
  static inline const svm::Endpoint kPeer6{
      .is_ip4 = 0, .reserved = 0, .port = htons(9), .ip = {0x20, 1, 0xd, 0xb8}};
  // Another socket, of IPv6.
  void bind6(uint16_t port) {
    s->unref();
    s = worker->new_session(vcl::Session::kProtoUdp, false, true);
    ASSERT_EQ(s->bind({.is_ip4 = 0, .reserved = 0, .port = htons(port), .ip = {}}), 0);
    ASSERT_EQ(s->open_datagrams(nullptr), 0);
  }
  int set(int level, int name, int value) {
    return set_option(*s, level, name, &value, sizeof value);
  }
  int get(int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    EXPECT_EQ(get_option(*s, level, name, &value, &len), 0);
    EXPECT_EQ(len, sizeof value);
    return value;
  }
};

TEST_F(DatagramOptions, ChecksumsOverIp6MayBeLeftOut) {  // RFC 6935
  for (const int name : {UDP_NO_CHECK6_TX, UDP_NO_CHECK6_RX}) {
    EXPECT_EQ(get(SOL_UDP, name), 0);
    EXPECT_EQ(set(SOL_UDP, name, 7), 0);
    EXPECT_EQ(get(SOL_UDP, name), 1);
    EXPECT_EQ(s->options().no_check6_rx, name == UDP_NO_CHECK6_RX);
    EXPECT_EQ(set(SOL_UDP, name, 0), 0);
    EXPECT_EQ(get(SOL_UDP, name), 0);
    EXPECT_FALSE(s->options().no_check6_rx);
  }
}

// man 7 ip, 7 ipv6: of a socket of both families each has its own.
TEST_F(DatagramOptions, EachFamilyHasItsOwnHopsAndItsOwnTrafficClass) {
  bind6(54);
  const svm::Endpoint ip4 = end(9);
  EXPECT_EQ(set(IPPROTO_IP, IP_TTL, 7), 0);
  EXPECT_EQ(get(IPPROTO_IPV6, IPV6_UNICAST_HOPS), 64);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_UNICAST_HOPS, 9), 0);
  EXPECT_EQ(get(IPPROTO_IP, IP_TTL), 7);
  EXPECT_EQ(get(IPPROTO_IPV6, IPV6_UNICAST_HOPS), 9);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_TCLASS, 0x20), 0);
  EXPECT_EQ(get(IPPROTO_IP, IP_TOS), 0);
  EXPECT_EQ(set(IPPROTO_IP, IP_TOS, 0x10), 0);
  EXPECT_EQ(get(IPPROTO_IPV6, IPV6_TCLASS), 0x20);
  EXPECT_EQ(get(IPPROTO_IP, IP_TOS), 0x10);
  EXPECT_EQ(s->options().dscp_tos, 0x10);
  EXPECT_EQ(s->options().ip6_class, 0x20);
  EXPECT_EQ(send("4", {.to = &ip4}), 1);
  EXPECT_EQ(send("6", {.to = &kPeer6}), 1);
  const auto all = sent(2);
  EXPECT_EQ(all[0].first.ttl, 7);
  EXPECT_EQ(all[1].first.ttl, 9);
}

TEST_F(DatagramOptions, ADeviceIsTheOnlyInterfaceAndHasItsName) {
  bind();
  const auto use = [&](std::string name) {
    return set_option(*s, SOL_SOCKET, SO_BINDTODEVICE, name.data(),
                      static_cast<socklen_t>(name.size()));
  };
  const auto name_in = [&](socklen_t room) {
    std::string name(room, '?');
    const int e = get_option(*s, SOL_SOCKET, SO_BINDTODEVICE, name.data(), &room);
    return e != 0 ? std::to_string(e) : name.substr(0, room);
  };
  EXPECT_EQ(name_in(4), "");
  EXPECT_EQ(use("wire5"), 0);
  EXPECT_EQ(s->options().interface, 5);
  EXPECT_EQ(name_in(16), std::string("wire5\0", 6));
  EXPECT_EQ(name_in(15), std::to_string(-EINVAL));  // as Linux
  EXPECT_EQ(get(SOL_SOCKET, SO_BINDTOIFINDEX), 5);
  EXPECT_EQ(use("nowhere"), -ENODEV);
  EXPECT_EQ(use(std::string(70, 'w')), -ENODEV);
  EXPECT_EQ(set(SOL_SOCKET, SO_BINDTOIFINDEX, -1), -EINVAL);
  EXPECT_EQ(set(SOL_SOCKET, SO_BINDTOIFINDEX, 999), -ENODEV);
  EXPECT_EQ(s->options().interface, 5);
  char kernels[IF_NAMESIZE];
  int ours = 6;  // a number that the kernel does not have
  while (if_indextoname(static_cast<unsigned>(ours), kernels)) ++ours;
  EXPECT_EQ(set(SOL_SOCKET, SO_BINDTOIFINDEX, ours), 0);
  EXPECT_EQ(name_in(16), "wire" + std::to_string(ours) + std::string(1, 0));
  EXPECT_EQ(use(std::string("\0junk", 5)), 0);  // no name
  EXPECT_EQ(s->options().interface, 0);
  EXPECT_EQ(use("wire5"), 0);
  EXPECT_EQ(set_option(*s, SOL_SOCKET, SO_BINDTODEVICE, "", 0), 0);
  EXPECT_EQ(s->options().interface, 0);
  EXPECT_EQ(use("wire5"), 0);
  EXPECT_EQ(set_option(*s, SOL_SOCKET, SO_BINDTODEVICE, nullptr, 0), 0);
  EXPECT_EQ(s->options().interface, 0);
  EXPECT_EQ(set_option(*s, SOL_SOCKET, SO_BINDTODEVICE, nullptr, 1), -EFAULT);
  // A number of the kernel's is that interface's, and none of ours.
  EXPECT_EQ(set(SOL_SOCKET, SO_BINDTOIFINDEX, static_cast<int>(if_nametoindex("lo"))), -ENODEV);
}

// As on Linux: whatever is set until the daemon comes to it.
TEST_F(DatagramOptions, WhatIsSentLacksAChecksumIfTheOptionIsSetThen) {
  bind6(54);
  const svm::Endpoint ip4 = end(9);
  EXPECT_EQ(send("0", {.to = &kPeer6}), 1);
  EXPECT_EQ(set(SOL_UDP, UDP_NO_CHECK6_TX, 1), 0);
  EXPECT_EQ(send("1", {.to = &kPeer6}), 1);
  EXPECT_EQ(send("2", {.to = &ip4}), 1);
  EXPECT_EQ(set(SOL_UDP, UDP_NO_CHECK6_TX, 0), 0);
  EXPECT_EQ(send("3", {.to = &kPeer6}), 1);
  const auto all = sent(4);
  for (size_t i = 0; i < all.size(); ++i)
    EXPECT_EQ(all[i].first.flags, i == 1 ? kDatagramRemote | kDatagramNoChecksum : kDatagramRemote);
}

TEST_F(DatagramOptions, WhatIsCutHasItsChecksums) {  // as Linux: EINVAL
  bind();
  EXPECT_EQ(set(SOL_UDP, UDP_NO_CHECK6_TX, 1), 0);
  EXPECT_EQ(send("onetwo", {.gso_size = 3}), -EDESTADDRREQ);
  const svm::Endpoint ip4 = end(9);
  EXPECT_EQ(send("onetwo", {.to = &ip4, .gso_size = 3}), 6);
  bind6(54);
  EXPECT_EQ(send("onetwo", {.to = &kPeer6, .gso_size = 3}), 6);
  EXPECT_EQ(set(SOL_UDP, UDP_NO_CHECK6_TX, 1), 0);
  EXPECT_EQ(send("onetwo", {.to = &kPeer6, .gso_size = 3}), -EINVAL);
  EXPECT_EQ(send("onetwo", {.to = &kPeer6}), 6);
}

TEST_F(DatagramOptions, WhoHasOneInterfaceAloneSendsToGroupsByNoOther) {
  set_scope(*s, 5);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, 6), -EINVAL);
  EXPECT_EQ(get(IPPROTO_IPV6, IPV6_MULTICAST_IF), 0);
  for (const int good : {5, 0}) {
    EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, good), 0);
    EXPECT_EQ(get(IPPROTO_IPV6, IPV6_MULTICAST_IF), good);
  }
  set_scope(*s, 0);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, 6), 0);
}

// As Linux 6.18 says it.
TEST_F(DatagramOptions, GroupsAreSentToByInterfacesThatThereAre) {
  bind();
  constexpr auto kIndex = static_cast<int>(test::FakeDaemon::kOwnInterface);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, kIndex), 0);
  for (const int none : {999, -1}) {
    EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, none), -ENODEV);
    EXPECT_EQ(get(IPPROTO_IPV6, IPV6_MULTICAST_IF), kIndex);
  }
  const auto set4 = [&](const char* address, int index) {
    ip_mreqn by{};
    by.imr_ifindex = index;
    inet_pton(AF_INET, address, &by.imr_address);
    return set_option(*s, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof by);
  };
  EXPECT_EQ(set4("192.0.2.9", 0), 0);
  EXPECT_EQ(s->options().ip4_group_if, test::FakeDaemon::kOwnInterface);
  EXPECT_EQ(set4("192.0.2.10", 0), -EADDRNOTAVAIL);
  EXPECT_EQ(set4("0.0.0.0", 999), -EADDRNOTAVAIL);
  EXPECT_EQ(set4("0.0.0.0", -1), -EADDRNOTAVAIL);
  EXPECT_EQ(static_cast<uint32_t>(get(IPPROTO_IP, IP_MULTICAST_IF)), inet_addr("192.0.2.9"));
  EXPECT_EQ(set4("192.0.2.10", 2), 0);  // nobody looks at the address beside an index
  EXPECT_EQ(s->options().ip4_group_if, 2u);
  EXPECT_EQ(set4("0.0.0.0", 0), 0);
  EXPECT_EQ(s->options().ip4_group_if, 0u);
  set_scope(*s, 5);
  EXPECT_EQ(set4("192.0.2.9", 0), -EINVAL);
  EXPECT_EQ(set4("0.0.0.0", 5), 0);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, 999), -ENODEV);
}

// man 7 ip: an address, or a structure with one or an index.
TEST_F(DatagramOptions, TheInterfaceOfGroupsIsNamedByAddressOrIndex) {
  bind();
  svm::Endpoint group = end(9);
  group.ip[0] = 239;
  const in_addr own{htonl(0xc0000209)};
  EXPECT_EQ(set_option(*s, IPPROTO_IP, IP_MULTICAST_IF, &own, sizeof own), 0);
  EXPECT_EQ(static_cast<uint32_t>(get(IPPROTO_IP, IP_MULTICAST_IF)), own.s_addr);
  EXPECT_EQ(send("x", {.to = &group}), 1);
  ip_mreqn by{};
  by.imr_ifindex = 3;
  EXPECT_EQ(set_option(*s, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof by), 0);
  EXPECT_EQ(s->options().ip4_group_if, 3u);
  EXPECT_EQ(send("y", {.to = &group}), 1);
  const auto all = sent(2);
  EXPECT_EQ(std::memcmp(all[0].first.local_ip, &own, sizeof own), 0);
  EXPECT_TRUE(all[0].first.flags & kDatagramLocalInterface);
  EXPECT_FALSE(all[1].first.flags & kDatagramLocal);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, 4), 0);
  EXPECT_EQ(get(IPPROTO_IPV6, IPV6_MULTICAST_IF), 4);
}

TEST_F(DatagramOptions, BufferSizesCountBeforeAndAfterTheSocketIsOpen) {
  ASSERT_EQ(set(SOL_SOCKET, SO_RCVBUF, 100'000), 0);
  EXPECT_EQ(get(SOL_SOCKET, SO_RCVBUF), 200'000);
  bind();
  EXPECT_EQ(get(SOL_SOCKET, SO_RCVBUF), 200'000);
  ASSERT_EQ(set(SOL_SOCKET, SO_RCVBUF, 500'000), 0);
  ASSERT_EQ(set(SOL_SOCKET, SO_SNDBUF, 400'000), 0);
  EXPECT_EQ(get(SOL_SOCKET, SO_RCVBUF), 1'000'000);
  EXPECT_EQ(get(SOL_SOCKET, SO_SNDBUF), 800'000);
  for (int i = 0; i < 10; ++i) inject(std::string(60'000, 'x'));
  ASSERT_EQ(set(SOL_SOCKET, SO_RCVBUF, 1), 0);
  EXPECT_LT(get(SOL_SOCKET, SO_RCVBUF), 100'000);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(receive(65'000).n, 60'000);
}

// As connect() of Linux 6.18 to a link-local address.
TEST_F(DatagramOptions, APeerOfALinkNeedsOneAndTheSocketKeepsIt) {
  svm::Endpoint peer{.is_ip4 = 0, .reserved = 0, .port = htons(9), .ip = {0xfe, 0x80}};
  svm::Endpoint global{.is_ip4 = 0, .reserved = 0, .port = htons(9), .ip = {0x20, 1}};
  svm::Endpoint group{.is_ip4 = 0, .reserved = 0, .port = htons(9), .ip = {0xff, 2}};
  EXPECT_EQ(take_scope(*s, peer, 0), -EINVAL);
  EXPECT_EQ(take_scope(*s, group, 0), -EINVAL);
  EXPECT_EQ(take_scope(*s, peer, 65'536), -ENETUNREACH);
  EXPECT_EQ(take_scope(*s, global, 0), 0);
  EXPECT_EQ(s->options().interface, 0);
  EXPECT_EQ(without_interface(*s, -ENETUNREACH, true), -ENETUNREACH);  // no route at all
  EXPECT_EQ(take_scope(*s, peer, 3), 0);
  EXPECT_EQ(s->options().interface, 3);
  EXPECT_EQ(take_scope(*s, peer, 4), -EINVAL);
  EXPECT_EQ(take_scope(*s, peer, 0), 0);
  EXPECT_EQ(take_scope(*s, global, 0), 0);
  EXPECT_EQ(s->options().interface, 3);
  EXPECT_EQ(without_interface(*s, -ENETUNREACH, true), -ENODEV);
  EXPECT_EQ(without_interface(*s, -ENETUNREACH, false), -ENETUNREACH);
  EXPECT_EQ(without_interface(*s, -EADDRINUSE, true), -EADDRINUSE);
  set_scope(*s, 0);
  EXPECT_EQ(set(IPPROTO_IPV6, IPV6_MULTICAST_IF, 5), 0);
  EXPECT_EQ(take_scope(*s, peer, 0), -EINVAL);
  EXPECT_EQ(take_scope(*s, group, 0), 0);
  EXPECT_EQ(s->options().interface, 5);
}

// net/core/sock.c: the later of SO_TIMESTAMP and SO_TIMESTAMPNS counts, and either ends both.
TEST_F(DatagramOptions, WhenADatagramCameIsToldAsTheOptionsSay) {
  constexpr int kStamp = 29, kStampNs = 35, kStamping = 37, kNewStamp = 63, kNewStampNs = 64;
  bind();
  const auto all = [&] {
    return std::array{get(SOL_SOCKET, kStamp), get(SOL_SOCKET, kStampNs),
                      get(SOL_SOCKET, kNewStamp), get(SOL_SOCKET, kNewStampNs)};
  };
  using All = std::array<int, 4>;
  EXPECT_EQ(all(), All{});
  EXPECT_FALSE(s->options().arrival);
  EXPECT_EQ(set(SOL_SOCKET, kStamp, 5), 0);
  EXPECT_TRUE(s->options().arrival);
  EXPECT_EQ(all(), (All{1, 0, 0, 0}));
  EXPECT_EQ(set(SOL_SOCKET, kStampNs, 1), 0);
  EXPECT_EQ(all(), (All{0, 1, 0, 0}));
  EXPECT_EQ(set(SOL_SOCKET, kNewStamp, 1), 0);
  EXPECT_EQ(all(), (All{0, 0, 1, 0}));
  EXPECT_EQ(set(SOL_SOCKET, kNewStampNs, 1), 0);
  EXPECT_EQ(all(), (All{0, 0, 0, 1}));
  EXPECT_EQ(set(SOL_SOCKET, kStamp, 0), 0);
  EXPECT_EQ(all(), All{});
  EXPECT_FALSE(s->options().arrival);
  for (const int value : {0x18, 0}) {
    EXPECT_EQ(set(SOL_SOCKET, kStamping, value), 0);
    int flags[2] = {-1, -1};
    socklen_t len = sizeof flags;
    EXPECT_EQ(get_option(*s, SOL_SOCKET, kStamping, flags, &len), 0);
    EXPECT_EQ(len, sizeof flags);
    EXPECT_EQ(flags[0], value);
    EXPECT_EQ(s->options().arrival, value != 0);
  }
  EXPECT_EQ(set(SOL_SOCKET, kStamping, 1 << 30), -EINVAL);
  EXPECT_EQ(set(SOL_SOCKET, SO_RXQ_OVFL, 1), 0);
  EXPECT_EQ(get(SOL_SOCKET, SO_RXQ_OVFL), 1);
  EXPECT_TRUE(s->options().arrival);
}

TEST_F(DatagramOptions, WhatWasLostIsToldOnceSomethingWas) {
  bind();
  EXPECT_EQ(set(SOL_SOCKET, SO_RXQ_OVFL, 1), 0);
  for (const uint32_t dropped : {0u, 3u}) {
    vcl::DatagramIn in{};
    in.header.is_ip4 = 1;
    in.header.dropped = dropped;
    alignas(cmsghdr) char bytes[100];
    msghdr m{};
    m.msg_control = bytes;
    m.msg_controllen = sizeof bytes;
    give_control(*s, in, m);
    ASSERT_EQ(m.msg_controllen, dropped != 0 ? CMSG_SPACE(sizeof dropped) : 0);
    if (dropped == 0) continue;
    const cmsghdr* c = CMSG_FIRSTHDR(&m);
    EXPECT_EQ(c->cmsg_type, SO_RXQ_OVFL);
    EXPECT_EQ(std::memcmp(CMSG_DATA(c), &dropped, sizeof dropped), 0);
  }
}

TEST_F(DatagramOptions, TheTimeToSendAtIsTakenFromWhoHasAskedForIt) {
  bind();
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(uint64_t))] = {};
  msghdr m{};
  m.msg_control = bytes;
  m.msg_controllen = sizeof bytes;
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  *c = {CMSG_LEN(sizeof(uint64_t)), SOL_SOCKET, SCM_TXTIME};
  vcl::DatagramOut out;
  svm::Endpoint source;
  EXPECT_EQ(take_control(m, out, source, s->ancillary), -EINVAL);
  EXPECT_EQ(set(SOL_SOCKET, SO_TXTIME, 11), 0);
  EXPECT_EQ(take_control(m, out, source, s->ancillary), 0);
}

// The control messages that give_control() or give_error() write: level, type and bytes.
template <class F>
std::vector<std::tuple<int, int, std::string>> messages(F&& write) {
  alignas(cmsghdr) char bytes[500];
  msghdr m{};
  m.msg_control = bytes;
  m.msg_controllen = sizeof bytes;
  write(m);
  std::vector<std::tuple<int, int, std::string>> all;
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
    all.emplace_back(
        c->cmsg_level, c->cmsg_type,
        std::string(reinterpret_cast<const char*>(CMSG_DATA(c)), c->cmsg_len - CMSG_LEN(0)));
  return all;
}
template <class T>
std::string bytes_of(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

// Linux: ipi_spec_dst is the address that an answer comes from, which is no group's.
TEST_F(DatagramOptions, OfAGroupsDatagramTheAnswersAddressIsSaidBesideTheGroups) {
  bind();
  EXPECT_FALSE(s->options().answers_from);
  EXPECT_EQ(set(IPPROTO_IP, IP_PKTINFO, 1), 0);
  EXPECT_TRUE(s->options().answers_from);
  vcl::DatagramIn in{};
  in.header.is_ip4 = 1;
  in.header.interface = 2;
  const uint8_t addresses[] = {239, 1, 2, 3, 10, 0, 0, 7};
  std::copy(std::begin(addresses), std::end(addresses), in.header.local_ip);
  for (const bool is_group : {false, true}) {
    in.header.flags = svm::kDatagramKnownFlags;
    if (is_group) in.header.flags |= svm::kDatagramToGroup;
    in_pktinfo info{};
    info.ipi_ifindex = 3;
    info.ipi_addr.s_addr = htonl(0xef010203);
    info.ipi_spec_dst.s_addr = htonl(is_group ? 0x0a000007 : 0xef010203);
    const auto all = messages([&](msghdr& m) { give_control(*s, in, m); });
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0], std::tuple(IPPROTO_IP, IP_PKTINFO, bytes_of(info)));
  }
  EXPECT_EQ(set(IPPROTO_IP, IP_PKTINFO, 0), 0);
  EXPECT_FALSE(s->options().answers_from);
}

// As ip_recv_error() of Linux: the packet is ICMP's, and no route is asked.
TEST_F(DatagramOptions, WithAnErrorComesWhatWasAskedOfThePacketThatToldIt) {
  bind();
  vcl::DatagramIn in{};
  in.header.is_ip4 = 1;
  in.header.error = ECONNREFUSED;
  in.header.gso_size = SO_EE_ORIGIN_ICMP;
  in.header.time = 7 * kSecond;
  const svm::ErrorPacket by{
      .to = {10, 0, 0, 7}, .interface = 3, .tos = 0x48, .ttl = 61, .reserved = {}};
  const auto types = [&] {
    std::vector<int> all;
    for (const auto& m : messages([&](msghdr& m) { give_error(*s, in, by, m); }))
      all.push_back(std::get<1>(m));
    return all;
  };
  EXPECT_EQ(types(), (std::vector{IP_RECVERR}));
  for (const int name : {IP_PKTINFO, IP_RECVTTL, IP_RECVTOS})
    EXPECT_EQ(set(IPPROTO_IP, name, 1), 0);
  EXPECT_EQ(set(SOL_SOCKET, SO_TIMESTAMPNS, 1), 0);
  const auto all = messages([&](msghdr& m) { give_error(*s, in, by, m); });
  ASSERT_EQ(all.size(), 5u);
  in_pktinfo info{};
  info.ipi_ifindex = 3;
  info.ipi_addr.s_addr = htonl(0x0a000007);
  EXPECT_EQ(all[0], std::tuple(SOL_SOCKET, SO_TIMESTAMPNS, bytes_of(timespec{7, 0})));
  EXPECT_EQ(all[1], std::tuple(IPPROTO_IP, IP_PKTINFO, bytes_of(info)));
  EXPECT_EQ(all[2], std::tuple(IPPROTO_IP, IP_TTL, bytes_of(61)));
  EXPECT_EQ(all[3], std::tuple(IPPROTO_IP, IP_TOS, bytes_of(uint8_t{0x48})));
  EXPECT_EQ(std::get<1>(all[4]), IP_RECVERR);
  in.header.gso_size = SO_EE_ORIGIN_LOCAL;  // no packet told it
  EXPECT_EQ(types(), (std::vector{SO_TIMESTAMPNS, IP_RECVERR}));
}

}  // namespace
}  // namespace loom::ldp
