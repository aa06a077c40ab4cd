// What is remembered of destinations without a free port; flow_tables_test.cc has it in use.
#include "session/port_shortage.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace loom::session {
namespace {

using Known = PortShortage::Known;
using Ports = std::pair<std::vector<uint16_t>, Known>;
constexpr uint8_t kProtocol = 6, kAnother = 17;

struct PortShortages : testing::Test {
  // All ports are looked at in vain.
  void none_is_free(uint64_t destination) {
    s.confirm(destination, s.begin(destination, kProtocol, now), now);
  }
  // All that have become free, and whether it is known that there is no other.
  Ports take_all(uint64_t destination) {
    std::vector<uint16_t> ports;
    uint16_t port = 0;
    Known known = Known::kNothing;
    while ((known = s.take(destination, port, now)) == Known::kPort) ports.push_back(port);
    return {ports, known};
  }
  void free_too_many(uint64_t destination) {
    for (uint16_t port = 1; port <= PortShortage::kMostPorts + 1; ++port)
      s.freed(destination, port, now);
  }

  PortShortage s;
  TimeNs now = 1'000'000'000;
};

TEST_F(PortShortages, OneThatEndsLeavesTheOthersAsTheyAre) {
  EXPECT_FALSE(s.is_any(now));
  for (const uint64_t d : {1, 2, 3}) none_is_free(d);
  s.freed(2, 20, now);
  s.freed(3, 30, now);
  s.freed(4, 40, now);
  free_too_many(1);
  EXPECT_EQ(take_all(1), (Ports{{}, Known::kNothing}));
  EXPECT_EQ(take_all(2), (Ports{{20}, Known::kNoPort}));
  EXPECT_EQ(take_all(3), (Ports{{30}, Known::kNoPort}));
  EXPECT_EQ(take_all(4), (Ports{{}, Known::kNothing}));
}

TEST_F(PortShortages, OfTooManyTheOldestGiveWay) {
  constexpr uint16_t kAll = PortShortage::kMostDestinations + 2;
  for (uint16_t d = 1; d <= kAll; ++d, ++now) {
    none_is_free(d);
    s.freed(d, d, now);
    if (d == 5) free_too_many(d);  // the first to give way
  }
  for (const uint16_t d : {1, 5}) EXPECT_EQ(take_all(d), (Ports{{}, Known::kNothing})) << d;
  for (uint16_t d = 2; d <= kAll; ++d)
    EXPECT_EQ(take_all(d).second, d == 5 ? Known::kNothing : Known::kNoPort) << d;
}

TEST_F(PortShortages, AreForgottenAfterAWhile) {
  none_is_free(1);
  s.freed(1, 5, now);
  now += PortShortage::kTrusted - 1;
  EXPECT_TRUE(s.is_any(now));
  EXPECT_EQ(take_all(1), (Ports{{5}, Known::kNoPort}));
  s.freed(1, 6, now);
  none_is_free(2);
  ++now;
  EXPECT_EQ(take_all(1), (Ports{{}, Known::kNothing}));
  EXPECT_EQ(take_all(2), (Ports{{}, Known::kNoPort}));
  now += PortShortage::kTrusted;
  EXPECT_FALSE(s.is_any(now)) << "and a closing connection need not look";
  none_is_free(1);
  EXPECT_EQ(take_all(1), (Ports{{}, Known::kNoPort})) << "6 is not of this time";
}

TEST_F(PortShortages, WhatBecomesFreeBehindWhoLooksIsNoted) {
  const uint64_t ticket = s.begin(1, kProtocol, now);
  EXPECT_TRUE(s.is_any(now));
  EXPECT_EQ(take_all(1), (Ports{{}, Known::kNothing})) << "nobody knows yet";
  s.freed(1, 5, now);
  EXPECT_EQ(s.begin(1, kProtocol, now), ticket) << "a second one looks";
  s.confirm(1, ticket, now);
  EXPECT_EQ(take_all(1), (Ports{{5}, Known::kNoPort}));
}

TEST_F(PortShortages, WhoseNotesAreLostConfirmsNothing) {
  const uint64_t ticket = s.begin(1, kProtocol, now);
  free_too_many(1);
  s.confirm(1, ticket, now);
  EXPECT_EQ(take_all(1), (Ports{{}, Known::kNothing}));
  const uint64_t later = s.begin(1, kProtocol, now);
  s.confirm(1, ticket, now);
  EXPECT_EQ(take_all(1), (Ports{{}, Known::kNothing}));
  s.confirm(1, later, now);
  EXPECT_EQ(take_all(1), (Ports{{}, Known::kNoPort}));
}

TEST_F(PortShortages, ThePortThatIsFreeForLongestIsTheFirst) {
  none_is_free(1);
  std::vector<uint16_t> freed;
  for (uint16_t port = 1; port <= 3 * PortShortage::kMostPorts; ++port) {
    s.freed(1, port, now);
    if (port % 4 != 0) continue;  // round and round
    uint16_t taken = 0;
    for (uint16_t expected = port - 3; expected <= port; ++expected) {
      ASSERT_EQ(s.take(1, taken, now), Known::kPort);
      EXPECT_EQ(taken, expected);
    }
  }
  for (const uint16_t port : {9, 7, 8}) s.freed(1, port, now);
  EXPECT_EQ(take_all(1), (Ports{{9, 7, 8}, Known::kNoPort}));
}

TEST_F(PortShortages, OneThatWasBoundIsFreeForAllOfItsProtocol) {
  for (const uint64_t d : {1, 2}) none_is_free(d);
  s.confirm(3, s.begin(3, kAnother, now), now);
  s.freed_for_all(kProtocol, 5, now);
  for (const uint64_t d : {1, 2}) EXPECT_EQ(take_all(d), (Ports{{5}, Known::kNoPort})) << d;
  EXPECT_EQ(take_all(3), (Ports{{}, Known::kNoPort}));
}

}  // namespace
}  // namespace loom::session
