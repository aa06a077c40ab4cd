// Interfaces coming, going and changing; queues; counters; the CLI's answers.
#include "net_host.h"

#include <sys/eventfd.h>
#include <unistd.h>

namespace loom {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::IsSupersetOf;
using ::testing::Pair;
using ::testing::SizeIs;

Bytes echo_frame(const std::string& dst_mac, const std::string& dst, const std::string& src) {
  return ethernet(dst_mac, NetHost::kPeerMac, 0x0800,
                  make_ip4({.src = src, .dst = dst}, make_icmp4(8, 0, 1, counting(8))));
}

// Up, with a queue for each descriptor.
IfIndex add_watched(NetHost& host, FakeDevice& d, std::initializer_list<int> fds) {
  InterfaceConfig c;
  c.name = "tap0";
  c.mac = {{2, 0, 0, 0, 0, 1}};
  c.caps = NetHost::kAllCaps;
  c.ops = &kFakeDriver;
  c.device = &d;
  c.input_node = "tap-input";
  for (const int fd : fds) c.rx_queues.push_back({.event_fd = fd});
  d.index = must(host.net->add_interface(c));
  must(host.net->add_address(d.index, *IpPrefix::parse("10.0.0.2/24")));
  must(host.net->set_admin(d.index, true));
  host.run();
  return d.index;
}

TEST(Interface, IsRemovedWithEverythingThatNamesIt) {
  NetHost host;
  FakeDevice& d = host.add_device({"10.0.0.2/24", "2001:db8::2/64"});
  host.know(d, "10.0.0.1");
  Route r;
  r.prefix = *IpPrefix::parse("0.0.0.0/0");
  r.gateway = *IpAddress::parse("10.0.0.7");
  must(host.net->add_route(r));
  EXPECT_THAT(host.net->routes(0, false), SizeIs(4));  // local, subnet, broadcast, default
  ASSERT_EQ(host.net->remove_interface(d.index), Status::kOk);
  EXPECT_TRUE(d.is_destroyed);
  EXPECT_THAT(host.net->interfaces(), IsEmpty());
  EXPECT_THAT(host.net->routes(0, false), IsEmpty());
  EXPECT_THAT(host.net->routes(0, true), IsEmpty());
  EXPECT_THAT(host.net->neighbors(), IsEmpty());
  EXPECT_EQ(host.net->remove_interface(d.index), Status::kNotFound);
  EXPECT_EQ(host.net->find_interface("fake0"), kNoIndex);
}

TEST(Interface, RefusesWhatMakesNoSense) {
  NetHost host;
  FakeDevice& d = host.add_device({"10.0.0.2/24"});
  const auto refuse = [&](const char* prefix) {
    const auto r = host.net->add_address(d.index, *IpPrefix::parse(prefix));
    EXPECT_FALSE(r.has_value()) << prefix;
  };
  for (const char* p :
       {"0.0.0.0/8", "224.0.0.1/4", "127.0.0.1/8", "10.0.5.0/24", "10.0.5.255/24", "10.0.0.2/24",
        "10.0.0.2/16", "::/64", "ff02::1/64", "::1/128", "10.1.1.1/0"})
    refuse(p);
  EXPECT_THAT(host.net->set_mtu(d.index, 64).error().message, HasSubstr("mtu 64"));
  EXPECT_FALSE(host.net->set_mtu(d.index, 10'000));
  InterfaceConfig c;
  c.name = "fake0";
  c.ops = &kFakeDriver;
  EXPECT_EQ(host.net->add_interface(c).error().code, Status::kExists);
  c.name = "has blank";
  EXPECT_EQ(host.net->add_interface(c).error().code, Status::kInvalid);
  must(host.net->add_address(d.index, *IpPrefix::parse("10.0.7.0/31")));  // RFC 3021
}

// It follows without being asked again: what the interface is, is what it was asked to be.
TEST(Interface, ADriverMayFollowLater) {
  NetHost host;
  FakeDevice& d = host.add_device({"10.0.0.2/24"});
  const auto& f = *host.net->state().interfaces.find(d.index);
  const auto expect_later = [](const Result<void>& r) {
    ASSERT_FALSE(r);
    EXPECT_EQ(r.error().code, Status::kInProgress);
    EXPECT_THAT(r.error().message, HasSubstr("does not answer; it is done when it does"));
  };
  d.answer = Status::kInProgress;
  expect_later(host.net->set_mtu(d.index, 1400));
  EXPECT_EQ(f.mtu.load(), 1400u);
  expect_later(host.net->set_admin(d.index, false));
  EXPECT_FALSE(f.is_admin_up.load());
  EXPECT_TRUE(host.net->set_admin(d.index, false)) << "there is nothing to be asked";
  d.answer = Status::kIo;
  EXPECT_THAT(host.net->set_mtu(d.index, 1300).error().message, HasSubstr("refuses mtu 1300"));
  EXPECT_EQ(f.mtu.load(), 1400u);
  EXPECT_THAT(host.net->set_admin(d.index, true).error().message, HasSubstr("refuses"));
  EXPECT_FALSE(f.is_admin_up.load());
}

TEST(Interface, ADriversOwnMtuIsTakenOverWithoutAskingIt) {
  NetHost host;
  FakeDevice& d = host.add_device({"10.0.0.2/24", "2001:db8::2/64"});
  const auto& f = *host.net->state().interfaces.find(d.index);
  d.answer = Status::kIo;
  must(host.net->take_over_mtu(d.index, 1400));
  EXPECT_EQ(f.mtu.load(), 1400u);
  EXPECT_EQ(host.net->take_over_mtu(d.index, 1000).error().code, Status::kInUse);
  EXPECT_EQ(host.net->take_over_mtu(d.index, 10'000).error().code, Status::kInvalid);
  EXPECT_EQ(f.mtu.load(), 1400u);
  EXPECT_EQ(host.net->take_over_mtu(d.index + 1, 1400).error().code, Status::kNotFound);
}

TEST(Interface, AddressesShareASubnetUntilTheLastGoes) {
  NetHost host;
  FakeDevice& d = host.add_device({"10.0.0.2/24", "10.0.0.3/24"});
  must(host.net->del_address(d.index, *IpPrefix::parse("10.0.0.2/24")));
  RouteInfo r;
  Worker& w = host.worker();
  ASSERT_EQ(w.net->route(w, *IpAddress::parse("10.0.0.9"), 0, &r), Status::kOk);
  EXPECT_EQ(r.source.str(), "10.0.0.3");
  EXPECT_FALSE(w.net->is_local(w, *IpAddress::parse("10.0.0.2"), 0));
  must(host.net->del_address(d.index, *IpPrefix::parse("10.0.0.3/24")));
  EXPECT_EQ(w.net->route(w, *IpAddress::parse("10.0.0.9"), 0, &r), Status::kUnreachable);
  EXPECT_FALSE(host.net->del_address(d.index, *IpPrefix::parse("10.0.0.3/24")));
}

TEST(Interface, AnAddressIsOwnedWhereItsSubnetIs) {
  NetHost host;
  FakeDevice& a = host.add_device({"10.0.0.2/24"});
  FakeDevice& b = host.add_device({"10.0.1.2/24", "2001:db8::2/64"});
  EXPECT_EQ(must(host.net->own_address(*IpAddress::parse("10.0.1.9"), 0)), 0u);
  EXPECT_EQ(must(host.net->own_address(*IpAddress::parse("2001:db8::9"), 0)), 0u);
  EXPECT_EQ(must(host.net->own_address(*IpAddress::parse("10.0.1.9"), 0)), 0u);  // it is
  EXPECT_EQ(must(host.net->own_address(*IpAddress::parse("10.0.0.2"), 0)), 0u);
  EXPECT_THAT(must(host.net->interface(a.index)).addresses, SizeIs(1));
  EXPECT_THAT(must(host.net->interface(b.index)).addresses,
              IsSupersetOf({*IpPrefix::parse("10.0.1.9/32"), *IpPrefix::parse("2001:db8::9/128")}));
  EXPECT_TRUE(host.worker().net->is_local(host.worker(), *IpAddress::parse("10.0.1.9"), 0));
  EXPECT_EQ(host.net->own_address(*IpAddress::parse("192.0.2.1"), 0).error().code,
            Status::kUnreachable);
  EXPECT_EQ(host.net->own_address(*IpAddress::parse("10.0.1.8"), 3).error().code,
            Status::kNotFound);
  EXPECT_FALSE(host.net->own_address(*IpAddress::parse("10.0.1.255"), 0));  // its broadcast address
}

TEST(Interface, LinkLocalAddressComesWithTheFirstIp6Address) {  // RFC 4291 section 2.1
  NetHost host;
  FakeDevice& d = host.add_device({"2001:db8::2/64"});
  EXPECT_THAT(
      must(host.net->interface(d.index)).addresses,
      ElementsAre(*IpPrefix::parse("fe80::ff:fe00:1/64"), *IpPrefix::parse("2001:db8::2/64")));
}

TEST(Interface, FullTransmitQueueDropsAndCounts) {
  NetHost host;
  FakeDevice& d = host.add_device({"10.0.0.2/24"});
  host.know(d, "10.0.0.1");
  d.room = 2;
  for (int i = 0; i < 5; ++i) d.inject(echo_frame(NetHost::kOwnMac, "10.0.0.2", "10.0.0.1"));
  host.run();
  EXPECT_THAT(d.take_sent(), SizeIs(2));
  EXPECT_EQ(host.counter("interface-tx/queue-full"), 3u);
  const auto listing = must(host.net->interface(d.index));
  EXPECT_EQ(listing.tx.packets, 5u - 3u + 1u);  // and the announcement of the address
  EXPECT_EQ(listing.tx.drops, 3u);
  EXPECT_EQ(listing.tx.bytes, 42u + 2u * 50u);
}

TEST(Interface, QueueWithAnEventFdIsPolledOnlyWhenItFires) {
  NetHost host;
  const int fd = eventfd(0, EFD_NONBLOCK);
  FakeDevice d;
  add_watched(host, d, {fd});
  d.inject(echo_frame(NetHost::kOwnMac, "10.0.0.2", "10.0.0.1"));
  host.pass(kMillisecond);
  EXPECT_THAT(d.to_receive, SizeIs(1));  // nobody looked
  EXPECT_EQ(eventfd_write(fd, 1), 0);
  host.pass(kMillisecond);
  EXPECT_THAT(d.to_receive, IsEmpty());
  eventfd_t value;
  EXPECT_EQ(eventfd_read(fd, &value), 0);
  host.pass(kMillisecond);
  d.inject(echo_frame(NetHost::kOwnMac, "10.0.0.2", "10.0.0.1"));
  host.pass(kMillisecond);
  EXPECT_THAT(d.to_receive, SizeIs(1));
  must(host.net->set_rx_mode(d.index, RxMode::kPolling));
  host.run();
  EXPECT_THAT(d.to_receive, IsEmpty());
  ASSERT_EQ(host.net->remove_interface(d.index), Status::kOk);
  close(fd);
}

TEST(Interface, ADriverIsToldHowItsQueuesArePolled) {
  NetHost host({}, 2);
  const int fds[] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
  FakeDevice d;
  const IfIndex index = add_watched(host, d, {fds[0], fds[1]});
  EXPECT_THAT(d.told_modes, IsEmpty());  // adaptive, as it knows
  must(host.net->set_rx_mode(index, RxMode::kAdaptive));
  EXPECT_THAT(d.told_modes, IsEmpty());
  must(host.net->set_rx_mode(index, RxMode::kPolling, 1));
  EXPECT_THAT(d.told_modes, ElementsAre(Pair(1, RxMode::kPolling)));
  must(host.net->set_rx_mode(index, RxMode::kPolling));
  must(host.net->set_rx_mode(index, RxMode::kInterrupt, 0));
  EXPECT_THAT(d.told_modes, ElementsAre(Pair(1, RxMode::kPolling), Pair(0, RxMode::kPolling),
                                        Pair(0, RxMode::kInterrupt)));
  // Another worker polls it as it was.
  must(host.net->place_rx_queue(index, 1, 0));
  EXPECT_THAT(d.told_modes, SizeIs(3));
  ASSERT_EQ(host.net->remove_interface(index), Status::kOk);
  for (const int fd : fds) close(fd);
}

TEST(Interface, AQueueThatIsNotWatchedIsPolledAndItsDriverKnows) {
  NetHost host({}, 2);
  const int fd = eventfd(0, EFD_NONBLOCK);
  FakeDevice d;
  const IfIndex index = add_watched(host, d, {-1, fd});
  EXPECT_THAT(d.told_modes, ElementsAre(Pair(0, RxMode::kPolling)));
  must(host.net->set_rx_mode(index, RxMode::kAdaptive));
  EXPECT_THAT(d.told_modes, SizeIs(1));
  ASSERT_EQ(host.net->remove_interface(index), Status::kOk);
  close(fd);
}

TEST(Interface, AQueueThatIsPolledNoMoreIsLookedAtOnceMore) {
  NetHost host;
  const int fd = eventfd(0, EFD_NONBLOCK);
  FakeDevice d;
  const IfIndex index = add_watched(host, d, {fd});
  must(host.net->set_rx_mode(index, RxMode::kPolling));
  host.run();
  EXPECT_NE(d.n_rx_calls, 0u);
  must(host.net->set_rx_mode(index, RxMode::kAdaptive));
  d.n_rx_calls = 0;
  host.run();
  EXPECT_EQ(d.n_rx_calls, 1u);  // the driver arms the descriptor in it
  ASSERT_EQ(host.net->remove_interface(index), Status::kOk);
  close(fd);
}

TEST(Interface, QueuesAreSpreadOverWorkers) {
  NetHost host({}, 2);
  FakeDevice& a = host.add_device({"10.0.0.2/24"});
  FakeDevice& b = host.add_device({"10.0.1.2/24"});
  EXPECT_THAT(host.net->state().workers[0]->inputs, SizeIs(1));
  EXPECT_THAT(host.net->state().workers[1]->inputs, SizeIs(1));
  host.know(a, "10.0.0.1");
  host.know(b, "10.0.1.1");
  host.receive(a, echo_frame("02:00:00:00:00:01", "10.0.0.2", "10.0.0.1"));
  host.receive(b, echo_frame("02:00:00:00:00:02", "10.0.1.2", "10.0.1.1"));
  EXPECT_THAT(a.take_sent(), SizeIs(1));
  EXPECT_THAT(b.take_sent(), SizeIs(1));
}

TEST(Interface, LoopbackHasLocalAddressesAndNoWire) {
  NetHost host;
  FakeDevice& d = host.add_device({"10.0.0.2/24"});
  host.know(d, "10.0.0.1");
  const IfIndex loop = must(host.net->create_loopback());
  EXPECT_EQ(must(host.net->interface(loop)).name, "loop0");
  must(host.net->add_address(loop, *IpPrefix::parse("192.0.2.1/24")));
  must(host.net->set_admin(loop, true));
  host.receive(d, echo_frame(NetHost::kOwnMac, "192.0.2.1", "10.0.0.1"));
  EXPECT_THAT(d.take_sent(), SizeIs(1));
  host.receive(d, echo_frame(NetHost::kOwnMac, "192.0.2.9", "10.0.0.1"));
  EXPECT_EQ(must(host.net->interface(loop)).tx.drops, 1u);
  EXPECT_FALSE(host.net->delete_loopback(d.index));
  must(host.net->delete_loopback(loop));
  EXPECT_EQ(host.net->find_interface("loop0"), kNoIndex);
}

TEST(Interface, EventsTellTheStory) {
  NetHost host;
  std::vector<std::string> story;
  host.net->on_interface_event([&](IfIndex i, bool admin, bool link, bool deleted) {
    story.push_back(std::to_string(i) + (admin ? " up" : " down") + (link ? " link" : "") +
                    (deleted ? " deleted" : ""));
  });
  FakeDevice& d = host.add_device({});
  ASSERT_EQ(host.net->set_link(d.index, false), Status::kOk);
  ASSERT_EQ(host.net->remove_interface(d.index), Status::kOk);
  EXPECT_THAT(story, ElementsAre("0 down link", "0 up link", "0 up", "0 down deleted"));
}

}  // namespace
}  // namespace loom
