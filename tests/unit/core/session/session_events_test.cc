// Steps in the lives of sessions, as the event log has them.
#include <gmock/gmock.h>

#include "session/control.h"
#include "session/show_session.h"
#include "tests/unit/core/session/test_app.h"
#include "tests/unit/core/session/wire_transport.h"

namespace loom::test {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Steps = std::vector<std::string>;

// What the log has of a session, without what says which one it is.
Steps steps_of(EventLog& log, uint64_t handle, std::string_view who) {
  Steps steps;
  for (const LoggedEvent& e : log.read()) {
    if (e.kind < EventKind::kSessionOpen || e.kind > EventKind::kSessionFree || e.value != handle)
      continue;
    std::string text = describe_event(e);
    const std::string name = "session " + session::handle_text(handle) + " " + std::string(who);
    EXPECT_EQ(text.substr(0, name.size()), name) << text;
    steps.push_back(event_thread_name(e.thread) + " " + event_kind_name(e.kind) +
                    text.substr(std::min(name.size(), text.size())));
  }
  return steps;
}

struct SessionEventsTest : testing::Test {
  EventLog& log() { return bed.engine->events(); }
  Steps steps(uint64_t handle, std::string_view who = "(pipe) of application 'test'") {
    return steps_of(log(), handle, who);
  }
  void forget_events() {  // that the application was sent
    while (!app.no_event()) {}
  }
  SessionBed bed;
  TestApp app{bed};
};

TEST_F(SessionEventsTest, FromTheFirstToTheLast) {
  log().set_trace(EventTrace::kSession, true);
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  EXPECT_THAT(steps(a->handle),
              ElementsAre("loom-w0 session-open", "loom-w0 session-connected: ok"));
  EXPECT_THAT(steps(b->handle), ElementsAre("loom-w0 session-accept"));
  app.close(*a);
  app.close(*b);
  bed.pump();
  EXPECT_THAT(steps(a->handle), ElementsAre("loom-w0 session-open", "loom-w0 session-connected: ok",
                                            "loom-w0 session-close", "loom-w0 session-free"));
  EXPECT_THAT(steps(b->handle), ElementsAre("loom-w0 session-accept", "loom-w0 session-close",
                                            "loom-w0 session-free"));
}

TEST_F(SessionEventsTest, ResetsAndRefusalsSayWhy) {
  log().set_trace(EventTrace::kSession, true);
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  app.push(svm::ToDaemon::kReset, a->handle);
  EXPECT_THAT(steps(a->handle),
              ElementsAre("loom-w0 session-open", "loom-w0 session-connected: ok",
                          "loom-w0 session-close, at once", "loom-w0 session-free"));
  EXPECT_THAT(steps(b->handle),
              ElementsAre("loom-w0 session-accept", "loom-w0 session-reset: by its peer"));
  forget_events();
  log().clear();
  app.start_connect(81);  // nobody listens
  ASSERT_FALSE(log().read().empty());
  const auto refused = log().read().back();
  EXPECT_EQ(refused.kind, EventKind::kSessionFree);
  EXPECT_THAT(steps(refused.value), ElementsAre("loom-w0 session-open",
                                                std::string("loom-w0 session-connected: ") +
                                                    status_name(Status::kRefused),
                                                "loom-w0 session-free"));
  forget_events();
  log().clear();
  auto c = app.connect(80);
  auto d = app.accept();
  ASSERT_EQ(session::reset_session(bed.layer->impl(), d->handle), Status::kOk);
  EXPECT_EQ(steps(d->handle).back(), "loom-w0 session-reset: aborted");
}

TEST_F(SessionEventsTest, OffUnlessAskedForAndOffAgain) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  app.close(*a);
  EXPECT_THAT(steps(a->handle), IsEmpty());
  log().set_trace(EventTrace::kSession, true);
  app.close(*b);
  EXPECT_THAT(steps(b->handle), ElementsAre("loom-w0 session-close", "loom-w0 session-free"));
  EXPECT_THAT(steps(a->handle), ElementsAre("loom-w0 session-free"));
  log().set_trace(EventTrace::kSession, false);
  forget_events();
  auto c = app.connect(80);
  EXPECT_THAT(steps(c->handle), IsEmpty());
  log().set_trace(EventTrace::kSession, true);
  log().set_stopped(true);
  app.push(svm::ToDaemon::kReset, c->handle);
  EXPECT_THAT(steps(c->handle), IsEmpty());
}

