// The provider: EVP's calls for AES-128-GCM and AES-256-GCM (provider-cipher(7)), as far as records
// of TLS 1.2 (RFC 5288), TLS 1.3 (RFC 8446 section 5.2) and DTLS use them, and streams of bytes
// with nonces of 12 bytes. Functions of the provider return 1 or 0, as OpenSSL wants them to.
//   cost  BM_GcmRecord; a context has 1.3 KB, most of it powers of the hash key
#include "gcm_provider.h"

#ifdef HOSTLOOM_IPSEC_MB
#include <intel-ipsec-mb.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include <cstring>
#include <new>
#include <string_view>
#include <utility>

namespace loom::tls {
namespace gcm {
namespace {

constexpr std::size_t kIv = 12, kTag = 16;
constexpr std::size_t kFixedIv = 4, kExplicitIv = 8;  // RFC 5288 section 3
constexpr std::size_t kMostAad = 64;                  // records have 5 or 13 bytes
constexpr std::size_t kAlignment = 64;

// The library's functions for one length of keys. They keep nothing outside of their arguments.
struct Functions {
  std::size_t key_size;
  aes_gcm_pre_t expand;
  aes_gcm_enc_dec_t encrypt, decrypt;
  aes_gcm_init_t begin;
  aes_gcm_enc_dec_update_t encrypt_some, decrypt_some;
  aes_gcm_enc_dec_finalize_t encrypted, decrypted;
};
Functions aes128, aes256;

// One direction of a connection.
struct alignas(kAlignment) Context {
  explicit Context(const Functions& f) noexcept : calls(f) {}
  ~Context() {
    OPENSSL_cleanse(&key, sizeof key);
    OPENSSL_cleanse(&message, sizeof message);
  }
  enum class Nonce : uint8_t {
    kNone,  // none yet, or it has had its message: a nonce is never used twice
    kFresh,
    kInUse
  };

