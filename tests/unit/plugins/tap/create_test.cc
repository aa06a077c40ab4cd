// `create tap` and what comes of it, in private namespaces of the real kernel.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "harness.h"

namespace loom::tap {
namespace {

using ::testing::HasSubstr;

// What a namespace's owner sees of an interface. Call inside the namespace.
struct HostView {
  bool exists = false, up = false;
  int mtu = 0;
  std::string mac, addresses;
};

HostView look_at(const std::string& name) {
  HostView v;
  v.exists = if_nametoindex(name.c_str()) != 0;
  if (!v.exists) return v;
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq r{};
  std::strcpy(r.ifr_name, name.c_str());
  ioctl(fd, SIOCGIFFLAGS, &r);
  v.up = r.ifr_flags & IFF_UP;
  ioctl(fd, SIOCGIFMTU, &r);
  v.mtu = r.ifr_mtu;
  ioctl(fd, SIOCGIFHWADDR, &r);
  MacAddress mac;
  std::memcpy(mac.bytes.data(), r.ifr_hwaddr.sa_data, 6);
  v.mac = mac.str();
  close(fd);
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return v;
  for (const ifaddrs* a = all; a; a = a->ifa_next) {
    if (a->ifa_name != name || !a->ifa_addr) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (a->ifa_addr->sa_family == AF_INET)
      inet_ntop(AF_INET, &reinterpret_cast<sockaddr_in*>(a->ifa_addr)->sin_addr, text, sizeof text);
    if (a->ifa_addr->sa_family == AF_INET6)
      inet_ntop(AF_INET6, &reinterpret_cast<sockaddr_in6*>(a->ifa_addr)->sin6_addr, text,
                sizeof text);
    if (*text) v.addresses += std::string(text) + " ";
  }
  freeifaddrs(all);
  return v;
}

void delete_link(const std::string& name) {
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } m{};
  m.header.nlmsg_len = sizeof m;
  m.header.nlmsg_type = RTM_DELLINK;
  m.header.nlmsg_flags = NLM_F_REQUEST;
  m.link.ifi_index = static_cast<int>(if_nametoindex(name.c_str()));
  const int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
  ASSERT_EQ(send(fd, &m, sizeof m, 0), static_cast<ssize_t>(sizeof m));
  close(fd);
  ASSERT_EQ(if_nametoindex(name.c_str()), 0u);
}

void set_up(const std::string& name, bool up) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ifreq r{};
  std::strcpy(r.ifr_name, name.c_str());
  ioctl(fd, SIOCGIFFLAGS, &r);
  r.ifr_flags = static_cast<short>(up ? r.ifr_flags | IFF_UP : r.ifr_flags & ~IFF_UP);
  ASSERT_EQ(ioctl(fd, SIOCSIFFLAGS, &r), 0);
  close(fd);
}

class CreateTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = enter_private_network(); !why.empty()) GTEST_SKIP() << why;
  }
  Harness harness_{4096};
};

TEST_F(CreateTest, TheHostSideIsNamedAddressedAndUp) {
  EXPECT_EQ(harness_.cli("create tap id 3 host-if-name loom3 host-ip4-addr 10.88.0.1/24 "
                         "host-ip6-addr fd00:88::1/64 host-mac-addr 02:fe:00:00:00:01 "
                         "host-mtu-size 9000 hw-addr 02:fe:00:00:00:02 rx-ring-size 1024"),
            "tap3");
  const HostView v = look_at("loom3");
  EXPECT_TRUE(v.up);
  EXPECT_EQ(v.mtu, 9000);
  EXPECT_EQ(v.mac, "02:fe:00:00:00:01");
  EXPECT_THAT(v.addresses, HasSubstr("10.88.0.1 "));
  EXPECT_THAT(v.addresses, HasSubstr("fd00:88::1 "));
  EXPECT_EQ(harness_.interface.name, "tap3");
  EXPECT_EQ(harness_.interface.mac.str(), "02:fe:00:00:00:02");
  EXPECT_EQ(harness_.interface.caps, kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter);
  EXPECT_EQ(harness_.interface.rx_queues.size(), 1u);
  EXPECT_EQ(harness_.links, std::vector<bool>{true});
  EXPECT_EQ(harness_.cli("delete tap tap3"), "");
  EXPECT_FALSE(look_at("loom3").exists);
}

TEST_F(CreateTest, TheHostSideLivesInTheNamespaceThatWasNamed) {
  PrivateNamespace ns;
  EXPECT_EQ(harness_.cli("create tap host-ns " + ns.path() +
                         " host-ip4-addr 10.88.1.1/24 "
                         "host-ip4-gw 10.88.1.2"),
            "tap0");
  EXPECT_FALSE(look_at("tap0").exists);  // this thread has stayed where it was
  ns.run([] {
    EXPECT_TRUE(look_at("tap0").up);
    EXPECT_THAT(look_at("tap0").addresses, HasSubstr("10.88.1.1 "));
  });
  EXPECT_EQ(harness_.cli("delete tap sw_if_index 7"), "");
  ns.run([] { EXPECT_FALSE(look_at("tap0").exists); });
}

