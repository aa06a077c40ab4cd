// The pcap file format (pcap-savefile(5)), read and written. Files are hostile: every record is
// bounded before it is looked at.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include <hostloom/status.h>
#include <hostloom/types.h>

#include "packet_text.h"

namespace loom::pg {

struct PcapFileHeader {
  uint32_t magic = 0xa1b23c4d;  // nanoseconds, in the writer's byte order
  uint16_t version_major = 2, version_minor = 4;
  uint64_t reserved = 0;
  uint32_t snap_length = kMostPacket;
  uint32_t link_type = 1;  // Ethernet
};
static_assert(sizeof(PcapFileHeader) == 24);

struct PcapRecordHeader {
  uint32_t seconds, nanoseconds;
  uint32_t captured, length;
};
static_assert(sizeof(PcapRecordHeader) == 16);

constexpr uint32_t kLinkEthernet = 1, kLinkRawIp = 101;

struct PcapContent {
  uint32_t link_type = 0;
  std::vector<Frame> packets;
  std::vector<uint8_t> bytes;  // the file's
};

// At most 64 MB. Errors name the file, the record and the reason.
Result<PcapContent> read_pcap(const std::string& file);

// A file that only the daemon's user can read; never one that somebody else has put there.
Result<int> create_file(const std::string& file);
Result<void> write_all(int fd, const void* bytes, std::size_t n, const std::string& file);

}  // namespace loom::pg