  gcm_key_data key;
  gcm_context_data message;
  const Functions& calls;
  uint8_t iv[kIv]{}, tag[kTag]{}, aad[kMostAad]{};
  std::size_t n_aad = 0;
  std::size_t n_tag = 0;  // of a message to decrypt, as the caller has said; of one encrypted
  Nonce nonce = Nonce::kNone;
  bool encrypts = false, has_key = false;
  bool has_fixed_iv = false;  // of TLS 1.2: the rest is in each record, and no stream has it
  bool is_record = false;     // the next bytes are one
};

Context& at(void* context) noexcept { return *static_cast<Context*>(context); }

template <const Functions& f>
void* make(void*) noexcept {
  return new (std::align_val_t(kAlignment), std::nothrow) Context(f);
}

void free(void* context) noexcept {
  if (!context) return;
  at(context).~Context();
  ::operator delete(context, std::align_val_t(kAlignment));
}

bool is_same_tag(const uint8_t* made, const Context& c) noexcept {
  return c.n_tag != 0 && CRYPTO_memcmp(made, c.tag, c.n_tag) == 0;
}

// --- Parameters

bool is_bytes(const OSSL_PARAM& p) noexcept {
  return p.data_type == OSSL_PARAM_OCTET_STRING && p.data;
}

// RFC 5246 section 6.2.3.3: sequence number, type, version, and the length of the text, where
// OpenSSL gives that of what the record has besides, too.
bool set_record(Context& c, const OSSL_PARAM& p) noexcept {
  const std::size_t besides = kExplicitIv + (c.encrypts ? 0 : kTag);
  if (!is_bytes(p) || p.data_size != EVP_AEAD_TLS1_AAD_LEN) return false;
  std::memcpy(c.aad, p.data, EVP_AEAD_TLS1_AAD_LEN);
  uint8_t* const length = c.aad + EVP_AEAD_TLS1_AAD_LEN - 2;
  const std::size_t n = std::size_t{length[0]} << 8 | length[1];
  if (n < besides) return false;
  length[0] = static_cast<uint8_t>((n - besides) >> 8);
  length[1] = static_cast<uint8_t>(n - besides);
  c.is_record = true;
  return true;
}

// RFC 5288 section 3. The part that the sender chooses begins anywhere, and counts.
bool set_fixed_iv(Context& c, const OSSL_PARAM& p) noexcept {
  if (!is_bytes(p) || p.data_size != kFixedIv) return false;
  std::memcpy(c.iv, p.data, kFixedIv);
  c.nonce = Context::Nonce::kNone;
  c.has_fixed_iv = !c.encrypts || RAND_bytes(c.iv + kFixedIv, kExplicitIv) == 1;
  return c.has_fixed_iv;
}

bool set_tag(Context& c, const OSSL_PARAM& p) noexcept {
  if (c.encrypts || !is_bytes(p) || p.data_size == 0 || p.data_size > kTag) return false;
  std::memcpy(c.tag, p.data, p.data_size);
  c.n_tag = p.data_size;
  return true;
}

bool is_size(const OSSL_PARAM& p, std::size_t wanted) noexcept {
  std::size_t n = 0;
  return OSSL_PARAM_get_size_t(&p, &n) == 1 && n == wanted;
}

int set(void* context, const OSSL_PARAM* p) noexcept {
  Context& c = at(context);
  for (; p && p->key; ++p) {
    const std::string_view name = p->key;
    if (name == OSSL_CIPHER_PARAM_AEAD_TAG             ? !set_tag(c, *p)
        : name == OSSL_CIPHER_PARAM_AEAD_TLS1_AAD      ? !set_record(c, *p)
        : name == OSSL_CIPHER_PARAM_AEAD_TLS1_IV_FIXED ? !set_fixed_iv(c, *p)
        : name == OSSL_CIPHER_PARAM_IVLEN              ? !is_size(*p, kIv)
        : name == OSSL_CIPHER_PARAM_KEYLEN             ? !is_size(*p, c.calls.key_size)
                                                       : false)
      return 0;
  }
  return 1;
}

int get(void* context, OSSL_PARAM* p) noexcept {
  const Context& c = at(context);
  for (; p && p->key; ++p) {
    const std::string_view name = p->key;
    int done = 1;
    if (name == OSSL_CIPHER_PARAM_IVLEN)
      done = OSSL_PARAM_set_size_t(p, kIv);
    else if (name == OSSL_CIPHER_PARAM_KEYLEN)
      done = OSSL_PARAM_set_size_t(p, c.calls.key_size);
    else if (name == OSSL_CIPHER_PARAM_AEAD_TAGLEN || name == OSSL_CIPHER_PARAM_AEAD_TLS1_AAD_PAD)
      done = OSSL_PARAM_set_size_t(p, kTag);
    else if (name == OSSL_CIPHER_PARAM_AEAD_TAG)  // of what was encrypted last
      done = c.encrypts && c.n_tag == kTag && p->data_size <= kTag &&
             OSSL_PARAM_set_octet_string(p, c.tag, p->data_size);
    else if (name == OSSL_CIPHER_PARAM_IV || name == OSSL_CIPHER_PARAM_UPDATED_IV)
      done = OSSL_PARAM_set_octet_string(p, c.iv, kIv);
    if (!done) return 0;
  }
  return 1;
}

template <const Functions& f>
int describe(OSSL_PARAM* p) noexcept {
  for (; p && p->key; ++p) {
    const std::string_view name = p->key;
    int done = 1;
    if (name == OSSL_CIPHER_PARAM_MODE)
      done = OSSL_PARAM_set_uint(p, EVP_CIPH_GCM_MODE);
    else if (name == OSSL_CIPHER_PARAM_KEYLEN)
      done = OSSL_PARAM_set_size_t(p, f.key_size);
    else if (name == OSSL_CIPHER_PARAM_IVLEN)
      done = OSSL_PARAM_set_size_t(p, kIv);
    else if (name == OSSL_CIPHER_PARAM_BLOCK_SIZE)
      done = OSSL_PARAM_set_size_t(p, 1);
    else if (name == OSSL_CIPHER_PARAM_AEAD || name == OSSL_CIPHER_PARAM_CUSTOM_IV)
      done = OSSL_PARAM_set_int(p, 1);
    if (!done) return 0;
  }
  return 1;
}

// --- Messages

template <bool kEncrypts>
int begin(void* context, const unsigned char* key, std::size_t key_size, const unsigned char* iv,
          std::size_t iv_size, const OSSL_PARAM* more) noexcept {
  Context& c = at(context);
  c.encrypts = kEncrypts;
  c.n_tag = 0;
  c.is_record = false;
  // Of what was cut off the rest is nobody's: neither another key's nor the other direction's.
  if (c.nonce == Context::Nonce::kInUse) c.nonce = Context::Nonce::kNone;
  if (iv) {
    if (iv_size != kIv) return 0;
    std::memcpy(c.iv, iv, kIv);
    c.nonce = Context::Nonce::kFresh;
    c.has_fixed_iv = false;
    c.n_aad = 0;
  }
  if (key) {
    if (key_size != c.calls.key_size) return 0;
    c.calls.expand(key, &c.key);
    c.has_key = true;
  }
  return set(context, more);
}

// A whole one of TLS 1.2, in its place: the sender's part of the nonce, the text, the tag.
bool record(Context& c, uint8_t* bytes, std::size_t* n_out, std::size_t n) noexcept {
  if (!c.has_key || !c.has_fixed_iv || n < kExplicitIv + kTag) return false;
  uint8_t* const text = bytes + kExplicitIv;
  const std::size_t n_text = n - kExplicitIv - kTag;
  uint8_t* const chosen = c.iv + kFixedIv;
  if (c.encrypts) {
    std::memcpy(bytes, chosen, kExplicitIv);
    c.calls.encrypt(&c.key, &c.message, text, text, n_text, c.iv, c.aad, EVP_AEAD_TLS1_AAD_LEN,
                    text + n_text, kTag);
    for (std::size_t i = kExplicitIv; i-- != 0 && ++chosen[i] == 0;) {}
    *n_out = n;
    return true;
  }
  std::memcpy(chosen, bytes, kExplicitIv);
  uint8_t made[kTag];
  c.calls.decrypt(&c.key, &c.message, text, text, n_text, c.iv, c.aad, EVP_AEAD_TLS1_AAD_LEN, made,
                  kTag);
  if (CRYPTO_memcmp(made, text + n_text, kTag) != 0) {
    OPENSSL_cleanse(text, n_text);
    return false;
  }
  *n_out = n_text;
  return true;
}

// False: there is no key, or no nonce that may be used.
bool is_under_way(Context& c) noexcept {
  if (!c.has_key || c.nonce == Context::Nonce::kNone) return false;
  if (c.nonce == Context::Nonce::kFresh) c.calls.begin(&c.key, &c.message, c.iv, c.aad, c.n_aad);
  c.nonce = Context::Nonce::kInUse;
  return true;
}

bool add_aad(Context& c, const uint8_t* in, std::size_t n) noexcept {
  if (c.nonce != Context::Nonce::kFresh || n > kMostAad - c.n_aad) return false;
  std::memcpy(c.aad + c.n_aad, in, n);
  c.n_aad += n;
  return true;
}

int update(void* context, unsigned char* out, std::size_t* n_out, std::size_t room,
           const unsigned char* in, std::size_t n) noexcept {
  Context& c = at(context);
  *n_out = 0;
  if (std::exchange(c.is_record, false))
    return out && out == in && room >= n && record(c, out, n_out, n);
  if (n == 0) return 1;
  if (!out) {
    if (!add_aad(c, in, n)) return 0;
  } else {
    if (room < n || !is_under_way(c)) return 0;
    (c.encrypts ? c.calls.encrypt_some : c.calls.decrypt_some)(&c.key, &c.message, out, in, n);
  }
  *n_out = n;
  return 1;
}

int end(void* context, unsigned char*, std::size_t* n_out, std::size_t) noexcept {
  Context& c = at(context);
  *n_out = 0;
  if (!is_under_way(c)) return 0;
  c.nonce = Context::Nonce::kNone;
  if (c.encrypts) {
    c.calls.encrypted(&c.key, &c.message, c.tag, kTag);
    c.n_tag = kTag;
    return 1;
  }
  uint8_t made[kTag];
  c.calls.decrypted(&c.key, &c.message, made, kTag);
  const bool is_right = is_same_tag(made, c);
  c.n_tag = 0;
  return is_right;
}

// --- Registration

template <class F>
constexpr OSSL_DISPATCH entry(int id, F* f) noexcept {
  return {id, reinterpret_cast<void (*)()>(f)};
}

template <const Functions& f>
const OSSL_DISPATCH* table() noexcept {
  static const OSSL_DISPATCH entries[] = {
      entry(OSSL_FUNC_CIPHER_NEWCTX, make<f>),
      entry(OSSL_FUNC_CIPHER_FREECTX, free),
      entry(OSSL_FUNC_CIPHER_ENCRYPT_INIT, begin<true>),
      entry(OSSL_FUNC_CIPHER_DECRYPT_INIT, begin<false>),
      entry(OSSL_FUNC_CIPHER_UPDATE, update),
      entry(OSSL_FUNC_CIPHER_FINAL, end),
      entry(OSSL_FUNC_CIPHER_GET_PARAMS, describe<f>),
      entry(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, get),
      entry(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, set),
      {0, nullptr},
  };
  return entries;
}

const OSSL_ALGORITHM* algorithms(void*, int operation, int* may_change) noexcept {
  static const OSSL_ALGORITHM ciphers[] = {
      {"AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6", "provider=hostloom", table<aes128>(),
       "libipsec-mb"},
      {"AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46", "provider=hostloom", table<aes256>(),
       "libipsec-mb"},
      {nullptr, nullptr, nullptr, nullptr},
  };
  *may_change = 0;
  return operation == OSSL_OP_CIPHER ? ciphers : nullptr;
}

int init(const OSSL_CORE_HANDLE* core, const OSSL_DISPATCH*, const OSSL_DISPATCH** calls,
         void** context) noexcept {
  static const OSSL_DISPATCH entries[] = {entry(OSSL_FUNC_PROVIDER_QUERY_OPERATION, algorithms),
                                          {0, nullptr}};
  *calls = entries;
  *context = const_cast<OSSL_CORE_HANDLE*>(core);
  return 1;
}

bool is_wide() noexcept {
  constexpr uint64_t kWide = IMB_FEATURE_AVX512_SKX | IMB_FEATURE_VAES | IMB_FEATURE_VPCLMULQDQ;
  IMB_MGR* const m = alloc_mb_mgr(0);
  if (!m) return false;
  const bool has_all = (m->features & kWide) == kWide;
  free_mb_mgr(m);
  return has_all;
}

bool find_functions() noexcept {
  IMB_MGR* const m = alloc_mb_mgr(0);
  if (!m) return false;
  init_mb_mgr_auto(m, nullptr);
  aes128 = {16,
            m->gcm128_pre,
            m->gcm128_enc,
            m->gcm128_dec,
            m->gcm128_init,
            m->gcm128_enc_update,
            m->gcm128_dec_update,
            m->gcm128_enc_finalize,
            m->gcm128_dec_finalize};
  aes256 = {32,
            m->gcm256_pre,
            m->gcm256_enc,
            m->gcm256_dec,
            m->gcm256_init,
            m->gcm256_enc_update,
            m->gcm256_dec_update,
            m->gcm256_enc_finalize,
            m->gcm256_dec_finalize};
  const bool is_well = imb_get_errno(m) == 0;
  free_mb_mgr(m);
  return is_well;
}

// Who fetches a cipher without a word about providers gets the one that OpenSSL came to know first:
// its own, which does all that GCM is; ours does what records need.
bool has_fetched_openssls() noexcept {
  EVP_CIPHER* const c =
      EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);  // and all others with it
  EVP_CIPHER_free(c);
  return c != nullptr;
}

}  // namespace
}  // namespace gcm

bool add_fast_gcm() noexcept {
  // To the end of the process: nobody unloads it, and OpenSSL's own end frees all but this.
  static const OSSL_PROVIDER* const loaded =
      gcm::find_functions() && gcm::has_fetched_openssls() &&
              OSSL_PROVIDER_add_builtin(nullptr, "hostloom", gcm::init) == 1
          ? OSSL_PROVIDER_try_load(nullptr, "hostloom", 1)
          : nullptr;
  return loaded != nullptr;
}

bool use_fast_gcm() noexcept {
  static const bool is_used = gcm::is_wide() && add_fast_gcm();
  return is_used;
}

const char* gcm_properties(bool fast) noexcept {
  if (fast) return use_fast_gcm() ? kFastGcm : nullptr;
  return OSSL_PROVIDER_available(nullptr, "hostloom") ? "provider!=hostloom" : nullptr;
}

}  // namespace loom::tls
#else
namespace loom::tls {
bool add_fast_gcm() noexcept { return false; }
bool use_fast_gcm() noexcept { return false; }
const char* gcm_properties(bool) noexcept { return nullptr; }
}  // namespace loom::tls
#endif
