#include "buffer/chain.h"

#include <gtest/gtest.h>

#include <numeric>

#include "pool_worker.h"

namespace loom {
namespace {

std::vector<std::byte> pattern(std::size_t n, unsigned first = 0) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = std::byte(static_cast<uint8_t>((first + i) * 7));
  return bytes;
}

std::vector<std::byte> contents(const Buffer& b) {
  std::vector<std::byte> bytes(b.length() + 1);
  bytes.resize(chain_copy_out(b, 0, bytes));
  return bytes;
}

struct ChainTest : testing::Test {
  std::unique_ptr<BufferPool> pool = make_pool(40, 256);
  PoolWorker w{*pool};
  void TearDown() override { EXPECT_EQ(in_use(*pool, w), 0u); }
};

TEST_F(ChainTest, AppendFillsTheLastSegmentAndThenAddsMore) {
  Buffer* b = w.alloc();
  const auto bytes = pattern(1000);
  ASSERT_TRUE(chain_append(w, *b, std::span(bytes).first(100)));
  EXPECT_EQ(chain_segments(*b), 1u);
  ASSERT_TRUE(chain_append(w, *b, std::span(bytes).subspan(100)));
  EXPECT_EQ(chain_segments(*b), 4u);  // of 256 bytes each
  EXPECT_EQ(b->length(), 1000u);
  EXPECT_EQ(contents(*b), bytes);
  w.free(b);
}

TEST_F(ChainTest, AppendWithoutBuffersLeavesThePacketAsItWas) {
  std::vector<Buffer*> hog(38);
  ASSERT_EQ(w.alloc(std::span(hog)), 38u);
  Buffer* b = w.alloc();
  const auto bytes = pattern(700);
  ASSERT_TRUE(chain_append(w, *b, std::span(bytes).first(10)));
  EXPECT_FALSE(chain_append(w, *b, bytes));  // needs two more; there is one
  EXPECT_EQ(b->length(), 10u);
  EXPECT_EQ(b->next, nullptr);
  w.free(b);
  w.free(std::span(hog));
}

TEST_F(ChainTest, CopyOutStopsAtTheEnd) {
  Buffer* b = w.alloc();
  const auto bytes = pattern(600);
  ASSERT_TRUE(chain_append(w, *b, bytes));
  std::vector<std::byte> out(400);
  EXPECT_EQ(chain_copy_out(*b, 250, out), 350u);
  EXPECT_TRUE(std::equal(out.begin(), out.begin() + 350, bytes.begin() + 250));
  EXPECT_EQ(chain_copy_out(*b, 600, out), 0u);
  EXPECT_EQ(chain_copy_out(*b, 5000, out), 0u);
  w.free(b);
}

struct Owner : ExternalOwner {
  Owner() {
    release = [](Worker&, ExternalOwner& o, uint32_t) noexcept {
      ++static_cast<Owner&>(o).released;
    };
  }
  int released = 0;
};

TEST_F(ChainTest, CopyHoldsNoExternalMemoryAndKeepsTheDescription) {
  const auto bytes = pattern(200);
  Owner owner;
  Buffer* b = w.alloc();
  b->prepend(40);
  std::memset(b->data, 0xab, 40);
  b->l4_offset = b->offset_of_data();
  b->gso_size = 100;
  b->flags = kBufferTxTcpChecksum | kBufferTraced;
  b->tx_if = 4;
  b->next = w.alloc_external(bytes, &owner, 0);
  b->rest_len = 200;

  Buffer* copy = chain_copy(w, *b);
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(contents(*copy), contents(*b));
  w.free(b);
  EXPECT_EQ(owner.released, 1);
  for (const Buffer* s = copy; s; s = s->next) EXPECT_FALSE(s->is_external());
  EXPECT_EQ(copy->flags, uint32_t{kBufferTxTcpChecksum});
  EXPECT_EQ(copy->gso_size, 100);
  EXPECT_EQ(copy->tx_if, 4u);
  EXPECT_EQ(copy->at<uint8_t[1]>(copy->l4_offset)[0][0], 0xab);  // the offset still leads there
  EXPECT_EQ(copy->rest_len + copy->len, 240u);
  w.free(copy);
}

// A node looks back at the headers of those before it: TCP at the IP header.
TEST_F(ChainTest, CopyHasTheHeadersThatTheDataLeftBehind) {
  const auto bytes = pattern(200);
  Owner owner;
  Buffer* b = w.alloc();
  std::memset(b->prepend(40), 0xab, 40);
  b->l3_offset = b->offset_of_data();
  std::memset(b->at<uint8_t>(b->l3_offset), 0x45, 20);
  b->advance(20);
  b->next = w.alloc_external(bytes, &owner, 0);
  b->rest_len = 200;

  Buffer* copy = chain_copy(w, *b);
  ASSERT_NE(copy, nullptr);
  EXPECT_EQ(contents(*copy), contents(*b));
  EXPECT_EQ(copy->offset_of_data() - copy->l3_offset, 20);
  EXPECT_EQ(std::memcmp(copy->at<uint8_t>(copy->l3_offset), b->at<uint8_t>(b->l3_offset), 20), 0);
  w.free(b);
  w.free(copy);
}

TEST_F(ChainTest, LinearizeMakesOneSegmentAndFreesTheChain) {
  const auto bytes = pattern(150);
  Owner owner;
  Buffer* b = w.alloc();
  std::memset(b->prepend(20), 1, 20);
  b->next = w.alloc_external(bytes, &owner, 0);
  b->rest_len = 150;
  const auto before = contents(*b);
  Buffer* flat = chain_linearize(w, b);
  ASSERT_NE(flat, nullptr);
  EXPECT_EQ(flat->next, nullptr);
  EXPECT_EQ(flat->len, 170u);
  EXPECT_EQ(contents(*flat), before);
  EXPECT_EQ(owner.released, 1);
  EXPECT_EQ(chain_linearize(w, flat), flat);
  w.free(flat);
}

TEST_F(ChainTest, LinearizeRefusesWhatDoesNotFit) {
  Buffer* b = w.alloc();
  const auto bytes = pattern(257);
  ASSERT_TRUE(chain_append(w, *b, bytes));
  EXPECT_EQ(chain_linearize(w, b), nullptr);
  EXPECT_EQ(contents(*b), bytes);
  w.free(b);
}

}  // namespace
}  // namespace loom
