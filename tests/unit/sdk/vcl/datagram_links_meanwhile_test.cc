// What the daemon says of links while a thread looks at its session. Of a slot that is free again
// it sends no event: who looks must not take that for a reason to leave the links unlooked at.
#include "links_bed.h"
#include "vcl/epoll_set.h"

namespace loom::vcl {
namespace {

using namespace test_bed;

// A server: one client has closed, and the next one is there. The daemon hears that the first link
// is done with, and answers, while the second one is taken up.
struct LinksMeanwhile : DatagramLinks {
  Session* s = nullptr;

  void SetUp() override {
    DatagramLinks::SetUp();
    s = &connect();
    auto& p = pair();
    // For want of a third application the second link is the other end of the first one's memory,
    // at which nobody listens yet.
    svm::DatagramLinkSlot &first = p.slot(0), &second = p.slot(1);
    second.end = 1;
    second.block = first.block;
    second.bell = first.bell;
    second.bell_bit = FakeDaemon::Pair::kBit + 1;
    second.rx_size = second.tx_size = FakeDaemon::Pair::kFifo;
    second.local = first.local;
    second.remote = end(FakeDaemon::kPeer + 1);
    p.end_link(1);
    p.set_link(1, svm::kLinkOpen, 1);
    daemon->before_next_doorbell([&] { p.set_link(1, svm::kLinkFree); });
  }
  svm::FifoShared& second() { return pair().from_app(); }
  void send_by_second(const std::string& payload) {
    DatagramHeader h{};
    h.length = static_cast<uint32_t>(payload.size());
    pair().send_datagram(second(), h, payload);
  }
  bool is_answered() { return svm::link_state(pair().slot().word.load()) == svm::kLinkFree; }
};

TEST_F(LinksMeanwhile, WhoFindsNothingIsRungByTheNextDatagram) {
  EXPECT_EQ(s->poll(POLLIN, false), 0u);
  ASSERT_TRUE(is_answered());
  EXPECT_EQ(second().consumer.armed.load(), 1u);
  send_by_second("wake");
  EXPECT_EQ(second().consumer.armed.load(), 0u);
  EXPECT_EQ(receive(*s).bytes, "wake");
}

TEST_F(LinksMeanwhile, WhatIsThereIsFound) {
  EpollSet* set = worker->new_epoll_set(-1);
  epoll_event e{.events = EPOLLIN, .data = {.u64 = 7}};
  ASSERT_EQ(set->add(0, *s, e), 0);
  send_by_second("there");
  EXPECT_EQ(set->wait(&e, 1, 0, nullptr), 1);
  ASSERT_TRUE(is_answered());
  EXPECT_EQ(receive(*s).bytes, "there");
  set->unref();
}

// The other end rings whom the link names: that is who has the session now.
TEST_F(LinksMeanwhile, WhoTakesTheSessionOverIsRung) {
  constexpr uint32_t kAnother = 7;
  pair().line->owner.store(kAnother);
  EXPECT_EQ(s->poll(POLLIN, false), 0u);
  ASSERT_TRUE(is_answered());
  EXPECT_EQ(pair().line->owner.load(), 0u);
  EXPECT_EQ(pair().shared->ends[1].owner.load(), 0u);
}

TEST_F(LinksMeanwhile, WhoOnlyLooksFindsIt) {
  EXPECT_EQ(s->poll(POLLIN, false), 0u);
  send_by_second("there");
  pair().set_link(1, svm::kLinkFree);
  EXPECT_EQ(s->poll(POLLIN | kPollOnlyLook, false), static_cast<uint32_t>(POLLIN));
}

}  // namespace
}  // namespace loom::vcl
