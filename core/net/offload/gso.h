// Segmentation of large TCP packets in software, for devices that do not do it (RFC 9293
// section 3.7.1, done late: one pass through the graph carries up to 64 KB).
#pragma once
#include <span>

#include <hostloom/worker.h>

namespace loom {

enum class GsoStatus : uint8_t { kOk, kBadPacket, kNoBuffer };

// Most segments of one packet: 64 KB at the smallest MSS that RFC 9293 knows, 536, and some.
constexpr uint32_t kMaxGsoSegments = 128;

// Splits the packet into TCP segments of gso_size payload bytes, each complete with link-layer, IP
// and TCP header; TCP checksum fields hold the pseudo-header's sum and the Tx flags stay set. Takes
// ownership of the packet when it returns kOk; otherwise it stays the caller's and nothing was
// made.
//   is_flat  payload is copied, one buffer a segment when it fits (devices without scatter);
//            otherwise segments refer to the packet's own memory, which lives until the last of
//            them is freed.
GsoStatus gso_segment(Worker& w, Buffer* packet, bool is_flat,
                      std::span<Buffer*, kMaxGsoSegments> out, uint32_t& n_out) noexcept;

}  // namespace loom
