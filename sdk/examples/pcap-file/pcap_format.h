// The file format that tcpdump made common (draft-ietf-opsawg-pcap): a file header, then records,
// each a record header and the frame's bytes. Numbers are in the byte order of whoever wrote it.
#pragma once
#include <cstdint>

namespace pcap_file {

constexpr uint32_t kMagicMicroseconds = 0xa1b2c3d4;
constexpr uint32_t kMagicNanoseconds = 0xa1b23c4d;
constexpr uint32_t kLinkTypeEthernet = 1;

struct FileHeader {
  uint32_t magic;
  uint16_t version_major, version_minor;  // 2.4
  uint32_t reserved[2];
  uint32_t snap_length;
  uint32_t link_type;
};
static_assert(sizeof(FileHeader) == 24);

struct RecordHeader {
  uint32_t seconds, fraction;
  uint32_t length;           // bytes that follow
  uint32_t original_length;  // of the frame on the wire
};
static_assert(sizeof(RecordHeader) == 16);

}  // namespace pcap_file
