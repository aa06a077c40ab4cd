// Datagrams that are sent and received several at a time (sendmmsg, recvmmsg): one lock, and
// whoever reads them is woken once.
#include "datagram_bed.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

struct DatagramBatches : Datagrams {
  // As many datagrams as there are texts.
  struct Batch {
    std::vector<std::string> texts;
    std::vector<iovec> v;
    std::vector<DatagramSend> out;
    std::vector<DatagramReceive> in;
    explicit Batch(std::vector<std::string> t) : texts(std::move(t)), v(texts.size()) {
      for (size_t i = 0; i < v.size(); ++i) {
        v[i] = {texts[i].data(), texts[i].size()};
        out.push_back({{&v[i], 1}, {}});
        in.push_back({{&v[i], 1}});
      }
    }
    std::string got(size_t i) const { return texts[i].substr(0, static_cast<size_t>(in[i].n)); }
  };
  static Batch room_for(size_t n) {
    return Batch(std::vector<std::string>(n, std::string(100, '?')));
  }
};

TEST_F(DatagramBatches, AllAreSentInOrderWhateverTheirDestinations) {
  ASSERT_EQ(s->connect(end(9)), 0);
  Batch b({"one", "", "three"});
  const svm::Endpoint other = end(10);
  b.out[1].out.to = &other;
  b.out[2].out.tos = 0x20;
  b.out[2].out.interface = 4;
  EXPECT_EQ(s->send_datagrams(b.out, 0), 3);
  const auto all = sent(3);
  EXPECT_EQ(all[0].second, "one");
  EXPECT_EQ(all[0].first.flags, 0);
  EXPECT_EQ(all[1].second, "");
  EXPECT_EQ(all[1].first.remote_port, htons(10));
  EXPECT_EQ(all[2].second, "three");
  EXPECT_EQ(all[2].first.tos, 0x20);
  // The interface with the destination, which is the peer.
  EXPECT_EQ(all[2].first.flags, kDatagramRemote | kDatagramTos | kDatagramInterface);
  EXPECT_EQ(all[2].first.interface, 3u);
  EXPECT_EQ(all[2].first.remote_port, htons(9));
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(b.out[i].length, b.texts[i].size());
}

TEST_F(DatagramBatches, TheDaemonIsToldOnceForEach) {
  ASSERT_EQ(s->connect(end(9)), 0);
  Batch b(std::vector<std::string>(32, "x"));
  // It looks, finds nothing more and asks to be told, as often as it can.
  constexpr uint64_t kTimes = 300;
  const uint64_t before = daemon->events(svm::ToDaemon::kTx);
  for (uint64_t i = 0; i < kTimes; ++i) {
    ASSERT_EQ(s->send_datagrams(b.out, 0), 32);
    (void)sent(32);  // all have been read
  }
  EXPECT_LE(daemon->events(svm::ToDaemon::kTx) - before, kTimes);
  EXPECT_GT(daemon->events(svm::ToDaemon::kTx), before);
}

TEST_F(DatagramBatches, OneThatCannotBeSentEndsTheCallBeforeIt) {
  ASSERT_EQ(s->connect(end(9)), 0);
  Batch b({"one", "two", std::string(65'528, 'x'), "four"});
  EXPECT_EQ(s->send_datagrams(b.out, 0), 2);
  EXPECT_EQ(s->send_datagrams(std::span(b.out).subspan(2), 0), -EMSGSIZE);
  EXPECT_EQ(s->send_datagrams(std::span(b.out).subspan(3), 0), 1);
  // What only the attempt finds out, too.
  svm::Endpoint nobody = end(0);
  b.out[2] = b.out[1];
  b.out[1].out.to = &nobody;
  EXPECT_EQ(s->send_datagrams(b.out, 0), 1);
  EXPECT_EQ(s->send_datagrams(std::span(b.out).subspan(1), 0), -EINVAL);
  const auto all = sent(4);
  for (size_t i = 0; i < 4; ++i)
    EXPECT_EQ(all[i].second, (std::vector<std::string>{"one", "two", "four", "one"})[i]);
}

TEST_F(DatagramBatches, AnErrorOfEarlierOnesIsToldByACallThatSendsNone) {
  ASSERT_EQ(s->connect(end(9)), 0);
  Batch b({"one", "two"});
  inject_error(ECONNREFUSED);
  EXPECT_EQ(s->send_datagrams(b.out, 0), -ECONNREFUSED);
  EXPECT_EQ(s->send_datagrams(b.out, 0), 2);
}

TEST_F(DatagramBatches, WhatThereIsRoomForIsSentAndABlockingCallWaitsForTheRest) {
  ASSERT_EQ(s->connect(end(9)), 0);
  Batch b(std::vector<std::string>(8, std::string(60'000, 'x')));
  int n = 0;
  daemon->run([&] {  // it takes what comes: it has to stand still for the fifo to fill
    n = s->send_datagrams(b.out, 0);
    EXPECT_GT(n, 0);
    EXPECT_LT(n, 8);
    EXPECT_EQ(s->send_datagrams(b.out, 0), -EAGAIN);
  });
  s->set_nonblocking(false);
  EXPECT_EQ(s->send_datagrams(b.out, 0), 8);
  EXPECT_EQ(sent(static_cast<size_t>(n) + 8).size(), static_cast<size_t>(n) + 8);
}

TEST_F(DatagramBatches, WhatIsThereIsReceivedAtOnce) {
  bind();
  inject("one", 7);
  inject("", 8);
  inject("three", 9);
  Batch b = room_for(5);
  b.v[2].iov_len = 2;
  ASSERT_EQ(s->receive_datagrams(b.in, 0), 3);
  EXPECT_EQ(b.got(0), "one");
  EXPECT_EQ(b.got(1), "");
  EXPECT_EQ(b.got(2), "th");
  EXPECT_TRUE(b.in[2].in.is_truncated);
  for (uint16_t i = 0; i < 3; ++i)
    EXPECT_EQ(b.in[i].in.from().port, htons(static_cast<uint16_t>(7 + i)));
  EXPECT_EQ(s->receive_datagrams(b.in, 0), -EAGAIN);
  inject("x");
  EXPECT_EQ(s->receive_datagrams(b.in, MSG_PEEK), 5);  // the same one, as Linux does
  EXPECT_EQ(s->receive_datagrams(b.in, 0), 1);
}

TEST_F(DatagramBatches, AnErrorAmongThemIsTheNextCalls) {
  ASSERT_EQ(s->connect(end(9)), 0);
  inject("one");
  inject_error(ECONNREFUSED);
  inject("two");
  Batch b = room_for(5);
  EXPECT_EQ(s->receive_datagrams(b.in, 0), 1);
  EXPECT_EQ(s->receive_datagrams(b.in, 0), -ECONNREFUSED);
  EXPECT_EQ(s->receive_datagrams(b.in, 0), 1);
  EXPECT_EQ(b.got(0), "two");
}

}  // namespace
}  // namespace loom::vcl
