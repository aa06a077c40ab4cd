// No memory is freed that still holds a private key. All that is freed is looked at, while the
// daemon has a key in its hands: this program's operator delete does it.
#include <malloc.h>

#include <cstdlib>
#include <new>

#include "tls_bed.h"

namespace {

// What nothing that is freed may hold; null: nobody looks.
const char* secret = nullptr;
std::size_t secret_size = 0, n_freed = 0, n_found = 0;

void free_and_look(void* p) noexcept {
  if (secret && p) {
    ++n_freed;
    n_found += memmem(p, malloc_usable_size(p), secret, secret_size) != nullptr;
  }
  std::free(p);
}
void* allocate(std::size_t n, std::size_t align = 0) {
  void* const p =
      align ? std::aligned_alloc(align, (n + align - 1) / align * align) : std::malloc(n ? n : 1);
  if (!p) throw std::bad_alloc();
  return p;
}

}  // namespace

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

// The second line of the PEM: bytes of the key itself.
std::string line_of(const std::string& pem) {
  const std::size_t at = pem.find('\n') + 1;
  return pem.substr(at, pem.find('\n', at) - at);
}

struct Looking {
  explicit Looking(const std::string& text) {
    n_found = n_freed = 0;
    secret_size = text.size();
    secret = text.data();
  }
  ~Looking() { secret = nullptr; }
};

TEST(TlsSecrets, NothingThatIsFreedHoldsAKey) {
  TlsBed bed;
  const Pem pair = make_certificate({.issuer = &bed.authority, .key_type = "RSA"});
  const std::string needle = line_of(pair.key);
  ASSERT_GE(needle.size(), 60u);
  {  // that it is seen at all
    const Looking at(needle);
    { const std::string copy = pair.key; }
    ASSERT_EQ(n_found, 1u);
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
  const Looking at(needle);
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

TEST(TlsSecrets, NorDoesWhatWasReadOfAFile) {
  TlsBed bed;
  const std::string needle = line_of(bed.server.key);
  const Looking at(needle);
  ASSERT_EQ(bed.listen(443), 0);
  EXPECT_EQ(bed.run("tls reload").status, Status::kOk);
  EXPECT_GT(n_freed, 10u);
  EXPECT_EQ(n_found, 0u);
}

}  // namespace
}  // namespace loom::tls
