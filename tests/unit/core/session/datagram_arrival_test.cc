// What the daemon says of a datagram session beside its datagrams: when they came and how many were
// lost (SocketOptions::arrival), and what ways there are (ToDaemon::kGetPath).
#include <ctime>

#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

using session::may_want_links;
using session::Session;

struct DatagramArrival : DatagramTest {
  static TimeNs wall() {
    timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return t.tv_sec * kSecond + t.tv_nsec;
  }
  void tell_arrival(TestApp::Connection& c, uint32_t number, bool on) {
    svm::OptionEvent e{};
    e.handle = c.handle;
    e.number = number;
    e.options.arrival = on;
    app.push(svm::ToDaemon::kSetOption, e);
  }
};

TEST_F(DatagramArrival, TheTimeIsSaidToWhoAsks) {
  auto c = open();
  EXPECT_EQ(receive("before"), Status::kOk);
  EXPECT_EQ(take(*c)->h.time, 0);
  tell_arrival(*c, 1, true);
  const TimeNs from = wall();
  EXPECT_EQ(receive("one"), Status::kOk);
  const TimeNs to = wall();
  const TimeNs time = take(*c)->h.time;
  EXPECT_GE(time, from);
  EXPECT_LE(time, to);
  tell_arrival(*c, 2, false);
  EXPECT_EQ(receive("behind"), Status::kOk);
  EXPECT_EQ(take(*c)->h.time, 0);
}

// Of IPv6 the group itself has all the bytes.
TEST_F(DatagramArrival, AGroupOfIp6IsWhereADatagramWent) {
  auto c = open();
  svm::OptionEvent e{};
  e.handle = c->handle;
  e.number = 1;
  e.options.answers_from = true;
  app.push(svm::ToDaemon::kSetOption, e);
  const IpAddress group = *IpAddress::parse("ff3e:20:1234:5678:9abc:def0:1:2");
  Buffer empty;
  empty.flags |= kBufferNetGroup;
  Datagram d;
  d.ends.local = group;
  d.ends.remote = *IpAddress::parse("2001:db8::2");
  d.interface = 9;
  const SessionId id = transport.connections[0].session;
  EXPECT_EQ(worker().sessions->rx_datagram(worker(), id, d, empty, 0, 0), Status::kOk);
  const auto got = take(*c);
  EXPECT_EQ(std::memcmp(got->h.local_ip, group.bits.bytes.data(), 16), 0);
}

