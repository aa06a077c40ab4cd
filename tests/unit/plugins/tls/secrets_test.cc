// No memory is freed that still holds a private key. All that is freed is looked at, while the
// daemon has a key in its hands: this program's operator delete does it, and what OpenSSL frees by
// (buffers_test.cc).
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include <openssl/core_names.h>
#include <openssl/pem.h>

#include "looking.h"
#include "pem.h"
#include "tls_bed.h"

thread_local std::size_t loom::tls::news_until_one_fails = 0;
thread_local std::size_t loom::tls::n_frees = 0;
std::atomic<std::size_t> loom::tls::blocks_in_use = 0, loom::tls::bytes_in_use = 0;

namespace {

// What nothing that is freed may hold; none: nobody looks.
std::string_view secrets[3];
std::size_t n_freed = 0, n_found = 0;

void look(const void* p) noexcept {
  if (secrets[0].empty() || !p) return;
  ++n_freed;
  const std::size_t size = malloc_usable_size(const_cast<void*>(p));
  bool has_one = false;
  for (const std::string_view s : secrets)
    has_one |= !s.empty() && memmem(p, size, s.data(), s.size()) != nullptr;
  n_found += has_one;
}
void free_and_look(void* p) noexcept {
  ++loom::tls::n_frees;
  loom::tls::count_freed(p);
  look(p);
  std::free(p);
}
void* allocate(std::size_t n, std::size_t align = 0) {
  auto& left = loom::tls::news_until_one_fails;
  if (left != 0 && --left == 0) throw std::bad_alloc();
  void* const p =
      align ? std::aligned_alloc(align, (n + align - 1) / align * align) : std::malloc(n ? n : 1);
  if (!p) throw std::bad_alloc();
  // What was there before, and has been looked at, is not found again.
  std::memset(p, 0, malloc_usable_size(p));
  loom::tls::count_allocated(p);
  return p;
}

}  // namespace

void loom::tls::count_allocated(void* p) noexcept {
  if (!p) return;
  ++blocks_in_use;
  bytes_in_use += malloc_usable_size(p);
}
void loom::tls::count_freed(void* p) noexcept {
  if (!p) return;
  --blocks_in_use;
  bytes_in_use -= malloc_usable_size(p);
}

