// What OpenSSL allocates for a session: no buffers while bytes flow, and none while it is idle.
#include <malloc.h>
#include <openssl/crypto.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "looking.h"
#include "tls_bed.h"

namespace loom::tls {

std::size_t allocations_until_one_fails = 0;

namespace {

// Blocks of what it notes of a packet it makes, and larger ones.
constexpr std::size_t kSmall = 64;
std::size_t n_small = 0, n_large = 0;

void* count(void* p, std::size_t n) {
  if (!p) return p;
  std::memset(p, 0, malloc_usable_size(p));  // as in secrets_test.cc
  ++(n <= kSmall ? n_small : n_large);
  count_allocated(p);
  return p;
}
bool fails() { return allocations_until_one_fails != 0 && --allocations_until_one_fails == 0; }
void* allocate(std::size_t n, const char*, int) {
  return fails() ? nullptr : count(std::malloc(n), n);
}
void release(void* p, const char*, int) {
  count_freed(p);
  look_before_free(p);
  std::free(p);
}
void* reallocate(void* p, std::size_t n, const char*, int) {
  if (!p) return allocate(n, nullptr, 0);
  if (fails()) return nullptr;
  const std::size_t had = malloc_usable_size(p);
  void* const to = count(std::malloc(n), n);
  if (!to) return nullptr;
  std::memcpy(to, p, std::min(had, n));
  release(p, nullptr, 0);
  return to;
}
// Before OpenSSL has allocated anything.
const bool is_counting = CRYPTO_set_mem_functions(allocate, reallocate, release) == 1;

constexpr std::size_t kBuffers = 2 * 16'384;  // of one end, at least

struct TlsBuffers : testing::Test {
  TlsBed bed;
  void SetUp() override {
    ASSERT_TRUE(is_counting);
    ASSERT_EQ(bed.listen(443), 0);
  }
  std::pair<TlsBed::Link, TlsBed::Link> open() {
    auto near = bed.connect(443);
    auto far = bed.accept();
    EXPECT_TRUE(near && far);
    return {std::move(near), std::move(far)};
  }
  void talk(TlsBed::Link& a, TlsBed::Link& b) {
    for (const auto& [from, to] : {std::pair(a.get(), b.get()), std::pair(b.get(), a.get())}) {
      bed.app->write(*from, "some text");
      EXPECT_EQ(bed.app->read(*to), "some text");
    }
  }
  void idle() {
    bed.bed.pump(150 * kMillisecond);
    bed.bed.pump(150 * kMillisecond);
  }
};

// OpenSSL 3.0 notes where it is in each packet that it makes (WPACKET_SUB): three such notes for a
// record that is sent, one for one that is received. They come from malloc's cache of the thread.
TEST_F(TlsBuffers, RecordsAllocateNotesAndNothingElse) {
  auto [near, far] = open();
  talk(near, far);
  const std::size_t small = n_small, large = n_large;
  constexpr std::size_t kTalks = 20, kRecords = 2 * kTalks;
  for (std::size_t i = 0; i < kTalks; ++i) talk(near, far);
  EXPECT_EQ(n_large, large);
  EXPECT_LE(n_small - small, 4 * kRecords);
}

TEST_F(TlsBuffers, AnIdleSessionHasNone) {
  auto [near, far] = open();
  talk(near, far);
  const std::size_t busy = bytes_in_use;
  EXPECT_EQ(shared().workers[0]->n_buffered, 2u);
  idle();
  EXPECT_EQ(shared().workers[0]->n_buffered, 0u);
  EXPECT_LE(bytes_in_use + 2 * kBuffers, busy);
  talk(near, far);  // it goes on
  EXPECT_EQ(shared().workers[0]->n_buffered, 2u);
}

TEST_F(TlsBuffers, SoManySessionsHaveThemAndNoMore) {
  shared().workers[0]->most_buffered = 4;
  std::vector<std::pair<TlsBed::Link, TlsBed::Link>> all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(open());
    talk(all.back().first, all.back().second);
    EXPECT_LE(shared().workers[0]->n_buffered, 4u);
  }
  for (auto& [near, far] : all) talk(near, far);
  EXPECT_EQ(shared().workers[0]->n_buffered, 4u);
}

TEST_F(TlsBuffers, HalfARecordHasNone) {
  const auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer peer(Peer::Role::kClient);
  peer.exchange(*bed.app, *link);
  const auto far = bed.accept();
  ASSERT_TRUE(far);
  peer.write(pattern(700));
  const std::string record = peer.records();
  idle();
  for (const std::size_t part : {3, 2, 95}) {  // in the header, behind it, in the body
    static std::size_t at = 0;
    bed.app->write(*link, record.substr(at, part));
    at += part;
    EXPECT_EQ(shared().workers[0]->n_buffered, 0u) << at;
  }
  bed.app->write(*link, record.substr(100));
  EXPECT_EQ(bed.app->read(*far), pattern(700));
  idle();
  EXPECT_EQ(shared().workers[0]->n_buffered, 0u);
}

}  // namespace
}  // namespace loom::tls
