// Datagram sessions that are linked with one of another application. The other end is the test,
// which is honest, or writes what it likes.
#include <cstring>
#include <random>
#include <thread>

#include "links_bed.h"
#include "vcl/multi_wait.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

// As long as it lives the daemon does nothing.
class Standstill {
 public:
  explicit Standstill(FakeDaemon& daemon)
      : thread_([this, &daemon] {
          daemon.run([this] {
            stands_ = true;
            while (!is_over_) std::this_thread::yield();
          });
        }) {
    while (!stands_) std::this_thread::yield();
  }
  ~Standstill() {
    is_over_ = true;
    thread_.join();
  }
  Standstill(const Standstill&) = delete;
  Standstill& operator=(const Standstill&) = delete;

 private:
  std::atomic<bool> stands_{false}, is_over_{false};
  std::thread thread_;
};

// However busy the machine is.
struct PatientLinks : DatagramLinks {
  PatientLinks() { DatagramLink::patience = 3600 * kSecond; }
  ~PatientLinks() override { DatagramLink::patience = before; }
  const TimeNs before = DatagramLink::patience;
};

TEST_F(DatagramLinks, WhatIsSentToThePeerGoesByTheLink) {
  Session& s = connect();
  for (const size_t n : {0, 1, 1400, 60'000}) {
    ASSERT_EQ(send(s, std::string(n, 'x')), static_cast<ssize_t>(n));
    const auto all = pair().sent();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_EQ(all[0].second, std::string(n, 'x'));
    EXPECT_EQ(all[0].first.ttl, 64);
  }
  const svm::Endpoint to = end(FakeDaemon::kPeer), other = end(9), source = end(0, 2),
                      another = end(0, 3);
  DatagramOut out;
  out.to = &to;
  out.source = &source;
  out.tos = 0x28;
  out.ttl = 3;
  EXPECT_EQ(send(s, "named", out), 5);
  const auto named = pair().sent();
  ASSERT_EQ(named.size(), 1u);
  EXPECT_EQ(named[0].first.tos, 0x28);
  EXPECT_EQ(named[0].first.ttl, 3);
  // To somebody else, or from another address: by the transport.
  out.source = &another;
  EXPECT_EQ(send(s, "from elsewhere", out), 14);
  out = {};
  out.to = &other;
  EXPECT_EQ(send(s, "elsewhere", out), 9);
  EXPECT_TRUE(pair().sent().empty());
}

// Whoever the link leads to, it is on no link of that interface.
TEST_F(DatagramLinks, WhoHasOneInterfaceAloneSendsByTheTransport) {
  Session& s = connect();
  EXPECT_EQ(send(s, "anywhere"), 8);
  EXPECT_EQ(pair().sent().size(), 1u);
  s.change_options([](svm::SocketOptions& o) { o.interface = 5; });
  EXPECT_EQ(send(s, "scoped"), 6);
  EXPECT_TRUE(pair().sent().empty());
}

TEST_F(DatagramLinks, SegmentsAreDatagrams) {
  Session& s = connect();
  DatagramOut out;
  out.gso_size = 3;
  EXPECT_EQ(send(s, "onetwo!", out), 7);
  const auto all = pair().sent();
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(all[0].second + "," + all[1].second + "," + all[2].second, "one,two,!");
}

TEST_F(DatagramLinks, AddressesAreTheDaemonsWhateverThePeerSays) {
  Session& s = connect();
  DatagramHeader lies;
  std::memset(&lies, 0xff, sizeof lies);
  lies.length = 5;
  pair().send_datagram(lies, "hello");
  const Got g = receive(s);
  EXPECT_EQ(g.bytes, "hello");
  EXPECT_EQ(g.in.header.is_ip4, 1);
  EXPECT_EQ(g.in.from().port, htons(FakeDaemon::kPeer));
  EXPECT_EQ(g.in.from().ip[0], 10);
  EXPECT_EQ(g.in.header.local_port, htons(4000));
  EXPECT_EQ(g.in.header.flags, svm::kDatagramKnownFlags);
  EXPECT_EQ(g.in.header.error, 0);
  EXPECT_EQ(g.in.header.interface, kNoIndex) << "as of what comes by the transport from this host";
  EXPECT_EQ(g.in.header.tos, 0xff);
}

TEST_F(DatagramLinks, BoundariesPeekTruncationAndLength) {
  Session& s = connect();
  pair().send_datagram("");
  pair().send_datagram("0123456789");
  EXPECT_EQ(s.unread(), 0u);
  EXPECT_EQ(receive(s).n, 0);
  EXPECT_EQ(s.unread(), 10u);
  EXPECT_EQ(receive(s, MSG_PEEK, 4).bytes, "0123");
  const Got cut = receive(s, MSG_TRUNC, 4);
  EXPECT_EQ(cut.n, 10);
  EXPECT_TRUE(cut.in.is_truncated);
  EXPECT_EQ(receive(s).n, -EAGAIN);
}

TEST_F(DatagramLinks, ReadingTakesTurns) {
  Session& s = connect();
  pair().send_datagram("before");
  EXPECT_EQ(receive(s).bytes, "before");
  for (int i = 0; i < 3; ++i) {
    pair().send_datagram("l" + std::to_string(i));
    inject("t" + std::to_string(i));
  }
  std::string order;
  for (int i = 0; i < 6; ++i) order += receive(s).bytes[0];
  EXPECT_TRUE(order == "tltltl" || order == "ltltlt") << order;
}

// One sender's datagrams stay in order where it goes over to the link.
TEST_F(DatagramLinks, WhatHasComeByTheTransportBeforeIsReadFirst) {
  Session& s = connect();
  for (int i = 0; i < 3; ++i) inject("t" + std::to_string(i));
  for (int i = 0; i < 3; ++i) pair().send_datagram("l" + std::to_string(i));
  EXPECT_EQ(receive(s).bytes, "t0");
  EXPECT_EQ(receive(s).bytes, "t1");
  inject("newer");
  EXPECT_EQ(receive(s).bytes, "t2");
  std::string rest;
  for (int i = 0; i < 4; ++i) rest += receive(s).bytes + " ";
  EXPECT_EQ(rest, "l0 newer l1 l2 ");
}

TEST_F(DatagramLinks, AndWhatTheLinkStillHasWhenItHasEnded) {
  Session& s = connect();
  pair().send_datagram("first");
  EXPECT_EQ(receive(s).bytes, "first");
  for (int i = 0; i < 3; ++i) pair().send_datagram("l" + std::to_string(i));
  pair().end_link(1);
  for (int i = 0; i < 2; ++i) inject("t" + std::to_string(i));
  std::string all;
  for (int i = 0; i < 5; ++i) all += receive(s).bytes + " ";
  EXPECT_EQ(all, "l0 l1 l2 t0 t1 ");
}

TEST_F(PatientLinks, WhatIsOnItsWayByTheTransportGoesOnThere) {
  Session& s = connect();
  auto& p = pair();
  p.set_link(1, svm::kLinkFree);
  {
    const Standstill busy(*daemon);
    EXPECT_EQ(send(s, "one"), 3);
    p.set_link(2, svm::kLinkOpen);
    EXPECT_EQ(send(s, "two"), 3);
    EXPECT_TRUE(p.sent().empty()) << "it would overtake";
  }
  for (size_t n = 0; n < 2 * sizeof(DatagramHeader) + 6;) n += daemon->sent(0).size();
  EXPECT_EQ(send(s, "three"), 5);
  EXPECT_EQ(pair().sent().size(), 1u);
  EXPECT_EQ(send(s, "four"), 4);
  EXPECT_EQ(pair().sent().size(), 1u);
}

// Who never lets it run empty does not wait for ever.
TEST_F(PatientLinks, OrOvertakesItInTheEnd) {
  DatagramLink::patience = 0;
  Session& s = connect();
  auto& p = pair();
  p.set_link(1, svm::kLinkFree);
  const Standstill busy(*daemon);
  EXPECT_EQ(send(s, "one"), 3);
  p.set_link(2, svm::kLinkOpen);
  EXPECT_EQ(send(s, "two"), 3);
  EXPECT_EQ(p.sent().size(), 1u);
}

TEST_F(DatagramLinks, WhatThePeerHasNoRoomForIsDroppedAndCounted) {
  Session& s = connect();
  const std::string block(30'000, 'b');
  for (int i = 0; i < 5; ++i) ASSERT_EQ(send(s, block), 30'000);  // nobody waits
  EXPECT_EQ(pair().sent().size(), 2u);
  EXPECT_EQ(pair().shared->ends[0].dropped.load(), 3u);
  EXPECT_EQ(send(s, "small"), 5);
  EXPECT_EQ(pair().sent().size(), 1u);
  EXPECT_NE(s.poll(POLLOUT, false) & POLLOUT, 0u);
}

// Of one that is cut, nothing comes behind a hole.
TEST_F(DatagramLinks, SegmentsBehindOneThatIsDroppedAreDropped) {
  Session& s = connect();
  const std::string block(30'000, 'b');
  for (int i = 0; i < 2; ++i) ASSERT_EQ(send(s, block), 30'000);
  DatagramOut out;
  daemon->set_path_mtu(65'535);  // of a host to itself
  out.gso_size = 5'400;          // for which there is no more room; for the rest behind it there is
  EXPECT_EQ(send(s, std::string(5'410, 's'), out), 5'410);
  EXPECT_EQ(pair().shared->ends[0].dropped.load(), 2u);
  EXPECT_EQ(pair().sent().size(), 2u);
  EXPECT_EQ(send(s, ""), 0);
  EXPECT_EQ(pair().sent().size(), 1u);
}

// Two clients that share an address, say: each gets the answers to its own questions.
TEST_F(DatagramLinks, AnAnswerGoesWhereTheQuestionCameFrom) {
  Session& s = connect();
  (void)connect();
  auto &one = pair(0), &two = pair(1);
  svm::DatagramLinkSlot &first = one.slot(), &second = svm::link_slots(*one.links)[1];
  second.end = 0;
  second.block = two.slot().block;
  second.bell = two.slot().bell;
  second.bell_bit = FakeDaemon::Pair::kBit + 1;
  second.rx_size = second.tx_size = FakeDaemon::Pair::kFifo;
  second.local = first.local;
  second.remote = first.remote;
  second.word.store(svm::link_word(1, svm::kLinkOpen));
  one.links->version.fetch_add(1);
  for (const int i : {0, 1, 1, 0, 0, 1, 0, 1}) {
    (i ? two : one).send_datagram("question");
    EXPECT_EQ(receive(s).bytes, "question");
    EXPECT_EQ(s.unread(), 0u);
    EXPECT_EQ(send(s, "answer"), 6);
    EXPECT_EQ((i ? two : one).sent().size(), 1u);
    EXPECT_EQ((i ? one : two).sent().size(), 0u);
  }
}

TEST_F(DatagramLinks, ASleeperIsRung) {
  Session& s = connect();
  s.set_nonblocking(false);
  for (int i = 0; i < 3; ++i) {
    before_sleep = [&] {
      before_sleep = nullptr;
      pair().send_datagram("wake");
    };
    EXPECT_EQ(receive(s).bytes, "wake");
  }
  before_sleep = [&] {
    before_sleep = nullptr;
    inject("by the transport");
  };
  EXPECT_EQ(receive(s).bytes, "by the transport");
}

TEST_F(DatagramLinks, LevelAndEdge) {
  Session& s = connect();
  EXPECT_EQ(s.poll(POLLIN, false), 0u);
  pair().send_datagram("one");
  EXPECT_EQ(s.poll(POLLIN, false), static_cast<uint32_t>(POLLIN));
  EXPECT_EQ(s.poll(POLLIN, true), static_cast<uint32_t>(POLLIN));  // and armed for the next
  EXPECT_EQ(pair().to_app().consumer.armed.load(), 1u);
  pair().send_datagram("two");
  EXPECT_EQ(pair().to_app().consumer.armed.load(), 0u);
  EXPECT_EQ(receive(s).bytes, "one");
  EXPECT_EQ(receive(s).bytes, "two");
  EXPECT_EQ(s.poll(POLLIN, false), 0u);
}

TEST_F(DatagramLinks, AnEndedLinkIsReadToItsEndAndLeft) {
  Session& s = connect();
  pair().send_datagram("one");
  pair().send_datagram("two");
  pair().end_link(1);
  EXPECT_EQ(send(s, "by the transport now"), 20);
  pair().send_datagram("too late");
  EXPECT_EQ(receive(s).bytes, "one");
  EXPECT_EQ(daemon->events(svm::ToDaemon::kLinkDone), 0u);
  EXPECT_EQ(receive(s).bytes, "two");
  EXPECT_EQ(receive(s).n, -EAGAIN);
  EXPECT_TRUE(pair().sent().empty());
  (void)daemon->n_sessions();  // it has heard all by then
  while (daemon->events(svm::ToDaemon::kLinkDone) == 0) std::this_thread::yield();
  // The same slot under its old serial is not taken up again; another one is.
  pair().end_link(1);
  EXPECT_EQ(receive(s).n, -EAGAIN);
  pair().set_link(2, svm::kLinkOpen);
  EXPECT_EQ(receive(s).bytes, "too late");
}

// The other end has not heard of it yet, and writes meanwhile.
TEST_F(PatientLinks, WhatIsWrittenWhileALinkEndsIsRead) {
  Session& s = connect();
  pair().send_datagram("one");
  pair().set_link(1, svm::kLinkEnded);
  EXPECT_EQ(receive(s).bytes, "one");
  EXPECT_EQ(pair().shared->ends[0].stopped.load(), 1u) << "it writes no more itself";
  pair().send_datagram("two");
  EXPECT_EQ(receive(s).bytes, "two");
  s.set_nonblocking(false);
  before_sleep = [&] {
    before_sleep = nullptr;
    pair().send_datagram("three");
    pair().shared->ends[1].stopped.store(1);
  };
  EXPECT_EQ(receive(s).bytes, "three");
  s.set_nonblocking(true);
  pair().send_datagram("a lie");
  EXPECT_EQ(receive(s).n, -EAGAIN);
  while (daemon->events(svm::ToDaemon::kLinkDone) == 0) std::this_thread::yield();
}

TEST_F(DatagramLinks, WhoNeverSaysThatItHasStoppedIsNotWaitedForLong) {
  Session& s = connect();
  pair().set_link(1, svm::kLinkEnded);
  uint64_t n = 0;
  do {
    pair().send_datagram("more");
    n += receive(s).n == 4;
  } while (daemon->events(svm::ToDaemon::kLinkDone) == 0);
  EXPECT_GT(n, 0u);
  EXPECT_EQ(receive(s).n, -EAGAIN);
}

// Ends at any moment, with a thread that writes at the other end as an application does: look
// whether there is a link, write; what it has been told was sent is received.
TEST_F(PatientLinks, NothingIsLostWhileLinksEnd) {
  Session& s = connect();
  auto& p = pair();
  std::atomic<uint32_t> open{1}, n_sent{0}, n_received{0};
  std::atomic<bool> ends{false};
  std::thread peer([&] {
    uint32_t stopped = 0;
    while (!ends) {
      const uint32_t serial = open.load();
      std::this_thread::yield();
      if (serial == 0 || serial == stopped) continue;
      if (p.slot().word.load() == svm::link_word(serial, svm::kLinkOpen)) {
        if (n_sent - n_received >= 100) continue;  // there is room
        std::this_thread::yield();                 // here the daemon may end it
        ++n_sent;
        p.send_datagram("x");
      } else {
        p.shared->ends[1].stopped.store(1);
        stopped = serial;
      }
    }
  });
  for (uint32_t serial = 1; serial <= 100; ++serial) {
    const uint32_t until = n_received + 1 + serial % 7;
    while (n_received < until) n_received += receive(s).n == 1;
    p.set_link(serial, svm::kLinkEnded);
    while (daemon->events(svm::ToDaemon::kLinkDone) < serial) n_received += receive(s).n == 1;
    EXPECT_EQ(n_received.load(), n_sent.load()) << serial;
    open = 0;
    p.shared->ends[0].stopped = p.shared->ends[1].stopped = 0;
    p.set_link(serial + 1, svm::kLinkOpen);
    open = serial + 1;
  }
  ends = true;
  peer.join();
}

TEST_F(DatagramLinks, ALinkThatComesLaterWakesAReader) {
  Session& s = connect();
  pair().set_link(1, svm::kLinkFree);
  EXPECT_EQ(receive(s).n, -EAGAIN);
  s.set_nonblocking(false);
  before_sleep = [&] {
    before_sleep = nullptr;
    pair().send_datagram("first");  // nobody hears the bell yet
    pair().set_link(3, svm::kLinkOpen);
    daemon->tell(0, svm::ToApp::kRx);
  };
  EXPECT_EQ(receive(s).bytes, "first");
}

// Who waits for something that is always there never gets to the events.
TEST_F(DatagramLinks, ALinkThatComesLaterIsSeenWithoutAnEvent) {
  Session& s = connect();
  pair().set_link(1, svm::kLinkFree);
  EXPECT_EQ(receive(s).n, -EAGAIN);
  pair().send_datagram("first");
  pair().set_link(3, svm::kLinkOpen);
  WaitEntry entry{&s, POLLIN, 0};
  EXPECT_EQ(wait_many(*worker, {&entry, 1}, nullptr, 0, 0, nullptr), 1);
  EXPECT_EQ(receive(s).bytes, "first");
}

}  // namespace
}  // namespace loom::vcl