// All forms: what one allocates another frees.
using std::align_val_t, std::nothrow_t, std::size_t;
static size_t number(align_val_t a) { return static_cast<size_t>(a); }
static void* allocate_or_null(size_t n, size_t align = 0) noexcept {
  try {
    return allocate(n, align);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void* operator new(size_t n) { return allocate(n); }
void* operator new[](size_t n) { return allocate(n); }
void* operator new(size_t n, align_val_t a) { return allocate(n, number(a)); }
void* operator new[](size_t n, align_val_t a) { return allocate(n, number(a)); }
void* operator new(size_t n, const nothrow_t&) noexcept { return allocate_or_null(n); }
void* operator new[](size_t n, const nothrow_t&) noexcept { return allocate_or_null(n); }
void* operator new(size_t n, align_val_t a, const nothrow_t&) noexcept {
  return allocate_or_null(n, number(a));
}
void* operator new[](size_t n, align_val_t a, const nothrow_t&) noexcept {
  return allocate_or_null(n, number(a));
}
void operator delete(void* p) noexcept { free_and_look(p); }
void operator delete[](void* p) noexcept { free_and_look(p); }
void operator delete(void* p, size_t) noexcept { free_and_look(p); }
void operator delete[](void* p, size_t) noexcept { free_and_look(p); }
void operator delete(void* p, align_val_t) noexcept { free_and_look(p); }
void operator delete[](void* p, align_val_t) noexcept { free_and_look(p); }
void operator delete(void* p, size_t, align_val_t) noexcept { free_and_look(p); }
void operator delete[](void* p, size_t, align_val_t) noexcept { free_and_look(p); }
void operator delete(void* p, const nothrow_t&) noexcept { free_and_look(p); }
void operator delete[](void* p, const nothrow_t&) noexcept { free_and_look(p); }
void operator delete(void* p, align_val_t, const nothrow_t&) noexcept { free_and_look(p); }
void operator delete[](void* p, align_val_t, const nothrow_t&) noexcept { free_and_look(p); }

namespace loom::tls {
namespace {

// The second line of the PEM, or another that has no ends of the text: bytes of the key itself.
std::string line_of(const std::string& pem) {
  const std::size_t at = pem.find('\n') + 1;
  return pem.substr(at, pem.find('\n', at) - at);
}

// Bytes of the private number, as DER has them.
std::string number_of(const Pem& p) {
  BIGNUM* n = nullptr;
  EVP_PKEY_get_bn_param(p.pkey.get(), EVP_PKEY_is_a(p.pkey.get(), "RSA") ? "d" : "priv", &n);
  std::string bytes(static_cast<std::size_t>(BN_num_bytes(n)), 0);
  BN_bn2bin(n, reinterpret_cast<unsigned char*>(bytes.data()));
  BN_clear_free(n);
  return bytes.substr(8, 16);
}

struct Looking {
  Looking(const std::string& line, const std::string& number) {
    static std::string turned;  // as words of numbers are here
    turned.assign(number.rbegin(), number.rend());
    n_found = n_freed = 0;
    secrets[1] = number;
    secrets[2] = turned;
    secrets[0] = line;
  }
  ~Looking() {
    for (auto& s : secrets) s = {};
  }
};

struct TlsSecrets : testing::TestWithParam<std::tuple<const char*, bool>> {};

TEST_P(TlsSecrets, NothingThatIsFreedHoldsAKey) {
  TlsBed bed;
  const auto [type, is_of_its_own_form] = GetParam();
  Pem pair = make_certificate({.issuer = &bed.authority, .key_type = type});
  if (is_of_its_own_form) {
    BIO* const b = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey_traditional(b, pair.pkey.get(), nullptr, nullptr, 0, nullptr, nullptr);
    pair.key = text_of(b);
  }
  const std::string needle = line_of(pair.key), number_in_der = number_of(pair);
  ASSERT_GE(needle.size(), 60u);
  {  // that it is seen at all
    const Looking at(needle, number_in_der);
    { const std::string copy = pair.key; }
    ASSERT_EQ(n_found, 1u);
    BIO* const b = BIO_new_mem_buf(pair.key.data(), static_cast<int>(pair.key.size()));
    EVP_PKEY_free(PEM_read_bio_PrivateKey(b, nullptr, nullptr, nullptr));
    BIO_free(b);
    ASSERT_GT(n_found, 1u) << "as OpenSSL reads it";
  }
  const std::string settings = TlsBed::pair_settings(pair);
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kAddSettings;
  std::string message(reinterpret_cast<const char*>(&r), sizeof r);
  message += settings;
  svm::ListenEvent e{};
  e.proto = kProto;
  e.local = test::TestApp::end(443);
  e.backlog = 16;
  uint32_t number = 0;
  const Looking at(needle, number_in_der);
  for (int i = 0; i < 2; ++i) {  // the second time its number is a pair of another's
    ASSERT_EQ(::send(bed.app->socket, message.data(), message.size(), 0),
              static_cast<ssize_t>(message.size()));
    bed.bed.pump(0);
    svm::AttachReply reply{};
    ASSERT_EQ(::recv(bed.app->socket, &reply, sizeof reply, MSG_DONTWAIT),
              static_cast<ssize_t>(sizeof reply));
    ASSERT_EQ(reply.status, 0);
    number = reply.settings;
    std::string names;
    add_setting(names, Setting::kPair, number);
    e.options.settings = i == 0 ? number : bed.add_settings(names);
    e.local = test::TestApp::end(static_cast<uint16_t>(443 + i));
    bed.app->push(svm::ToDaemon::kListen, e);
    EXPECT_EQ(bed.next<svm::BoundEvent>(svm::ToApp::kBound).status, 0);
  }
  EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
  svm::AttachRequest del{};
  del.version = svm::kProtocolVersion;
  del.op = svm::AttachOp::kDelSettings;
  del.settings = number;
  EXPECT_EQ(bed.app->ask(del).status, 0);
  bed.app.reset();
  bed.bed.pump();
  EXPECT_TRUE(shared().listeners.empty());
  EXPECT_GT(n_freed, 100u);
  EXPECT_EQ(n_found, 0u);
}

INSTANTIATE_TEST_SUITE_P(, TlsSecrets,
                         testing::Combine(testing::Values("RSA", "EC"), testing::Bool()));

class TlsSecretFiles : public testing::TestWithParam<bool> {};

TEST_P(TlsSecretFiles, LeaveNothingOfAKeyEither) {
  TlsBed bed;
  const std::string needle = line_of(bed.server.key), number_in_der = number_of(bed.server);
  if (GetParam())  // the key is in both
    shared().config.certificates = {bed.write("both.pem", bed.server.certificate + bed.server.key)};
  const Looking at(needle, number_in_der);
  ASSERT_EQ(bed.listen(443), 0);
  EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
  EXPECT_GT(n_freed, 10u);
  EXPECT_EQ(n_found, 0u);
}
INSTANTIATE_TEST_SUITE_P(, TlsSecretFiles, testing::Bool());

TEST(TlsCertificatesOf, TakesCertificatesAndNothingElse) {
  const Pem a = make_certificate({}), b = make_certificate({});
  const auto of = [](const std::string& text) { return certificates_of(text); };
  EXPECT_EQ(of(a.key + a.certificate + "text\n" + a.key + b.certificate + a.key),
            a.certificate + b.certificate);
  EXPECT_EQ(of(""), "");
  EXPECT_EQ(of("rubbish"), "");
  EXPECT_EQ(of("-----BEGIN CERTIFICATE-----"), "");
  EXPECT_EQ(of("-----BEGIN "), "");
  EXPECT_EQ(of("-----BEGIN CERTIFICATE-----\nAA\n-----END KEY-----\n"), "");
}

}  // namespace

void look_before_free(const void* p) noexcept { look(p); }

}  // namespace loom::tls
