// The faster AES-GCM against OpenSSL's own: what one has encrypted the other decrypts, byte by byte
// the same, and what is not right is refused.
#include "gcm_provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tls_bed.h"

namespace loom::tls {
namespace {

using Bytes = std::vector<uint8_t>;
constexpr int kTag = 16, kRecordAad = 13;
constexpr std::size_t kExplicit = 8;  // RFC 5288 section 3

Bytes some(std::size_t n, uint32_t seed) {
  Bytes b(n);
  for (uint8_t& c : b) c = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
  return b;
}

template <class T, void (*release)(T*)>
struct Free {
  void operator()(T* p) const { release(p); }
};
using Cipher = std::unique_ptr<EVP_CIPHER, Free<EVP_CIPHER, EVP_CIPHER_free>>;

// One direction by one provider.
struct Gcm {
  Gcm(const char* name, bool fast, bool encrypts, const Bytes& key)
      : cipher(EVP_CIPHER_fetch(nullptr, name, fast ? kFastGcm : gcm_properties(false))),
        c(EVP_CIPHER_CTX_new()) {
    EXPECT_TRUE(cipher);
    EXPECT_EQ(EVP_CipherInit_ex(c.get(), cipher.get(), nullptr, key.data(), nullptr, encrypts), 1);
  }
  bool begin(const Bytes& iv, const Bytes& aad) {
    int n = 0;
    return EVP_CipherInit_ex(c.get(), nullptr, nullptr, nullptr, iv.data(), -1) == 1 &&
           (aad.empty() ||
            EVP_CipherUpdate(c.get(), nullptr, &n, aad.data(), static_cast<int>(aad.size())) == 1);
  }
  // In pieces of that size, in its place.
  bool update(Bytes& text, std::size_t piece) {
    for (std::size_t at = 0; at < text.size(); at += piece) {
      const int n = static_cast<int>(std::min(piece, text.size() - at));
      int done = 0;
      if (EVP_CipherUpdate(c.get(), text.data() + at, &done, text.data() + at, n) != 1 || done != n)
        return false;
    }
    return true;
  }
  bool end() {
    uint8_t nothing[16];
    int n = 0;
    return EVP_CipherFinal_ex(c.get(), nothing, &n) == 1 && n == 0;
  }
  Bytes tag() {
    Bytes t(kTag);
    EXPECT_EQ(EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_AEAD_GET_TAG, kTag, t.data()), 1);
    return t;
  }
  bool expect_tag(Bytes t) {
    return EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_AEAD_SET_TAG, kTag, t.data()) == 1;
  }
  // TLS 1.2: a record of so many bytes with what it has besides the text, in its place. Bytes of it
  // then, negative: refused.
  int record(Bytes& bytes, uint64_t sequence) {
    uint8_t aad[kRecordAad] = {0, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(sequence), 23, 3, 3};
    // As libssl has it: what is decrypted with its tag, what is encrypted without.
    const std::size_t n =
        EVP_CIPHER_CTX_is_encrypting(c.get()) ? bytes.size() - kTag : bytes.size();
    aad[11] = static_cast<uint8_t>(n >> 8);
    aad[12] = static_cast<uint8_t>(n);
    if (EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_AEAD_TLS1_AAD, kRecordAad, aad) != kTag) return -1;
    int done = 0;
    return EVP_CipherUpdate(c.get(), bytes.data(), &done, bytes.data(),
                            static_cast<int>(bytes.size())) == 1
               ? done
               : -1;
  }
  bool fix_iv(Bytes fixed) {
    return EVP_CIPHER_CTX_ctrl(c.get(), EVP_CTRL_GCM_SET_IV_FIXED, static_cast<int>(fixed.size()),
                               fixed.data()) == 1;
  }
  Cipher cipher;
  std::unique_ptr<EVP_CIPHER_CTX, Free<EVP_CIPHER_CTX, EVP_CIPHER_CTX_free>> c;
};

struct TlsGcm : testing::TestWithParam<const char*> {
  void SetUp() override {
    ASSERT_TRUE(add_fast_gcm());  // on any CPU
  }
  Bytes key = some(std::string(GetParam()) == "AES-128-GCM" ? 16 : 32, 7);
  Bytes iv = some(12, 8);
  Gcm make(bool fast, bool encrypts) { return Gcm(GetParam(), fast, encrypts, key); }
};

