#include "session/flow_tables.h"

#include <hostloom/wire.h>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>
#include <vector>

namespace loom::session {
namespace {

Endpoints flow(uint8_t last, uint16_t local_port, uint16_t remote_port) {
  Endpoints e;
  e.local = IpAddress(Ip4Address{{10, 0, 0, 1}});
  e.remote = IpAddress(Ip4Address{{10, 0, 0, last}});
  e.local_port = local_port;
  e.remote_port = remote_port;
  return e;
}

FlowMatch find(const FlowTables& t, const Endpoints& e) {
  const FlowKey4 key = key4_of(e, kProtoTcp);
  FlowMatch m;
  t.lookup(std::span(&key, 1), &m);
  return m;
}

TEST(FlowTables, EstablishedThenHalfOpenThenListenerExactThenAny) {
  const auto t = std::move(FlowTables::create({})).value();
  const Endpoints e = flow(2, 80, 1234);
  Endpoints any = flow(0, 80, 0), exact = any;
  any.local = IpAddress(Ip4Address{});
  EXPECT_EQ(find(*t, e).kind, FlowKind::kNone);
  ASSERT_EQ(t->add_listener(any, kProtoTcp, false, 5), Status::kOk);
  EXPECT_EQ(find(*t, e).conn, 5u);
  ASSERT_EQ(t->add_listener(exact, kProtoTcp, false, 6), Status::kOk);
  EXPECT_EQ(find(*t, e).conn, 6u);
  ASSERT_EQ(t->add(e, kProtoTcp, FlowKind::kHalfOpen, 0, 7), Status::kOk);
  EXPECT_EQ(find(*t, e).kind, FlowKind::kHalfOpen);
  ASSERT_EQ(t->add(e, kProtoTcp, FlowKind::kEstablished, 0, 8), Status::kOk);
  EXPECT_EQ(find(*t, e).kind, FlowKind::kEstablished);
  EXPECT_EQ(find(*t, e).conn, 8u);
  EXPECT_EQ(t->half_open(), 0u);  // becoming established replaced it
  t->del(e, kProtoTcp, 0);
  EXPECT_EQ(find(*t, e).conn, 6u);
  t->del_listener(exact, kProtoTcp, false);
  t->del_listener(any, kProtoTcp, false);
  EXPECT_EQ(find(*t, e).kind, FlowKind::kNone);
}

TEST(FlowTables, OpenPicksEveryFreePortOnceAndThenNone) {
  SessionConfig config;
  config.min_src_port = 50000;
  config.max_src_port = 50009;
  const auto t = std::move(FlowTables::create(config)).value();
  std::set<uint16_t> ports;
  uint32_t counter = 0;
  for (int i = 0; i < 10; ++i) {
    Endpoints e = flow(2, 0, 80);
    ASSERT_EQ(t->open(e, kProtoTcp, 0, 1, counter, 0), Status::kOk);
    EXPECT_TRUE(ports.insert(e.local_port).second);
    EXPECT_GE(e.local_port, 50000);
    EXPECT_LE(e.local_port, 50009);
  }
  Endpoints e = flow(2, 0, 80);
  EXPECT_EQ(t->open(e, kProtoTcp, 0, 1, counter, 0), Status::kInUse);
  e = flow(3, 0, 80);  // another destination has ports of its own
  EXPECT_EQ(t->open(e, kProtoTcp, 0, 1, counter, 0), Status::kOk);
}

// A thousand ports, and connects to one destination; the counter says how many were looked at.
class FlowTablesPorts : public testing::TestWithParam<bool> {
 protected:
  static constexpr uint16_t kFirst = 50000, kPorts = 1000;
  FlowTablesPorts() {
    SessionConfig config;
    config.min_src_port = kFirst;
    config.max_src_port = kFirst + kPorts - 1;
    tables = std::move(FlowTables::create(config)).value();
  }
  Endpoints to(uint8_t last, uint16_t local_port = 0) const {
    Endpoints e = flow(last, local_port, 80);
    if (!GetParam()) return e;
    e.local = IpAddress(Ip6Address{{0xfd, 1}});
    e.remote = IpAddress(Ip6Address{{0xfd, 2, last}});
    return e;
  }
  Endpoints any(uint16_t local_port) const {
    Endpoints e = to(2, local_port);
    e.remote = GetParam() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
    e.remote_port = 0;
    return e;
  }
  // The port, or 0.
  uint16_t open(uint8_t last = 2) {
    Endpoints e = to(last);
    return tables->open(e, kProtoTcp, 0, 1, counter, now) == Status::kOk ? e.local_port
                                                                         : uint16_t{0};
  }
  uint32_t n_opened(uint32_t tries) {
    uint32_t n = 0;
    while (tries-- != 0) n += open() != 0;
    return n;
  }
  void close(uint16_t port) { tables->del(to(2, port), kProtoTcp, now); }