// Linux's ipi_spec_dst: fib_compute_spec_dst().
TEST_F(DatagramArrival, FromWhereAGroupIsAnsweredIsSaidToWhoAsks) {
  auto c = open();
  NetOps net = kDatagramNet;
  net.route_group = [](Worker&, const GroupDestination& d, RouteInfo* out) noexcept {
    out->source = Ip4Address{{10, 0, 0, static_cast<uint8_t>(d.interface)}};
    return d.to == IpAddress(Ip4Address{{239, 1, 2, 3}}) ? Status::kOk : Status::kUnreachable;
  };
  worker().net = &net;
  const auto ask = [&](uint32_t number, bool on) {
    svm::OptionEvent e{};
    e.handle = c->handle;
    e.number = number;
    e.options.answers_from = on;
    app.push(svm::ToDaemon::kSetOption, e);
  };
  // What is said of a datagram for that address: 0 without the mark of a group.
  const auto said = [&](Ip4Address to, Ip4Address from, bool is_group) {
    Buffer empty;
    if (is_group) empty.flags |= kBufferNetGroup;
    Datagram d;
    d.ends.local = to;
    d.ends.remote = from;
    d.interface = 9;
    const SessionId id = transport.connections[0].session;
    EXPECT_EQ(worker().sessions->rx_datagram(worker(), id, d, empty, 0, 0), Status::kOk);
    const auto got = take(*c);
    EXPECT_EQ((got->h.flags & svm::kDatagramToGroup) != 0, is_group);
    EXPECT_EQ(std::memcmp(got->h.local_ip, to.bytes.data(), 4), 0);
    EXPECT_EQ(got->h.local_ip[8], 0);
    return Ip4Address{
        {got->h.local_ip[4], got->h.local_ip[5], got->h.local_ip[6], got->h.local_ip[7]}};
  };
  const Ip4Address group{{239, 1, 2, 3}}, own{{10, 0, 0, 7}}, peer{{192, 0, 2, 3}}, none{};
  EXPECT_EQ(said(group, peer, true), none);  // nobody has asked
  ask(1, true);
  EXPECT_EQ(said(group, peer, true), own);
  EXPECT_EQ(said(own, peer, false), none);
  // Who has no address yet, or is reached by no route, is answered by the link that it came by.
  EXPECT_EQ(said(group, none, true), (Ip4Address{{10, 0, 0, 9}}));
  net.route = [](Worker&, const IpAddress&, uint32_t, RouteInfo*) noexcept {
    return Status::kUnreachable;
  };
  EXPECT_EQ(said(group, peer, true), (Ip4Address{{10, 0, 0, 9}}));
  EXPECT_EQ(said(Ip4Address{{239, 9, 9, 9}}, peer, true), none);
  // It may have links: what goes by them goes to no group.
  const Session& s = bed.layer->impl().workers[0]->pool.at(transport.connections[0].session);
  EXPECT_TRUE(may_want_links(s));
  EXPECT_TRUE(s.link_bound & session::kTellsSource);
  EXPECT_FALSE(s.link_bound & session::kWithoutLinks);
  ask(2, false);
  EXPECT_EQ(said(group, peer, true), none);
  worker().net = &kDatagramNet;
}

TEST_F(DatagramArrival, AllThatComesInARoundHasOneTime) {
  auto c = open();
  tell_arrival(*c, 1, true);
  worker().now += kSecond;
  const TimeNs now = worker().now;
  for (int i = 0; i < 3; ++i) {
    Buffer empty;
    worker().now = now;  // what a round begins with
    Datagram d;
    d.ends.local = d.ends.remote = Ip4Address{{10, 0, 0, 1}};
    ASSERT_EQ(
        worker().sessions->rx_datagram(worker(), transport.connections[0].session, d, empty, 0, 0),
        Status::kOk);
  }
  const TimeNs first = take(*c)->h.time;
  EXPECT_EQ(take(*c)->h.time, first);
  EXPECT_EQ(take(*c)->h.time, first);
  worker().now += kMicrosecond;
  EXPECT_EQ(receive("later"), Status::kOk);
  EXPECT_GT(take(*c)->h.time, first);
}

