// Frames of the binary API on a byte stream: a 16-byte header (u64 ignored, u32 length, u32
// ignored; big-endian), then the message, which starts with its id (u16).
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/status.h>

namespace loom {

constexpr std::size_t kApiFrameHeader = 16;
constexpr uint32_t kMaxReceivedMessage = 16u << 20;  // more than any daemon sends
constexpr uint32_t kMaxSentMessage = 1u << 20;       // more than a daemon reads ends the connection

// A frame that lacks its length yet: append the fields with an ApiWriter, then finish it. Errors:
// kInvalid, longer than kMaxSentMessage.
std::vector<std::byte> new_frame(uint16_t id);
Result<void> finish_frame(std::vector<std::byte>& frame);

// What stands behind the id in every message but sockclnt_create_reply: the context, or in an event
// the client's index. Zeros for a message that is too short.
struct ApiHead {
  uint16_t id = 0;
  uint32_t context = 0;
};
ApiHead api_head(std::span<const std::byte> message);

// Cuts received bytes into messages. What it holds is bounded: a length that cannot be is an error
// as soon as the header is there, and nobody waits for 4 GB to arrive.
class FrameReader {
 public:
  // Where to put bytes, and how many were put there.
  std::span<std::byte> space(std::size_t n);
  void filled(std::size_t n);
  // The next message, valid until space() is called; nothing when it is not complete yet.
  // Errors: kMalformed, and the stream cannot be followed any more.
  Result<std::optional<std::span<const std::byte>>> next();

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0, end_ = 0;  // bytes that were received and not taken yet
};

}  // namespace loom