  std::unique_ptr<FlowTables> tables;
  uint32_t counter = 0;
  TimeNs now = 1'000'000'000;
};

TEST_P(FlowTablesPorts, WhereNoneIsFreeAllAreLookedAtOnce) {
  ASSERT_EQ(n_opened(kPorts), kPorts);
  const uint32_t before = counter;
  EXPECT_EQ(n_opened(200), 0u);
  EXPECT_LT(counter - before, 2u * kPorts);
  EXPECT_NE(open(3), 0u) << "another destination has ports of its own";
}

TEST_P(FlowTablesPorts, OneThatHasBecomeFreeIsFoundAtOnce) {
  ASSERT_EQ(n_opened(kPorts + 1), kPorts);
  const uint32_t before = counter;
  for (const uint16_t port : {kFirst, uint16_t{kFirst + 500}, uint16_t{kFirst + kPorts - 1}}) {
    close(port);
    EXPECT_EQ(open(), port);
    EXPECT_EQ(open(), 0u);
  }
  EXPECT_EQ(counter, before);
}

TEST_P(FlowTablesPorts, ManyThatHaveBecomeFreeAreAllFound) {
  ASSERT_EQ(n_opened(kPorts + 1), kPorts);
  for (const uint32_t n : {PortShortage::kMostPorts, PortShortage::kMostPorts + 1, 300u}) {
    for (uint32_t i = 0; i < n; ++i) close(static_cast<uint16_t>(kFirst + 3 * i));
    EXPECT_EQ(n_opened(n + 10), n);
  }
}

TEST_P(FlowTablesPorts, OneThatSomebodyElseHasTakenIsPassedOver) {
  ASSERT_EQ(n_opened(kPorts + 1), kPorts);
  close(kFirst + 7);
  close(kFirst + 8);
  Endpoints asked = to(2, kFirst + 8);
  ASSERT_EQ(tables->open(asked, kProtoTcp, 0, 1, counter, now), Status::kOk);
  EXPECT_EQ(open(), kFirst + 7);
  EXPECT_EQ(open(), 0u);
}

TEST_P(FlowTablesPorts, OthersThanItChoosesFromAreNotItsBusiness) {
  ASSERT_EQ(n_opened(kPorts), kPorts);
  Endpoints below = to(2, kFirst - 1);
  ASSERT_EQ(tables->open(below, kProtoTcp, 0, 1, counter, now), Status::kOk);
  ASSERT_EQ(open(), 0u);
  tables->del(below, kProtoTcp, now);
  EXPECT_EQ(open(), 0u);
}

TEST_P(FlowTablesPorts, OneThatWasBoundIsFoundAtOnce) {
  Endpoints bound = any(kFirst + 5), shared = any(kFirst + 6);
  const PortShare share{.reuseport = true, .reuseaddr = false, .uid = 7};
  ASSERT_EQ(tables->bind(bound, kProtoTcp, false, 0, 9, 0), Status::kOk);
  for (const ConnId c : {10, 11})
    ASSERT_EQ(tables->bind_shared(shared, kProtoTcp, false, 0, c, share, 0), Status::kOk);
  ASSERT_EQ(n_opened(kPorts), kPorts - 2u);
  const uint32_t before = counter;
  tables->unbind(bound, kProtoTcp, false, now);
  EXPECT_EQ(open(), kFirst + 5);
  tables->unbind_shared(shared, kProtoTcp, false, 0, 10, now);
  EXPECT_EQ(open(), 0) << "the other one has it";
  tables->unbind_shared(shared, kProtoTcp, false, 0, 11, now);
  EXPECT_EQ(open(), kFirst + 6);
  EXPECT_EQ(open(), 0);
  EXPECT_EQ(counter, before);
}

// An idle host, whatever happened a moment ago.
TEST_P(FlowTablesPorts, AllThatWereBoundAreFoundAtOnce) {
  for (uint16_t i = 0; i < kPorts; ++i) {
    Endpoints e = any(static_cast<uint16_t>(kFirst + i));
    ASSERT_EQ(tables->bind(e, kProtoTcp, false, 0, ConnId{100} + i, 0), Status::kOk);
  }
  EXPECT_EQ(open(), 0);
  for (uint16_t i = 0; i < kPorts; ++i)
    tables->unbind(any(static_cast<uint16_t>(kFirst + i)), kProtoTcp, false, now);
  EXPECT_EQ(n_opened(kPorts + 1), kPorts);
}

TEST_P(FlowTablesPorts, AllAreLookedAtAgainAfterAWhile) {
  ASSERT_EQ(n_opened(kPorts), kPorts);
  ASSERT_EQ(open(), 0);
  const uint32_t before = counter;
  now += PortShortage::kTrusted - 1;
  ASSERT_EQ(open(), 0);
  EXPECT_EQ(counter, before);
  ++now;
  ASSERT_EQ(open(), 0);
  EXPECT_GE(counter, before + kPorts);
}

TEST_P(FlowTablesPorts, ManyDestinationsMayBeWithoutOne) {
  SessionConfig config;
  config.min_src_port = config.max_src_port = kFirst;
  tables = std::move(FlowTables::create(config)).value();
  constexpr uint8_t kMany = PortShortage::kMostDestinations + 10;
  for (uint8_t round = 0; round < 3; ++round)
    for (uint8_t last = 1; last <= kMany; ++last)
      EXPECT_EQ(open(last), round == 0 ? kFirst : 0) << +last;
  for (uint8_t last = 1; last <= kMany; ++last) {
    tables->del(to(last, kFirst), kProtoTcp, now);
    EXPECT_EQ(open(last), kFirst) << +last;
    EXPECT_EQ(open(last), 0u) << +last;
  }
}

INSTANTIATE_TEST_SUITE_P(Ip4AndIp6, FlowTablesPorts, testing::Bool());

TEST(FlowTables, DualStackListenerTakesBothFamiliesAndBlocksBoth) {
  const auto t = std::move(FlowTables::create({})).value();
  Endpoints any6;
  any6.local = any6.remote = IpAddress(Ip6Address{});
  any6.local_port = 80;
  ASSERT_EQ(t->add_listener(any6, kProtoTcp, true, 3), Status::kOk);
  EXPECT_EQ(find(*t, flow(2, 80, 1)).conn, 3u);
  Endpoints any4 = flow(0, 80, 0);
  any4.local = IpAddress(Ip4Address{});
  EXPECT_EQ(t->add_listener(any4, kProtoTcp, false, 4), Status::kInUse);
  t->del_listener(any6, kProtoTcp, true);
  EXPECT_EQ(find(*t, flow(2, 80, 1)).kind, FlowKind::kNone);
}

// --- Several on one local end

constexpr PortShare kReusePort{.reuseport = true, .reuseaddr = false, .uid = 7};
constexpr PortShare kReuseAddr{.reuseport = false, .reuseaddr = true, .uid = 7};

Status share(FlowTables& t, uint16_t port, ConnId conn, const PortShare& s, uint8_t worker = 0) {
  Endpoints e = flow(0, port, 0);
  e.local = IpAddress(Ip4Address{});
  return t.bind_shared(e, kProtoTcp, false, worker, conn, s, 0);
}
void unshare(FlowTables& t, uint16_t port, ConnId conn, uint8_t worker = 0) {
  Endpoints e = flow(0, port, 0);
  e.local = IpAddress(Ip4Address{});
  t.unbind_shared(e, kProtoTcp, false, worker, conn, 0);
}
// Which connection each of many flows leads to.
std::vector<ConnId> owners(const FlowTables& t, uint16_t port = 53) {
  std::vector<ConnId> all;
  for (uint16_t remote = 1; remote <= 4000; ++remote) {
    const FlowMatch m = find(t, flow(9, port, remote));
    EXPECT_EQ(m.kind, FlowKind::kBound);
    all.push_back(m.conn);
  }
  return all;
}

TEST(FlowTables, FlowsAreSpreadOverThoseThatShareAPortAndStayWhereTheyAre) {
  const auto t = std::move(FlowTables::create({})).value();
  for (ConnId c = 1; c <= 4; ++c) ASSERT_EQ(share(*t, 53, c, kReusePort, c & 1), Status::kOk);
  EXPECT_EQ(find(*t, flow(9, 53, 1)).worker, find(*t, flow(9, 53, 1)).conn & 1);
  const auto before = owners(*t);
  EXPECT_EQ(before, owners(*t));
  for (ConnId c = 1; c <= 4; ++c)  // 1000 each; 6 standard deviations are 165
    EXPECT_NEAR(std::ranges::count(before, c), 1000, 250) << c;
  // One leaves: only its flows go elsewhere, and to all that are left.
  unshare(*t, 53, 2, 0);
  const auto after = owners(*t);
  std::set<ConnId> heirs;
  for (std::size_t i = 0; i < before.size(); ++i) {
    if (before[i] == 2)
      heirs.insert(after[i]);
    else
      EXPECT_EQ(after[i], before[i]);
  }
  EXPECT_EQ(heirs, (std::set<ConnId>{1, 3, 4}));
  // One joins: flows go to it alone.
  ASSERT_EQ(share(*t, 53, 5, kReusePort), Status::kOk);
  const auto joined = owners(*t);
  for (std::size_t i = 0; i < after.size(); ++i)
    EXPECT_TRUE(joined[i] == after[i] || joined[i] == 5);
  EXPECT_NEAR(std::ranges::count(joined, ConnId{5}), 1000, 250);
  // The last one takes the port with it.
  for (const ConnId c : {1, 3, 4, 5}) {
    EXPECT_EQ(find(*t, flow(9, 53, 1)).kind, FlowKind::kBound);
    unshare(*t, 53, c, c & 1 && c != 5);
  }
  EXPECT_EQ(find(*t, flow(9, 53, 1)).kind, FlowKind::kNone);
  EXPECT_EQ(share(*t, 53, 9, kReuseAddr), Status::kOk);
}

TEST(FlowTables, WhoSharesAPortHasToAgreeWithAllThatHaveIt) {
  const auto t = std::move(FlowTables::create({})).value();
  PortShare strangers = kReusePort;
  strangers.uid = 8;
  ASSERT_EQ(share(*t, 53, 1, kReusePort), Status::kOk);
  EXPECT_EQ(share(*t, 53, 2, strangers), Status::kInUse);
  EXPECT_EQ(share(*t, 53, 2, kReuseAddr), Status::kInUse);
  Endpoints alone = flow(0, 53, 0);
  alone.local = IpAddress(Ip4Address{});
  EXPECT_EQ(t->bind(alone, kProtoTcp, false, 0, 3, 0), Status::kInUse);
  ASSERT_EQ(t->bind(alone = flow(0, 54, 0), kProtoTcp, false, 0, 3, 0), Status::kOk);
  EXPECT_EQ(t->bind_shared(alone, kProtoTcp, false, 0, 4, kReusePort, 0), Status::kInUse);
  // Of either family: an IPv6 socket that takes both needs both.
  Endpoints both;
  both.local = both.remote = IpAddress(Ip6Address{});
  both.local_port = 53;
  EXPECT_EQ(t->bind_shared(both, kProtoTcp, true, 0, 5, strangers, 0), Status::kInUse);
  EXPECT_EQ(t->bind_shared(both, kProtoTcp, true, 0, 5, kReusePort, 0), Status::kOk);
  const auto all = owners(*t);
  EXPECT_EQ(std::set<ConnId>(all.begin(), all.end()), (std::set<ConnId>{1, 5}));
  // Without a port each gets its own.
  Endpoints any = flow(0, 0, 0), next = any;
  EXPECT_EQ(t->bind_shared(any, kProtoTcp, false, 0, 6, kReusePort, 0), Status::kOk);
  EXPECT_EQ(t->bind_shared(next, kProtoTcp, false, 0, 7, kReusePort, 0), Status::kOk);
  EXPECT_NE(any.local_port, next.local_port);
}

TEST(FlowTables, ByReuseAddressTheLatestGetsAll) {  // man 7 socket
  const auto t = std::move(FlowTables::create({})).value();
  for (ConnId c = 1; c <= 3; ++c) ASSERT_EQ(share(*t, 53, c, kReuseAddr), Status::kOk);
  EXPECT_EQ(owners(*t), std::vector<ConnId>(4000, 3));
  unshare(*t, 53, 1);
  EXPECT_EQ(owners(*t), std::vector<ConnId>(4000, 3));
  unshare(*t, 53, 3);
  EXPECT_EQ(owners(*t), std::vector<ConnId>(4000, 2));
}

TEST(FlowTables, APeerMayBeOnAPortThatItSharesAndNotOnOthers) {
  const auto t = std::move(FlowTables::create({})).value();
  ASSERT_EQ(share(*t, 53, 1, kReusePort), Status::kOk);
  ASSERT_EQ(share(*t, 53, 2, kReusePort), Status::kOk);
  uint32_t counter = 0;
  Endpoints e = flow(9, 53, 1);
  EXPECT_EQ(t->open(e, kProtoTcp, 0, 3, counter, 0), Status::kInUse);
  EXPECT_EQ(t->open(e, kProtoTcp, 1, 2, counter, 0), Status::kInUse);  // another worker's 2
  EXPECT_EQ(t->open(e, kProtoTcp, 0, 2, counter, 0), Status::kOk);
}

// As Linux 6.18 has it, by SO_REUSEPORT too.
TEST(FlowTables, OfThoseWithOnePeerTheLatestGetsWhatComesAndThenTheOneBefore) {
  for (const bool is_ip6 : {false, true}) {
    const auto t = std::move(FlowTables::create({})).value();
    Endpoints e = flow(9, 53, 1);
    if (is_ip6) e.local = e.remote = *IpAddress::parse("2001:db8::1");
    const auto latest = [&] {
      FlowMatch m;
      if (const FlowKey6 six = key6_of(e, kProtoTcp); is_ip6) {
        t->lookup(std::span(&six, 1), &m);
        return m;
      }
      return find(*t, e);
    };
    for (ConnId c = 1; c <= 4; ++c) {
      ASSERT_EQ(t->share(e, kProtoTcp, c & 1, c, kReusePort), Status::kOk);
      EXPECT_EQ(latest().conn, c);
      EXPECT_EQ(latest().worker, c & 1);
      EXPECT_EQ(latest().kind, FlowKind::kEstablished);
    }
    EXPECT_EQ(t->established(), 1u);
    t->unshare(e, kProtoTcp, 0, 3, 0);  // nobody: 3 is on worker 1
    t->unshare(e, kProtoTcp, 1, 3, 0);
    EXPECT_EQ(latest().conn, 4u);
    t->unshare(e, kProtoTcp, 0, 4, 0);
    EXPECT_EQ(latest().conn, 2u);
    t->unshare(e, kProtoTcp, 1, 1, 0);
    EXPECT_EQ(latest().conn, 2u);
    t->unshare(e, kProtoTcp, 0, 2, 0);
    EXPECT_EQ(latest().kind, FlowKind::kNone);
  }
}

TEST(FlowTables, APeerIsSharedByThoseWhoAgreeOnTheEnd) {
  const auto t = std::move(FlowTables::create({})).value();
  const Endpoints e = flow(9, 53, 1);
  PortShare strangers = kReusePort;
  strangers.uid = 8;
  ASSERT_EQ(share(*t, 53, 1, kReusePort), Status::kOk);
  ASSERT_EQ(share(*t, 53, 2, kReusePort), Status::kOk);
  EXPECT_EQ(t->share(e, kProtoTcp, 0, 1, kReusePort), Status::kOk);
  EXPECT_EQ(t->share(e, kProtoTcp, 0, 7, strangers), Status::kInUse);
  EXPECT_EQ(t->share(e, kProtoTcp, 0, 7, kReuseAddr), Status::kInUse);
  unshare(*t, 53, 1);
  // One that has given its end back is no stranger there.
  t->unshare(e, kProtoTcp, 0, 1, 0);
  EXPECT_EQ(t->share(e, kProtoTcp, 0, 1, kReusePort), Status::kOk);
  t->unshare(e, kProtoTcp, 0, 1, 0);
  // A handshake is nobody's to share, and its own to give up.
  ASSERT_EQ(t->add(e, kProtoTcp, FlowKind::kHalfOpen, 0, 5), Status::kOk);
  EXPECT_EQ(t->share(e, kProtoTcp, 0, 1, kReusePort), Status::kInUse);
  t->unshare(e, kProtoTcp, 0, 1, 0);
  EXPECT_EQ(find(*t, e).conn, 5u);
  t->unshare(e, kProtoTcp, 0, 5, 0);
  EXPECT_EQ(find(*t, e).kind, FlowKind::kBound);
  // Beside who is bound alone there is no room.
  Endpoints alone = flow(0, 54, 0);
  ASSERT_EQ(t->bind(alone, kProtoTcp, false, 0, 3, 0), Status::kOk);
  EXPECT_EQ(t->share(flow(9, 54, 1), kProtoTcp, 0, 1, kReusePort), Status::kInUse);
}

// Lookups meet groups whose slots become another group's at the same moment.
TEST(FlowTables, AGroupThatGoesWhileItIsLookedUpIsNobodyElses) {
  const auto t = std::move(FlowTables::create({})).value();
  constexpr int kLeastTurns = 200;
  std::atomic<int> turns{0};
  const std::jthread changing([&](const std::stop_token& stop) {
    for (; !stop.stop_requested(); ++turns)
      for (const uint16_t port : {53, 54})
        for (int turn = 0; turn < 2; ++turn)
          for (ConnId c = 1; c <= 3; ++c) {
            const ConnId conn = port * 100u + c;
            if (turn == 0)
              (void)share(*t, port, conn, kReusePort);
            else
              unshare(*t, port, conn);
          }
  });
  for (int i = 0; i < 20'000 || turns < kLeastTurns; ++i) {
    const uint16_t port = i & 1 ? 53 : 54;
    const FlowMatch m = find(*t, flow(9, port, static_cast<uint16_t>(1 + i % 1000)));
    if (m.kind != FlowKind::kNone) {
      ASSERT_EQ(m.conn / 100, port);
    }
  }
}

}  // namespace
}  // namespace loom::session
