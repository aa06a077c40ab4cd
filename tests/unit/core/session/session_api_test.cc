// Sessions and applications over the binary API: listed with filters, reset, their processes
// removed.
#include <hostloom/endpoint_settings.h>

#include <sys/socket.h>
#include <unistd.h>

#include <set>

#include "session/namespaces.h"
#include "tests/unit/core/session/session_api_bed.h"

namespace loom::test {
namespace {

TEST_F(SessionApiTest, ListsSessionsAndListenersWithWhatIsInThem) {
  ASSERT_EQ(app.listen(80, 7).status, 0);
  auto a = app.connect(80);
  EXPECT_EQ(sessions({.kind = Kind::kSessionApiKindListener}).at(0).queued, 1u);
  auto b = app.accept();
  app.write(*a, "five!");
  const auto all = sessions();
  ASSERT_EQ(all.size(), 3u);
  const auto& listener = all[0];
  EXPECT_EQ(listener.state, State::kSessionApiStateListen);
  EXPECT_EQ(listener.local_port, 80);
  EXPECT_EQ(listener.backlog, 7u);
  EXPECT_EQ(listener.queued, 0u);
  EXPECT_EQ(listener.worker, ~0u);
  const auto& client_end = all[1].handle == a->handle ? all[1] : all[2];
  const auto& server_end = all[1].handle == a->handle ? all[2] : all[1];
  EXPECT_EQ(client_end.handle, a->handle);
  EXPECT_EQ(client_end.state, State::kSessionApiStateOpen);
  EXPECT_EQ(client_end.transport, "pipe");
  EXPECT_EQ(client_end.app, "test");
  EXPECT_EQ(client_end.namespace_id, "default");
  EXPECT_EQ(client_end.remote_port, 80);
  EXPECT_EQ(client_end.remote.un.raw[0], 10);
  EXPECT_EQ(client_end.rx_fifo_size, 64u << 10);
  EXPECT_EQ(server_end.handle, b->handle);
  EXPECT_EQ(server_end.local_port, 80);
  EXPECT_EQ(server_end.rx_fifo_fill, 5u);
}

TEST_F(SessionApiTest, EveryFilterFilters) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  const auto n = [&](const api::SessionDump& d) { return sessions(d).size(); };
  EXPECT_EQ(n({.namespace_id = "default"}), 3u);
  EXPECT_EQ(n({.namespace_id = "blue"}), 0u);
  EXPECT_EQ(n({.app = "test"}), 3u);
  EXPECT_EQ(n({.app = "tes"}), 0u);
  EXPECT_EQ(n({.app_index = 0}), 3u);
  EXPECT_EQ(n({.app_index = 1}), 0u);
  EXPECT_EQ(n({.transport = "tcp"}), 0u);
  EXPECT_EQ(n({.state = State::kSessionApiStateOpen}), 2u);
  EXPECT_EQ(n({.state = static_cast<State>(99)}), 0u);
  EXPECT_EQ(n({.kind = Kind::kSessionApiKindConnection}), 2u);
  EXPECT_EQ(n({.kind = Kind::kSessionApiKindListener}), 1u);
  EXPECT_EQ(n({.remote_port = 80}), 1u);
  EXPECT_EQ(n({.local_port = 80}), 2u);
  api::Prefix prefix;
  prefix.address.un.raw = {10};
  for (const auto& [length, expected] : {std::pair{8, 1u}, {32, 1u}, {33, 0u}, {255, 0u}}) {
    prefix.len = static_cast<uint8_t>(length);
    EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), expected) << length;
  }
  prefix.len = 7;
  prefix.address.un.raw = {12};
  EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), 0u);
  prefix.address.un.raw = {11};
  EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), 1u);
  prefix.address.af = api::AddressFamily::kAddressIp6;
  EXPECT_EQ(n({.remote = prefix, .remote_port = 80}), 0u);
}

