// AES-256-GCM of whole records by the plugin's provider and by OpenSSL's own, in turn: bytes a
// second, of records of 1 KB, 4 KB and 16 KB that lie in the cache.
#include <benchmark/benchmark.h>
#include <openssl/evp.h>

#include <cstdint>
#include <vector>

#include "gcm_provider.h"

namespace loom::tls {
namespace {

void BM_GcmRecord(benchmark::State& state) {
  const bool fast = state.range(1) != 0;
  if (fast && !use_fast_gcm()) return state.SkipWithError("not on this CPU");
  EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", gcm_properties(fast));
  EVP_CIPHER_CTX* const c = EVP_CIPHER_CTX_new();
  const uint8_t key[32] = {1}, aad[5] = {23, 3, 3};
  uint8_t iv[12] = {}, tag[16];
  std::vector<uint8_t> text(static_cast<std::size_t>(state.range(0)));
  EVP_EncryptInit_ex(c, cipher, nullptr, key, nullptr);
  for (auto _ : state) {
    int n = 0;
    ++iv[11];
    bool is_done = EVP_EncryptInit_ex(c, nullptr, nullptr, nullptr, iv) == 1;
    is_done &= EVP_EncryptUpdate(c, nullptr, &n, aad, sizeof aad) == 1;
    is_done &=
        EVP_EncryptUpdate(c, text.data(), &n, text.data(), static_cast<int>(text.size())) == 1;
    is_done &= EVP_EncryptFinal_ex(c, tag, &n) == 1;
    is_done &= EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, sizeof tag, tag) == 1;
    if (!is_done) return state.SkipWithError("it failed");
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
  EVP_CIPHER_CTX_free(c);
  EVP_CIPHER_free(cipher);
}
BENCHMARK(BM_GcmRecord)
    ->ArgsProduct({{1 << 10, 4 << 10, 16 << 10}, {0, 1}})
    ->ArgNames({"bytes", "fast"});

}  // namespace
}  // namespace loom::tls
