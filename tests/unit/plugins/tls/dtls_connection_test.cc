// What an open connection of DTLS does with its application's datagrams: options, sizes, room
// below, and framing that makes no sense.
#include <openssl/core_names.h>
#include <openssl/kdf.h>

#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {
namespace {

using Texts = std::vector<std::string>;

struct DtlsConnection : testing::Test {
  DtlsBed bed;
  DtlsPeer peer{true,
                [](SSL_CTX* c) { SSL_CTX_set_cipher_list(c, "ECDHE-ECDSA-AES128-GCM-SHA256"); }};
  DtlsBed::Link link;

  void SetUp() override {
    ASSERT_EQ(bed.listen(), 0);
    bed.exchange(peer);
    link = bed.accept();
    ASSERT_TRUE(link);
  }
  dtls::Connection& connection() { return *dtls::shared().workers[0]->connections[0]; }
  dtls::Listener& listener() { return *dtls::shared().listeners.begin()->second; }
  // As an application writes it, and not yet said to be there.
  void put(std::string_view text, uint8_t flags = 0, uint8_t tos = 0, uint8_t ttl = 0) {
    svm::DatagramHeader h{};
    h.length = static_cast<uint32_t>(text.size());
    h.flags = flags;
    h.tos = tos;
    h.ttl = ttl;
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += text;
    EXPECT_EQ(link->tx.enqueue(svm::bytes_of(bytes.data(), bytes.size())), bytes.size());
  }
  void tell() { bed.tls.app->push(svm::ToDaemon::kTx, link->handle); }
};

// --- TOS and TTL

TEST_F(DtlsConnection, OfAServerHasItsOwnTos) {
  DtlsPeer other(true);
  bed.exchange(other, 8);
  auto second = bed.accept();
  ASSERT_TRUE(second);
  svm::OptionEvent e{};
  e.handle = link->handle;
  e.options.dscp_tos = 0xb8;
  bed.tls.app->push(svm::ToDaemon::kSetOption, e);
  bed.transport.sent.clear();
  bed.write(*link, "urgent");
  bed.write(*second, "not so");
  ASSERT_EQ(bed.transport.sent.size(), 2u);
  EXPECT_TRUE(bed.transport.sent[0].d.flags & kDatagramTos);
  EXPECT_EQ(bed.transport.sent[0].d.tos, 0xb8);
  EXPECT_FALSE(bed.transport.sent[1].d.flags & kDatagramTos);
}

TEST_F(DtlsConnection, SaysOfADatagramWhatItsApplicationSaysOfIt) {
  bed.transport.sent.clear();
  put("one", kDatagramTos | kDatagramTtl, 0x20, 5);
  put("two");
  put("none leaves the host with 0", kDatagramTtl, 0, 0);
  put("and where to is not for it to say", kDatagramRemote | kDatagramLocal);
  tell();
  const auto& sent = bed.transport.sent;
  ASSERT_EQ(sent.size(), 4u);
  EXPECT_EQ(sent[0].d.flags & (kDatagramTos | kDatagramTtl), kDatagramTos | kDatagramTtl);
  EXPECT_EQ(sent[0].d.tos, 0x20);
  EXPECT_EQ(sent[0].d.ttl, 5);
  for (std::size_t i = 1; i < 4; ++i) {
    EXPECT_FALSE(sent[i].d.flags & (kDatagramTos | kDatagramTtl)) << i;
    EXPECT_EQ(sent[i].d.ends.remote_port, 7);
  }
}

TEST_F(DtlsConnection, SaysHowADatagramHasCome) {
  peer.write("text");
  const auto& below = bed.transport.connections[0];
  Datagram d;
  d.ends = below.ends;
  d.ends.remote = Ip4Address{{192, 0, 2, 3}};
  d.ends.remote_port = 7;
  d.tos = 0x2e;
  d.ttl = 61;
  Buffer b;
  b.data = reinterpret_cast<std::byte*>(peer.out.front().data());
  b.len = static_cast<uint32_t>(peer.out.front().size());
  ASSERT_EQ(bed.worker().sessions->rx_datagram(bed.worker(), below.session, d, b, 0, b.len),
            Status::kOk);
  bed.tls.bed.pump();
  const std::string got = bed.tls.app->read(*link);
  svm::DatagramHeader h;
  ASSERT_GE(got.size(), sizeof h);
  std::memcpy(&h, got.data(), sizeof h);
  EXPECT_EQ(h.tos, 0x2e);
  EXPECT_EQ(h.ttl, 61);
}

// --- Room below

struct DtlsRoom : DtlsConnection {
  DtlsRoom() { shared().config.fifo_size = 64 << 10; }
  static constexpr uint32_t kMany = 40;  // more than there is room for in one round
  void put_many() {
    for (uint32_t i = 0; i < kMany; ++i) put(std::string(1300, static_cast<char>('a' + i % 26)));
  }
  // One round, in which the session has written.
  void step() {
    const svm::SessionEvent written{link->handle, 0};
    bed.tls.app->ask_worker(0, svm::ToDaemon::kTx, written);
    bed.tls.bed.engine->step(0);
  }
};

TEST_F(DtlsRoom, WhatHasNoneWaitsAndIsAllSent) {
  put_many();
  step();
  ASSERT_TRUE(connection().waits);
  EXPECT_EQ(listener().waiting.size(), 1u);
  bed.exchange(peer);
  EXPECT_EQ(peer.got.size(), kMany);
  EXPECT_FALSE(connection().waits);
  EXPECT_TRUE(listener().waiting.empty());
  EXPECT_EQ(bed.stat(dtls::kUnsent), 0u);
}

TEST_F(DtlsRoom, SeveralMayWaitForItAndOneOfThemLeave) {
  DtlsPeer other(true);
  bed.exchange(other, 8);
  auto second = bed.accept();
  ASSERT_TRUE(second);
  put_many();
  std::swap(link, second);
  put_many();
  std::swap(link, second);
  const svm::SessionEvent written{second->handle, 0};
  bed.tls.app->ask_worker(0, svm::ToDaemon::kTx, written);
  step();
  ASSERT_EQ(listener().waiting.size(), 2u);
  const svm::SessionEvent gone{link->handle, 0};  // at once, as it waits
  bed.tls.app->ask_worker(0, svm::ToDaemon::kReset, gone);
  bed.tls.bed.pump();
  EXPECT_EQ(bed.stat(dtls::kConnections), 1u);
  EXPECT_TRUE(listener().waiting.empty());
  bed.exchange(other, 8);
  EXPECT_EQ(other.got.size(), kMany);
}

TEST_F(DtlsRoom, WhatOthersHaveTakenIsWaitedForAsWell) {
  AppSession below = connection().below();
  const std::byte rubbish[1] = {};
  while (below.send_datagram(connection().wire.to, rubbish) == Status::kOk) {}
  put("at last");
  step();
  ASSERT_TRUE(connection().waits);
  EXPECT_TRUE(peer.got.empty());
  bed.exchange(peer);
  EXPECT_EQ(peer.got, (Texts{"at last"}));
}

TEST_F(DtlsRoom, AClientWaitsOfItsOwn) {
  const Pem own = make_certificate({.names = "IP:192.0.2.3", .issuer = &bed.tls.authority});
  DtlsPeer server(false, [&](SSL_CTX* c) {
    SSL_CTX_use_certificate(c, own.x509.get());
    SSL_CTX_use_PrivateKey(c, own.pkey.get());
  });
  bed.start_connect();
  bed.exchange(server, 443, 1);
  const auto c = bed.tls.outcome();
  ASSERT_EQ(c.status, 0);
  link = bed.tls.app->connection(c.handle, c.session);
  put_many();
  step();
  EXPECT_TRUE(dtls::shared().workers[0]->connections[1]->waits);
  bed.exchange(server, 443, 1);
  EXPECT_EQ(server.got.size(), kMany);
}

// --- Framing

TEST_F(DtlsConnection, WhoseApplicationBreaksTheFramingEndsWithIt) {
  for (const uint32_t length : {~0u, kMaxDatagramBytes + 1, 4000u}) {
    SCOPED_TRACE(length);
    test::TestApp app(bed.tls.bed);
    svm::ListenEvent e{};
    e.proto = dtls::kProto;
    e.local = test::TestApp::end(444);
    e.backlog = 16;
    app.push(svm::ToDaemon::kListen, e);
    svm::MqEvent event{};
    ASSERT_TRUE(app.events.pop(event));
    app.listener = app.table.resolve_as<svm::ListenerShared>(event.as<svm::BoundEvent>().listener);
    ASSERT_TRUE(app.listener);
    const auto conn = static_cast<ConnId>(bed.transport.connections.size() - 1);
    DtlsPeer other(true);
    bed.exchange(other, 9, conn);
    const auto bad = app.accept();
    ASSERT_TRUE(bad);
    ASSERT_EQ(bed.stat(dtls::kConnections), 2u);
    svm::DatagramHeader h{};
    h.length = length;
    app.write(*bad, std::string(reinterpret_cast<const char*>(&h), sizeof h) + "and not so much");
    bed.tls.bed.pump();
    EXPECT_EQ(bed.stat(dtls::kConnections), 1u);  // the other application's
    EXPECT_FALSE(bed.transport.connections[conn].open);
    bed.exchange(other, 9, conn);
    EXPECT_TRUE(other.got.empty());
  }
  peer.write("still here");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"still here"}));
}