TEST_F(SessionApiTest, ThousandsAreListedOnceEachAndInSlices) {
  ASSERT_EQ(app.listen(80, 1024).status, 0);
  std::set<uint64_t> handles;
  std::vector<std::unique_ptr<TestApp::Connection>> open;
  for (int i = 0; i < 700; ++i) {
    open.push_back(app.connect(80));
    open.push_back(app.accept());
    ASSERT_TRUE(open.back());
  }
  for (const auto& c : open) handles.insert(c->handle);
  std::set<uint64_t> listed;
  for (const auto& d : sessions({.kind = Kind::kSessionApiKindConnection}))
    EXPECT_TRUE(listed.insert(d.handle).second);
  EXPECT_EQ(listed, handles);
  EXPECT_GE(client.n_steps, 1400u + 1400 / 256);
}

TEST_F(SessionApiTest, DisconnectResetsOneAndRefusesWhatIsNone) {
  const auto bound = app.listen(80);
  auto a = app.connect(80);
  auto b = app.accept();
  EXPECT_EQ(disconnect(bound.handle), kUnsupported);
  EXPECT_EQ(disconnect(bound.handle ^ uint64_t{1} << 40), kInvalidSessionId);
  for (const uint64_t bad : {a->handle ^ uint64_t{1} << 40, a->handle ^ uint64_t{7} << 32,
                             a->handle | 0xfffff000, ~uint64_t{0}, uint64_t{0xffff'ffff}})
    EXPECT_EQ(disconnect(bad), kInvalidSessionId) << bad;
  EXPECT_FALSE(a->rx.reset());
  EXPECT_EQ(disconnect(a->handle), 0);
  bed.pump();
  EXPECT_TRUE(a->rx.reset());
  EXPECT_EQ(a->rx.error(), ECONNABORTED);
  EXPECT_TRUE(b->rx.reset());
  EXPECT_EQ(disconnect(a->handle), kNotConnected);
  app.push(svm::ToDaemon::kReset, a->handle);
  EXPECT_EQ(disconnect(a->handle), kInvalidSessionId);
}

TEST_F(SessionApiTest, ListsApplications) {
  TestApp second(bed, app);  // another process of the same
  svm::AttachRequest r{};
  std::strcpy(r.app_name, "other");
  TestApp other(bed, r);
  const auto all = client.dump<api::AppDetails>(api::AppDump{});
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].app, "test");
  EXPECT_EQ(all[0].pids, std::vector<uint32_t>(2, static_cast<uint32_t>(::getpid())));
  EXPECT_TRUE(all[0].is_attached);
  EXPECT_GE(all[0].segment_bytes, 16u << 20);
  const auto one = client.dump<api::AppDetails>(api::AppDump{.app = "other"});
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].app_index, 1u);
}

TEST_F(SessionApiTest, AWorkerIsRemovedAsIfItsProcessHadEnded) {
  ASSERT_EQ(app.listen(80).status, 0);
  auto a = app.connect(80);
  auto b = app.accept();
  TestApp second(bed, app);
  EXPECT_EQ(second.reply.worker_index, 1u);
  const auto remove = [&](uint32_t index, uint32_t worker) {
    const auto reply = client.call<api::AppWorkerAddDelReply>(
        api::AppWorkerAddDel{.app_index = index, .wrk_index = worker, .is_add = false});
    EXPECT_EQ(reply.wrk_index, worker);
    EXPECT_FALSE(reply.is_add);
    return reply.retval;
  };
  const auto n_pids = [&] {
    const auto all = client.dump<api::AppDetails>(api::AppDump{});
    return all.empty() ? 0 : all[0].pids.size();
  };
  EXPECT_EQ(remove(1, 0), kApiInvalidValue);
  EXPECT_EQ(remove(~0u, 0), kApiInvalidValue);
  EXPECT_EQ(remove(0, 2), kInvalidValue2);
  EXPECT_EQ(remove(0, ~0u), kInvalidValue2);
  EXPECT_EQ(
      client.call<api::AppWorkerAddDelReply>(api::AppWorkerAddDel{.app_index = 0, .is_add = true})
          .retval,
      kUnsupported);
  EXPECT_EQ(n_pids(), 2u);
  EXPECT_EQ(remove(0, 1), 0);
  bed.pump();
  EXPECT_EQ(n_pids(), 1u);
  char byte;
  EXPECT_EQ(::recv(second.socket, &byte, 1, MSG_DONTWAIT), 0) << "its attach connection";
  EXPECT_EQ(remove(0, 1), kInvalidValue2);
  app.write(*a, "the first goes on");
  EXPECT_EQ(app.read(*b), "the first goes on");
  EXPECT_EQ(remove(0, 0), 0);
  bed.pump(2 * kSecond);
  EXPECT_TRUE(client.dump<api::AppDetails>(api::AppDump{}).empty()) << "it ended with its last";
  EXPECT_TRUE(sessions().empty());
}

