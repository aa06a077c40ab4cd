// Namespaces: who gets into one, whom he meets there, how much he may have, and how it ends.
#include <fcntl.h>
#include <hostloom/net.h>
#include <sys/stat.h>

#include "session.api.h"
#include "session/api.h"
#include "session/control.h"
#include "tests/unit/core/api/direct_client.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

using session::add_namespace;
using session::delete_namespace;
using session::find_namespace;
using session::Namespace;
using session::NamespaceArgs;

svm::AttachRequest request(const char* ns, uint64_t secret = 0, uint32_t flags = 0) {
  svm::AttachRequest r{};
  std::strcpy(r.namespace_id, ns);
  r.namespace_secret = secret;
  r.flags = flags;
  return r;
}

IpPrefix prefix(const char* text, uint8_t length) {
  return {IpAddress::parse(text).value(), length};
}

// Two loopbacks that have the same address, in table 0 and in table 5.
struct NamespacesTest : testing::Test {
  NamespacesTest() {
    EXPECT_TRUE(add_session_api(client.host, registry, *bed.layer));
    EXPECT_TRUE(bed.net->add_table(5, false));
    EXPECT_TRUE(bed.net->add_table(5, true));
    here = bed.net->create_loopback().value();
    there = bed.net->create_loopback().value();
    EXPECT_TRUE(bed.net->set_table(there, 5, false));
    EXPECT_TRUE(bed.net->set_table(there, 5, true));
    for (const IfIndex i : {here, there}) {
      EXPECT_TRUE(bed.net->add_address(i, prefix("10.0.0.1", 24)));
      EXPECT_TRUE(bed.net->set_admin(i, true));
    }
    fib5 = bed.net->fib_index(5, false).value();
  }

  SessionLayer::Impl& layer() { return bed.layer->impl(); }
  Namespace& add(const NamespaceArgs& args) {
    auto ns = add_namespace(layer(), args);
    EXPECT_TRUE(ns) << ns.error().message;
    return **ns;
  }
  static Status status(const TestApp& app) { return static_cast<Status>(app.reply.status); }

  static svm::Endpoint end(const char* address, uint16_t port) {
    return session::endpoint_of(IpAddress::parse(address).value(), port);
  }
  Status listen(TestApp& app, const char* address, uint16_t port) {
    svm::ListenEvent e{};
    e.local = end(address, port);
    e.backlog = 16;
    app.push(svm::ToDaemon::kListen, e);
    bound = app.expect<svm::BoundEvent>(svm::ToApp::kBound);
    return static_cast<Status>(bound.status);
  }
  // The answer, or kInProgress.
  Status connect(TestApp& app, const char* address, uint16_t port, const char* from = "0.0.0.0") {
    svm::ConnectEvent e{};
    e.remote = end(address, port);
    e.local = end(from, 0);
    app.push(svm::ToDaemon::kConnect, e);
    svm::MqEvent event;
    connected = {};
    if (!app.events.pop(event)) return Status::kInProgress;
    EXPECT_EQ(static_cast<svm::ToApp>(event.type), svm::ToApp::kConnected);
    connected = event.as<svm::ConnectedEvent>();
    return static_cast<Status>(connected.status);
  }
  // Application whose listener a packet finds; nullptr: nobody listens.
  const session::App* listener_at(const char* address, uint16_t port, uint32_t fib) {
    FlowKey4 key;
    key.local = IpAddress::parse(address).value().ip4();
    key.remote = Ip4Address{{10, 0, 0, 9}};
    key.local_port = port;
    key.remote_port = 9;
    key.protocol = PipeTransport::kIpProtocol;
    key.fib_index = static_cast<uint16_t>(fib);
    FlowMatch m;
    layer().flows->lookup<FlowKey4>({&key, 1}, &m);
    return m.kind == FlowKind::kListener ? layer().listener(m.conn)->app : nullptr;
  }
  const session::App* app_of(const TestApp& app) { return layer().apps[app.reply.app_index].get(); }
  std::size_t n_apps() {
    std::size_t n = 0;
    for (const auto& a : layer().apps) n += a != nullptr;
    return n;
  }

  SessionBed bed{{}, SessionBed::Network::kReal};
  ApiRegistry registry;
  DirectClient client{registry};
  IfIndex here = kNoIndex, there = kNoIndex;
  uint32_t fib5 = 0;
  svm::BoundEvent bound{};
  svm::ConnectedEvent connected{};
};

