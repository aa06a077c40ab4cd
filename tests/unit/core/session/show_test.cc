// What an operator sees of sessions, applications and their memory, as people and as programs get
// it.
#include <gmock/gmock.h>

#include "session.api.h"
#include "session/api.h"
#include "session/control.h"
#include "session/show_session.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/command_line.h"
#include "tests/unit/core/session/test_app.h"
#include "tests/unit/core/session/wire_transport.h"

namespace loom::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Json = nlohmann::json;

svm::AttachRequest request(const char* app, const char* ns = "", uint32_t flags = 0) {
  svm::AttachRequest r{};
  std::strcpy(r.app_name, app);
  std::strcpy(r.namespace_id, ns);
  r.flags = flags;
  return r;
}

// A connection of application "test" to itself; application "blue" of namespace "blue" listens.
struct ShowTest : testing::Test {
  ShowTest() {
    EXPECT_TRUE(session::add_namespace(bed.layer->impl(), {.id = "blue"}));
    EXPECT_TRUE(session::add_namespace(bed.layer->impl(), {.id = "red"}));
    blue = std::make_unique<TestApp>(bed, request("blue", "blue"));
    EXPECT_EQ(app.listen(80).status, 0);
    EXPECT_EQ(blue->listen(90).status, 0);
    a = app.connect(80);
    b = app.accept();
    c = blue->connect(80);
    d = app.accept();
  }
  static Json column(const Json& rows, const char* name) {
    Json all = Json::array();
    for (const Json& row : rows) all.push_back(row.at(name));
    return all;
  }
  Json row(const std::string& line, uint64_t handle) {
    const Json shown = commands.json(line);
    for (const Json& r : shown.at("connections"))
      if (r.at("handle") == session::handle_text(handle)) return r;
    ADD_FAILURE() << line << " has no " << session::handle_text(handle);
    return {};
  }

  SessionBed bed;
  CommandLine commands{*bed.layer};
  TestApp app{bed};
  std::unique_ptr<TestApp> blue;
  std::unique_ptr<TestApp::Connection> a, b, c, d;
};

TEST_F(ShowTest, SessionsOfANamespace) {
  const Json mine = commands.json("show session namespace blue");
  EXPECT_EQ(column(mine["connections"], "handle"), Json({session::handle_text(c->handle)}));
  EXPECT_EQ(column(mine["listeners"], "application"), Json({"blue"}));
  EXPECT_EQ(column(mine["listeners"], "namespace"), Json({"blue"}));
  const Json others = commands.json("show session namespace default");
  EXPECT_EQ(others["connections"].size(), 3u);
  EXPECT_EQ(column(others["listeners"], "application"), Json({"test"}));
  EXPECT_TRUE(commands.json("show session namespace red")["connections"].empty());
  EXPECT_TRUE(commands.json("show session namespace blue state closing")["connections"].empty());
  EXPECT_THAT(commands.run("show session namespace blu", Status::kNotFound), HasSubstr("'blu'"));
  EXPECT_THAT(commands.run("show session namespace", Status::kInvalid), HasSubstr("namespace"));
}

TEST_F(ShowTest, SessionsOfAWorkerWhichHasNoListeners) {
  const Json mine = commands.json("show session worker 0");
  EXPECT_EQ(mine["connections"].size(), 4u);
  EXPECT_EQ(mine["sessions"], 4);
  EXPECT_TRUE(mine["listeners"].empty());
  commands.run("show session worker 1", Status::kInvalid);
}

TEST_F(ShowTest, CountersAndDepthsOfEach) {
  app.write(*a, "seven..");
  EXPECT_EQ(app.read(*b, 3), "sev");
  bed.pipe.hold_acks = true;
  app.write(*b, "on its way");
  const Json sent = row("show session verbose", a->handle),
             got = row("show session verbose", b->handle);
  EXPECT_EQ(sent["acknowledged"], 7);
  EXPECT_EQ(sent["received"], 10);
  EXPECT_EQ(sent["rx bytes"], 10);
  EXPECT_EQ(sent["tx bytes"], 0);
  EXPECT_EQ(sent["rx fifo"], 64 << 10);
  EXPECT_EQ(sent["worker"], 0);
  EXPECT_EQ(sent["namespace"], "default");
  EXPECT_EQ(got["received"], 7);
  EXPECT_EQ(got["acknowledged"], 0);
  EXPECT_EQ(got["rx bytes"], 4);
  EXPECT_EQ(got["tx bytes"], 10);
  EXPECT_EQ(got["tx fifo"], 64 << 10);
}

