// In-process applications: what they are told when they are removed, when the daemon drains or
// ends, and when the operator ends a session.
#include "tests/unit/core/session/in_process_bed.h"

namespace loom::test {
namespace {

TEST_F(InProcess, RemovalClosesAllItHasAndNothingIsSaidAfterwards) {
  open();
  std::vector<SessionId> all{near};
  for (int i = 0; i < 4; ++i) all.push_back(client.connect(80));
  client.told();
  server.told();
  // What a callback does on the way out comes to nothing, or ends with the rest.
  client.on["closed"] = [&](AppSession) {
    EXPECT_FALSE(
        AppSession::connect(client.worker(), *client.app, Recorder::endpoint(80), &client));
    for (const SessionId id : all) client.session(id).abort();
  };
  bed.layer->remove_application(*client.app);
  client.app = nullptr;
  EXPECT_EQ(client.told(), Strings(5, "closed"));
  bed.pump();
  EXPECT_EQ(client.told(), Strings{});
  Strings ends;
  for (int i = 0; i < 5; ++i) ends.insert(ends.end(), {"reset 0", "closed"});
  EXPECT_EQ(server.told(), ends);
  EXPECT_EQ(bed.layer->stats().applications, 1u);
  expect_all_back();
  Recorder again(bed, "client");  // the name is free
}

TEST_F(InProcess, TheDaemonsEndIsToldAndNothingCanBeOpenedThen) {
  open();
  bed.layer->stop();
  EXPECT_EQ(client.told(), Strings{"closed"});
  bed.pump();
  EXPECT_EQ(server.told().back(), "closed");
  EXPECT_EQ(bed.layer->listen(*server.app, Recorder::endpoint(82), &server).error().code,
            Status::kClosed);
  EXPECT_EQ(AppSession::connect(client.worker(), *client.app, Recorder::endpoint(80), &client)
                .error()
                .code,
            Status::kClosed);
  expect_all_back();
}

TEST_F(InProcess, ADrainedDaemonOpensNothingMore) {
  open();
  session::Impl& l = bed.layer->impl();
  session::set_drain(l, true, 0);
  client.write(near, "what is open goes on");
  EXPECT_EQ(server.read(far), "what is open goes on");
  client.session(near).abort();
  bed.pump();
  client.told();
  ASSERT_EQ(session::drain_status(l).state, DrainState::kDrained);
  const auto connect = [&] {
    return AppSession::connect(client.worker(), *client.app, Recorder::endpoint(80), &client);
  };
  EXPECT_EQ(connect().error().code, Status::kRefused);
  session::set_drain(l, false, 0);
  EXPECT_TRUE(connect());
  bed.pump();
  EXPECT_EQ(client.told(), Strings{"connected ok"});
}

TEST_F(InProcess, ThatTheDaemonDrainsIsToldOnceAndThatItDoesNotAnyMore) {
  static std::string told;
  told.clear();
  AppOps ops;
  ops.name = "told";
  ops.draining = [](bool begins) noexcept { told += begins ? "begins " : "ends "; };
  Application* const app = bed.layer->add_application(ops, {}).value();
  session::Impl& l = bed.layer->impl();
  session::set_drain(l, false, 0);
  session::set_drain(l, true, 0);
  session::set_drain(l, true, 10);
  session::set_drain(l, false, 0);
  EXPECT_EQ(told, "begins ends ");
  bed.layer->remove_application(*app);
  session::set_drain(l, true, 0);
  session::set_drain(l, false, 0);
  EXPECT_EQ(told, "begins ends ");
}

TEST_F(InProcess, ResetsByTheOperatorAreTold) {
  open();
  EXPECT_EQ(session::reset_all_sessions(bed.layer->impl(), true), 1u);  // and the peer's with it
  bed.pump();
  EXPECT_EQ(client.told().back(), "closed");
  EXPECT_EQ(server.told().back(), "closed");
  expect_all_back();
}

}  // namespace
}  // namespace loom::test
