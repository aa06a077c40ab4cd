// Links that come of sending: between sessions without peers, and where the peer came later.
#include "tests/unit/core/session/datagram_links_bed.h"

namespace loom::test {
namespace {

using namespace links;
using session::RuleScope;
using session::WantedLinks;

struct WantedLinksTest : DatagramLinksTest {
  static std::string datagram(const svm::Endpoint* to, uint8_t flags = 0) {
    DatagramHeader h{};
    h.length = 2;
    h.is_ip4 = 1;
    h.flags = flags;
    if (to) {
      h.flags |= kDatagramRemote;
      h.remote_port = to->port;
      std::memcpy(h.remote_ip, to->ip, sizeof h.remote_ip);
    }
    if (flags & kDatagramLocal) h.local_ip[0] = h.local_ip[3] = 10;
    return std::string(reinterpret_cast<const char*>(&h), sizeof h) + "hi";
  }
  // By its transport: to somebody, or to the peer.
  static void send(Socket& s, const svm::Endpoint* to, uint8_t flags = 0) {
    s.app->write(*s.own, datagram(to, flags));
  }
  static void send(Socket& s, svm::Endpoint to) { send(s, &to); }
  void pass(TimeNs time) { bed.pump(time); }
};

TEST_F(WantedLinksTest, WhoSendsTwiceWithoutAPeerIsLinkedWithWhomItSendsTo) {
  Socket s = bind(server, 53), c = bind(client, 60, 2);
  send(c, at(1, 53));
  EXPECT_EQ(c.table(), nullptr) << "one question is not worth it";
  send(c, at(1, 53));
  ASSERT_EQ(c.count(svm::kLinkOpen), 1u);
  ASSERT_EQ(s.count(svm::kLinkOpen), 1u);
  const svm::Endpoint called = at(1, 53), caller = at(2, 60);
  EXPECT_EQ(std::memcmp(&c.slot().remote, &called, sizeof called), 0);
  EXPECT_EQ(std::memcmp(&c.slot().local, &caller, sizeof caller), 0);
  EXPECT_EQ(std::memcmp(&s.slot().remote, &caller, sizeof caller), 0);
  EXPECT_EQ(std::memcmp(&s.slot().local, &called, sizeof called), 0);
  EXPECT_EQ(c.table()->capacity, svm::kMaxDatagramLinks);
  Link from = map(c), to = map(s);
  from.send("question");
  EXPECT_EQ(to.take(), "question");
  to.send("answer");
  EXPECT_EQ(from.take(), "answer");
  EXPECT_EQ(transport.sent.size(), 2u);
  // There is no second one, whoever sends by its transport.
  for (int i = 0; i < 3; ++i) {
    pass(WantedLinks::kLookAgain);
    send(c, at(1, 53));
    send(s, at(2, 60));
  }
  EXPECT_EQ(links(), 1u);
  client.close(*c.own);
  done(s);
  server.close(*s.own);
  expect_nothing_left();
}

// The one that answers may be the first to ask for it.
TEST_F(WantedLinksTest, AnAddressThatIsNotBoundIsTheOneThatItIsSentFrom) {
  Socket s = bind(server, 53), c = bind(client, 60);
  for (int i = 0; i < 2; ++i) send(s, at(7, 60));
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  const svm::Endpoint host = at(7, 53);  // kDatagramNet's
  EXPECT_EQ(std::memcmp(&s.slot().local, &host, sizeof host), 0);
}

TEST_F(WantedLinksTest, APeerThatIsBoundAfterTheConnectIsLinked) {
  Socket c = connect(client, 53);
  EXPECT_EQ(c.table(), nullptr);
  for (int i = 0; i < 3; ++i) send(c, nullptr);
  EXPECT_EQ(c.table(), nullptr);
  Socket s = bind(server, 53);
  forget_events(client);
  send(c, nullptr);
  EXPECT_EQ(c.table(), nullptr) << "it has just been looked for";
  pass(WantedLinks::kLookAgain);
  send(c, nullptr);
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(s.count(svm::kLinkOpen), 1u);
}

TEST_F(WantedLinksTest, NobodyIsLinkedWhoHasOneInterfaceAlone) {
  Socket s = bind(server, 53), c = bind(client, 60, 2), d = bind(client, 61, 2);
  set_interface(c, 4);
  for (int i = 0; i < 3; ++i) send(c, at(1, 53));
  for (int i = 0; i < 3; ++i) send(s, at(2, 60));
  EXPECT_EQ(links(), 0u);
  for (int i = 0; i < 3; ++i) send(d, at(1, 53));
  EXPECT_EQ(links(), 1u);
}

TEST_F(WantedLinksTest, NobodyIsLinkedWhoWouldNotHearTheAnswer) {
  Socket s = bind(server, 53), t = bind(server, 54), c = connect(client, 54);
  ASSERT_EQ(c.count(svm::kLinkOpen), 1u);
  for (int i = 0; i < 3; ++i) send(c, at(1, 53));  // its peer is another
  EXPECT_EQ(links(), 1u);
  Socket d = bind(client, 61, 2);
  for (int i = 0; i < 3; ++i) send(d, at(1, 55));  // nobody there
  const svm::Endpoint to = at(1, 53);
  for (int i = 0; i < 3; ++i) send(d, &to, kDatagramLocal);  // from an address of its choice
  svm::Endpoint foreign = at(1, 53);
  foreign.ip[0] = 192;
  for (int i = 0; i < 3; ++i) send(d, foreign);
  // The server's peer is another.
  ASSERT_EQ(set_peer(t, c.local), Status::kOk);
  TestApp outside(bed, named("outside", svm::kScopeGlobalOnly));
  Socket o = bind(outside, 62, 2);
  for (int i = 0; i < 3; ++i) send(o, at(1, 53));
  EXPECT_EQ(links(), 1u);
}

TEST_F(WantedLinksTest, NobodyIsLinkedWhoseAnswersAreAnothers) {
  Socket other = open(client, at(7, 61), at(1, 53));
  Socket s = bind(server, 53), c = bind(client, 61);
  for (int i = 0; i < 3; ++i) send(c, at(1, 53));  // from 10.0.0.7, too
  EXPECT_EQ(transport.sent.size(), 3u);
  EXPECT_EQ(links(), 0u);
  send(other, nullptr);
  send(other, nullptr);
  EXPECT_EQ(other.count(svm::kLinkOpen), 1u);
}

TEST_F(WantedLinksTest, ARuleAgainstEitherWayKeepsAllOnTheTransport) {
  Socket s = bind(server, 53), c = bind(client, 60, 2);
  const session::RuleSpec against = rule(RuleScope::kLocal, 53);
  ASSERT_TRUE(filters().add(against));
  for (int i = 0; i < 2; ++i) send(c, at(1, 53));
  EXPECT_EQ(links(), 0u);
  ASSERT_TRUE(filters().del(against));
  pass(WantedLinks::kLookAgain);
  send(c, at(1, 53));
  EXPECT_EQ(links(), 1u);
}

// Nor is the memory made that the two would share.
TEST_F(WantedLinksTest, WhatIsDeniedOnItsWayInGetsNoLinkBySending) {
  Socket s = bind(server, 53), c = bind(client, 60, 2), d = bind(client, 61, 3);
  const session::DenyEntry denied{.prefix = *IpPrefix::parse("10.0.0.2/32")};
  ASSERT_TRUE(filters().add_sources(0, {&denied, 1}));
  for (int i = 0; i < 3; ++i) send(c, at(1, 53));
  EXPECT_TRUE(bed.layer->impl().pairs.empty());
  ASSERT_TRUE(filters().add(rule(RuleScope::kGlobal, 0)));
  for (int i = 0; i < 3; ++i) send(d, at(1, 53));
  EXPECT_TRUE(bed.layer->impl().pairs.empty());
  ASSERT_TRUE(filters().del(rule(RuleScope::kGlobal, 0)));
  pass(WantedLinks::kLookAgain);
  send(d, at(1, 53));
  EXPECT_EQ(d.count(svm::kLinkOpen), 1u) << "that of another source is left";
  EXPECT_EQ(links(), 1u);
}

TEST_F(WantedLinksTest, LinksThatNobodyUsesMakeRoomForOthers) {
  Socket s = bind(server, 53);
  std::vector<Socket> clients;
  for (uint32_t i = 0; i < svm::kMaxDatagramLinks; ++i) {
    clients.push_back(connect(client, 53));
    forget_events(client);
  }
  Link used = map(clients[3]);
  Socket late = bind(client, 60, 2);
  const auto ask = [&] {
    pass(kSecond);
    send(late, at(1, 53));
  };
  send(late, at(1, 53));
  ask();  // from now on it is known who sends
  EXPECT_EQ(s.count(svm::kLinkOpen), svm::kMaxDatagramLinks);
  send(s, at(2, 60));
  pass(WantedLinks::kLookAgain);
  send(s, at(2, 60));
  EXPECT_EQ(late.table(), nullptr) << "nobody has a table who has no link";
  used.send("still here");
  ask();
  EXPECT_EQ(s.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(clients[3].count(svm::kLinkOpen), 1u);
  EXPECT_EQ(late.count(svm::kLinkOpen), 0u) << "the server has not let go yet";
  done(s, 0);
  ask();
  EXPECT_EQ(late.count(svm::kLinkOpen), 1u);
  EXPECT_EQ(s.count(svm::kLinkOpen), 2u);
}

TEST_F(WantedLinksTest, AllToWhomIsSentInARoundAreLinkedInTime) {
  Socket s = bind(server, 53);
  std::vector<Socket> clients;
  std::string round;
  for (uint16_t i = 0; i < 8; ++i) {
    clients.push_back(bind(client, 60 + i, 2));
    forget_events(client);
    const svm::Endpoint to = at(2, 60 + i);
    round += datagram(&to) + datagram(&to);
  }
  const svm::Endpoint last = at(9, 99);  // who is nobody's, and always the last
  round += datagram(&last);
  for (int i = 0; i < 40; ++i) server.write(*s.own, round);
  for (const Socket& c : clients) EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
}

TEST_F(WantedLinksTest, WhoSendsEverywhereDoesNotMakeOthersForgotten) {
  TestApp loud(bed, named("loud"));
  Socket s = bind(server, 53), c = bind(client, 60, 2), l = bind(loud, 61, 2);
  send(c, at(1, 53));
  for (uint16_t port = 1000; port < 3000; ++port) send(l, at(3, port));
  send(c, at(1, 53));
  EXPECT_EQ(c.count(svm::kLinkOpen), 1u);
}

// More of them than there are places, in turn: some are remembered.
TEST(WantedLinks, OfManyInTurnSomeAreRemembered) {
  session::WantedLinks wanted;
  constexpr uint64_t kMany = 2 * WantedLinks::kPlaces * WantedLinks::kSets;
  EXPECT_FALSE(wanted.note(1, 0));
  EXPECT_TRUE(wanted.note(1, 0));
  EXPECT_FALSE(wanted.note(1, WantedLinks::kLookAgain - 1));
  EXPECT_TRUE(wanted.note(1, WantedLinks::kLookAgain));
  uint64_t found = 0;
  for (int round = 0; round < 4; ++round)
    for (uint64_t i = 0; i < kMany; ++i) found += wanted.note(2 * i + 3, 0);
  EXPECT_GT(found, kMany / 8);
}

// It is each link's own second: who looks for the other end's sake does not shorten it.
TEST_F(WantedLinksTest, ALinkIsIdleForASecondWhoeverLooks) {
  Socket s = bind(server, 53), t = bind(server, 54, 1);
  for (int i = 0; i < 2; ++i) send(s, at(1, 54));
  ASSERT_EQ(s.count(svm::kLinkOpen), 1u);  // in the tables of both
  std::vector<Socket> clients;
  for (uint32_t i = 1; i < svm::kMaxDatagramLinks; ++i)
    for (const uint16_t port : {53, 54}) {
      clients.push_back(connect(client, port));
      forget_events(client);
    }
  Socket late = bind(client, 60, 2);
  send(late, at(1, 53));
  send(late, at(1, 54));
  pass(kSecond / 2);
  send(late, at(1, 53));
  pass(kSecond / 2);
  send(late, at(1, 54));
  EXPECT_EQ(s.count(svm::kLinkOpen), svm::kMaxDatagramLinks);
  EXPECT_EQ(t.count(svm::kLinkOpen), svm::kMaxDatagramLinks) << "half a second after the other";
  pass(kSecond / 2);
  send(late, at(1, 53));
  EXPECT_EQ(s.count(svm::kLinkOpen), 0u);
}

}  // namespace
}  // namespace loom::test
