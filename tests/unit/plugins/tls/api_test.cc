// What is shown of connections, listeners and counters, by commands and by messages; and pairs of
// the operator's.
#include <gmock/gmock.h>

#include <map>
#include <set>

#include "listing.h"
#include "session.api.h"
#include "session/api.h"
#include "session/namespaces.h"
#include "tls.api.h"
#include "tls_bed.h"

namespace loom::tls {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kNobody = ~uint64_t{0};

struct TlsMessages : testing::Test {
  TlsBed bed;
  TlsBed::Link near, far;

  TlsMessages() { EXPECT_TRUE(add_session_api(bed.client.host, bed.registry, *bed.bed.layer)); }
  std::vector<api::TlsConnectionDetails> connections(const api::TlsConnectionDump& request = {}) {
    return bed.client.dump<api::TlsConnectionDetails>(request);
  }
  std::vector<api::TlsListenerDetails> listeners() {
    return bed.client.dump<api::TlsListenerDetails>(api::TlsListenerDump{});
  }
  std::string shown(const std::string& line) {
    const auto o = bed.run(line);
    EXPECT_EQ(o.status, Status::kOk) << o.text;
    return o.text;
  }
  uint32_t add_pair(const Pem& p) {
    api::AppAddCertKeyPair request{.cert_len = static_cast<uint16_t>(p.certificate.size())};
    for (const char c : p.certificate + p.key) request.certkey.push_back(static_cast<uint8_t>(c));
    const auto reply = bed.client.call<api::AppAddCertKeyPairReply>(request);
    EXPECT_EQ(reply.retval, 0);
    return reply.index;
  }
  int32_t listen_with(uint32_t pair, uint16_t port = 443) {
    std::string settings;
    add_setting(settings, Setting::kPair, pair);
    return bed.listen(port, kProto, bed.add_settings(settings));
  }
};

TEST_F(TlsMessages, AnOpenConnectionIsShownAtBothEnds) {
  std::string client, server;
  add_setting(client, Setting::kServerName, std::string_view("server.test"));
  add_setting(client, Setting::kAlpn, std::string_view("\x02h2"));
  add_setting(server, Setting::kAlpn, std::string_view("\x02h2\x08http/1.1"));
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(server)), 0);
  near = bed.connect(443, kProto, bed.add_settings(client));
  far = bed.accept();
  ASSERT_TRUE(near && far);
  const auto all = connections();
  ASSERT_EQ(all.size(), 2u);
  for (const auto& c : all) {
    EXPECT_EQ(c.session_handle, c.is_server ? far->handle : near->handle);
    EXPECT_EQ(c.state, api::TlsState::kTlsApiStateOpen);
    EXPECT_EQ(c.version, "TLSv1.3");
    EXPECT_EQ(c.cipher, "TLS_AES_256_GCM_SHA384");
    EXPECT_EQ(c.alpn, "h2");
    EXPECT_EQ(c.server_name, "server.test");
    EXPECT_FALSE(c.is_resumed);
    EXPECT_EQ(c.is_verified, !c.is_server);
    EXPECT_EQ(c.peer, c.is_server ? "" : "CN=holder 1");
    EXPECT_EQ(c.is_server ? c.local_port : c.remote_port, 443);
  }
  EXPECT_NE(all[0].is_server, all[1].is_server);
  const auto one = connections({.local_port = 443});
  ASSERT_EQ(one.size(), 1u);
  EXPECT_TRUE(one[0].is_server);
  EXPECT_EQ(connections({.remote_port = 443}).size(), 1u);
  EXPECT_EQ(connections({.state = api::TlsState::kTlsApiStateHandshake}).size(), 0u);
  EXPECT_EQ(connections({.state = static_cast<api::TlsState>(77)}).size(), 0u);

  const std::string text = shown("show tls connections");
  EXPECT_THAT(text, HasSubstr("client verified"));
  EXPECT_THAT(text, HasSubstr("CN=holder 1"));
  EXPECT_THAT(text, HasSubstr("server.test"));
  EXPECT_THAT(shown("show tls connections state open local-port 443"),
              testing::AllOf(HasSubstr("server"), Not(HasSubstr("verified"))));
  EXPECT_THAT(shown("show tls connections state ending"), Not(HasSubstr("TLSv1.3")));
  for (const char* wrong : {"state", "state opne", "state open state", "local-port 0", "open"})
    EXPECT_NE(bed.run(std::string("show tls connections ") + wrong).status, Status::kOk) << wrong;
}

TEST_F(TlsMessages, AHandshakeIsShownWithoutWhatItHasYetToSay) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  const auto all = connections();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].state, api::TlsState::kTlsApiStateHandshake);
  EXPECT_EQ(all[0].session_handle, kNobody);
  EXPECT_EQ(all[0].version, "");
  EXPECT_EQ(all[0].local_port, 443);
  EXPECT_EQ(listeners().at(0).handshakes, 1u);
  EXPECT_THAT(shown("show tls connections state handshake"), HasSubstr("handshake"));
}

