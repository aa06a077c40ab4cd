// How much the applications of a namespace may have together.
#include <hostloom/endpoint_settings.h>

#include "tests/unit/core/session/namespaces_bed.h"

namespace loom::test {
namespace {

TEST_F(NamespacesTest, SoManyApplicationsAndNoMore) {
  Namespace& blue = add({.id = "blue"});
  session::set_quota(blue, {.applications = 2});
  TestApp one(bed, request("blue"));
  {
    TestApp two(bed, request("blue"));
    TestApp child(bed, two);  // a fork is none of its own
    TestApp three(bed, request("blue"));
    EXPECT_EQ(status(three), Status::kNoMemory);
    EXPECT_NE(std::string(three.reply.message).find("namespace 'blue' has the 2 applications"),
              std::string::npos)
        << three.reply.message;
  }
  bed.pump();
  TestApp four(bed, request("blue")), outside(bed);
  EXPECT_EQ(status(four), Status::kOk);
  EXPECT_EQ(status(outside), Status::kOk);
  EXPECT_EQ(blue.refused_applications, 1u);
}

TEST_F(NamespacesTest, SoManySessionsAndNoMore) {
  Namespace& blue = add({.id = "blue"});
  session::set_quota(blue, {.sessions = 2});
  TestApp server(bed, request("blue", 0, svm::kScopeGlobalOnly)),
      client(bed, request("", 0, svm::kScopeGlobalOnly));
  ASSERT_EQ(server.listen(80).status, 0);
  auto a = client.connect(80), b = client.connect(80);
  EXPECT_EQ(blue.n_sessions, 2u);
  Worker& w = bed.engine->worker(0);
  EXPECT_FALSE(w.sessions->accept_allowed(w, bed.pipe.listeners.at(80), 0));
  // Put off, as with a full backlog: a transport keeps the handshake.
  EXPECT_EQ(connect(client, "10.0.0.0", 80), Status::kAgain);
  EXPECT_EQ(bed.counter("namespace-full"), 2u);
  // Its own connects are refused.
  EXPECT_EQ(connect(server, "10.0.0.0", 1000), Status::kNoMemory);
  EXPECT_EQ(bed.counter("namespace-full"), 3u);
  EXPECT_EQ(blue.refused_sessions, 3u);

  auto taken = server.accept();
  client.close(*a);
  server.close(*taken);
  bed.pump();
  EXPECT_EQ(blue.n_sessions, 1u);
  EXPECT_TRUE(w.sessions->accept_allowed(w, bed.pipe.listeners.at(80), 0));
  EXPECT_EQ(connect(client, "10.0.0.0", 80), Status::kOk);
  server.die();
  client.die();
  bed.pump();
  EXPECT_EQ(blue.n_sessions, 0u);
}

TEST_F(NamespacesTest, BothEndsOfACutThroughSessionCount) {
  Namespace& blue = add({.id = "blue"});
  session::set_quota(blue, {.sessions = 3});
  TestApp server(bed, request("blue", 0, svm::kScopeLocalOnly)),
      client(bed, request("blue", 0, svm::kScopeLocalOnly));
  ASSERT_EQ(listen(server, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(connect(client, "10.0.0.1", 80), Status::kOk);
  EXPECT_EQ(connect(client, "10.0.0.1", 80), Status::kNoMemory);
  EXPECT_EQ(blue.n_sessions, 2u) << "one end alone is none";
  session::set_quota(blue, {});
  EXPECT_EQ(connect(client, "10.0.0.1", 80), Status::kOk);
  server.die();
  client.die();
  bed.pump();
  EXPECT_EQ(blue.n_sessions, 0u);
}

TEST_F(NamespacesTest, SoMuchMemoryAndNoMore) {
  constexpr uint64_t kApp = 24ull << 20;  // what TestApp asks for
  Namespace& blue = add({.id = "blue"});
  session::set_quota(blue, {.memory = 2 * kApp + (8 << 20)});
  TestApp one(bed, request("blue"));
  EXPECT_EQ(blue.memory, kApp);
  {
    TestApp two(bed, request("blue")), three(bed, request("blue"));
    EXPECT_EQ(status(two), Status::kOk);
    EXPECT_EQ(status(three), Status::kNoMemory);
    EXPECT_NE(std::string(three.reply.message).find("namespace 'blue' may have"), std::string::npos)
        << three.reply.message;
    EXPECT_EQ(blue.memory, 2 * kApp);
  }
  bed.pump();
  EXPECT_EQ(blue.memory, kApp) << "also what the refused one had got";
  TestApp two(bed, request("blue"));
  svm::AttachRequest more{};
  more.version = svm::kProtocolVersion;
  more.op = svm::AttachOp::kAddAppArena;
  EXPECT_EQ(static_cast<Status>(one.ask(more).status), Status::kOk);
  ::close(one.fds.at(0));
  EXPECT_EQ(static_cast<Status>(two.ask(more).status), Status::kNoMemory);
  // A pair needs memory, too, and its sessions fail without.
  EXPECT_EQ(listen(one, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(connect(two, "10.0.0.1", 80), Status::kNoMemory);
  EXPECT_EQ(blue.memory, 2 * kApp + (8 << 20));
  session::set_quota(blue, {});
  EXPECT_EQ(connect(two, "10.0.0.1", 80), Status::kOk);
  EXPECT_GT(blue.memory, 2 * kApp + (8 << 20));
  one.die();
  two.die();
  bed.pump();
  EXPECT_EQ(blue.memory, 0u);
}

TEST_F(NamespacesTest, SettingsOfEndpointsAreMemoryOfTheNamespace) {
  constexpr uint64_t kApp = 24ull << 20;
  std::string bytes;
  add_setting(bytes, Setting::kTrust, std::string(kMostSettingsBytes - 8, 'x'));
  const uint64_t charge = session::EndpointSettings::charge_of(bytes.size());
  Namespace &blue = add({.id = "blue"}), &red = add({.id = "red"});
  for (Namespace* ns : {&blue, &red}) session::set_quota(*ns, {.memory = kApp + 3 * charge});
  TestApp one(bed, request("blue")), two(bed, request("red"));
  uint32_t number = 0;
  for (int i = 0; i < 3; ++i) {
    const auto given = one.give_settings(bytes);
    EXPECT_EQ(given.status, 0);
    number = given.settings;
  }
  EXPECT_EQ(blue.memory, kApp + 3 * charge);
  const auto refused = one.give_settings(bytes);
  EXPECT_EQ(static_cast<Status>(refused.status), Status::kNoMemory);
  EXPECT_NE(std::string(refused.message).find("namespace 'blue' may have"), std::string::npos)
      << refused.message;
  EXPECT_EQ(blue.refused_settings, 1u);
  EXPECT_EQ(blue.refused_segments, 0u);
  EXPECT_EQ(red.memory, kApp) << "it is the other's affair";
  for (int i = 0; i < 3; ++i) EXPECT_EQ(two.give_settings(bytes).status, 0);
  EXPECT_EQ(red.refused_settings, 0u);

  EXPECT_EQ(one.remove_settings(number), Status::kOk);
  EXPECT_EQ(blue.memory, kApp + 2 * charge);
  EXPECT_EQ(one.give_settings(bytes).status, 0);
  one.die();
  two.die();
  bed.pump();
  EXPECT_EQ(blue.memory, 0u);
  EXPECT_EQ(red.memory, 0u);
}

TEST_F(NamespacesTest, SettingsForOneConnectAreGivenBackWithIt) {
  constexpr uint64_t kApp = 24ull << 20;
  Namespace& blue = add({.id = "blue"});
  TestApp server(bed, request("", 0, svm::kScopeGlobalOnly)),
      client(bed, request("blue", 0, svm::kScopeGlobalOnly));
  ASSERT_EQ(server.listen(80).status, 0);
  svm::ConnectEvent e{};
  e.remote = end("10.0.0.0", 80);
  e.local = end("0.0.0.0", 0);
  e.options.settings = client.give_settings({}, svm::kOnce).settings;
  EXPECT_EQ(blue.memory, kApp + session::EndpointSettings::charge_of(0));
  client.ask_worker(0, svm::ToDaemon::kConnect, e);
  {
    const HeldControl control(*bed.engine);
    while (bed.engine->step() != 0) {}
    EXPECT_EQ(blue.memory, kApp + session::EndpointSettings::charge_of(0))
        << "what is freed is freed on the control thread";
    const session::App* app = layer().apps[client.reply.app_index].get();
    EXPECT_FALSE(layer().settings.has(*app, e.options.settings));
  }
  bed.pump();
  EXPECT_EQ(blue.memory, kApp);
  EXPECT_EQ(static_cast<Status>(client.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status),
            Status::kOk);
}

TEST_F(NamespacesTest, AFullNamespacePushesBackAndLosesNothing) {
  Namespace& blue = add({.id = "blue"});
  session::set_quota(blue, {.memory = 24ull << 20});
  svm::AttachRequest r = request("blue", 0, svm::kScopeGlobalOnly);
  r.rx_fifo_size = r.tx_fifo_size = 8 << 20;
  TestApp server(bed, r), peer(bed, request("", 0, svm::kScopeGlobalOnly));
  ASSERT_EQ(server.listen(80).status, 0);
  // More than its one segment of 16 MB holds: three connections, 8 MB each.
  std::vector<std::unique_ptr<TestApp::Connection>> to, from;
  for (int i = 0; i < 3; ++i) {
    to.push_back(peer.connect(80));
    from.push_back(server.accept());
    ASSERT_TRUE(to.back() && from.back());
  }
  // The pipe tries again at once, so that nothing comes to rest without memory.
  const auto rounds = [&] {
    for (int i = 0; i < 10; ++i) {
      bed.engine->step();
      bed.control();
    }
    bed.now += 100 * kMillisecond;
  };
  const std::string part(64 << 10, 'x');
  const auto bytes = svm::bytes_of(part.data(), part.size());
  uint64_t written = 0, read = 0;
  for (int i = 0; i < 200; ++i) {
    for (auto& c : to) {
      written += c->tx.enqueue(bytes);
      if (c->tx.should_notify()) {
        ASSERT_EQ(peer.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
                  svm::MqProducer::Push::kOk);
      }
    }
    rounds();
  }
  EXPECT_GT(bed.counter("no-segment-memory"), 0u);
  EXPECT_GT(blue.refused_segments, 0u);
  EXPECT_EQ(blue.memory, 24u << 20);
  const auto begin = bed.log.find("no more memory for");
  EXPECT_NE(begin, std::string::npos);
  EXPECT_EQ(bed.log.find("no more memory for", begin + 1), std::string::npos) << "said once";
  std::string text(part.size(), 0);
  for (int i = 0; i < 2000 && read < written; ++i) {
    for (auto& c : from) {
      const uint32_t n = c->rx.dequeue(std::as_writable_bytes(std::span(text)));
      read += n;
      if (c->rx.should_notify()) {
        ASSERT_EQ(server.requests.push(svm::ToDaemon::kRxSpace, svm::SessionEvent{c->handle, 0}),
                  svm::MqProducer::Push::kOk);
      }
    }
    rounds();
  }
  EXPECT_EQ(read, written);
}

}  // namespace
}  // namespace loom::test