TEST_F(CreateTest, ManyQueuesAreOneInterface) {
  EXPECT_EQ(harness_.cli("create tap num-rx-queues 4 num-tx-queues 2"), "tap0");
  EXPECT_EQ(harness_.interface.rx_queues.size(), 4u);
  EXPECT_EQ(harness_.interface.n_tx_queues, 2);
  EXPECT_TRUE(look_at("tap0").up);
}

TEST_F(CreateTest, IdsAreTheLowestFreeUnlessGiven) {
  EXPECT_EQ(harness_.cli("create tap id 5"), "tap5");
  EXPECT_THAT(harness_.cli("create tap id 5"), HasSubstr("tap5 refused: it exists already"));
}

TEST_F(CreateTest, AnIdWhoseNameIsTakenIsNotFree) {
  harness_.others = {{"tap0", 3}, {"tap1", 4}};  // what the operator calls them
  EXPECT_EQ(harness_.cli("create tap"), "tap2");
  harness_.interface.name = "tap3";  // renamed: id 2 is still its own
  harness_.others.clear();
  EXPECT_EQ(harness_.cli("create tap id 2"), "error: TAP tap2 refused: it exists already");
}

TEST_F(CreateTest, ShowTapGoesByTheNameOfNow) {
  ASSERT_EQ(harness_.cli("create tap"), "tap0");
  EXPECT_EQ(harness_.names("show tap"), std::vector<std::string>{"tap0"});
  EXPECT_EQ(harness_.names("show tap tap0"), std::vector<std::string>{"tap0"});
  harness_.interface.name = "uplink";
  EXPECT_EQ(harness_.names("show tap uplink"), std::vector<std::string>{"uplink"});
  EXPECT_THAT(harness_.cli("show tap tap0"), HasSubstr("there is no TAP 'tap0'"));
  EXPECT_EQ(harness_.names("show tap"), std::vector<std::string>{"sw_if_index 7"});
  harness_.others = {{"tap0", 3}};  // is no TAP
  EXPECT_THAT(harness_.cli("show tap tap0"), HasSubstr("there is no TAP 'tap0'"));
  EXPECT_EQ(harness_.names("show tap"), std::vector<std::string>{"sw_if_index 7"});
}

TEST_F(CreateTest, SomebodyElsesInterfaceIsNotTakenOver) {
  Harness other{1024};
  ASSERT_EQ(other.cli("create tap id 1 host-if-name mine"), "tap1");
  EXPECT_THAT(harness_.cli("create tap id 2 host-if-name mine"),
              HasSubstr("TAP tap2 refused: host interface 'mine' exists already"));
  EXPECT_THAT(harness_.cli("create tap id 2 host-if-name mine attach"),
              HasSubstr("host interface 'mine' is in use"));
  EXPECT_THAT(harness_.cli("create tap id 2 host-if-name lo"),
              HasSubstr("error: TAP tap2 refused"));
}

TEST_F(CreateTest, RefusalsNameWhatWasRefusedAndLeaveNothing) {
  EXPECT_EQ(harness_.cli("create tap host-ns nowhere"),
            "error: TAP tap0 refused: namespace 'nowhere' is not there (/run/netns/nowhere)");
  EXPECT_THAT(harness_.cli("create tap host-ns ../../etc"), HasSubstr("nor an absolute path"));
  EXPECT_THAT(harness_.cli("create tap host-ns /etc/hostname"),
              HasSubstr("'/etc/hostname' is not a network namespace"));
  EXPECT_THAT(harness_.cli("create tap host-if-name a-name-of-17-chars"),
              HasSubstr("'a-name-of-17-chars' is not an interface name"));
  EXPECT_THAT(harness_.cli("create tap host-if-name with%d"),
              HasSubstr("is not an interface name"));
  EXPECT_THAT(harness_.cli("create tap host-bridge nobr"), HasSubstr("bridge 'nobr' is not there"));
  EXPECT_THAT(harness_.cli("create tap host-ip4-addr fd00::1/64"),
              HasSubstr("is not an IPv4 prefix"));
  EXPECT_THAT(harness_.cli("create tap host-mac-addr 01:00:00:00:00:01"),
              HasSubstr("not a unicast MAC"));
  EXPECT_THAT(harness_.cli("create tap host-mac-addr 02:0:0"), HasSubstr("not a unicast MAC"));
  EXPECT_THAT(harness_.cli("create tap num-rx-queues 65"), HasSubstr("from 1 to 64"));
  EXPECT_THAT(harness_.cli("create tap colour blue"),
              HasSubstr("unknown word 'colour' at position 3"));
  harness_.refuse_interface = true;
  EXPECT_EQ(harness_.cli("create tap"), "error: TAP tap0 refused: no more interfaces");
  EXPECT_FALSE(look_at("tap0").exists);
  EXPECT_TRUE(harness_.taps->all().empty());
  EXPECT_THAT(harness_.cli("delete tap tap0"), HasSubstr("there is no TAP 'tap0'"));
  EXPECT_THAT(harness_.cli("delete tap sw_if_index 3"), HasSubstr("interface 3 is not a TAP"));
}

