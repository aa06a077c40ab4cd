// A plugin with messages of its own, built several times: good, and with something wrong.
#include <array>
#include <stdexcept>
#include <string>

#include <hostloom/api_server.h>
#include <hostloom/plugin.h>

#include "api_plugin.api.h"

#ifdef STEALS_A_MESSAGE
#include "vpe.api.h"
#endif

namespace {

using namespace loom;

struct Memos {
  Host* host;
  std::array<std::string, 100> texts;
} memos;

api::MemoSetReply set(ApiCall&, const api::MemoSet& request, void*) {
  if (request.index >= memos.texts.size())
    return {.context = 0, .retval = api_retval(Status::kInvalid)};
  if (request.text.empty()) throw std::runtime_error("a handler that throws");
  memos.texts[request.index] = request.text;
  memos.host->api().send_event<api::WantMemoEvents>(
      api::MemoEvent{.client_index = 0, .pid = 0, .index = request.index});
  return {};
}

ApiStep next(const api::MemoDump&, uint64_t& cursor, api::MemoDetails& details, void*) {
  if (cursor >= memos.texts.size()) return ApiStep::kEnd;
  details.index = static_cast<uint32_t>(cursor++);
  details.text = memos.texts[details.index];
  return details.text.empty() ? ApiStep::kSkip : ApiStep::kItem;
}

Result<void> init(Host& host) noexcept {
  memos.host = &host;
  auto api = host.api();
  auto done = api.module(api::kApiPluginModule);
  if (done) done = api.handle<api::MemoSet, api::MemoSetReply>(set);
  if (done) done = api.dump<api::MemoDump, api::MemoDetails>(next);
  if (done) done = api.events<api::WantMemoEvents, api::WantMemoEventsReply>();
#ifdef REGISTERS_TWICE
  if (done) done = api.module(api::kApiPluginModule);
#endif
#ifdef ANSWERS_TWICE
  if (done) done = api.handle<api::MemoSet, api::MemoSetReply>(set);
#endif
#ifdef STEALS_A_MESSAGE
  if (done)
    done = api.handle<api::ShowVersion, api::ShowVersionReply>(
        [](ApiCall&, const api::ShowVersion&, void*) { return api::ShowVersionReply{}; });
#endif
#ifdef INIT_FAILS
  if (done) done = error(Status::kUnsupported, "no paper left");
#endif
  return done;
}

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = PLUGIN_NAME,
    .version = "1.0",
    .summary = "keeps texts",
    .init = init,
};
