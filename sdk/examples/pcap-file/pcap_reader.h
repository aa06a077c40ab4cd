// A capture read into memory: what the interface receives. Control thread.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include <hostloom/status.h>
#include <hostloom/types.h>

namespace pcap_file {

struct Capture {
  std::vector<std::byte> bytes;  // the whole file
  struct Frame {
    uint32_t offset, length;
  };
  std::vector<Frame> frames;

  std::span<const std::byte> frame(std::size_t i) const {
    return std::span(bytes).subspan(frames[i].offset, frames[i].length);
  }
};

// Believes nothing that the file says: every frame lies inside it and has kLeastFrame to kMostFrame
// bytes. Errors name the file and the record.
loom::Result<Capture> read_capture(const std::string& file);
constexpr uint32_t kLeastFrame = 14, kMostFrame = 65'549;

}  // namespace pcap_file
