#include "api/replay.h"

#include <map>

#include "api/server_call.h"

namespace loom {
namespace {

constexpr uint32_t kNobody = 0;  // a client index that no connection has
constexpr int kDumpSteps = 256;

// Counts the messages of a queue, and the replies among them that say no.
void count_answers(const ApiRegistry& registry, std::span<const std::byte> out, ApiReplay& result) {
  while (out.size() > kApiHeaderSize) {
    ApiReader header(out.subspan(8));
    const uint32_t length = header.number<uint32_t>();
    ApiReader in(out.subspan(kApiHeaderSize, length));
    const ApiRegistry::Entry* entry = registry.find(in.number<uint16_t>());
    in.number<uint32_t>();  // context
    const auto retval = in.number<int32_t>();
    const bool is_reply = entry && std::string_view(entry->info.name).ends_with("_reply");
    if (is_reply && in.ok() && retval < 0 && retval != kApiAgain) ++result.failed;
    ++result.answers;
    out = out.subspan(kApiHeaderSize + length);
  }
}

}  // namespace

ApiReplay replay_api_trace(ApiRegistry& registry, std::span<const ApiTraceRecord> records) {
  std::map<std::string, ApiHandler> handlers;
  for (const auto& entry : registry.entries())
    if (entry.handler.begin && !std::string_view(entry.info.name).starts_with("sockclnt_"))
      handlers[api_table_name(entry.info)] = entry.handler;
  ApiReplay result;
  std::vector<std::byte> out;
  for (const auto& record : records) {
    ++result.requests;
    const auto it = handlers.find(record.message);
    if (it == handlers.end()) {
      ++result.unknown;
      continue;
    }
    const ApiHandler& handler = it->second;
    out.clear();
    ServerCall call(registry, out, kNobody, 0, kMaxApiMessage);
    void* walk = nullptr;
    const ApiOutcome outcome =
        handler.begin(handler, call, record.body.data(), record.body.size(), &walk);
    if (outcome == ApiOutcome::kMalformed) ++result.malformed;
    if (outcome == ApiOutcome::kMore && handler.next && handler.end) {
      // An answer that takes its time is not waited for.
      for (int i = 0; i < kDumpSteps && call.has_room(); ++i)
        if (const ApiStep step = handler.next(walk, call);
            step == ApiStep::kEnd || step == ApiStep::kWait)
          break;
      handler.end(walk);
    }
    count_answers(registry, out, result);
  }
  return result;
}

}  // namespace loom
