// Datagrams that several calls put together: MSG_MORE, UDP_CORK. As Linux 6.18, by running it.
#include "datagram_bed.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

struct DatagramCorks : Datagrams {
  ssize_t more(std::string text, const DatagramOut& out = {}) { return put(text, MSG_MORE, out); }
  ssize_t last(std::string text, const DatagramOut& out = {}) { return put(text, 0, out); }
  ssize_t put(std::string& text, int flags, const DatagramOut& out) {
    const iovec v{text.data(), text.size()};
    return s->send_datagram({&v, 1}, flags, out);
  }
};

TEST_F(DatagramCorks, TheFirstCallWithoutMsgMoreSendsAll) {
  ASSERT_EQ(s->connect(end(9)), 0);
  EXPECT_EQ(more("ab"), 2);
  EXPECT_EQ(more(""), 0);
  EXPECT_EQ(more("cd"), 2);
  EXPECT_EQ(last("e"), 1);
  EXPECT_EQ(last("f"), 1);
  EXPECT_EQ(more("g"), 1);
  EXPECT_EQ(last(""), 0);
  EXPECT_EQ(more(""), 0);
  EXPECT_EQ(last(""), 0);
  const auto all = sent(4);
  EXPECT_EQ(all[0].second, "abcde");
  EXPECT_EQ(all[1].second, "f");
  EXPECT_EQ(all[2].second, "g");
  EXPECT_EQ(all[3].second, "");
}

TEST_F(DatagramCorks, WhatTheFirstCallSaysHoldsForAll) {
  bind();
  svm::Endpoint to = end(9), source = end(0);
  DatagramOut first;
  first.to = &to;
  first.source = &source;
  first.tos = 0x20;
  EXPECT_EQ(more("ab", first), 2);
  to = end(11);  // what it named is not looked at again
  source = {};
  const svm::Endpoint other = end(10);
  DatagramOut next;
  next.to = &other;
  next.tos = 0x40;
  EXPECT_EQ(more("cd", next), 2);
  EXPECT_EQ(last("ef"), 2);
  EXPECT_EQ(last("gh", next), 2);
  const auto all = sent(2);
  EXPECT_EQ(all[0].second, "abcdef");
  EXPECT_EQ(all[0].first.remote_port, htons(9));
  EXPECT_EQ(all[0].first.tos, 0x20);
  EXPECT_EQ(all[0].first.local_ip[0], 192);
  EXPECT_EQ(all[1].first.remote_port, htons(10));
  EXPECT_EQ(all[1].first.tos, 0x40);
}

TEST_F(DatagramCorks, ACorkHoldsBackUntilItIsTakenOut) {
  ASSERT_EQ(s->connect(end(9)), 0);
  EXPECT_FALSE(s->is_corked());
  s->cork(false);
  s->cork(true);
  EXPECT_TRUE(s->is_corked());
  EXPECT_EQ(last("1"), 1);
  EXPECT_EQ(more("2"), 1);
  EXPECT_EQ(last("3"), 1);
  s->cork(false);
  EXPECT_FALSE(s->is_corked());
  EXPECT_EQ(more("4"), 1);
  s->cork(false);  // which it never had
  EXPECT_EQ(last("5"), 1);
  const auto all = sent(3);
  EXPECT_EQ(all[0].second, "123");
  EXPECT_EQ(all[1].second, "4");
  EXPECT_EQ(all[2].second, "5");
}

TEST_F(DatagramCorks, AnErrorDropsWhatThereWas) {
  bind();
  EXPECT_EQ(more("x"), -EDESTADDRREQ);
  const svm::Endpoint to = end(9);
  DatagramOut out;
  out.to = &to;
  for (const int flags : {0, int{MSG_MORE}}) {
    EXPECT_EQ(more(std::string(60'000, 'x'), out), 60'000);
    std::string much(60'000, 'x');
    EXPECT_EQ(put(much, flags, out), -EMSGSIZE);
    EXPECT_EQ(last("after", out), 5);
  }
  const auto all = sent(2);
  EXPECT_EQ(all[0].second, "after");
  EXPECT_EQ(all[1].second, "after");
}

TEST_F(DatagramCorks, OfSeveralMessagesOneIsMade) {
  ASSERT_EQ(s->connect(end(9)), 0);
  std::string a = "ab", b = "cd";
  const iovec v[] = {{a.data(), 2}, {b.data(), 2}};
  DatagramSend both[] = {{{v, 1}, {}}, {{v + 1, 1}, {}}};
  EXPECT_EQ(s->send_datagrams(both, MSG_MORE), 2);
  EXPECT_EQ(both[1].length, 2u);
  EXPECT_EQ(s->send_datagrams(both, 0), 2);
  const auto all = sent(2);
  EXPECT_EQ(all[0].second, "abcdab");
  EXPECT_EQ(all[1].second, "cd");
}

TEST_F(DatagramCorks, UdpSegmentCutsTheWhole) {
  ASSERT_EQ(s->connect(end(9)), 0);
  s->gso_size.store(3);
  EXPECT_EQ(more("abcd"), 4);
  s->gso_size.store(0);
  EXPECT_EQ(last("efgh"), 4);
  const auto all = sent(1);
  EXPECT_EQ(all[0].second, "abcdefgh");
  EXPECT_EQ(all[0].first.gso_size, 3);
}

TEST_F(DatagramCorks, WhatTheParentHasBegunIsNotTheChilds) {
  ASSERT_EQ(s->connect(end(9)), 0);
  s->cork(true);
  EXPECT_EQ(last("parent's"), 8);
  s->after_fork();
  EXPECT_TRUE(s->is_corked());
  EXPECT_EQ(last("child's"), 7);
  s->cork(false);
  EXPECT_EQ(sent(1)[0].second, "child's");
  EXPECT_EQ(more("lost"), 4);
  s->after_fork();
  EXPECT_EQ(last("new"), 3);
  EXPECT_EQ(sent(1)[0].second, "new");
}

TEST_F(DatagramCorks, AnEndedSessionLeavesNothingToTheNext) {
  ASSERT_EQ(s->connect(end(9)), 0);
  EXPECT_EQ(more("old"), 3);
  s->cork(true);
  Session* const was = s;
  s->unref();
  s = worker->new_session(Session::kProtoUdp, true, true);
  ASSERT_EQ(s, was) << "its memory is used again";
  EXPECT_FALSE(s->is_corked());
}

}  // namespace
}  // namespace loom::vcl
