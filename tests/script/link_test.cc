// Connections of one link: link-local addresses, which a routing table cannot tell apart (RFC
// 4007), and sockets that have one interface alone (SocketOptions::interface). As Linux 6.18.
#include <gtest/gtest.h>

#include "tcp_script.h"

namespace loom::script {
namespace {

ScriptOptions on_link_local(IfIndex only = kNoIndex) {
  ScriptOptions o{.ip6 = true, .link_local = true};
  o.socket.interface = only;
  return o;
}

IfIndex link_of(TcpScript& s) {
  ConnectionInfo info;
  s.transport().info(s.host().worker, s.session().conn, info);
  return info.interface;
}

void expect_reset(TcpScript& s) {
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].has('R'));
}

TEST(TcpLink, AConnectLeavesByTheInterfaceThatIsNamed) {
  TcpScript s(on_link_local(4));
  s.on_link(4).app_connects().expect(syn());
  EXPECT_EQ(s.session().ends.local, stack_address(true, true));
  s.at(1000ms).expect(syn());  // once more
  s.inject(syn_ack().mss(1000)).expect(ack(1));
  EXPECT_EQ(link_of(s), 4u);
  s.app_writes(1000).expect(seg(1, 1001)).inject(ack(1001)).expect_silence();
  s.inject(seg(1, 501)).expect(ack(501)).app_reads(500);
  s.app_closes().expect(fin(1001));
}

TEST(TcpLink, WithoutOneThereIsNoWay) {
  TcpScript s(on_link_local());
  s.app_connects().expect_silence();
  EXPECT_EQ(s.connect_status, Status::kUnreachable);
  s.expect_all_gone();
}

TEST(TcpLink, TheSameAddressesOnAnotherLinkAreSomebodyElse) {
  TcpScript s(on_link_local(4));
  s.on_link(4).app_connects().expect(syn());
  s.on_link(5).inject(syn_ack());
  expect_reset(s);
  EXPECT_EQ(s.counter("tcp6-input/no-connection"), 1u);
  s.on_link(4).inject(syn_ack().mss(1000)).expect(ack(1));
  s.on_link(5).inject(seg(1, 101));
  expect_reset(s);
  EXPECT_EQ(s.session().rx, "");
  EXPECT_EQ(s.counter("tcp6-input/no-connection"), 2u);
}

TEST(TcpLink, WhoIsAcceptedAnswersByTheLinkThatHeCameBy) {
  TcpScript s = TcpScript::listening(on_link_local());
  s.at(0ms).on_link(3).inject(syn().mss(1000)).expect(syn_ack());
  s.at(1000ms).expect(syn_ack());  // its timer
  s.on_link(4).inject(ack(1));
  expect_reset(s);
  EXPECT_EQ(s.waiting(), 0u);
  s.on_link(3).inject(ack(1)).expect_silence().app_accepts();
  EXPECT_EQ(link_of(s), 3u);
  s.app_writes(10).expect(seg(1, 11)).inject(ack(11)).expect_silence();
  // Closed first here: TIME-WAIT answers by it, too.
  s.app_closes().expect(fin(11)).inject(fin(1).ack(12)).expect(ack(2));
  s.inject(fin(1).ack(12)).expect(ack(2));
  s.on_link(4).inject(fin(1).ack(12));
  expect_reset(s);
}

TEST(TcpLink, AListenerOfOneLinkHearsThatAlone) {
  TcpScript s = TcpScript::listening(on_link_local(3));
  s.on_link(4).inject(syn().mss(1000));
  expect_reset(s);
  EXPECT_EQ(s.counter("tcp6-listen/other-link"), 1u);
  s.on_link(3).from(5001).inject(syn().mss(1000)).expect(syn_ack());
}

// Another one on the port, that the lookup finds now.
SessionId listens_too(TcpScript& s, IfIndex only) {
  auto& l = s.sessions().add_listener(kStackPort);
  l.backlog = 16;
  l.interface = only;
  Endpoints ends;
  ends.local_port = kStackPort;
  EXPECT_EQ(s.transport().listen(s.host().worker, l.id, ends, {.interface = only}, &l.conn),
            Status::kOk);
  return l.id;
}

TEST(TcpLink, OfSeveralListenersTheOneThatHearsTheLinkIsAsked) {
  TcpScript s = TcpScript::listening(on_link_local(3));
  const SessionId found = listens_too(s, 4);
  s.on_link(3).inject(syn().mss(1000)).expect(syn_ack()).inject(ack(1));
  EXPECT_EQ(s.waiting(), 1u);
  s.on_link(4).from(5001).inject(syn().mss(1000)).expect(syn_ack()).inject(ack(1));
  EXPECT_EQ(s.waiting(), 1u);
  EXPECT_EQ(s.sessions().listener(found).accepted.size(), 1u);
  s.on_link(5).from(5002).inject(syn().mss(1000));
  expect_reset(s);
  EXPECT_EQ(s.counter("tcp6-listen/other-link"), 1u);
}

