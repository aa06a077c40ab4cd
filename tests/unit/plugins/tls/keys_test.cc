// How long keys are used (RFC 8446 section 5.5): after so many records there are others.
#include "tls_bed.h"

namespace loom::tls {
namespace {

// Counts KeyUpdates of the other end.
void count_updates(int is_written, int, int type, const void* bytes, std::size_t, SSL*,
                   void* count) {
  constexpr unsigned char kKeyUpdate = 24;
  if (!is_written && type == SSL3_RT_HANDSHAKE &&
      *static_cast<const unsigned char*>(bytes) == kKeyUpdate)
    ++*static_cast<int*>(count);
}

struct TlsKeysInUse : testing::TestWithParam<int> {
  TlsBed bed;
  int n_updates = 0;
  Peer peer{Peer::Role::kClient, [this](SSL_CTX* c) {
              SSL_CTX_set_max_proto_version(c, GetParam());
              SSL_CTX_set_msg_callback(c, count_updates);
              SSL_CTX_set_msg_callback_arg(c, &n_updates);
            }};
  TlsBed::Link link, far;
  // `far`, the application's end, changes its keys after so many records.
  void open(uint32_t most_records) {
    shared().workers[0]->most_records = most_records;
    ASSERT_EQ(bed.listen(443), 0);
    link = bed.connect(443, test::PipeTransport::kProto);
    peer.exchange(*bed.app, *link);
    far = bed.accept();
    ASSERT_TRUE(far);
  }
};

TEST_P(TlsKeysInUse, ChangeAfterSoManyRecords) {
  constexpr uint32_t kMost = 5;
  constexpr int kRecords = 23;
  open(kMost);
  std::string got;
  for (int i = 0; i < kRecords; ++i) {
    bed.app->write(*far, "record");
    peer.feed(bed.app->read(*link));
    got += peer.read();
  }
  EXPECT_EQ(got.size(), kRecords * 6u);
  // 1.2 has no KeyUpdate (RFC 5246), and nobody renegotiates.
  EXPECT_EQ(n_updates, GetParam() == TLS1_3_VERSION ? kRecords / static_cast<int>(kMost) : 0);
  peer.write("and back");
  bed.app->write(*link, peer.records());
  EXPECT_EQ(bed.app->read(*far), "and back");
}

TEST_P(TlsKeysInUse, ChangeAndTheEndComesAtOnceAllTheSame) {
  open(1);
  bed.app->write(*far, "the last");
  bed.app->close(*far);
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "the last");
  EXPECT_NE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
}

// A peer that has said that it sends no more, and one that reads nothing for long.
TEST_P(TlsKeysInUse, ChangeForAPeerThatOnlyListens) {
  open(1);
  SSL_shutdown(peer.ssl());
  bed.app->write(*link, peer.records());
  const std::string text = pattern(1'000'000);
  std::string got;
  std::size_t at = 0;
  for (int idle = 0; got.size() < text.size() && idle < 20;) {
    const uint32_t taken = bed.app->write(*far, std::string_view(text).substr(at));
    at += taken;
    if (taken != 0) continue;  // it reads when all fifos are full, and not before
    peer.feed(bed.app->read(*link));
    const std::string more = peer.read();
    idle = more.empty() ? idle + 1 : 0;
    got += more;
  }
  EXPECT_TRUE(got == text) << got.size();
  bed.app->close(*far);
  for (int i = 0; i < 20; ++i) peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "");
  EXPECT_NE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
}

INSTANTIATE_TEST_SUITE_P(, TlsKeysInUse, testing::Values(TLS1_2_VERSION, TLS1_3_VERSION),
                         [](const auto& p) {
                           return p.param == TLS1_2_VERSION ? "Tls12" : "Tls13";
                         });

TEST(TlsKeysInUseBound, IsBelowThatOfAesGcm) {  // 2^24.5 full-size records
  TlsBed bed;
  EXPECT_EQ(shared().workers[0]->most_records, 1u << 24);
}

}  // namespace
}  // namespace loom::tls