TEST_F(NamespacesTest, WhoHasNotTheSecretLearnsNothing) {
  Namespace& blue = add({.id = "blue", .secret = 1234});
  add({.id = "red", .secret = 77});
  const auto refusal = [&](const svm::AttachRequest& r, const std::string& path) {
    TestApp app(bed, r, path);
    EXPECT_EQ(status(app), Status::kPermission) << r.namespace_id;
    EXPECT_TRUE(app.fds.empty());
    return std::string(app.reply.message);
  };
  const std::string wrong = refusal(request("blue", 1235), {});
  EXPECT_EQ(refusal(request("blue"), {}), wrong) << "a missing secret";
  EXPECT_EQ(refusal(request("blue", 1234ull << 32), {}), wrong);
  EXPECT_EQ(refusal(request("", 1235), blue.socket.name), wrong) << "by its own socket";
  EXPECT_EQ(blue.wrong_secret, 4u);
  std::string unknown = refusal(request("blux", 1234), {});
  EXPECT_EQ(layer().unknown_namespaces, 1u);
  unknown.replace(unknown.find("blux"), 4, "blue");
  EXPECT_EQ(unknown, wrong);
  refusal(request("blu", 1234), {});
  refusal(request("blue2", 1234), {});
  // A namespace's own socket leads into it alone.
  refusal(request("red", 77), blue.socket.name);
  refusal(request("default"), blue.socket.name);
  EXPECT_EQ(n_apps(), 0u);

  TestApp by_default(bed, request("blue", 1234)), by_own(bed, request("", 1234), blue.socket.name),
      by_both(bed, request("blue", 1234), blue.socket.name);
  for (const TestApp* app : {&by_default, &by_own, &by_both}) {
    EXPECT_EQ(status(*app), Status::kOk) << app->reply.message;
    EXPECT_EQ(app_of(*app)->ns->id, "blue");
  }
  // The default namespace has no secret: what is said is not looked at.
  TestApp any(bed, request("default", 5)), none(bed);
  EXPECT_EQ(status(any), Status::kOk);
  EXPECT_EQ(app_of(none)->ns->id, "default");
}

TEST_F(NamespacesTest, ANewSecretIsForWhoComesNext) {
  add({.id = "blue", .secret = 1});
  TestApp first(bed, request("blue", 1));
  add({.id = "blue", .secret = 2});
  EXPECT_EQ(status(TestApp(bed, request("blue", 1))), Status::kPermission);
  EXPECT_EQ(status(TestApp(bed, request("blue", 2))), Status::kOk);
  EXPECT_EQ(first.listen(80).status, 0);
}

TEST_F(NamespacesTest, RefusalsFillNoLog) {
  bed.log.clear();
  for (int i = 0; i < 50; ++i) TestApp app(bed, request("nowhere", 1));
  EXPECT_EQ(std::count(bed.log.begin(), bed.log.end(), '\n'), 1) << bed.log;
  bed.pump(kSecond);
  TestApp app(bed, request("nowhere", 1));
  EXPECT_NE(bed.log.find("49 more were refused"), std::string::npos) << bed.log;
}

TEST_F(NamespacesTest, EachHasASocketOfItsOwn) {
  const auto mode_of = [](const std::string& path) {
    struct stat s {};
    return ::stat(path.c_str(), &s) == 0 ? s.st_mode & 07777 : ~0u;
  };
  Namespace& blue = add({.id = "blue"});
  EXPECT_EQ(blue.socket.name, bed.dir + "/app_ns_sockets/blue");
  EXPECT_EQ(mode_of(blue.socket.name), 0666u);
  ASSERT_TRUE(set_access(blue, {.uid = ::geteuid(), .gid = ::getegid(), .mode = 0660}));
  EXPECT_EQ(mode_of(blue.socket.name), 0660u);
  EXPECT_FALSE(set_access(blue, {.mode = 01777}));
  Namespace& named = add({.id = "named", .socket_name = "by-name"});
  EXPECT_EQ(named.socket.name, bed.dir + "/app_ns_sockets/by-name");
  Namespace& far = add({.id = "far", .socket_name = bed.dir + "/far.sock"});
  Namespace& abstract = add({.id = "abstract", .secret = 3, .socket_name = "abstract:" + bed.dir});
  EXPECT_EQ(abstract.socket.name, "@" + bed.dir);
  for (const Namespace* ns : {&named, &far, &abstract}) {
    TestApp app(bed, request("", 3), ns->socket.name);
    EXPECT_EQ(status(app), Status::kOk) << app.reply.message;
    EXPECT_EQ(app_of(app)->ns.get(), ns);
  }

  // They are closed and opened together, and keep what was said of them.
  ASSERT_TRUE(bed.layer->set_attach_socket(false));
  EXPECT_EQ(mode_of(blue.socket.name), ~0u);
  Namespace& late = add({.id = "late"});
  EXPECT_EQ(mode_of(late.socket.name), ~0u);
  ASSERT_TRUE(bed.layer->set_attach_socket(true));
  EXPECT_EQ(mode_of(blue.socket.name), 0660u);
  EXPECT_EQ(mode_of(late.socket.name), 0666u);
  const std::string gone = late.socket.name;
  ASSERT_TRUE(delete_namespace(layer(), "late"));
  EXPECT_EQ(mode_of(gone), ~0u);
}