TEST_F(DtlsConnection, WhoseApplicationWritesHalfAHeaderEndsWithIt) {
  bed.tls.app->write(*link, "half a header");
  bed.tls.bed.pump();
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  EXPECT_TRUE(dtls::shared().listeners.empty());
}

// --- Sizes

TEST_F(DtlsConnection, TheLargestRecordGoesBothWaysAndNothingLarger) {
  DtlsBed::path_mtu = 65'535;
  const std::string largest = pattern(dtls::kMostPlain);
  put(largest + "x");
  put(largest);
  tell();
  bed.exchange(peer);
  ASSERT_EQ(peer.got.size(), 1u);
  EXPECT_TRUE(peer.got[0] == largest);
  EXPECT_EQ(bed.stat(dtls::kTooLong), 1u);
  uint16_t error = 0;
  (void)bed.read(*link, &error);
  EXPECT_EQ(error, EMSGSIZE);
  SSL_set_mtu(peer.ssl(), 20'000);
  peer.write(largest);
  ASSERT_EQ(peer.out.size(), 1u);
  bed.exchange(peer);
  const auto got = bed.read(*link);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_TRUE(got[0] == largest);
}

// --- Records that only somebody with the keys can make (RFC 5288, RFC 6347 section 4.1.2.1)

struct DtlsMade : DtlsConnection {
  // Of the client, with that sequence number, of AES128-GCM-SHA256.
  std::string record(uint8_t type, uint64_t number, std::string_view plain) {
    SSL* const s = peer.ssl();
    unsigned char master[48], seed[64];
    SSL_SESSION_get_master_key(SSL_get0_session(s), master, sizeof master);
    SSL_get_server_random(s, seed, 32);
    SSL_get_client_random(s, seed + 32, 32);
    unsigned char keys[40];  // both ends' keys, then their salts
    EVP_KDF* const kdf = EVP_KDF_fetch(nullptr, "TLS1-PRF", nullptr);
    EVP_KDF_CTX* const derive = EVP_KDF_CTX_new(kdf);
    char digest[] = "SHA256", label[] = "key expansion";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SECRET, master, sizeof master),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, label, sizeof label - 1),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof seed),
        OSSL_PARAM_construct_end()};
    EXPECT_EQ(EVP_KDF_derive(derive, keys, sizeof keys, params), 1);
    EVP_KDF_CTX_free(derive);
    EVP_KDF_free(kdf);
    std::string sequence(8, '\0');  // epoch 1
    sequence[1] = 1;
    for (int i = 0; i < 6; ++i)
      sequence[7 - static_cast<std::size_t>(i)] = static_cast<char>(number >> 8 * i);
    unsigned char nonce[12];
    std::memcpy(nonce, keys + 32, 4);
    std::memcpy(nonce + 4, sequence.data(), 8);
    const auto head = [&](std::size_t n) {
      return std::string(1, static_cast<char>(type)) + "\xfe\xfd" +
             std::string(1, static_cast<char>(n >> 8)) + std::string(1, static_cast<char>(n));
    };
    const std::string added = sequence + head(plain.size());
    std::string sealed(plain.size() + 16, 0);
    const auto at = [](auto& text) { return reinterpret_cast<unsigned char*>(text.data()); };
    EVP_CIPHER_CTX* const c = EVP_CIPHER_CTX_new();
    int n = 0;
    EXPECT_EQ(EVP_EncryptInit_ex(c, EVP_aes_128_gcm(), nullptr, keys, nonce), 1);
    EXPECT_EQ(
        EVP_EncryptUpdate(c, nullptr, &n, reinterpret_cast<const unsigned char*>(added.data()),
                          static_cast<int>(added.size())),
        1);
    EXPECT_EQ(
        EVP_EncryptUpdate(c, at(sealed), &n, reinterpret_cast<const unsigned char*>(plain.data()),
                          static_cast<int>(plain.size())),
        1);
    EXPECT_EQ(EVP_EncryptFinal_ex(c, at(sealed) + n, &n), 1);
    EXPECT_EQ(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, 16, at(sealed) + plain.size()), 1);
    EVP_CIPHER_CTX_free(c);
    const std::string whole = head(8 + sealed.size());
    return whole.substr(0, 3) + sequence + whole.substr(3) + sequence + sealed;
  }
};

