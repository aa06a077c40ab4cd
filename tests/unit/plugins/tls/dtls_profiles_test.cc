// Profiles by name, of DTLS.
#include "tests/unit/plugins/tls/dtls_bed.h"
#include "tests/unit/plugins/tls/profiles_bed.h"

namespace loom::tls {
namespace {

TEST(DtlsProfileNames, AreThoseOfTlsAndOneWithout12IsNone) {
  DtlsBed bed(with_profiles);
  const int unsupported = static_cast<int>(Status::kUnsupported);
  EXPECT_EQ(bed.listen(bed.tls.add_settings(named("fresh"))), unsupported);
  EXPECT_EQ(bed.listen(bed.tls.add_settings(named("unknown"))), static_cast<int>(Status::kInvalid));
  ASSERT_EQ(bed.listen(bed.tls.add_settings(named("old"))), 0);
  DtlsPeer peer(true);
  bed.exchange(peer);
  ASSERT_TRUE(peer.is_open());
  EXPECT_STREQ(SSL_get_cipher_name(peer.ssl()), "ECDHE-ECDSA-AES128-GCM-SHA256");
  bed.tls.start_connect(443, dtls::kProto, bed.tls.add_settings(named("fresh")));
  EXPECT_EQ(bed.tls.outcome().status, unsupported);
  bed.tls.start_connect(443, dtls::kProto, bed.tls.add_settings(named("unknown")));
  EXPECT_EQ(bed.tls.outcome().status, static_cast<int>(Status::kInvalid));
}

}  // namespace
}  // namespace loom::tls