TEST_F(NamespacesTest, SocketsThatCannotBe) {
  add({.id = "blue"});
  const auto refused = [&](const NamespaceArgs& args) {
    const auto ns = add_namespace(layer(), args);
    return ns ? Status::kOk : ns.error().code;
  };
  EXPECT_EQ(refused({.id = "red", .socket_name = "blue"}), Status::kExists);
  EXPECT_EQ(refused({.id = "blue", .socket_name = "red"}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = "a/b"}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = ".."}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = "@"}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = std::string(200, 'x')}), Status::kInvalid);
  EXPECT_EQ(refused({.id = "red", .socket_name = "abstract:x,netns_name=y"}), Status::kUnsupported);
  EXPECT_EQ(refused({.id = "red", .socket_name = bed.dir + "/nowhere/sock"}), Status::kIo);
  const std::string file = bed.dir + "/file";
  ::close(::creat(file.c_str(), 0644));
  EXPECT_EQ(refused({.id = "red", .socket_name = file}), Status::kIo);
  EXPECT_EQ(::access(file.c_str(), F_OK), 0) << "and it is still there";
  for (const char* id : {"", ".", "..", "a/b", "a b", "a\n"})
    EXPECT_EQ(refused({.id = id}), Status::kInvalid) << id;
  EXPECT_EQ(refused({.id = std::string(64, 'x')}), Status::kInvalid);
  EXPECT_EQ(find_namespace(layer(), "red"), nullptr);
  EXPECT_EQ(refused({.id = std::string(63, 'x'), .socket_name = "x"}), Status::kOk);
}

TEST_F(NamespacesTest, AUserWhoMayNotIsRefusedByWhateverSocket) {
  Namespace& blue = add({.id = "blue", .secret = 1, .socket_name = "@" + bed.dir});
  Namespace& outer = *layer().namespaces[0];
  ASSERT_TRUE(add_namespace(layer(), {.id = "door", .socket_name = "@" + bed.dir + "-door"}));
  const bool is_root = ::geteuid() == 0;
  constexpr uid_t kNobody = 65534;
  const auto attach = [&](const Namespace& by) {
    if (is_root) {
      EXPECT_EQ(::seteuid(kNobody), 0);
    }
    TestApp app(bed, request("blue", 1), by.socket.name);
    if (is_root) {
      EXPECT_EQ(::seteuid(0), 0);
    }
    return status(app);
  };
  EXPECT_EQ(attach(blue), Status::kOk);
  const uid_t user = is_root ? kNobody : ::geteuid();
  ASSERT_TRUE(set_access(blue, {.uid = user, .gid = ::getegid(), .mode = 0066}));
  EXPECT_EQ(attach(blue), Status::kPermission) << "the owner";
  ASSERT_TRUE(set_access(blue, {.uid = user + 1, .gid = ::getegid(), .mode = 0606}));
  EXPECT_EQ(attach(blue), Status::kPermission) << "the group";
  ASSERT_TRUE(set_access(blue, {.uid = user + 1, .gid = 4242, .mode = 0660}));
  EXPECT_EQ(attach(blue), Status::kPermission) << "others";
  EXPECT_EQ(blue.refused_users, 3u);
  ASSERT_TRUE(set_access(blue, {.uid = user + 1, .gid = 4242, .mode = 0002}));
  EXPECT_EQ(attach(blue), Status::kOk);
  if (is_root) {
    TestApp root(bed, request("blue", 1));
    EXPECT_EQ(status(root), Status::kOk);
  } else {  // by the default namespace's socket, too
    ASSERT_TRUE(set_access(blue, {.uid = user, .gid = ::getegid(), .mode = 0}));
    EXPECT_EQ(attach(outer), Status::kPermission);
  }
}