// What a filter leaves out is not described first; what is left is shown to a bound, and counted.
TEST_F(ShowTest, OnlyWhatIsShownIsDescribed) {
  (void)commands.run("show session verbose 2 namespace blue");
  EXPECT_EQ(bed.pipe.described, 1u);
  EXPECT_FALSE(commands.json("show session verbose").contains("connections not shown"));
  session::SessionWorker& sw = *bed.layer->impl().workers[0];
  std::vector<session::Session*> many;
  for (int i = 0; i < 10'100; ++i) {
    many.push_back(session::new_session(sw, *bed.layer->impl().apps[0], bed.pipe.id));
    ASSERT_TRUE(many.back());
    many.back()->state = session::State::kConnecting;
  }
  const Json shown = commands.json("show session verbose");
  EXPECT_EQ(shown["connections"].size(), 10'000u);
  EXPECT_EQ(shown["connections not shown"], 104);
  EXPECT_EQ(commands.json("show session state open")["connections"].size(), 4u);
  for (session::Session* s : many) session::free_session(sw, *s);
}

TEST_F(ShowTest, DetailsAreLinesForPeopleAndColumnsForPrograms) {
  const std::string text = commands.run("show session verbose 2 namespace blue");
  EXPECT_THAT(text, HasSubstr(session::handle_text(c->handle) + "\n  in flight 0\n"));
  EXPECT_THAT(text, Not(HasSubstr("cwnd")));
  const Json figures = row("show session verbose 2", c->handle);
  EXPECT_EQ(figures["application"], "blue");
  EXPECT_EQ(figures["connection state"], "established");
  EXPECT_EQ(figures["congestion"], "pipe-cc");
  EXPECT_EQ(figures["cwnd"], 10'000);
  EXPECT_EQ(figures["snd_mss"], 1000);
  EXPECT_EQ(figures["ssthresh"], "none");
  EXPECT_EQ(figures["srtt us"], 250);
  EXPECT_EQ(figures["options"], "timestamps wscale");
  EXPECT_EQ(figures["details"], "  in flight 0\n");
  EXPECT_FALSE(commands.json("show session verbose 2").contains("lines"));
  EXPECT_FALSE(row("show session verbose", c->handle).contains("cwnd"));
}

TEST_F(ShowTest, FiguresOfASessionWhoseTransportHasGoneAreNull) {
  ASSERT_EQ(session::reset_session(bed.layer->impl(), a->handle), Status::kOk);
  bed.pump();
  const Json figures = row("show session verbose 2", a->handle);
  EXPECT_EQ(figures["state"], "detached");
  EXPECT_EQ(figures["local"], "");
  EXPECT_EQ(figures["cwnd"], nullptr);
  EXPECT_EQ(figures["details"], nullptr);
}

TEST_F(ShowTest, OneApplicationsLimitsWorkersAndListeners) {
  TestApp child(bed, *blue);
  const Json one = commands.json("show app 1");
  EXPECT_EQ(one["name"], "blue");
  EXPECT_EQ(one["namespace"], "blue");
  EXPECT_EQ(one["scope"], "local and global");
  EXPECT_EQ(one["sessions"], 1);
  EXPECT_EQ(one["event queue"], 64);
  EXPECT_EQ(one["segment bytes"], 16 << 20);
  EXPECT_EQ(one["add-segment-size"], 8 << 20);
  EXPECT_EQ(one["workers"].size(), 2u);
  ASSERT_EQ(one["listeners"].size(), 1u);
  EXPECT_EQ(one["listeners"][0]["port"], 90);
  EXPECT_EQ(one["listeners"][0]["queued"], 0);
  TestApp local(bed, request("local", "", svm::kScopeLocalOnly));
  EXPECT_EQ(commands.json("show app 2")["scope"], "local");
  commands.run("show app 3", Status::kNotFound);
}

TEST_F(ShowTest, SegmentsTogetherAndEach) {
  const Json all = commands.json("show segment-manager");
  EXPECT_EQ(column(all["segments"], "application"), Json({"test", "blue"}));
  EXPECT_TRUE(all["cut-through"].empty());
  EXPECT_FALSE(all.contains("each"));
  const Json each = commands.json("show segment-manager verbose")["each"];
  EXPECT_EQ(column(each, "owner"), Json({"test", "test", "blue", "blue"}));
  EXPECT_EQ(column(each, "bytes"), Json({16 << 20, 8 << 20, 16 << 20, 8 << 20}));
  EXPECT_EQ(column(each, "kind"), Json({"daemon's", "application's", "daemon's", "application's"}));
  commands.run("show segment-manager all", Status::kInvalid);
}

// --- On several workers

struct ShowWorkersTest : testing::Test {
  ShowWorkersTest() {
    EXPECT_TRUE(add_session_api(client.host, registry, *bed.layer));
    EXPECT_EQ(server.listen(80).status, 0);
    svm::ConnectEvent e{};
    e.remote = TestApp::end(80);
    e.local.is_ip4 = 1;
    e.local.port = Be16(30000).raw();  // the server's end comes to worker 2
    server.push(svm::ToDaemon::kConnect, e);
    const auto done = server.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    handle = done.handle;
    near = server.connection(done.handle, done.session);
    EXPECT_TRUE(server.accept());
  }
  std::vector<api::SessionDetails> sessions(const api::SessionDump& m) {
    return client.dump<api::SessionDetails>(m);
  }
  int32_t migrate(uint64_t which, uint32_t worker) {
    const auto reply = client.call<api::SessionMigrateReply>(
        api::SessionMigrate{.handle = which, .worker = worker});
    return reply.retval;
  }

  std::unique_ptr<WireTransport> wire;
  SessionBed bed{{}, SessionBed::Network::kNone, 3, [this](SessionBed& b) {
                   wire = std::make_unique<WireTransport>(*b.engine);
                   wire->id = b.transports.add(wire->ops()).value();
                 }};
  CommandLine commands{*bed.layer};
  ApiRegistry registry;
  DirectClient client{registry};
  TestApp server{bed, request("test", "", svm::kScopeGlobalOnly)};
  uint64_t handle = 0;
  std::unique_ptr<TestApp::Connection> near;
};

TEST_F(ShowWorkersTest, SessionsAreFoundByTheirWorker) {
  const auto shown = [&](uint32_t worker) {
    Json all = Json::array();
    const std::string line = "show session worker " + std::to_string(worker);
    const Json found = commands.json(line)["connections"];
    for (const Json& c : found) {
      EXPECT_EQ(c["worker"], worker);
      all.push_back(c["handle"]);
    }
    return all;
  };
  const auto dumped = [&](uint32_t worker) {
    Json all = Json::array();
    for (const auto& d : sessions({.worker = worker})) {
      EXPECT_EQ(d.worker, worker);
      all.push_back(session::handle_text(d.handle));
    }
    return all;
  };
  const Json mine({session::handle_text(handle)});
  EXPECT_EQ(shown(0), mine);
  EXPECT_EQ(dumped(0), mine);
  EXPECT_TRUE(shown(1).empty());
  EXPECT_TRUE(dumped(1).empty());
  EXPECT_EQ(shown(2).size(), 1u);
  EXPECT_EQ(dumped(2).size(), 1u);
  EXPECT_TRUE(dumped(3).empty());
  EXPECT_EQ(sessions({}).size(), 3u) << "with the listener";
  EXPECT_TRUE(sessions({.kind = api::SessionKind::kSessionApiKindListener, .worker = 0}).empty());
  ASSERT_EQ(migrate(handle, 1), 0);
  bed.pump();
  EXPECT_TRUE(shown(0).empty());
  EXPECT_EQ(shown(1), mine);
  EXPECT_EQ(dumped(1), mine);
}

TEST_F(ShowWorkersTest, ASessionIsMovedOverTheApi) {
  EXPECT_EQ(migrate(handle, 0), 0) << "it is there";
  EXPECT_EQ(migrate(handle, 3), -89);
  EXPECT_EQ(migrate(handle ^ uint64_t{1} << 40, 1), -148);
  EXPECT_EQ(migrate(~uint64_t{0}, 1), -148);
  const auto listener = sessions({.kind = api::SessionKind::kSessionApiKindListener}).at(0).handle;
  EXPECT_EQ(migrate(listener, 1), -126);
  EXPECT_EQ(sessions({.worker = 0}).size(), 1u);
  EXPECT_EQ(migrate(handle, 1), 0);
  bed.pump();
  const auto moved = sessions({.worker = 1});
  ASSERT_EQ(moved.size(), 1u);
  EXPECT_EQ(moved[0].handle, handle) << "which stays";
  server.close(*near);
  EXPECT_EQ(migrate(handle, 2), -77) << "it is being closed";
  EXPECT_EQ(bed.counter("migrated", 1), 1u);
}

}  // namespace
}  // namespace loom::test