TEST(TcpLink, BehindATimeWaitTheListenerThatHearsTheLinkIsAsked) {
  TcpScript s = TcpScript::accepted({.ip6 = true});
  s.app_closes().expect(fin(1)).inject(fin(1).ack(2)).expect(ack(2));
  s.app_unlistens();
  const SessionId hears = listens_too(s, 3);
  listens_too(s, 4);
  s.on_link(3).inject(syn().at(1000));
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].flags, "S.");
  s.worker().half_open.for_each(
      [&](const tcp::HalfOpen& h) { EXPECT_EQ(h.listener, s.sessions().listener(hears).conn); });
}

TEST(TcpLink, AResetForNobodyLeavesByTheLinkOfTheSegment) {
  TcpScript s(on_link_local());
  s.on_link(7).inject(syn());
  expect_reset(s);
}

// Bound to a link-local address, and connected to another one.
TEST(TcpLink, TheInterfaceOfTheSocketComesBeforeTheRoutingTable) {
  ScriptOptions o{.ip6 = true};
  o.socket.interface = 4;
  TcpScript s = TcpScript::established(o);
  EXPECT_EQ(s.host().group_asked.interface, 4u);
  EXPECT_EQ(s.host().group_asked.to, peer_address(true));
  s.on_link(5).inject(seg(1, 101));
  expect_reset(s);
  s.on_link(4).inject(seg(1, 101));
  EXPECT_EQ(s.session().rx.size(), 100u);
  s.take_sent();
}

ScriptOptions on_one(IfIndex only) {
  ScriptOptions o{.ip6 = true};
  o.socket.interface = only;
  return o;
}

TEST(TcpLink, ATimeWaitAnswersByTheInterfaceOfTheSocket) {
  TcpScript s = TcpScript::established(on_one(4));
  s.app_closes().expect(fin(1)).inject(fin(1).ack(2)).expect(ack(2));
  s.inject(fin(1).ack(2)).expect(ack(2));
}

TEST(TcpLink, AHandshakeGoesByTheInterfaceOfTheListenerWhateverTheTableSaysNow) {
  TcpScript s = TcpScript::listening(on_one(4));
  s.at(0ms).inject(syn().mss(1000)).expect(syn_ack());
  ++s.host().route_generation;
  s.at(1000ms).expect(syn_ack());
  s.inject(ack(2));
  expect_reset(s);
}

// To this host itself: no adjacency, and still by that interface.
TEST(TcpLink, WhatIsForThisHostIsLookedUpOnItsLink) {
  TcpScript s(on_one(4));
  s.host().route.is_local = true;
  s.app_connects().host().run();
  ASSERT_EQ(s.host().captured.size(), 1u);
  EXPECT_EQ(s.host().captured[0].packet->adjacency, kNoIndex);
  EXPECT_EQ(s.host().captured[0].packet->tx_if, 4u);
  s.on_link(kNoIndex).expect(syn());
}

TEST(TcpLink, ASynByAnotherLinkFindsNoListenerBehindATimeWait) {
  TcpScript s = TcpScript::accepted({.ip6 = true});
  s.app_closes().expect(fin(1)).inject(fin(1).ack(2)).expect(ack(2));
  s.app_unlistens();
  auto& l = s.sessions().add_listener(kStackPort);
  l.backlog = 16;
  Endpoints ends;
  ends.local_port = kStackPort;
  ASSERT_EQ(s.transport().listen(s.host().worker, l.id, ends, {.interface = 3}, &l.conn),
            Status::kOk);
  s.on_link(4).inject(syn().at(1000)).expect(ack(2));  // TIME-WAIT alone hears it
  EXPECT_EQ(s.worker().time_waits.size(), 1u);
  s.on_link(3).inject(syn().at(1000));
  const auto sent = s.take_sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].flags, "S.");
  EXPECT_EQ(s.counter("tcp6-rcv-process/time-wait-reuse"), 1u);
}

// What a TIME-WAIT was bound to is nothing to who takes its place.
TEST(TcpLink, AListenerOfAnyLinkAcceptsOfAnyBehindATimeWaitOfOne) {
  TcpScript s = TcpScript::accepted(on_one(3));
  s.app_closes().expect(fin(1)).inject(fin(1).ack(2)).expect(ack(2));
  s.app_unlistens();
  auto& l = s.sessions().add_listener(kStackPort);
  Endpoints ends;
  ends.local_port = kStackPort;
  ASSERT_EQ(s.transport().listen(s.host().worker, l.id, ends, {}, &l.conn), Status::kOk);
  s.on_link(kNoIndex).inject(syn().at(1000));
  EXPECT_EQ(s.take_sent().size(), 1u);
  ASSERT_EQ(s.worker().half_open.size(), 1u);
  s.worker().half_open.for_each([](const tcp::HalfOpen& h) { EXPECT_EQ(h.ends.link, kNoIndex); });
}

}  // namespace
}  // namespace loom::script