TEST_F(SessionApiTest, CertificatesOfTheOperatorsAreForTheDefaultNamespaceAlone) {
  const auto add = [&](std::string_view certificate, std::string_view key) {
    api::AppAddCertKeyPair request{.cert_len = static_cast<uint16_t>(certificate.size())};
    for (const char c : std::string(certificate) + std::string(key))
      request.certkey.push_back(static_cast<uint8_t>(c));
    const auto reply = client.call<api::AppAddCertKeyPairReply>(request);
    EXPECT_EQ(reply.index == ~0u, reply.retval != 0);
    return std::pair(reply.retval, reply.index);
  };
  const auto del = [&](uint32_t index) {
    return client.call<api::AppDelCertKeyPairReply>(api::AppDelCertKeyPair{.index = index}).retval;
  };
  EXPECT_EQ(add("", "key").first, kApiInvalidValue);
  EXPECT_EQ(add("certificate", "").first, kApiInvalidValue);
  EXPECT_EQ(client.call<api::AppAddCertKeyPairReply>(api::AppAddCertKeyPair{.cert_len = 9}).retval,
            kApiInvalidValue);
  const auto [status, pair] = add("certificate", "key");
  ASSERT_EQ(status, 0);

  ASSERT_TRUE(session::add_namespace(bed.layer->impl(), {.id = "blue"}));
  svm::AttachRequest r{};
  std::strcpy(r.namespace_id, "blue");
  TestApp blue(bed, r);
  ASSERT_EQ(blue.reply.status, 0);
  auto& settings = bed.layer->impl().settings;
  std::string bytes;
  for (const auto& a : bed.layer->impl().apps) {
    if (!a) continue;
    const uint32_t own = settings.add(*a, {}, false).value();
    const bool may = a->ns->is_default();
    EXPECT_EQ(bed.layer->endpoint_settings(own, pair, &bytes),
              may ? Status::kOk : Status::kNotFound);
    EXPECT_FALSE(settings.has(*a, pair)) << "it is not settings of an endpoint's own";
    EXPECT_EQ(settings.remove(*a, pair), Status::kNotFound);
    EXPECT_EQ(bed.layer->endpoint_settings(pair, own, &bytes), Status::kNotFound);
    EXPECT_EQ(del(own), kNoSuchEntry);
  }
  std::string seen;
  EXPECT_TRUE(read_settings(bytes, [&](Setting type, std::string_view value) {
    seen += std::to_string(static_cast<uint32_t>(type)) + std::string(value) + " ";
  }));
  EXPECT_EQ(seen, "1certificate 2key ");
  for (uint32_t i = 1; i < session::EndpointSettings::kMostOfApp; ++i)
    ASSERT_EQ(add("c", "k").first, 0);
  EXPECT_EQ(add("c", "k").first, kLimitExceeded);
  EXPECT_EQ(del(pair), 0);
  EXPECT_EQ(del(pair), kNoSuchEntry);
  EXPECT_EQ(add("c", "k").first, 0);
}

TEST_F(SessionApiTest, WithTheLayerDisabledApplicationsAreNotDealtWith) {
  ASSERT_TRUE(bed.layer->set_enabled(false));
  EXPECT_EQ(client.call<api::AppAttachReply>(api::AppAttach{}).retval, kFeatureDisabled);
  EXPECT_EQ(client.call<api::ApplicationDetachReply>(api::ApplicationDetach{}).retval,
            kFeatureDisabled);
  EXPECT_EQ(client.call<api::AppWorkerAddDelReply>(api::AppWorkerAddDel{.is_add = false}).retval,
            kFeatureDisabled);
  EXPECT_EQ(client.call<api::AppAddCertKeyPairReply>(api::AppAddCertKeyPair{}).retval,
            kFeatureDisabled);
  EXPECT_EQ(client.call<api::AppDelCertKeyPairReply>(api::AppDelCertKeyPair{}).retval,
            kFeatureDisabled);
}

}  // namespace
}  // namespace loom::test
