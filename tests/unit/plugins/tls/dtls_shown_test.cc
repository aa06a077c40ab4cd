// What is shown of DTLS beside TLS, by commands and by messages.
#include <gmock/gmock.h>

#include <map>

#include "tests/unit/plugins/tls/dtls_bed.h"
#include "tls.api.h"

namespace loom::tls {
namespace {

using testing::HasSubstr;
using testing::Not;

struct DtlsShown : testing::Test {
  DtlsBed bed;
  DtlsPeer peer{true};

  std::string shown(const std::string& line) {
    const auto o = bed.tls.run(line);
    EXPECT_EQ(o.status, Status::kOk) << o.text;
    return o.text;
  }
  auto connections(const api::TlsConnectionDump& request = {}) {
    return bed.tls.client.dump<api::TlsConnectionDetails>(request);
  }
};

TEST_F(DtlsShown, AConnectionAndAListenerAreListedWithThoseOfTls) {
  ASSERT_EQ(bed.tls.listen(444), 0);  // TLS
  std::string settings;
  add_setting(settings, Setting::kAlpn,
              std::string_view("\x04"
                               "echo"));
  ASSERT_EQ(bed.listen(bed.tls.add_settings(settings)), 0);
  SSL_set_tlsext_host_name(peer.ssl(), "server.test");
  SSL_set_alpn_protos(peer.ssl(),
                      reinterpret_cast<const unsigned char*>("\x04"
                                                             "echo"),
                      5);
  bed.exchange(peer);
  auto link = bed.accept();
  ASSERT_TRUE(link);
  const auto all = connections();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].session_handle, link->handle);
  EXPECT_EQ(all[0].version, "DTLSv1.2");
  EXPECT_EQ(all[0].state, api::TlsState::kTlsApiStateOpen);
  EXPECT_EQ(all[0].alpn, "echo");
  EXPECT_EQ(all[0].server_name, "server.test");
  EXPECT_TRUE(all[0].is_server);
  EXPECT_EQ(all[0].local_port, 443);
  EXPECT_EQ(all[0].remote_port, 7);
  EXPECT_EQ(connections({.local_port = 443, .remote_port = 7}).size(), 1u);
  EXPECT_EQ(connections({.remote_port = 8}).size(), 0u);
  EXPECT_EQ(connections({.state = api::TlsState::kTlsApiStateHandshake}).size(), 0u);
  EXPECT_THAT(shown("show tls connections"), HasSubstr("DTLSv1.2"));
  EXPECT_THAT(shown("show tls connections state ending"), Not(HasSubstr("DTLSv1.2")));

  const auto listeners = bed.tls.client.dump<api::TlsListenerDetails>(api::TlsListenerDump{});
  ASSERT_EQ(listeners.size(), 2u);
  EXPECT_EQ(listeners[0].alpn, "");
  EXPECT_EQ(listeners[1].alpn, "echo");
  EXPECT_EQ(listeners[1].subject, "CN=holder 1");
  EXPECT_NE(listeners[1].lower_handle, listeners[0].lower_handle);
  EXPECT_THAT(shown("show tls listeners"), HasSubstr("echo"));
}

TEST_F(DtlsShown, AHandshakeIsShownToo) {
  ASSERT_EQ(bed.listen(), 0);
  bed.carry(peer, 2);
  const auto all = connections();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].state, api::TlsState::kTlsApiStateHandshake);
  EXPECT_EQ(all[0].session_handle, ~uint64_t{0});
  EXPECT_EQ(all[0].version, "");
  EXPECT_EQ(bed.tls.client.dump<api::TlsListenerDetails>(api::TlsListenerDump{}).at(0).handshakes,
            1u);
}

TEST_F(DtlsShown, CountersAreItsOwn) {
  ASSERT_EQ(bed.listen(), 0);
  bed.exchange(peer);
  const auto counted = [&](uint32_t worker) {
    std::map<std::string, uint64_t> values;
    const auto reply =
        bed.tls.client.call<api::DtlsCountersGetReply>(api::DtlsCountersGet{.worker = worker});
    EXPECT_EQ(reply.retval, worker == 7 ? -89 : 0);
    for (const auto& c : reply.counters) values[c.name] = c.value;
    return values;
  };
  for (const uint32_t worker : {0u, ~0u}) {
    auto values = counted(worker);
    EXPECT_EQ(values.size(), std::size_t{dtls::kStatCount});
    EXPECT_EQ(values["server-handshakes"], 1u);
    EXPECT_EQ(values["connections"], 1u);
  }
  EXPECT_TRUE(counted(7).empty());
  EXPECT_EQ(bed.tls.stat(kServerHandshakes), 0u);
  EXPECT_THAT(shown("show dtls"), HasSubstr("retransmissions"));
  EXPECT_NE(bed.tls.run("show dtls more").status, Status::kOk);
}

}  // namespace
}  // namespace loom::tls
