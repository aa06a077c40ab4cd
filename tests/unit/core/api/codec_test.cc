// Generated encoders and decoders against bytes written by hand.
#include "codec_test.api.h"
#include "stream_test.api.h"

#include <gtest/gtest.h>
#include <hostloom/api_server.h>

#include <random>

namespace loom {
namespace {

std::vector<std::byte> bytes(std::initializer_list<int> values) {
  std::vector<std::byte> out;
  for (const int v : values) out.push_back(static_cast<std::byte>(v));
  return out;
}

api::Everything sample() {
  api::Everything m;
  m.client_index = 0x01020304;
  m.context = 5;
  m.a = 6;
  m.c = 0x1122334455667788;
  m.d = true;
  m.e = 1.0;
  m.mac = {1, 2, 3, 4, 5, 6};
  m.stamp = -2.0;
  m.color = api::Color::kColorBlue;
  m.bits = api::kBitsA | api::kBitsB;
  m.either.set_bytes({9, 8, 7, 6, 5, 4, 3, 2});
  m.again = {api::Color::kColorRed, 5};
  m.boxes.resize(1);
  m.boxes[0].content.resize(1);
  m.boxes[0].content[0].set_number(0xaabbccdd);
  m.boxes[0].label = "b";
  m.name = "too long a name";
  m.two = {{{api::Color::kColorRed, 1}, {api::Color::kColorBlue, 2}}};
  m.pairs = {{api::Color::kColorRed, 0x0a0b}};
  m.raw = {0xff, 0xfe};
  m.text = "hi";
  return m;
}

TEST(ApiCodec, FieldsArePackedInOrderAndBigEndian) {
  std::vector<std::byte> out;
  ApiWriter w(out);
  encode(w, sample());
  EXPECT_EQ(out, bytes({1, 2, 3, 4, 0, 0, 0, 5, 6, 0xff, 0xfe,              // client_index
                                                                            // context a b
                        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 1,  // c d
                        0x3f, 0xf0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6,     // e mac
                        0xc0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3,                 // stamp color bits
                        9, 8, 7, 6, 5, 4, 3, 2,                             // either
                        0xff, 0xff, 0xff, 0xff, 2, 0, 3, 1,         // index favorite mask delete
                        1, 0, 5, 0, 0, 0, 1, 1,                     // again n_boxes, n
                        0xaa, 0xbb, 0xcc, 0xdd, 0, 0, 0, 0,         // content
                        0, 0, 0, 1, 'b',                            // label
                        't', 'o', 'o', ' ', 'l', 'o', 'n', 0,       // name, cut
                        1, 0, 1, 2, 0, 2, 1, 1, 0x0a, 0x0b,         // two n pairs
                        0, 2, 0xff, 0xfe, 0, 0, 0, 2, 'h', 'i'}));  // raw text
}

TEST(ApiCodec, DecodingGivesBackWhatWasEncoded) {
  std::vector<std::byte> out, again;
  ApiWriter w(out);
  encode(w, sample());
  ApiReader r(out);
  api::Everything m;
  decode(r, m);
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r.remaining(), 0u);
  EXPECT_EQ(m.name, "too lon");
  EXPECT_EQ(m.b, -2);
  ASSERT_EQ(m.pairs.size(), 1u);
  EXPECT_EQ(m.pairs[0].value, 0x0a0b);
  ApiWriter w2(again);
  encode(w2, m);
  EXPECT_EQ(again, out);
}

TEST(ApiCodec, AUnionIsAsLongAsItsLongestMemberAndReadAsAny) {
  api::Either e;
  EXPECT_EQ(e.raw.size(), 8u);
  e.set_bytes({1, 2, 3, 4, 5, 6, 7, 8});
  EXPECT_EQ(e.number(), 0x01020304u);
  e.set_pair({api::Color::kColorBlue, 0x0a0b});
  EXPECT_EQ(e.raw, (std::array<uint8_t, 8>{2, 0x0a, 0x0b}));  // nothing of what was there before
  EXPECT_EQ(e.pair(), (api::Pair{api::Color::kColorBlue, 0x0a0b}));
  e.set_word("too long");
  EXPECT_EQ(e.word(), "too l");
  e.set_colors({api::Color::kColorRed, api::Color::kColorBlue});
  EXPECT_EQ(e.colors()[1], api::Color::kColorBlue);
}

TEST(ApiCodec, FieldsStartAsTheirDefaults) {
  const api::Everything m;
  EXPECT_EQ(m.b, -2);
  EXPECT_EQ(m.index, 0xffffffffu);
  EXPECT_EQ(m.favorite, api::Color::kColorBlue);
  EXPECT_EQ(m.mask, api::kBitsA | api::kBitsB);
  EXPECT_TRUE(m.delete_);
  EXPECT_EQ(m.color, api::Color{});
}

TEST(ApiCodec, EveryTruncationIsNoticed) {
  std::vector<std::byte> out;
  ApiWriter w(out);
  encode(w, sample());
  for (std::size_t n = 0; n < out.size(); ++n) {
    ApiReader r(std::span<const std::byte>(out).first(n));
    api::Everything m;
    decode(r, m);
    EXPECT_FALSE(r.ok()) << n;
  }
}

TEST(ApiCodec, ACountBeyondTheEndAllocatesNothing) {
  std::vector<std::byte> out;
  auto m = sample();
  m.pairs.clear();
  m.raw.clear();
  m.text.clear();
  ApiWriter w(out);
  encode(w, m);
  out[out.size() - 6] = out[out.size() - 5] = std::byte{0xff};  // n_raw = 65535
  ApiReader r(out);
  decode(r, m);
  EXPECT_FALSE(r.ok());
  EXPECT_TRUE(m.raw.empty());
}

// Also found by the fuzz target: what was decoded must decode to itself again.
TEST(ApiCodec, ZerosAtTheEndOfAStringAreNotText) {
  const auto decoded = [](std::string_view text) {
    std::vector<std::byte> out;
    ApiWriter w(out);
    w.string(text);
    ApiReader r(out);
    return r.string();
  };
  using std::string_view_literals::operator""sv;
  EXPECT_EQ(decoded("show\0"sv), "show");
  EXPECT_EQ(decoded("show\0\0\0"sv), "show");
  EXPECT_EQ(decoded("a\0b"sv), "a\0b"sv);
  EXPECT_EQ(decoded("\0\0"sv), "");
  EXPECT_EQ(decoded(""), "");
}

TEST(ApiCodec, RandomBytesAreDecodedOrRefused) {
  std::mt19937 random(11);
  for (int round = 0; round < 20'000; ++round) {
    std::vector<std::byte> in(random() % 160);
    for (auto& b : in) b = static_cast<std::byte>(random() % 4 ? 0 : random());
    ApiReader r(in);
    api::Everything m;
    decode(r, m);
    EXPECT_LE(m.raw.size() + m.text.size() + m.pairs.size(), in.size());
  }
}

TEST(ApiCodec, TheModuleDescribesItself) {
  EXPECT_STREQ(api::kCodecTestModule.name, "codec_test");
  EXPECT_EQ(api::kCodecTestModule.version, (std::array<uint32_t, 3>{1, 2, 3}));
  ASSERT_EQ(api::kCodecTestModule.messages.size(), 4u);
  EXPECT_STREQ(api::kCodecTestModule.messages[1].name, "everything_reply");
  EXPECT_EQ(api::EverythingReply::kInfo.crc, 1u);
  EXPECT_NE(api::Everything::kInfo.crc, 0u);
  EXPECT_NE(std::string_view(api::kCodecTestModule.json).find("vl_api_version"),
            std::string_view::npos);
}

TEST(ApiSecrets, AreClearedAndNothingElse) {
  api::ItemLock m{.index = 7, .word = "abcdefg", .code = 9, .value = 8};
  clear_secrets(m);
  EXPECT_EQ(m, (api::ItemLock{.index = 7, .word = std::string(7, '\0'), .code = 0, .value = 8}));
  api::ItemKey empty;
  clear_secrets(empty);
  EXPECT_EQ(empty, api::ItemKey{});
  api::ItemKey key{.client_index = 1, .context = 2, .key = {1, 2, 3}, .text = "phrase"};
  clear_secrets(key);
  EXPECT_EQ(key,
            (api::ItemKey{
                .client_index = 1, .context = 2, .key = {0, 0, 0}, .text = std::string(6, '\0')}));
}

// A request as one that apigen has made, which notes that it is cleared.
struct Noted {
  static constexpr ApiMessageInfo kInfo{"noted", 1};
  static constexpr ApiSecret kSecret{8, 4};
  uint32_t client_index = 0, context = 0, secret = 0;
};
int n_cleared = 0;
void decode(ApiReader& r, Noted& m) {
  for (uint32_t* n : {&m.client_index, &m.context, &m.secret}) *n = r.number<uint32_t>();
}
void clear_secrets(Noted& m) noexcept {
  m.secret = 0;
  ++n_cleared;
}
struct NotedWalk {
  NotedWalk(const Noted&, void*) {}
  ApiStep next(ApiCall&, api::ItemLockReply&) { return ApiStep::kEnd; }
};

TEST(ApiSecrets, AHandlerClearsWhatItHasDecoded) {
  static uint32_t seen;
  seen = 0;
  n_cleared = 0;
  ApiCallOps ops{};
  ops.struct_size = sizeof ops;
  ops.send = [](ApiCall&, const ApiMessageInfo*, const std::byte*, std::size_t) {};
  ApiCall call(ops, 0);
  const auto in = bytes({0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3});
  void* walk = nullptr;
  const ApiHandler once = api_reply_handler<Noted, api::ItemLockReply>(
      [](ApiCall&, const Noted& m, void*) {
        seen = m.secret;
        return api::ItemLockReply{};
      },
      nullptr);
  EXPECT_EQ(once.secret.at, 8u);
  EXPECT_EQ(once.secret.size, 4u);
  EXPECT_EQ(once.begin(once, call, in.data(), in.size(), &walk), ApiOutcome::kAnswered);
  EXPECT_EQ(seen, 3u);
  EXPECT_EQ(n_cleared, 1);
  EXPECT_EQ(once.begin(once, call, in.data(), in.size() - 1, &walk), ApiOutcome::kMalformed);
  EXPECT_EQ(n_cleared, 2);
  const ApiHandler steps = api_steps_handler<Noted, api::ItemLockReply, NotedWalk>(nullptr);
  EXPECT_EQ(steps.secret.at, 8u);
  EXPECT_EQ(steps.begin(steps, call, in.data(), in.size(), &walk), ApiOutcome::kMore);
  EXPECT_EQ(n_cleared, 3);
  steps.end(walk);
}

}  // namespace
}  // namespace loom
