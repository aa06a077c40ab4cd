#include "client/frame.h"

#include <algorithm>
#include <string>

namespace loom {

std::vector<std::byte> new_frame(uint16_t id) {
  std::vector<std::byte> frame(kApiFrameHeader);
  ApiWriter(frame).number(id);
  return frame;
}

Result<void> finish_frame(std::vector<std::byte>& frame) {
  const std::size_t length = frame.size() - kApiFrameHeader;
  if (length > kMaxSentMessage)
    return error(Status::kInvalid, "a message of " + std::to_string(length) +
                                       " bytes; the daemon reads at most " +
                                       std::to_string(kMaxSentMessage));
  for (std::size_t i = 0; i < 4; ++i) frame[8 + i] = static_cast<std::byte>(length >> (24 - 8 * i));
  return {};
}

ApiHead api_head(std::span<const std::byte> message) {
  ApiReader in(message);
  ApiHead head;
  head.id = in.number<uint16_t>();
  head.context = in.number<uint32_t>();
  return head;
}

std::span<std::byte> FrameReader::space(std::size_t n) {
  if (begin_ > 0) {
    std::copy(bytes_.begin() + static_cast<std::ptrdiff_t>(begin_),
              bytes_.begin() + static_cast<std::ptrdiff_t>(end_), bytes_.begin());
    end_ -= begin_;
    begin_ = 0;
  }
  if (bytes_.size() < end_ + n) bytes_.resize(end_ + n);
  return std::span(bytes_).subspan(end_, n);
}

void FrameReader::filled(std::size_t n) { end_ += n; }

Result<std::optional<std::span<const std::byte>>> FrameReader::next() {
  using Next = std::optional<std::span<const std::byte>>;
  const auto held = std::span<const std::byte>(bytes_).subspan(begin_, end_ - begin_);
  if (held.size() < kApiFrameHeader) return Next();
  const auto length = ApiReader(held.subspan(8)).number<uint32_t>();
  if (length < 2 || length > kMaxReceivedMessage)
    return error(Status::kMalformed, "a message of " + std::to_string(length) + " bytes");
  if (held.size() - kApiFrameHeader < length) return Next();
  begin_ += kApiFrameHeader + length;
  return Next(held.subspan(kApiFrameHeader, length));
}

}  // namespace loom
