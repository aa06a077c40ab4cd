// What is remembered of destinations without a free port; flow_tables_test.cc has it in use.
#include "session/port_shortage.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace loom::session {
namespace {

using Known = PortShortage::Known;

// All that have become free, and whether it is known that there is no other.
std::pair<std::vector<uint16_t>, Known> take_all(PortShortage& s, uint64_t destination) {
  std::vector<uint16_t> ports;
  uint16_t port = 0;
  Known known = Known::kNothing;
  while ((known = s.take(destination, port)) == Known::kPort) ports.push_back(port);
  return {ports, known};
}
using Ports = std::pair<std::vector<uint16_t>, Known>;

TEST(PortShortage, OneThatEndsLeavesTheOthersAsTheyAre) {
  PortShortage s;
  EXPECT_FALSE(s.is_any());
  for (const uint64_t d : {1, 2, 3}) s.begin(d);
  s.freed(2, 20);
  s.freed(3, 30);
  s.freed(4, 40);
  for (uint16_t port = 1; port <= PortShortage::kMostPorts + 1; ++port) s.freed(1, port);
  EXPECT_EQ(take_all(s, 1), (Ports{{}, Known::kNothing}));
  EXPECT_EQ(take_all(s, 2), (Ports{{20}, Known::kNoPort}));
  EXPECT_EQ(take_all(s, 3), (Ports{{30}, Known::kNoPort}));
  EXPECT_EQ(take_all(s, 4), (Ports{{}, Known::kNothing}));
  EXPECT_TRUE(s.is_any());
  for (const uint64_t d : {2, 3})
    for (uint16_t port = 1; port <= PortShortage::kMostPorts + 1; ++port) s.freed(d, port);
  EXPECT_FALSE(s.is_any());
}

TEST(PortShortage, OfTooManyTheOldestGiveWay) {
  PortShortage s;
  constexpr uint16_t kAll = PortShortage::kMostDestinations + 2;
  for (uint16_t d = 1; d <= kAll; ++d) {
    s.begin(d);
    s.freed(d, d);
  }
  for (const uint16_t d : {1, 2}) EXPECT_EQ(take_all(s, d), (Ports{{}, Known::kNothing})) << d;
  for (uint16_t d = 3; d <= kAll; ++d) EXPECT_EQ(take_all(s, d), (Ports{{d}, Known::kNoPort})) << d;
}

TEST(PortShortage, IsBelievedForSoLong) {
  PortShortage s;
  uint16_t port = 0;
  s.begin(1);
  for (uint32_t i = 0; i < PortShortage::kTrusted; ++i)
    ASSERT_EQ(s.take(1, port), Known::kNoPort) << i;
  EXPECT_EQ(s.take(1, port), Known::kNothing);
  EXPECT_FALSE(s.is_any());
  s.begin(1);
  s.freed(1, 5);
  s.begin(1);  // by another worker: what is free by now is still so
  EXPECT_EQ(take_all(s, 1), (Ports{{5}, Known::kNoPort}));
}

}  // namespace
}  // namespace loom::session