TEST_F(NamespacesTest, TwoOfThemListenOnOnePortAndMeetNobodyElse) {
  add({.id = "blue"});
  add({.id = "red"});
  TestApp blue(bed, request("blue", 0, svm::kScopeLocalOnly)),
      blue_too(bed, request("blue", 0, svm::kScopeLocalOnly)),
      red(bed, request("red", 0, svm::kScopeLocalOnly)),
      outside(bed, request("", 0, svm::kScopeLocalOnly));
  EXPECT_EQ(listen(blue, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listen(red, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listen(blue_too, "0.0.0.0", 80), Status::kInUse);
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), nullptr) << "no packet reaches them";

  EXPECT_EQ(connect(outside, "10.0.0.1", 80), Status::kUnreachable);
  EXPECT_EQ(connect(blue_too, "10.0.0.1", 80), Status::kOk);
  EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);
  const uint64_t handle = connected.handle;
  EXPECT_EQ(connect(red, "10.0.0.1", 80), Status::kOk);
  EXPECT_EQ(app_of(blue)->n_sessions, 1u);
  EXPECT_EQ(app_of(red)->n_sessions, 2u) << "both ends of its own";
  // A handle that somebody guesses is nobody's.
  const uint64_t stale = bed.counter("stale-handle");
  red.push(svm::ToDaemon::kReset, handle);
  EXPECT_EQ(bed.counter("stale-handle"), stale + 1);
  EXPECT_EQ(app_of(blue_too)->n_sessions, 1u);
  // Nor is memory of a pair.
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kGetSegment;
  r.pair = r.segment_id = layer().pairs[0]->arena.segment(0).id();
  EXPECT_EQ(static_cast<Status>(outside.ask(r).status), Status::kNotFound);
}

TEST_F(NamespacesTest, WithAGlobalScopeOneTableHasOnePort) {
  add({.id = "blue"});
  add({.id = "red"});
  add({.id = "far", .ip4_table = 5});
  TestApp blue(bed, request("blue")), red(bed, request("red")), far(bed, request("far"));
  EXPECT_EQ(listen(blue, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listen(red, "0.0.0.0", 80), Status::kInUse);
  // What it had taken for its own namespace it has given back.
  EXPECT_EQ(listen(red, "0.0.0.0", 81), Status::kOk);
  EXPECT_EQ(listen(far, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), app_of(blue));
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), app_of(far));
  far.push(svm::ToDaemon::kUnlisten, bound.handle);  // it holds it still
  TestApp red_too(bed, request("red", 0, svm::kScopeLocalOnly));
  EXPECT_EQ(listen(red_too, "0.0.0.0", 80), Status::kOk) << "blue's is not local to red";

  // Connects that find no local listener go by the transport, in the namespace's table.
  EXPECT_EQ(connect(red, "10.0.0.1", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(0).endpoints.fib_index, 0u);
  EXPECT_EQ(connect(far, "10.0.0.9", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(1).endpoints.fib_index, fib5);
}

TEST_F(NamespacesTest, APortIsChosenThatIsFreeInAllTables) {
  add({.id = "blue"});
  TestApp local(bed, request("blue", 0, svm::kScopeLocalOnly)),
      global(bed, request("", 0, svm::kScopeGlobalOnly)), both(bed, request("blue"));
  ASSERT_EQ(listen(local, "0.0.0.0", 65535), Status::kOk);
  ASSERT_EQ(listen(global, "0.0.0.0", 65534), Status::kOk);
  ASSERT_EQ(listen(both, "0.0.0.0", 0), Status::kOk);
  EXPECT_EQ(Be16::from_raw(bound.local.port), 65533);
  EXPECT_EQ(listener_at("10.0.0.1", 65533, 0), app_of(both));
}

TEST_F(NamespacesTest, AListenerOfBothFamiliesIsInBothTables) {
  add({.id = "mixed", .ip4_table = 5, .ip6_table = 0});
  TestApp app(bed, request("mixed"));
  ASSERT_EQ(listen(app, "::", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), nullptr);
  app.die();
  bed.pump();
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), nullptr);
}

