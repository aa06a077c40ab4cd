// Fuzz target: what a hostile daemon sends to a client.
//   input   u8 what, then bytes
//   what    0: a description, as get_api_json returns it; every message of it decodes zeros
//           1: a stream of frames
//           else: a message of shapes.api.json or of the core, behind its id, both enum styles
// Crashes and sanitizer reports are findings, and so is a value that decodes, encodes, and then
// decodes to something else.
#include <cstdlib>

#include "client/frame.h"
#include "client/json_codec.h"
#include "fuzz.h"

namespace loom {
namespace {

enum : char { kDescription, kFrames, kFirstMessage };

const ApiSchema& known() {
  static const auto schema = [] {
    const std::vector<std::string> files = {
        HOSTLOOM_SOURCE "/tests/unit/sdk/client/shapes.api.json", HOSTLOOM_SOURCE "/api"};
    return *ApiSchema::from_files(files);
  }();
  return *schema;
}

void take_description(std::span<const std::byte> input) {
  const auto schema =
      ApiSchema::from_json({reinterpret_cast<const char*>(input.data()), input.size()}, "fuzz");
  if (!schema) return;
  const std::vector<std::byte> zeros(1 << 12);
  for (const auto& [name, message] : (*schema)->messages()) {
    (void)decode_json(message, zeros);
    std::vector<std::byte> out;
    ApiWriter w(out);
    (void)encode_json(message, nullptr, {}, w);
  }
}

void take_frames(std::span<const std::byte> input) {
  FrameReader frames;
  while (!input.empty()) {
    const std::size_t n = std::min<std::size_t>(input.size(), 7);
    std::copy_n(input.begin(), n, frames.space(n).begin());
    frames.filled(n);
    input = input.subspan(n);
    for (;;) {
      const auto message = frames.next();
      if (!message) return;
      if (!*message) break;
      (void)api_head(**message);
    }
  }
}

void take_message(uint8_t what, std::span<const std::byte> input) {
  const auto& messages = known().messages();
  auto it = messages.begin();
  std::advance(it, what % messages.size());
  const SchemaMessage& message = it->second;
  (void)decode_json(message, input, EnumStyle::kNumbers);
  const auto value = decode_json(message, input);
  if (!value) return;
  std::vector<std::byte> out;
  ApiWriter w(out);
  if (!encode_json(message, *value, {}, w)) return;  // a union whose member is not said
  const auto again = decode_json(message, out);
  if (!again || value->dump() != again->dump()) std::abort();
}

}  // namespace
}  // namespace loom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const auto input = std::as_bytes(std::span(data + 1, size - 1));
  if (data[0] == loom::kDescription)
    loom::take_description(input);
  else if (data[0] == loom::kFrames)
    loom::take_frames(input);
  else
    loom::take_message(static_cast<uint8_t>(data[0] - loom::kFirstMessage), input);
  return 0;
}

// The descriptions that are known; each message with zeros, ones and a letter everywhere, long
// enough for what those count; frames of several lengths, one of them too long.
void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  const auto with = [&](char what, std::string_view bytes) { give(what + std::string(bytes)); };
  for (const auto& module : loom::known().source()) with(loom::kDescription, module.dump());
  std::string frames;
  for (const std::size_t n : {0, 2, 6, 300}) {
    frames += std::string(10, '\0') + static_cast<char>(n >> 8) + static_cast<char>(n) +
              std::string(4 + n, '\0');
    with(loom::kFrames, frames);
  }
  with(loom::kFrames, frames + std::string(8, '\0') + std::string(8, '\xff'));
  for (std::size_t i = 0; i < loom::known().messages().size(); ++i)
    for (const char fill : {'\0', '\1', 'a'})
      with(static_cast<char>(i + loom::kFirstMessage), std::string(600, fill));
}