TEST_F(TlsMessages, WhatAPeerSaysOfItselfIsMadePrintable) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer peer(Peer::Role::kClient);
  SSL_set_tlsext_host_name(peer.ssl(), "a\x1b[31m\xff.test");
  peer.exchange(*bed.app, *link);
  far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(connections().at(0).server_name, "a?[31m?.test");
  EXPECT_THAT(shown("show tls connections"), Not(HasSubstr("\x1b")));
}

TEST_F(TlsMessages, ManyConnectionsAreListedOnceEach) {
  ASSERT_EQ(bed.listen(443), 0);
  std::vector<TlsBed::Link> links;
  for (int i = 0; i < 70; ++i) {  // more than one visit finds
    links.push_back(bed.connect(443));
    links.push_back(bed.accept());
    ASSERT_TRUE(links[links.size() - 2] && links.back());
  }
  std::set<uint64_t> handles;
  for (const auto& c : connections()) EXPECT_TRUE(handles.insert(c.session_handle).second);
  EXPECT_EQ(handles.size(), 140u);
}

TEST_F(TlsMessages, ListenersSayWhatTheyShowAndAsk) {
  ASSERT_EQ(bed.listen(443), 0);
  std::string settings = TlsBed::pair_settings(
      make_certificate({.issuer = &bed.authority, .until = 7 * 24 * 3600, .serial = 5}));
  add_setting(settings, Setting::kPair,
              bed.add_settings(TlsBed::pair_settings(make_certificate({})), false));
  add_setting(settings, Setting::kAlpn, std::string_view("\x02h2\x08http/1.1"));
  add_setting(settings, Setting::kVerify, uint32_t{2});
  ASSERT_EQ(bed.listen(444, kProto, bed.add_settings(settings)), 0);
  const auto all = listeners();
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].subject, "CN=holder 1");
  EXPECT_EQ(all[0].certificates, 1u);
  EXPECT_EQ(all[0].verify, api::TlsVerify::kTlsApiVerifyOff);
  EXPECT_EQ(all[0].alpn, "");
  EXPECT_EQ(all[1].subject, "CN=holder 5");
  EXPECT_EQ(all[1].certificates, 2u);
  EXPECT_EQ(all[1].verify, api::TlsVerify::kTlsApiVerifyRequired);
  EXPECT_EQ(all[1].alpn, "h2,http/1.1");
  const uint64_t days = (all[1].not_after - all[0].not_after + 1800) / (24 * 3600);
  EXPECT_EQ(days, 6u);
  // Its address is that of the listener below.
  std::map<uint64_t, uint16_t> ports;
  for (const auto& s : bed.client.dump<api::SessionDetails>(
           api::SessionDump{.kind = api::SessionKind::kSessionApiKindListener}))
    ports[s.handle] = s.local_port;
  EXPECT_EQ(ports.at(all[0].lower_handle), 443);
  EXPECT_EQ(ports.at(all[1].lower_handle), 444);
  const std::string text = shown("show tls listeners");
  EXPECT_THAT(text, HasSubstr("h2,http/1.1"));
  EXPECT_THAT(text, HasSubstr("required"));
}

TEST_F(TlsMessages, WhatHasNoRoomForAllProtocolsSaysSo) {
  std::string list, names, settings;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "proto-" + std::to_string(100 + i);
    list += static_cast<char>(name.size()) + name;
    names += (i ? "," : "") + name;
  }
  add_setting(settings, Setting::kAlpn, list);
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(settings)), 0);
  const std::string alpn = listeners().at(0).alpn;
  EXPECT_LE(alpn.size(), 255u);
  ASSERT_THAT(alpn, EndsWith(",..."));
  const std::size_t n = alpn.size() - 4;
  EXPECT_EQ(alpn.substr(0, n), names.substr(0, n));
  EXPECT_EQ(names[n], ',') << "whole names";
  EXPECT_THAT(shown("show tls listeners"), HasSubstr("proto-139"));
}

TEST_F(TlsMessages, AListOfConnectionsSaysWhenItIsCut) {
  ASSERT_EQ(bed.listen(443), 0);
  std::vector<TlsBed::Link> links;
  for (int i = 0; i < 33; ++i) {  // a worker is visited for 64 at a time
    links.push_back(bed.connect(443));
    links.push_back(bed.accept());
  }
  for (const std::size_t most : {63, 64, 65, 66, 67}) {
    std::vector<ConnectionRow> rows;
    EXPECT_EQ(list_connections({}, most, rows), most < 66) << most;
    EXPECT_EQ(rows.size(), std::min<std::size_t>(most, 66));
  }
}