TEST_P(TlsGcm, IsTheProvidersWhereItIsPreferredAndOnlyThere) {
  const auto name = [](const Cipher& c) {
    return std::string(OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(c.get())));
  };
  EXPECT_EQ(name(make(true, true).cipher), "hostloom");
  EXPECT_EQ(name(make(false, true).cipher), "default");
  const Cipher other(EVP_CIPHER_fetch(nullptr, "AES-256-CBC", kFastGcm));
  EXPECT_EQ(name(other), "default");
  EXPECT_EQ(EVP_CIPHER_get_mode(make(true, true).cipher.get()), EVP_CIPH_GCM_MODE);
}

TEST_P(TlsGcm, EachDecryptsWhatTheOtherHasEncrypted) {
  Gcm ours[2] = {make(true, true), make(true, false)};
  Gcm theirs[2] = {make(false, true), make(false, false)};
  for (const std::size_t n : {0, 1, 15, 16, 17, 255, 256, 257, 1000, 16'384, 16'640})
    for (const std::size_t n_aad : {0, 5, 13, 64})
      for (const std::size_t piece : {std::size_t{20'000}, std::size_t{16}, std::size_t{77}}) {
        const Bytes text = some(n, static_cast<uint32_t>(n + n_aad)), aad = some(n_aad, 3);
        ++iv[11];
        Bytes made[2] = {text, text}, tags[2];
        for (int i : {0, 1}) {
          Gcm& g = i == 0 ? ours[0] : theirs[0];
          ASSERT_TRUE(g.begin(iv, aad) && g.update(made[i], i == 0 ? piece : 20'000) && g.end());
          tags[i] = g.tag();
        }
        ASSERT_EQ(made[0], made[1]) << n << " bytes in pieces of " << piece;
        ASSERT_EQ(tags[0], tags[1]) << n << " bytes, " << n_aad << " of associated data";
        for (Gcm* g : {&ours[1], &theirs[1]}) {
          Bytes back = made[0];
          ASSERT_TRUE(g->begin(iv, aad) && g->expect_tag(tags[0]) && g->update(back, piece) &&
                      g->end());
          ASSERT_EQ(back, text);
        }
      }
}

TEST_P(TlsGcm, WhatWasTamperedWithIsRefused) {
  const Bytes aad = some(5, 1), text = some(500, 2);
  Gcm sender = make(true, true);
  Bytes sent = text;
  ASSERT_TRUE(sender.begin(iv, aad) && sender.update(sent, 500) && sender.end());
  const Bytes tag = sender.tag();
  const auto is_taken = [&](const Bytes& with_aad, Bytes bytes, const Bytes& with_tag) {
    Gcm g = make(true, false);
    return g.begin(iv, with_aad) && g.expect_tag(with_tag) && g.update(bytes, 500) && g.end();
  };
  EXPECT_TRUE(is_taken(aad, sent, tag));
  for (std::size_t i = 0; i < aad.size(); ++i) {
    Bytes other = aad;
    other[i] ^= 1;
    EXPECT_FALSE(is_taken(other, sent, tag));
  }
  for (std::size_t i = 0; i < tag.size(); ++i) {
    Bytes other = tag;
    other[i] ^= 0x80;
    EXPECT_FALSE(is_taken(aad, sent, other));
  }
  for (const std::size_t i : {0, 255, 499}) {
    Bytes other = sent;
    other[i] ^= 1;
    EXPECT_FALSE(is_taken(aad, other, tag));
  }
}

TEST_P(TlsGcm, NothingGoesWithoutKeyNonceAndTag) {
  Bytes text = some(32, 2);
  Gcm no_nonce = make(true, true);
  EXPECT_FALSE(no_nonce.update(text, 32));
  EXPECT_FALSE(no_nonce.end());
  Gcm twice = make(true, true);  // with one nonce
  ASSERT_TRUE(twice.begin(iv, {}) && twice.update(text, 32) && twice.end());
  EXPECT_FALSE(twice.update(text, 32));
  EXPECT_FALSE(twice.end());
  Gcm no_tag = make(true, false);
  ASSERT_TRUE(no_tag.begin(iv, {}) && no_tag.update(text, 32));
  EXPECT_FALSE(no_tag.end());
  Gcm late = make(true, true);  // associated data behind the text
  ASSERT_TRUE(late.begin(iv, {}) && late.update(text, 32));
  int n = 0;
  EXPECT_NE(EVP_CipherUpdate(late.c.get(), nullptr, &n, text.data(), 5), 1);
  Gcm long_aad = make(true, true);
  EXPECT_FALSE(long_aad.begin(iv, some(65, 1)));
  EXPECT_NE(EVP_CIPHER_CTX_ctrl(late.c.get(), EVP_CTRL_AEAD_SET_IVLEN, 16, nullptr), 1);
  Gcm no_key(GetParam(), true, true, key);
  no_key.c.reset(EVP_CIPHER_CTX_new());
  ASSERT_EQ(EVP_CipherInit_ex(no_key.c.get(), no_key.cipher.get(), nullptr, nullptr, nullptr, 1),
            1);
  ASSERT_TRUE(no_key.begin(iv, {}));
  EXPECT_FALSE(no_key.update(text, 32));
}

TEST_P(TlsGcm, RecordsOfTls12AreTheOthers) {
  for (const bool fast : {true, false}) {
    Gcm sender = make(fast, true), receiver = make(!fast, false);
    for (Gcm* g : {&sender, &receiver}) ASSERT_TRUE(g->fix_iv(some(4, 9)));
    Bytes before;
    for (uint64_t sequence = 0; sequence < 5; ++sequence) {
      const Bytes text = some(1000 * sequence, 4);
      Bytes bytes(kExplicit + text.size() + kTag);
      std::copy(text.begin(), text.end(), bytes.begin() + kExplicit);
      ASSERT_EQ(sender.record(bytes, sequence), static_cast<int>(bytes.size()));
      const Bytes chosen(bytes.begin(), bytes.begin() + kExplicit);
      EXPECT_NE(chosen, before) << "a nonce was used twice";
      before = chosen;
      ASSERT_EQ(receiver.record(bytes, sequence), static_cast<int>(text.size()));
      EXPECT_TRUE(std::equal(text.begin(), text.end(), bytes.begin() + kExplicit));
    }
  }
}

TEST_P(TlsGcm, RecordsOfTls12ThatAreNotRightAreRefused) {
  Gcm sender = make(false, true);
  ASSERT_TRUE(sender.fix_iv(some(4, 9)));
  Bytes sent(kExplicit + 100 + kTag);
  ASSERT_EQ(sender.record(sent, 1), static_cast<int>(sent.size()));
  for (std::size_t i = 0; i < sent.size(); ++i) {
    Gcm g = make(true, false);
    ASSERT_TRUE(g.fix_iv(some(4, 9)));
    Bytes other = sent;
    other[i] ^= 4;
    EXPECT_LT(g.record(other, 1), 0) << i;
    other = sent;
    EXPECT_EQ(g.record(other, 1), 100);  // it goes on
  }
  Gcm g = make(true, false);
  Bytes again = sent;
  EXPECT_LT(g.record(again, 1), 0) << "without the part of the nonce that is agreed";
  ASSERT_TRUE(g.fix_iv(some(4, 9)));
  EXPECT_LT(g.record(again, 2), 0) << "as another one";
  for (std::size_t n = 0; n < kExplicit + kTag; ++n) {
    Bytes small(n);
    EXPECT_LT(g.record(small, 1), 0) << n;
  }
}

// Where a record has had a nonce of the part that counts, nothing else of that key has it.
TEST_P(TlsGcm, StreamsAndRecordsShareNoNonce) {
  Gcm g = make(true, true);
  ASSERT_TRUE(g.begin(iv, {}) && g.fix_iv(some(4, 9)));
  Bytes bytes(kExplicit + 16 + kTag), text = some(16, 2);
  EXPECT_FALSE(g.update(text, 16)) << "by the nonce of the next record";
  ASSERT_EQ(g.record(bytes, 1), static_cast<int>(bytes.size()));
  EXPECT_FALSE(g.update(text, 16)) << "by the nonce of the next record";
  ASSERT_TRUE(g.begin(iv, {}));
  EXPECT_LT(g.record(bytes, 2), 0) << "by the nonce of a stream";
}

// Whoever begins without a nonce has none left of a message that was cut off, nor of a record.
TEST_P(TlsGcm, WhatWasCutOffGoesOnNever) {
  Bytes text = some(16, 2);
  for (const int encrypts : {0, 1}) {
    Gcm g = make(true, encrypts != 0);
    ASSERT_TRUE(g.begin(iv, {}) && g.update(text, 16));
    ASSERT_EQ(EVP_CipherInit_ex(g.c.get(), nullptr, nullptr, some(key.size(), 5).data(), nullptr,
                                1 - encrypts),
              1);
    EXPECT_FALSE(g.update(text, 16));
    EXPECT_FALSE(g.end());
  }
  Gcm g = make(true, true);
  Bytes aad = some(kRecordAad, 1);
  ASSERT_TRUE(g.fix_iv(some(4, 9)));
  aad[11] = 1;
  ASSERT_EQ(EVP_CIPHER_CTX_ctrl(g.c.get(), EVP_CTRL_AEAD_TLS1_AAD, kRecordAad, aad.data()), kTag);
  ASSERT_TRUE(g.begin(iv, {}));
  EXPECT_TRUE(g.update(text, 16) && g.end()) << "taken for the record";
}

TEST_P(TlsGcm, ATagIsOfTheMessageThatWasEncryptedLast) {
  Bytes text = some(16, 2), t(kTag);
  const auto has_tag = [&](Gcm& g) {
    return EVP_CIPHER_CTX_ctrl(g.c.get(), EVP_CTRL_AEAD_GET_TAG, kTag, t.data()) == 1;
  };
  Gcm g = make(true, true);
  EXPECT_FALSE(has_tag(g));
  ASSERT_TRUE(g.begin(iv, {}) && g.update(text, 16));
  EXPECT_FALSE(has_tag(g));
  ASSERT_TRUE(g.end());
  EXPECT_TRUE(has_tag(g));
  ASSERT_EQ(EVP_CipherInit_ex(g.c.get(), nullptr, nullptr, key.data(), nullptr, 1), 1);
  EXPECT_FALSE(has_tag(g));
}

TEST_P(TlsGcm, ParametersWithoutBytesAreRefused) {
  for (const bool encrypts : {true, false})
    for (const auto& [which, size] : {std::pair{EVP_CTRL_AEAD_SET_TAG, kTag},
                                      {EVP_CTRL_AEAD_TLS1_AAD, kRecordAad},
                                      {EVP_CTRL_GCM_SET_IV_FIXED, 4}}) {
      Gcm g = make(true, encrypts);
      EXPECT_LE(EVP_CIPHER_CTX_ctrl(g.c.get(), which, size, nullptr), 0);
    }
}

// Each of these in a process of its own: what OpenSSL has fetched first it has for good.
struct TlsGcmAloneDeathTest : testing::Test {
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

// Nonces of other lengths, long associated data and copies are others' to want.
TEST_F(TlsGcmAloneDeathTest, WhoDoesNotAskForItGetsOpenSSLs) {
  EXPECT_EXIT(
      {
        (void)add_fast_gcm();
        const Cipher preferred(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", kFastGcm));
        bool is_well = preferred != nullptr;
        for (const char* const name : {"AES-128-GCM", "AES-256-GCM", "id-aes256-GCM"})
          for (const char* const wanted : {static_cast<const char*>(nullptr), "", "?fips=no"}) {
            const Cipher c(EVP_CIPHER_fetch(nullptr, name, wanted));
            is_well &= c && OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(c.get())) ==
                                std::string("default");
          }
        _exit(is_well ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

// `aes-gcm openssl`: whatever is the matter with the library, none of it runs.
TEST_F(TlsGcmAloneDeathTest, IsNotThereWhereNobodyWantsIt) {
  EXPECT_EXIT(
      {
        const Cipher c(EVP_CIPHER_fetch(nullptr, "AES-128-GCM", gcm_properties(false)));
        _exit(c && !OSSL_PROVIDER_available(nullptr, "hostloom") ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

// Sessions by both, whatever the other end has, in both versions.
TEST(TlsGcmSession, GoesByEither) {
  for (const bool fast : {true, false})
    for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION})
      for (const char* const size : {"128", "256"}) {
        TlsBed bed([&](Config& c) {
          c.fast_gcm = fast;
          c.least_version = c.most_version = version;
          c.ciphers = "ECDHE-ECDSA-AES" + std::string(size) + "-GCM-SHA" +
                      (size == std::string("128") ? "256" : "384");
          c.ciphersuites = "TLS_AES_" + std::string(size) +
                           (size == std::string("128") ? "_GCM_SHA256" : "_GCM_SHA384");
        });
        ASSERT_EQ(bed.listen(443), 0);
        auto link = bed.connect(443, test::PipeTransport::kProto);
        Peer peer(Peer::Role::kClient);  // OpenSSL's own
        peer.exchange(*bed.app, *link);
        auto far = bed.accept();
        ASSERT_TRUE(far);
        const std::string text = pattern(40'000);
        peer.write(text);
        bed.app->write(*link, peer.records());
        EXPECT_TRUE(bed.app->read(*far) == text);
        bed.app->write(*far, text);
        std::string back;
        for (int i = 0; i < 10; ++i) {
          peer.feed(bed.app->read(*link));
          back += peer.read();
        }
        EXPECT_TRUE(back == text);
      }
}

INSTANTIATE_TEST_SUITE_P(, TlsGcm, testing::Values("AES-128-GCM", "AES-256-GCM"),
                         [](const auto& p) { return std::string(p.param).substr(4, 3); });

}  // namespace
}  // namespace loom::tls
