// Fuzz target: what a hostile daemon sends to a client.
//   input   u8 what, then bytes
//   what    0: a description, as get_api_json returns it; every message of it decodes zeros
//           1: a stream of frames
//           else: a message of shapes.api.json or of the core, behind its id, both enum styles;
//                 u8 more of its number comes first
// Crashes and sanitizer reports are findings, and so is a value that decodes, encodes, and then
// decodes to something else.
#include <cstdlib>

#include "client/frame.h"
#include "client/json_codec.h"
#include "fuzz.h"

namespace loom {
namespace {

enum : char { kDescription, kFrames, kFirstMessage };

// The test's shapes and the core's messages: two descriptions, as both have an `address`.
struct Known {
  std::shared_ptr<const ApiSchema> schemas[2];
  std::vector<const SchemaMessage*> messages{};
};

const Known& known() {
  static const Known all = [] {
    const auto read = [](const char* path) {
      const std::vector<std::string> files = {path};
      return *ApiSchema::from_files(files);
    };
    Known k{{read(HOSTLOOM_SOURCE "/tests/unit/sdk/client/shapes.api.json"),
             read(HOSTLOOM_SOURCE "/api")}};
    for (const auto& schema : k.schemas)
      for (const auto& [name, message] : schema->messages()) k.messages.push_back(&message);
    return k;
  }();
  return all;
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

void take_message(std::size_t what, std::span<const std::byte> input) {
  const SchemaMessage& message = *known().messages[what % known().messages.size()];
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
  else if (size > 1)
    loom::take_message(uint32_t{data[0]} - loom::kFirstMessage + 254u * data[1], input.subspan(1));
  return 0;
}

// A description whose message holds the last of `n` types, each made of the one before it: one
// field deep, or with two fields, which doubles what there is to decode.
static std::string nested(const char* section, int n, bool is_doubled) {
  nlohmann::json types = nlohmann::json::array();
  std::string below = "u8";
  for (int i = 0; i < n; ++i) {
    const std::string name = "t" + std::to_string(10'000 + i);
    nlohmann::json::array_t type = {name, {below, "a"}};
    if (is_doubled) type.push_back({below, "b"});
    types.push_back(std::move(type));
    below = "vl_api_" + name + "_t";
  }
  const nlohmann::json message = {
      "m", {"u16", "_vl_msg_id"}, {below, "a"}, {{"crc", "0x00000001"}}};
  return nlohmann::json({{section, types}, {"messages", nlohmann::json::array({message})}}).dump();
}

// The descriptions that are known, and some that would cost much for few bytes; each message with
// zeros, ones and a letter everywhere, long enough for what those count; frames of several lengths,
// one of them too long.
void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  const auto with = [&](char what, std::string_view bytes) { give(what + std::string(bytes)); };
  for (const auto& schema : loom::known().schemas)
    for (const auto& module : schema->source()) with(loom::kDescription, module.dump());
  with(loom::kDescription, nested("types", 20'000, false));
  with(loom::kDescription, nested("types", 20, false));
  with(loom::kDescription, nested("unions", 31, true));
  with(loom::kDescription, nested("unions", 6, true));
  std::string frames;
  for (const std::size_t n : {0, 2, 6, 300}) {
    frames += std::string(10, '\0') + static_cast<char>(n >> 8) + static_cast<char>(n) +
              std::string(4 + n, '\0');
    with(loom::kFrames, frames);
  }
  with(loom::kFrames, frames + std::string(8, '\0') + std::string(8, '\xff'));
  for (std::size_t i = 0; i < loom::known().messages.size(); ++i)
    for (const char fill : {'\0', '\1', 'a'})
      with(static_cast<char>(i % 254 + loom::kFirstMessage),
           static_cast<char>(i / 254) + std::string(600, fill));
}