TEST_F(TlsMessages, CountersAreThoseOfTheCommand) {
  ASSERT_EQ(bed.listen(443), 0);
  near = bed.connect(443);
  far = bed.accept();
  ASSERT_TRUE(near && far);
  for (const uint32_t worker : {~0u, 0u}) {
    const auto reply =
        bed.client.call<api::TlsCountersGetReply>(api::TlsCountersGet{.worker = worker});
    EXPECT_EQ(reply.retval, 0);
    ASSERT_EQ(reply.counters.size(), std::size_t{kStatCount});
    for (std::size_t i = 0; i < kStatCount; ++i) {
      EXPECT_EQ(reply.counters[i].name, kStats[i].name);
      EXPECT_EQ(reply.counters[i].value, bed.stat(static_cast<Stat>(i)));
    }
    EXPECT_EQ(reply.counters[kServerHandshakes].value, 1u);
  }
  const auto none = bed.client.call<api::TlsCountersGetReply>(api::TlsCountersGet{.worker = 1});
  EXPECT_EQ(none.retval, -89);
  EXPECT_TRUE(none.counters.empty());
  EXPECT_THAT(shown("show tls"), HasSubstr("server-handshakes"));
}

TEST_F(TlsMessages, ReloadReadsTheFilesOrSaysWhyNot) {
  const auto reload = [&] {
    bed.client.begin(api::TlsReload{});
    EXPECT_FALSE(bed.client.answer<api::TlsReloadReply>());
    bed.bed.pump(0);
    EXPECT_TRUE(*bed.client.was_woken);
    return bed.client.answer<api::TlsReloadReply>().value().retval;
  };
  ASSERT_EQ(bed.listen(443), 0);
  bed.write("server.pem", "rubbish");
  EXPECT_EQ(reload(), kApiInvalidValue);
  EXPECT_NE(bed.log.find("tls_reload: "), std::string::npos);
  EXPECT_EQ(listeners().at(0).subject, "CN=holder 1");
  const Pem p = make_certificate({.issuer = &bed.authority, .serial = 2});
  bed.write("server.pem", p.certificate);
  bed.write("server.key", p.key);
  EXPECT_EQ(reload(), 0);
  EXPECT_EQ(listeners().at(0).subject, "CN=holder 2");
}

TEST_F(TlsMessages, AReloadGoesOnWhoeverLeaves) {
  ASSERT_EQ(bed.listen(443), 0);
  const Pem p = make_certificate({.issuer = &bed.authority, .serial = 2});
  bed.write("server.pem", p.certificate);
  bed.write("server.key", p.key);
  bed.client.begin(api::TlsReload{});
  EXPECT_FALSE(bed.client.answer<api::TlsReloadReply>());
  bed.client.leave();
  bed.bed.pump(0);
  EXPECT_EQ(listeners().at(0).subject, "CN=holder 2");
}

TEST_F(TlsMessages, APairOfTheOperatorsIsForApplicationsOfTheDefaultNamespace) {
  const uint32_t pair = add_pair(make_certificate({.issuer = &bed.authority, .serial = 31}));
  ASSERT_EQ(listen_with(pair), 0);
  EXPECT_EQ(listeners().at(0).subject, "CN=holder 31");
  EXPECT_NE(bed.listen(444, kProto, pair), 0) << "it is no endpoint's settings";
  near = bed.connect(443);
  ASSERT_TRUE(near);

  ASSERT_TRUE(session::add_namespace(bed.bed.layer->impl(), {.id = "blue"}));
  svm::AttachRequest r{};
  std::strcpy(r.namespace_id, "blue");
  auto blue = std::make_unique<test::TestApp>(bed.bed, r);
  std::swap(bed.app, blue);
  EXPECT_NE(listen_with(pair, 445), 0);
  EXPECT_NE(bed.log.find("there is no certificate " + std::to_string(pair)), std::string::npos);
  std::swap(bed.app, blue);

  // Taken back, it is nobody's any more; who has it keeps it.
  EXPECT_EQ(
      bed.client.call<api::AppDelCertKeyPairReply>(api::AppDelCertKeyPair{.index = pair}).retval,
      0);
  EXPECT_NE(listen_with(pair, 446), 0);
  EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
  EXPECT_EQ(listeners().at(0).subject, "CN=holder 31");
}

TEST_F(TlsMessages, APairOfTheOperatorsThatIsRubbishIsRefusedWhenItIsUsed) {
  const uint32_t pair = add_pair({.certificate = "x", .key = "y", .x509 = {}, .pkey = {}});
  EXPECT_NE(listen_with(pair), 0);
  EXPECT_NE(bed.log.find("cannot listen: the certificate"), std::string::npos);
}

}  // namespace
}  // namespace loom::tls