TEST_F(DatagramArrival, WhatWasLostIsCountedFromTheBeginning) {
  auto c = open();
  const std::string block = pattern(30'000);
  uint32_t kept = 0;
  while (receive(block) == Status::kOk) ++kept;
  EXPECT_EQ(receive(block), Status::kAgain);
  while (take(*c)) --kept;
  EXPECT_EQ(kept, 0u);
  EXPECT_EQ(receive("not asked"), Status::kOk);
  EXPECT_EQ(take(*c)->h.dropped, 0u);
  tell_arrival(*c, 1, true);
  EXPECT_EQ(receive("asked"), Status::kOk);
  EXPECT_EQ(take(*c)->h.dropped, 2u);
  while (receive(block) == Status::kOk) ++kept;
  for (uint32_t i = 0; i < kept; ++i) EXPECT_EQ(take(*c)->h.dropped, 2u);  // as each of them came
  EXPECT_EQ(receive("behind"), Status::kOk);
  EXPECT_EQ(take(*c)->h.dropped, 3u);
}

TEST_F(DatagramArrival, WhoIsToldHasNoLinks) {
  open();
  Session& s = bed.layer->impl().workers[0]->pool.at(transport.connections[0].session);
  EXPECT_TRUE(may_want_links(s));
  auto told = datagram_request(any(54), any(0));
  told.options.arrival = 1;
  app.push(svm::ToDaemon::kConnect, told);
  ASSERT_EQ(app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status, 0);
  EXPECT_FALSE(
      may_want_links(bed.layer->impl().workers[0]->pool.at(transport.connections[1].session)));
}

// --- Ways

struct DatagramPaths : DatagramTest {
  svm::InfoEvent ask(const TestApp::Connection& c, const svm::Endpoint& to,
                     const svm::Endpoint& from = {}) {
    app.push(svm::ToDaemon::kGetPath, svm::PathEvent{c.handle, 9, 0, to, from});
    const auto info = app.expect<svm::InfoEvent>(svm::ToApp::kInfo);
    EXPECT_EQ(info.context, 9u);
    return info;
  }
  static svm::Endpoint at(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return {.is_ip4 = 1, .reserved = 0, .port = 0, .ip = {a, b, c, d}};
  }
  static Status status(const svm::InfoEvent& e) { return static_cast<Status>(e.status); }
};

TEST_F(DatagramPaths, HoldForAllWithADefaultRouteElseForWhatIsNear) {
  auto c = open();
  auto info = ask(*c, at(192, 0, 2, 9));
  EXPECT_EQ(status(info), Status::kOk);
  EXPECT_EQ(info.pmtu, 1400u);
  EXPECT_EQ(info.path_bits, 0u);
  NetOps no_default = kDatagramNet;
  no_default.route = [](Worker&, const IpAddress& to, uint32_t, RouteInfo*) noexcept {
    return to.is_zero() ? Status::kUnreachable : Status::kOk;
  };
  worker().net = &no_default;
  EXPECT_EQ(ask(*c, at(192, 0, 2, 9)).path_bits, 24u);
  EXPECT_EQ(ask(*c, at(239, 0, 0, 1)).path_bits, 128u);  // groups go by ways of their own
  worker().net = &kDatagramNet;
}

TEST_F(DatagramPaths, ByALinkLeadEverywhereButToGroups) {
  auto bound = datagram_request(any(54), any(0));
  bound.options.interface = 3;
  NetOps net = kDatagramNet;
  net.route = [](Worker&, const IpAddress&, uint32_t, RouteInfo*) noexcept {
    return Status::kUnreachable;
  };
  net.route_group = [](Worker&, const GroupDestination&, RouteInfo* out) noexcept {
    out->mtu = 1300;
    return Status::kOk;
  };
  worker().net = &net;
  app.push(svm::ToDaemon::kConnect, bound);
  const auto opened = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  ASSERT_EQ(opened.status, 0);
  EXPECT_EQ(opened.everywhere, 0) << "what it hears of is its own affair";
  auto c = app.connection(opened.handle, opened.session);
  EXPECT_EQ(ask(*c, at(192, 0, 2, 9)).path_bits, 0u);
  EXPECT_EQ(ask(*c, at(239, 0, 0, 1)).path_bits, 128u);
  worker().net = &kDatagramNet;
}

TEST(DatagramPathsByName, LeadEverywhereButToGroups) {
  DatagramTransport transport;
  SessionBed bed({}, SessionBed::Network::kReal);
  EXPECT_TRUE(bed.transports.add(transport.ops()));
  TestApp app(bed);
  const IfIndex link = bed.net->create_loopback().value();
  EXPECT_TRUE(bed.net->add_address(link, {IpAddress(Ip4Address{{10, 0, 0, 1}}), 24}));
  EXPECT_TRUE(bed.net->set_admin(link, true));
  app.push(svm::ToDaemon::kConnect, datagram_request(DatagramTest::any(54), DatagramTest::any(0)));
  const auto opened = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  ASSERT_EQ(opened.status, 0);
  const auto path_bits = [&](uint8_t first) {
    const svm::Endpoint to{.is_ip4 = 1, .reserved = 0, .port = 0, .ip = {first, 0, 2, 9}};
    app.push(svm::ToDaemon::kGetPath, svm::PathEvent{opened.handle, 9, link + 1, to, {}});
    const auto info = app.expect<svm::InfoEvent>(svm::ToApp::kInfo);
    EXPECT_EQ(info.status, 0);
    return info.path_bits;
  };
  EXPECT_EQ(path_bits(192), 0u);
  EXPECT_EQ(path_bits(239), 128u);
}

TEST_F(DatagramPaths, WhereThereIsADefaultRouteTheAnswerToTheOpenSaysSo) {
  EXPECT_EQ(ask_open(app, any(53), any(0)).everywhere, 2) << "IPv4's alone";
  NetOps net = kDatagramNet;
  net.route_group = [](Worker&, const GroupDestination&, RouteInfo*) noexcept {
    return Status::kOk;
  };
  worker().net = &net;
  auto bound = datagram_request(any(54), any(0));
  bound.options.interface = 3;
  app.push(svm::ToDaemon::kConnect, bound);
  const auto by_a_link = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(by_a_link.status, 0);
  EXPECT_EQ(by_a_link.everywhere, 0);
  net.route = [](Worker&, const IpAddress& to, uint32_t, RouteInfo*) noexcept {
    return to.is_zero() ? Status::kUnreachable : Status::kOk;
  };
  EXPECT_EQ(ask_open(app, any(55), any(0)).everywhere, 0);
  net.route = [](Worker&, const IpAddress&, uint32_t, RouteInfo*) noexcept { return Status::kOk; };
  EXPECT_EQ(ask_open(app, any(56), any(0)).everywhere, 3);
  worker().net = &kDatagramNet;
}

TEST_F(DatagramPaths, ThatThereIsNoneIsOneErrnoForADatagramAndASession) {
  auto c = open();
  const SessionId id = transport.connections[0].session;
  worker().sessions->soft_error(worker(), id, ResetReason::kUnreachable);
  EXPECT_EQ(take(*c)->h.error, ENETUNREACH);
  worker().sessions->reset(worker(), id, ResetReason::kUnreachable);
  c->rx.refresh();
  EXPECT_EQ(c->rx.error(), ENETUNREACH);
}

TEST_F(DatagramPaths, SayWhyThereIsNone) {
  auto c = open();
  svm::Endpoint ip6{};
  ip6.ip[0] = 0xfd;
  EXPECT_EQ(status(ask(*c, ip6)), Status::kUnreachable);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), at(10, 0, 0, 1))), Status::kOk);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), at(11, 0, 0, 1))), Status::kInvalid);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), ip6)), Status::kInvalid) << "of the other family";
  EXPECT_EQ(bed.counter("bad-request"), 0u);
  ip6.is_ip4 = 2;
  EXPECT_EQ(status(ask(*c, ip6)), Status::kInvalid);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), ip6)), Status::kInvalid);
  EXPECT_EQ(bed.counter("bad-request"), 2u);
}

TEST_F(DatagramPaths, WhatIsDroppedForWantOfOneIsCountedWhereTheApplicationLooks) {
  auto c = open();
  Session& s = bed.layer->impl().workers[0]->pool.at(transport.connections[0].session);
  const auto& n = s.fifos().daemon.n_unreachable;
  EXPECT_EQ(n.load(), 0u);
  worker().sessions->unreachable(worker(), s.id);
  EXPECT_EQ(n.load(), 1u);
  DatagramHeader h = header(0);  // the source is no longer this host's
  h.flags |= kDatagramLocal;
  h.local_ip[0] = 11;
  put(*c, h, "");
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
  EXPECT_EQ(n.load(), 2u);
}

TEST_F(DatagramPaths, ADatagramOfIp6AloneMayBeWhole) {  // IPV6_DONTFRAG
  auto c = open();
  DatagramHeader h = header(0);
  h.flags |= kDatagramWhole;
  put(*c, h, "");
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
  h.is_ip4 = 0;
  put(*c, h, "");
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_TRUE(transport.sent[0].d.flags & kDatagramWhole);
}

}  // namespace
}  // namespace loom::test
