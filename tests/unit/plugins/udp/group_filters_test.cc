// All sources of a membership at once (RFC 3678's setsourcefilter and getsourcefilter).
#include "udp_bed.h"

namespace loom::test {
namespace {

struct UdpGroupFilters : testing::TestWithParam<bool> {
  UdpBed bed;
  ConnId c;
  UdpGroupFilters() { c = bed.bind(53, ip6()); }
  bool ip6() const { return GetParam(); }
  IpAddress group() const { return *IpAddress::parse(ip6() ? "ff05::1" : "239.1.1.1"); }
  IpAddress source(uint8_t last) const {
    IpAddress a = bed.remote(ip6());
    a.bits.bytes[ip6() ? 15 : 3] = last;
    return a;
  }
  Status ask(GroupOp op, uint32_t number = 0, const IpAddress& from = {},
             GroupFilterRow* row = nullptr) {
    GroupRequest r;
    r.op = op;
    r.group = group();
    r.interface = 3;
    r.source = from;
    r.address = ip6() ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
    r.number = number;
    r.filter = row;
    return bed.ops().group(bed.fake.worker, c, r);
  }
  Status set(GroupOp op, uint8_t n) {
    for (uint8_t i = 0; i < n; ++i)
      if (const Status s = ask(GroupOp::kAddFilter, i, source(i)); s != Status::kOk) return s;
    return ask(op, n);
  }
  // All that is heard, or not; empty: no member.
  std::string read() {
    GroupFilterRow row;
    std::string all;
    uint32_t i = 0;
    do {
      if (ask(GroupOp::kReadFilter, i, {}, &row) != Status::kOk) return all;
      if (i == 0) all = row.is_exclude ? "not" : "only";
      if (i < row.n_sources) all += " " + std::to_string(row.source.bits.bytes[ip6() ? 15 : 3]);
    } while (++i < row.n_sources);
    return all;
  }
};
INSTANTIATE_TEST_SUITE_P(Ip, UdpGroupFilters, testing::Bool(),
                         [](const auto& i) { return i.param ? "v6" : "v4"; });

TEST_P(UdpGroupFilters, OfAMemberAreReplacedAndReadWhole) {
  EXPECT_EQ(read(), "");
  EXPECT_EQ(set(GroupOp::kInclude, 1), Status::kInvalid) << "no member";
  EXPECT_EQ(set(GroupOp::kInclude, 0), Status::kNotFound);
  ASSERT_EQ(ask(GroupOp::kJoin), Status::kOk);
  EXPECT_EQ(read(), "not");
  EXPECT_EQ(set(GroupOp::kInclude, 3), Status::kOk);
  EXPECT_EQ(read(), "only 0 1 2");
  EXPECT_EQ(bed.fake.listening.at({3, group()}).sources.size(), 3u);
  EXPECT_EQ(set(GroupOp::kExclude, 2), Status::kOk);
  EXPECT_EQ(read(), "not 0 1");
  EXPECT_EQ(set(GroupOp::kExclude, 0), Status::kOk);
  EXPECT_EQ(read(), "not");
  EXPECT_EQ(set(GroupOp::kInclude, 0), Status::kOk) << "it leaves";
  EXPECT_EQ(read(), "");
  EXPECT_TRUE(bed.fake.listening.empty());
}

TEST_P(UdpGroupFilters, WhatIsNotWholeChangesNothing) {
  ASSERT_EQ(ask(GroupOp::kJoin), Status::kOk);
  EXPECT_EQ(ask(GroupOp::kAddFilter, 1, source(1)), Status::kInvalid) << "0 comes first";
  ASSERT_EQ(ask(GroupOp::kAddFilter, 0, source(1)), Status::kOk);
  EXPECT_EQ(ask(GroupOp::kInclude, 2), Status::kInvalid);
  EXPECT_EQ(ask(GroupOp::kInclude, 1), Status::kInvalid) << "they are forgotten by then";
  EXPECT_EQ(read(), "not");
  EXPECT_EQ(ask(GroupOp::kReadFilter), Status::kInvalid) << "nowhere to";
  EXPECT_EQ(set(GroupOp::kInclude, kMaxGroupSources), Status::kOk);
  EXPECT_EQ(set(GroupOp::kInclude, kMaxGroupSources + 1), Status::kNoMemory);
  EXPECT_EQ(bed.fake.listening.at({3, group()}).sources.size(), kMaxGroupSources);
  ASSERT_EQ(ask(GroupOp::kAddFilter, 0, source(1)), Status::kOk);
  bed.ops().abort(bed.fake.worker, c);  // and what was begun goes with it
  EXPECT_TRUE(bed.fake.listening.empty());
  EXPECT_TRUE(udp::udp_worker(bed.fake.worker).filters.empty());
}

// A report of the group would be none that anybody can read.
TEST_P(UdpGroupFilters, SourcesOfTheOtherFamilyAreNoFilter) {
  ASSERT_EQ(ask(GroupOp::kJoin), Status::kOk);
  GroupRequest r;
  r.op = GroupOp::kAddFilter;
  r.interface = 3;
  r.group = *IpAddress::parse(ip6() ? "239.1.1.1" : "ff05::1");
  r.source = bed.remote(!ip6());
  // A socket of IPv4 cannot even begin.
  ASSERT_EQ(bed.ops().group(bed.fake.worker, c, r), ip6() ? Status::kOk : Status::kInvalid);
  EXPECT_EQ(ask(GroupOp::kInclude, 1), Status::kInvalid);
  EXPECT_EQ(read(), "not");
  EXPECT_TRUE(bed.fake.listening.at({3, group()}).sources.empty());
}

}  // namespace
}  // namespace loom::test
