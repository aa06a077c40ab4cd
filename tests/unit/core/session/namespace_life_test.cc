// How a namespace ends, and the one that does not; all of it over the binary API.
#include "tests/unit/core/session/namespaces_bed.h"

namespace loom::test {
namespace {

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
