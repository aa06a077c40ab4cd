#include "session/flow_tables.h"

#include <hostloom/wire.h>

#include <gtest/gtest.h>

#include <set>

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
  t->del(e, kProtoTcp);
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
    ASSERT_EQ(t->open(e, kProtoTcp, 0, 1, counter), Status::kOk);
    EXPECT_TRUE(ports.insert(e.local_port).second);
    EXPECT_GE(e.local_port, 50000);
    EXPECT_LE(e.local_port, 50009);
  }
  Endpoints e = flow(2, 0, 80);
  EXPECT_EQ(t->open(e, kProtoTcp, 0, 1, counter), Status::kInUse);
  e = flow(3, 0, 80);  // another destination has ports of its own
  EXPECT_EQ(t->open(e, kProtoTcp, 0, 1, counter), Status::kOk);
}

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

}  // namespace
}  // namespace loom::session