TEST_F(NamespacesTest, AnInterfaceIsAllThatItSees) {
  Namespace& blue = add({.id = "blue", .interface = there});
  EXPECT_EQ(blue.ip4_table, 5u);
  ASSERT_TRUE(bed.net->add_address(there, prefix("10.5.0.1", 24)));
  const IfIndex other = bed.net->create_loopback().value();
  ASSERT_TRUE(bed.net->set_table(other, 5, false));
  ASSERT_TRUE(bed.net->add_address(other, prefix("10.6.0.1", 24)));
  ASSERT_TRUE(bed.net->set_admin(other, true));
  TestApp app(bed, request("blue"));

  ASSERT_EQ(listen(app, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.5.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.6.0.1", 80, fib5), nullptr);
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), nullptr);
  EXPECT_EQ(listen(app, "10.6.0.1", 81), Status::kNotFound);
  EXPECT_EQ(listen(app, "10.5.0.1", 81), Status::kOk);

  // Addresses come and go under a listener.
  ASSERT_TRUE(bed.net->add_address(there, prefix("10.7.0.1", 24)));
  EXPECT_EQ(listener_at("10.7.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.7.0.1", 81, fib5), nullptr);
  ASSERT_TRUE(bed.net->del_address(there, prefix("10.5.0.1", 24)));
  EXPECT_EQ(listener_at("10.5.0.1", 80, fib5), nullptr);
  EXPECT_EQ(listener_at("10.5.0.1", 81, fib5), nullptr);
  EXPECT_EQ(listener_at("10.7.0.1", 80, fib5), app_of(app));

  // Connects come from it: by its own subnet, and by another's as well.
  EXPECT_EQ(connect(app, "10.7.0.9", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(0).endpoints.local.str(), "10.7.0.1");
  EXPECT_EQ(PipeTransport::end(0).endpoints.fib_index, fib5);
  EXPECT_EQ(connect(app, "10.6.0.9", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(1).endpoints.local.str(), "10.0.0.1");
  EXPECT_EQ(connect(app, "10.6.0.9", 1000, "10.6.0.1"), Status::kNotFound);
  EXPECT_EQ(connect(app, "172.16.0.1", 1000), Status::kUnreachable);
  EXPECT_EQ(connect(app, "10.0.0.1", 80), Status::kOk);
  EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);

  // Another one that gets its number is not the same.
  ASSERT_EQ(bed.net->remove_interface(there), Status::kOk);
  bed.pump();
  EXPECT_EQ(bed.net->create_loopback().value(), there);
  ASSERT_TRUE(bed.net->add_address(there, prefix("10.9.0.1", 24)));
  EXPECT_EQ(listener_at("10.7.0.1", 80, fib5), nullptr);
  EXPECT_EQ(listener_at("10.9.0.1", 80, 0), nullptr);
  EXPECT_EQ(connect(app, "10.9.0.1", 80), Status::kUnreachable);
  EXPECT_EQ(session::interface_name(layer(), blue), "(gone)");
  // Its applications have to go before it gets another.
  EXPECT_EQ(add_namespace(layer(), {.id = "blue", .interface = there}).error().code,
            Status::kInUse);
  app.die();
  bed.pump();
  add({.id = "blue", .interface = there});
  TestApp again(bed, request("blue"));
  ASSERT_EQ(listen(again, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.9.0.1", 80, 0), app_of(again));
}

TEST_F(NamespacesTest, AnAddressThatSomebodyHasIsSaid) {
  add({.id = "blue", .interface = here});
  TestApp outside(bed), app(bed, request("blue"));
  ASSERT_EQ(listen(outside, "10.3.0.1", 80), Status::kOk);
  ASSERT_EQ(listen(app, "0.0.0.0", 80), Status::kOk);
  bed.log.clear();
  ASSERT_TRUE(bed.net->add_address(here, prefix("10.3.0.1", 24)));
  EXPECT_NE(bed.log.find("10.3.0.1 port 80"), std::string::npos) << bed.log;
  EXPECT_EQ(listener_at("10.3.0.1", 80, 0), app_of(outside));
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), app_of(app));
}

TEST_F(NamespacesTest, ATableStaysWhileANamespaceIsInIt) {
  ASSERT_TRUE(bed.net->add_table(7, false));
  EXPECT_EQ(add_namespace(layer(), {.id = "far", .ip6_table = 7}).error().code, Status::kNotFound);
  add({.id = "far", .ip4_table = 7});
  EXPECT_EQ(bed.net->del_table(7, false).error().code, Status::kInUse);
  ASSERT_TRUE(delete_namespace(layer(), "far"));
  EXPECT_TRUE(bed.net->del_table(7, false));
}

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

TEST_F(NamespacesTest, DeletingOneEndsItsApplicationsAndNobodyElses) {
  add({.id = "blue"});
  TestApp server(bed, request("blue")), client(bed, request("blue")), outside(bed);
  const std::string path = find_namespace(layer(), "blue")->socket.name;
  ASSERT_EQ(listen(server, "0.0.0.0", 80), Status::kOk);
  ASSERT_EQ(listen(outside, "0.0.0.0", 90), Status::kOk);
  ASSERT_EQ(connect(client, "10.0.0.1", 80), Status::kOk);
  ASSERT_EQ(connect(client, "10.0.0.1", 90), Status::kOk);  // as hosts meet
  EXPECT_EQ(connected.cut_through, svm::CutThrough::kNo);
  // One that is about to attach, and requests that nobody has looked at yet.
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::strcpy(a.sun_path, path.c_str());
  const int late = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  ASSERT_EQ(::connect(late, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  bed.pump();
  svm::ListenEvent l{};
  l.local = end("0.0.0.0", 81);
  ASSERT_EQ(server.requests.push(svm::ToDaemon::kListen, l), svm::MqProducer::Push::kOk);
  svm::ConnectEvent c{};
  c.remote = end("10.0.0.1", 80);
  c.local.is_ip4 = 1;
  for (int i = 0; i < 8; ++i) {
    ASSERT_EQ(client.requests.push(svm::ToDaemon::kConnect, c), svm::MqProducer::Push::kOk);
  }
  bed.engine->step();  // the worker has passed some on to the control thread

  ASSERT_TRUE(delete_namespace(layer(), "blue"));
  bed.pump();
  EXPECT_EQ(n_apps(), 1u);
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), nullptr);
  EXPECT_EQ(listener_at("10.0.0.1", 81, 0), nullptr);
  EXPECT_EQ(listener_at("10.0.0.1", 90, 0), app_of(outside));
  EXPECT_EQ(layer().workers[0]->pool.in_use(), 1u) << "what waits for the one outside";
  EXPECT_EQ(app_of(outside)->n_sessions, 1u);
  char byte;
  EXPECT_EQ(::recv(server.socket, &byte, 1, MSG_DONTWAIT), 0) << "its attach connection ended";
  EXPECT_EQ(::access(path.c_str(), F_OK), -1);
  svm::AttachRequest r = request("blue");
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kAttach;
  ASSERT_EQ(::send(late, &r, sizeof r, 0), static_cast<ssize_t>(sizeof r));
  bed.pump();
  svm::AttachReply reply{};
  ASSERT_EQ(::recv(late, &reply, sizeof reply, 0), static_cast<ssize_t>(sizeof reply));
  EXPECT_EQ(static_cast<Status>(reply.status), Status::kPermission);
  ::close(late);

  Namespace& again = add({.id = "blue", .secret = 5});
  EXPECT_EQ(again.wrong_secret, 0u);
  TestApp next(bed, request("blue", 5));
  EXPECT_EQ(listen(next, "0.0.0.0", 80), Status::kOk);
}

TEST_F(NamespacesTest, SegmentsOnTheirWayOutKeepADeletedOne) {
  Namespace& blue = add({.id = "blue"});
  session::set_quota(blue, {.sessions = 10});
  TestApp server(bed, request("blue", 0, svm::kScopeGlobalOnly)), peer(bed);
  ASSERT_EQ(server.listen(80).status, 0);
  auto c = peer.connect(80);
  auto s = server.accept();
  bed.pipe.hold_acks = true;
  server.write(*s, "bytes that are not acknowledged");
  ASSERT_TRUE(delete_namespace(layer(), "blue"));
  bed.pump();
  EXPECT_EQ(n_apps(), 1u);
  EXPECT_EQ(bed.buffers_in_use(), 0u);
}

TEST_F(NamespacesTest, TheDefaultOneStays) {
  EXPECT_EQ(delete_namespace(layer(), "default").error().code, Status::kInvalid);
  EXPECT_EQ(delete_namespace(layer(), "blue").error().code, Status::kNotFound);
  // It can have a secret, and a place, as others.
  add({.id = "default", .secret = 9, .ip4_table = 5});
  EXPECT_EQ(status(TestApp(bed)), Status::kPermission);
  TestApp app(bed, request("", 9));
  ASSERT_EQ(listen(app, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), app_of(app));
}

TEST_F(NamespacesTest, OverTheApiAsOverTheCommandLine) {
  const auto add_del = [&](api::AppNamespaceAddDelV4 m) {
    return client.call<api::AppNamespaceAddDelV4Reply>(m);
  };
  const auto made = add_del({.secret = 1234, .sw_if_index = there, .namespace_id = "blue"});
  EXPECT_EQ(made.retval, 0);
  EXPECT_EQ(made.appns_index, 1u);
  EXPECT_EQ(add_del({.ip4_fib_id = 9, .namespace_id = "red"}).retval, -3);
  EXPECT_EQ(add_del({.sw_if_index = 99, .namespace_id = "red"}).retval, -2);
  EXPECT_EQ(add_del({.namespace_id = "a/b"}).retval, -7);
  EXPECT_EQ(add_del({.namespace_id = "red", .sock_name = "blue"}).retval, -155);
  EXPECT_EQ(add_del({.namespace_id = "red", .sock_name = "/nowhere/at/all"}).retval, -11);
  EXPECT_EQ(add_del({.is_add = false, .namespace_id = "red"}).retval, -128);
  EXPECT_EQ(add_del({.is_add = false, .namespace_id = "default"}).retval, -7);

  EXPECT_EQ(
      client
          .call<api::AppNamespaceSetQuotaReply>(api::AppNamespaceSetQuota{.namespace_id = "blue",
                                                                          .max_applications = 3,
                                                                          .max_sessions = 4,
                                                                          .max_memory = 5ull << 30})
          .retval,
      0);
  EXPECT_EQ(
      client.call<api::AppNamespaceSetQuotaReply>(api::AppNamespaceSetQuota{.namespace_id = "red"})
          .retval,
      -128);
  EXPECT_EQ(client
                .call<api::AppNamespaceSetAccessReply>(api::AppNamespaceSetAccess{
                    .namespace_id = "blue", .uid = ::geteuid(), .gid = ::getegid(), .mode = 0600})
                .retval,
            0);
  EXPECT_EQ(client
                .call<api::AppNamespaceSetAccessReply>(
                    api::AppNamespaceSetAccess{.namespace_id = "blue", .mode = 07777})
                .retval,
            -7);
  TestApp app(bed, request("blue", 1234)), outside(bed);
  const auto all = client.dump<api::AppNamespaceDetails>(api::AppNamespaceDump{});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].namespace_id, "default");
  const auto blue =
      client.dump<api::AppNamespaceDetails>(api::AppNamespaceDump{.namespace_id = "blue"}).at(0);
  EXPECT_TRUE(blue.has_secret);
  EXPECT_EQ(blue.sw_if_index, there);
  EXPECT_EQ(blue.ip4_fib_id, 5u);
  EXPECT_TRUE(blue.is_reachable);
  EXPECT_EQ(blue.mode, 0600u);
  EXPECT_EQ(blue.applications, 1u);
  EXPECT_EQ(blue.max_applications, 3u);
  EXPECT_EQ(blue.max_sessions, 4u);
  EXPECT_EQ(blue.max_memory, 5ull << 30);
  EXPECT_EQ(blue.memory, 24u << 20);
  EXPECT_EQ(blue.sock_name, bed.dir + "/app_ns_sockets/blue");

  ASSERT_EQ(listen(app, "0.0.0.0", 80), Status::kOk);
  ASSERT_EQ(listen(outside, "0.0.0.0", 80), Status::kOk);
  const auto listeners = client.dump<api::SessionDetails>(api::SessionDump{.namespace_id = "blue"});
  ASSERT_EQ(listeners.size(), 1u);
  EXPECT_EQ(listeners[0].namespace_id, "blue");
  const auto apps = client.dump<api::AppDetails>(api::AppDump{});
  ASSERT_EQ(apps.size(), 2u);
  EXPECT_EQ(apps[0].namespace_id, "blue");
  EXPECT_EQ(add_del({.is_add = false, .namespace_id = "blue"}).retval, 0);
  EXPECT_EQ(client.dump<api::AppDetails>(api::AppDump{}).size(), 1u);
}

}  // namespace
}  // namespace loom::test
