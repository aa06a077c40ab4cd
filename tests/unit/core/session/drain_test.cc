// Draining: no new sessions until the last one has ended.
#include <gmock/gmock.h>

#include "tests/unit/core/session/session_api_bed.h"

namespace loom::test {
namespace {

TEST_F(SessionApiTest, DrainingHidesListenersAndEndsWithTheLastSession) {
  (void)client.call<api::WantDrainEventsReply>(api::WantDrainEvents{.enable = true, .pid = 1});
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  EXPECT_EQ(lookup(80), FlowKind::kListener);
  EXPECT_EQ(drain(true), 2u);
  EXPECT_EQ(lookup(80), FlowKind::kNone);
  EXPECT_EQ(drained().refused_packets, 1u);
  app.write(*a, "goes on");
  EXPECT_EQ(app.read(*b), "goes on");
  app.close(*a);
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDraining);
  app.close(*b);
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
  EXPECT_EQ(drained().sessions, 0u);
  EXPECT_EQ(lookup(80), FlowKind::kNone);
  drain(false);
  EXPECT_EQ(lookup(80), FlowKind::kListener);
  const auto events = client.events<api::DrainEvent>();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0].state, api::DrainState::kDrainApiStateDraining);
  EXPECT_EQ(events[0].sessions, 2u);
  EXPECT_EQ(events[1].state, api::DrainState::kDrainApiStateDrained);
  EXPECT_EQ(events[1].resets, 0u);
  EXPECT_EQ(events[2].state, api::DrainState::kDrainApiStateOff);
}

TEST_F(SessionApiTest, WithNothingOpenItIsDrainedAtOnce) {
  EXPECT_EQ(drain(true), 0u);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
}

TEST_F(SessionApiTest, DrainingRefusesApplicationsAndSaysWhy) {
  auto a = app.listen(80).status == 0 ? app.connect(80) : nullptr;
  auto b = app.accept();
  drain(true);
  TestApp late(bed);
  EXPECT_EQ(late.reply.status, static_cast<int32_t>(Status::kRefused));
  EXPECT_THAT(late.reply.message, testing::HasSubstr("drains"));
  EXPECT_EQ(drained().refused_apps, 1u);
  TestApp forked(bed, app);  // what is attached goes on, its children too
  EXPECT_EQ(forked.reply.status, 0);
  drain(false);
  TestApp later(bed);
  EXPECT_EQ(later.reply.status, 0);
}

TEST_F(SessionApiTest, AHandshakeUnderWayIsWaitedFor) {
  Worker& w = bed.engine->worker(0);
  Endpoints e;
  e.local = Ip4Address{{10, 0, 0, 1}};
  e.remote = Ip4Address{{10, 0, 0, 2}};
  e.local_port = 80;
  e.remote_port = 4000;
  ASSERT_EQ(w.sessions->flow_add(w, e, 6, FlowKind::kHalfOpen, 1), Status::kOk);
  drain(true);
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDraining);
  EXPECT_EQ(drained().half_open, 1u);
  w.sessions->flow_del(w, e, 6);  // it has come to nothing
  bed.engine->step();
  bed.pump();
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
}

TEST_F(SessionApiTest, TheTimeoutResetsWhatIsLeftAndCountsIt) {
  (void)client.call<api::WantDrainEventsReply>(api::WantDrainEvents{.enable = true, .pid = 1});
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  drain(true, 5);
  drain(true, 10);  // another timeout; the first is void
  bed.pump(6 * kSecond);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDraining);
  EXPECT_FALSE(a->rx.reset());
  bed.pump(5 * kSecond);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
  EXPECT_GE(drained().resets, 1u);
  EXPECT_TRUE(a->rx.reset());
  EXPECT_TRUE(b->rx.reset());
  EXPECT_EQ(client.events<api::DrainEvent>().back().resets, drained().resets);
}

TEST_F(SessionApiTest, AVoidTimeoutHarmsNobody) {
  auto a = app.listen(80).status == 0 ? app.connect(80) : nullptr;
  auto b = app.accept();
  drain(true, 5);
  drain(false);
  bed.pump(6 * kSecond);
  EXPECT_FALSE(a->rx.reset());
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateOff);
}

TEST_F(SessionApiTest, DrainedMeansThatNothingIsAcceptedAnyMore) {
  ASSERT_EQ(app.listen(80).status, 0);
  drain(true);
  // The transport of this test asks no lookup table: it comes through to accepted().
  app.start_connect(80);
  bed.pump();
  EXPECT_NE(app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status, 0);
}

TEST_F(SessionApiTest, WhatIsDrainedStaysEmpty) {
  ASSERT_EQ(app.listen(80).status, 0);
  drain(true);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateDrained);
  const std::size_t ends = bed.pipe.ends.size();
  app.start_connect(80);
  const auto refused = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  EXPECT_EQ(static_cast<Status>(refused.status), Status::kRefused);
  EXPECT_EQ(bed.pipe.ends.size(), ends);  // no transport was asked
  EXPECT_EQ(drained().sessions, 0u);
}

TEST_F(SessionApiTest, ChangingTheTimeoutAgainAndAgainKeepsNothing) {
  auto a = app.listen(80).status == 0 ? app.connect(80) : nullptr;
  auto b = app.accept();
  const std::size_t before = bed.later.size();
  for (uint32_t i = 0; i < 100; ++i) {
    drain(true, 604'800 - i);
    drain(false);
  }
  EXPECT_LE(bed.later.size(), before + 1);
  EXPECT_EQ(client.call<api::DaemonDrainReply>(api::DaemonDrain{.timeout = 604'801}).retval,
            kApiInvalidValue);
  EXPECT_EQ(drained().state, api::DrainState::kDrainApiStateOff);
}

}  // namespace
}  // namespace loom::test
