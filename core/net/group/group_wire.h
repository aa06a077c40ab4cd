// IGMP and MLD on the wire (RFC 3376 section 4, RFC 2236, RFC 3810 section 5, RFC 2710).
#pragma once
#include <hostloom/address.h>
#include <hostloom/types.h>
#include <hostloom/wire.h>

namespace loom {

constexpr uint8_t kProtoIgmp = 2;
constexpr uint8_t kIgmpQuery = 0x11, kIgmp1Report = 0x12, kIgmp2Report = 0x16, kIgmp2Leave = 0x17,
                  kIgmp3Report = 0x22;
constexpr uint8_t kMldQuery = 130, kMld1Report = 131, kMld1Done = 132, kMld2Report = 143;

struct IgmpHeader {  // of all but version 3's report
  uint8_t type;
  uint8_t max_response;  // tenths of a second
  [[gnu::packed]] uint16_t checksum;
  Ip4Address group;
};
static_assert(sizeof(IgmpHeader) == 8);

struct MldHeader {  // of all but version 2's report
  uint8_t type;
  uint8_t code;
  [[gnu::packed]] uint16_t checksum;
  Be16 max_response;  // ms
  Be16 reserved;
  Ip6Address group;
};
static_assert(sizeof(MldHeader) == 24);

struct GroupReportHeader {  // IGMPv3 and MLDv2: one record follows, and its sources
  uint8_t type;
  uint8_t reserved;
  [[gnu::packed]] uint16_t checksum;
  Be16 reserved2;
  Be16 n_records;
};
struct GroupRecordHeader {  // the group follows, then the sources
  uint8_t type;
  uint8_t aux_words;
  Be16 n_sources;
};
static_assert(sizeof(GroupReportHeader) == 8 && sizeof(GroupRecordHeader) == 4);

// The Ethernet group of an IPv4 multicast address (RFC 1112 section 6.4).
inline MacAddress multicast_mac_of(const Ip4Address& a) noexcept {
  return {{0x01, 0x00, 0x5e, static_cast<uint8_t>(a.bytes[1] & 0x7f), a.bytes[2], a.bytes[3]}};
}

}  // namespace loom
