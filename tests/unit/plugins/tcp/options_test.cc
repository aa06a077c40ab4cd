#include "tcp/options.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace loom::tcp {
namespace {

bool parse(const std::string& s, Options& o) {
  return parse_options({reinterpret_cast<const std::byte*>(s.data()), s.size()}, o) ==
         OptionFault::kNone;
}

TEST(Options, WhatIsWrittenIsRead) {
  Options in;
  in.present = kOptMss | kOptWscale | kOptSackPermitted | kOptTimestamps;
  in.mss = 1460;
  in.wscale = 9;
  in.tsval = 0x01020304;
  in.tsecr = 0xfffefdfc;
  std::string bytes(options_size(in), '\0');
  EXPECT_EQ(bytes.size(), 20u) << "SACK-permitted shares the timestamps' padding";
  write_options(reinterpret_cast<std::byte*>(bytes.data()), in);
  Options out;
  ASSERT_TRUE(parse(bytes, out));
  EXPECT_EQ(out.present, in.present);
  EXPECT_EQ(out.mss, in.mss);
  EXPECT_EQ(out.wscale, in.wscale);
  EXPECT_EQ(out.tsval, in.tsval);
  EXPECT_EQ(out.tsecr, in.tsecr);
}

TEST(Options, SackBlocksFillWhatIsLeft) {  // RFC 2018 section 3: 4, or 3 beside timestamps
  Options o;
  o.n_sack = 4;
  for (uint32_t i = 0; i < 4; ++i) o.sack[i] = {Seq(100 * i), Seq(100 * i + 50)};
  EXPECT_EQ(options_size(o), 36u);
  o.present = kOptTimestamps;
  EXPECT_EQ(options_size(o), 40u);
  std::string bytes(40, '\0');
  write_options(reinterpret_cast<std::byte*>(bytes.data()), o);
  Options out;
  ASSERT_TRUE(parse(bytes, out));
  EXPECT_EQ(out.n_sack, 3u);
  EXPECT_EQ(out.sack[2].end.raw(), 250u);
}

TEST(Options, WscaleAbove14Is14) {  // RFC 7323 section 2.3
  Options o;
  ASSERT_TRUE(parse(std::string("\x03\x03\x20\x00", 4), o));
  EXPECT_EQ(o.wscale, 14);
}

TEST(Options, KnownKindsWithWrongLengthsAreSkipped) {
  Options o;
  ASSERT_TRUE(
      parse(std::string("\x02\x03\x01\x08\x03\x01\x04\x03\x01\x05\x09zzzzzzz\x03\x03\x02", 21), o));
  EXPECT_EQ(o.present, kOptWscale);
  EXPECT_EQ(o.n_sack, 0u);
}

TEST(Options, EndOfListEnds) {
  Options o;
  ASSERT_TRUE(parse(std::string("\x01\x00\x02\x04\x05\xb4", 6), o));
  EXPECT_EQ(o.present, 0);
}

TEST(Options, BrokenLengthsAreRefused) {
  Options o;
  EXPECT_FALSE(parse(std::string("\x05", 1), o));
  EXPECT_FALSE(parse(std::string("\x05\x00", 2), o));
  EXPECT_FALSE(parse(std::string("\x05\x01", 2), o));
  EXPECT_FALSE(parse(std::string("\x02\x05\x01\x01", 4), o));
}

TEST(Options, AnythingIsSurvived) {
  std::mt19937 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string s(random() % 41, '\0');
    for (char& c : s) c = static_cast<char>(random() % 12);
    Options o;
    (void)parse(s, o);
    EXPECT_LE(o.n_sack, 4u);
    EXPECT_LE(o.wscale, 14u);
  }
}

}  // namespace
}  // namespace loom::tcp
