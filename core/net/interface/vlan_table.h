// The sub-interfaces of one Ethernet interface, by the VLAN id of the tag that their frames carry
// (IEEE Std 802.1Q, section 9.6). Control writes; workers read an entry with one load. What it
// points at goes away only while all workers stand still.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>

namespace loom {

struct Interface;

struct VlanTable {
  static constexpr uint16_t kIdMask = 0xfff;               // of a tag's TCI; the rest is a priority
  static constexpr uint16_t kNoVlan = 0;                   // a tag that only has a priority
  static constexpr uint16_t kLeastId = 1, kMostId = 4094;  // 4095 is reserved

  std::array<std::atomic<Interface*>, kIdMask + 1> by_id{};
};

}  // namespace loom