TEST_F(CreateTest, TheMissingCapabilityIsNamed) {
  const pid_t child = fork();
  if (child == 0) {  // a child user namespace has no rights over its parent's network
    if (unshare(CLONE_NEWUSER) != 0) _exit(2);
    const bool right = harness_.cli("create tap").ends_with(": CAP_NET_ADMIN is missing");
    _exit(right ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(status, 0);
}

TEST_F(CreateTest, NewsAboutTheHostsLinkReachTheInterface) {
  ASSERT_EQ(harness_.cli("create tap"), "tap0");
  ASSERT_EQ(harness_.watched.size(), 1u);
  const auto news = [&] {
    pollfd p{.fd = harness_.watched_fds[1], .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&p, 1, 20'000), 1);
    harness_.watched[1]();
  };
  set_up("tap0", false);
  news();
  EXPECT_FALSE(harness_.links.back());
  Buffer* b = make_packet(harness_.worker(), std::string(60, 'x'));
  EXPECT_EQ(tx(harness_.worker(), harness_.device(), 0, {&b, 1}), 1u);
  EXPECT_EQ(harness_.device()->tx_errors.host_down, 1u);
  set_up("tap0", true);
  news();
  EXPECT_TRUE(harness_.links.back());
}

TEST_F(CreateTest, ADeletedHostSideNeitherWakesNorFails) {
  ASSERT_EQ(harness_.cli("create tap num-rx-queues 2"), "tap0");
  const int fd = harness_.device()->queues[1]->fd;
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event e{.events = EPOLLIN, .data = {}};
  ASSERT_EQ(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e), 0);
  delete_link("tap0");
  ASSERT_EQ(epoll_wait(epoll, &e, 1, 20'000), 1);  // it would wake for ever
  EXPECT_EQ(harness_.rx(*harness_.device(), 1), 0u);
  EXPECT_EQ(harness_.counter(kReadFailed), 1u);
  harness_.watched[1]();
  EXPECT_EQ(epoll_wait(epoll, &e, 1, 0), 0);
  EXPECT_FALSE(harness_.links.back());
  EXPECT_THAT(harness_.log.at(0), HasSubstr("host interface 'tap0' of tap0 has been deleted"));
  Buffer* b = make_packet(harness_.worker(), std::string(60, 'x'));
  EXPECT_EQ(tx(harness_.worker(), harness_.device(), 0, {&b, 1}), 1u);
  EXPECT_EQ(harness_.device()->tx_errors.refused, 1u);
  EXPECT_EQ(harness_.cli("delete tap tap0"), "");
  close(epoll);
}

TEST_F(CreateTest, TheCarrierFollowsOurSide) {
  ASSERT_EQ(harness_.cli("create tap"), "tap0");
  const auto carrier = [] {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq r{};
    std::strcpy(r.ifr_name, "tap0");
    ethtool_value link{.cmd = ETHTOOL_GLINK, .data = 0};
    r.ifr_data = reinterpret_cast<char*>(&link);
    ioctl(fd, SIOCETHTOOL, &r);
    close(fd);
    return link.data != 0;
  };
  EXPECT_EQ(set_admin(harness_.device(), false), Status::kOk);
  EXPECT_FALSE(carrier());
  EXPECT_EQ(set_admin(harness_.device(), true), Status::kOk);
  EXPECT_TRUE(carrier());
}

TEST_F(CreateTest, RemovingGivesEveryBufferBack) {
  const uint32_t all = harness_.free_buffers();
  ASSERT_EQ(harness_.cli("create tap num-rx-queues 2"), "tap0");
  harness_.rx(*harness_.device(), 0);
  harness_.rx(*harness_.device(), 1);
  harness_.clear();
  std::size_t held = 0;  // the kernel may have sent neighbour discovery meanwhile
  for (const auto& q : harness_.device()->queues) held += q->buffers.held().size();
  EXPECT_GE(held, 64u);
  EXPECT_EQ(harness_.free_buffers(), all - held);
  EXPECT_EQ(harness_.cli("delete tap tap0"), "");
  EXPECT_EQ(harness_.free_buffers(), all);
  EXPECT_TRUE(harness_.watched.empty());
}

}  // namespace
}  // namespace loom::tap