TEST_F(SessionEventsTest, ALongNameIsCut) {
  svm::AttachRequest r{};
  std::memset(r.app_name, 'x', sizeof r.app_name - 1);
  TestApp named(bed, r);
  log().set_trace(EventTrace::kSession, true);
  named.start_connect(81);
  const auto last = log().read().back();
  EXPECT_EQ(last.text, ("pipe " + std::string(sizeof r.app_name - 1, 'x')).substr(0, 95));
}

TEST(SessionEvents, AMoveIsOnItsNewWorkerAndSaysFromWhere) {
  std::unique_ptr<WireTransport> wire;
  SessionBed bed{{}, SessionBed::Network::kNone, 3, [&](SessionBed& b) {
                   wire = std::make_unique<WireTransport>(*b.engine);
                   wire->id = b.transports.add(wire->ops()).value();
                 }};
  bed.engine->events().set_trace(EventTrace::kSession, true);
  svm::AttachRequest r{};
  r.flags = svm::kScopeGlobalOnly;
  TestApp app(bed, r);
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  ASSERT_TRUE(app.accept());
  for (const uint32_t to : {2u, 1u}) {
    ASSERT_EQ(session::migrate_session(bed.layer->impl(), a->handle, to), Status::kOk);
    bed.pump();  // and time passes
  }
  for (uint32_t i = 0; i < 3; ++i)  // by whoever has it
    app.ask_worker(i, svm::ToDaemon::kReset, svm::SessionEvent{a->handle, 0});
  bed.pump();
  EXPECT_THAT(
      steps_of(bed.engine->events(), a->handle, "(tcp) of application 'test'"),
      ElementsAre("loom-w0 session-open", "loom-w0 session-connected: ok",
                  "loom-w2 session-move, from worker 0", "loom-w1 session-move, from worker 2",
                  "loom-w1 session-close, at once", "loom-w1 session-free"));
}

TEST(SessionEvents, BothEndsOfACutThroughSession) {
  SessionBed bed{{}, SessionBed::Network::kReal};
  bed.engine->events().set_trace(EventTrace::kSession, true);
  const IfIndex loop = bed.net->create_loopback().value();
  ASSERT_TRUE(bed.net->add_address(loop, {IpAddress::parse("10.0.0.0").value(), 32}));
  ASSERT_TRUE(bed.net->set_admin(loop, true));
  TestApp app(bed);
  ASSERT_EQ(app.listen(80).status, 0);
  app.start_connect(80);
  const auto c = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
  ASSERT_EQ(c.status, 0);
  ASSERT_NE(c.cut_through, svm::CutThrough::kNo);
  const std::string_view who = "(pipe) of application 'test'";
  EXPECT_THAT(steps_of(bed.engine->events(), c.handle, who),
              ElementsAre("loom-w0 session-open", "loom-w0 session-connected: ok"));
  app.die();
  bed.pump();
  EXPECT_EQ(steps_of(bed.engine->events(), c.handle, who).back(), "loom-w0 session-free");
  std::size_t n_accepted = 0, n_free = 0;
  for (const LoggedEvent& e : bed.engine->events().read()) {
    n_accepted += e.kind == EventKind::kSessionAccept;
    n_free += e.kind == EventKind::kSessionFree;
  }
  EXPECT_EQ(n_accepted, 1u);
  EXPECT_EQ(n_free, 2u);
}

}  // namespace
}  // namespace loom::test