TEST_F(DtlsMade, ARecordWithoutDataIsNoDatagramAndNoEnd) {
  bed.deliver(record(23, 100, "before"));
  EXPECT_EQ(bed.read(*link), (Texts{"before"}));  // they are made as they are to be
  const auto dropped = bed.stat(dtls::kRecordsDropped);
  bed.deliver(record(23, 101, ""));
  bed.deliver(record(23, 102, "") + record(23, 103, "after"));
  EXPECT_EQ(bed.stat(dtls::kRecordsDropped), dropped + 2);
  EXPECT_EQ(bed.read(*link), (Texts{"after"}));
  EXPECT_FALSE(link->rx.eof());
}

TEST_F(DtlsMade, ARecordThatMeansNothingNowIsNoEndEither) {
  bed.deliver(record(20, 10, "\x01"));  // ChangeCipherSpec
  peer.write("on");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"on"}));
}

TEST_F(DtlsMade, AFatalAlertWithItsKeysIsTheEnd) {
  bed.deliver(record(21, 100, std::string("\x02\x50", 2)));
  (void)bed.read(*link);
  EXPECT_TRUE(link->rx.reset());
  EXPECT_EQ(bed.stat(dtls::kAlertsReceived), 1u);
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
}

}  // namespace
}  // namespace loom::tls
