// A controller whose window says which build of the plugin a connection is on.
#include <hostloom/plugin.h>

namespace {

using namespace loom;

void hold(CcState& s) noexcept { s.cwnd = SEGMENTS * s.mss; }

const CcOps kOps{.name = CONTROLLER,
                 .summary = PLUGIN,
                 .init = [](CcState& s, TimeNs) noexcept { hold(s); },
                 .on_ack = [](CcState& s, const AckSample&) noexcept { hold(s); },
                 .on_congestion = [](CcState& s, const LossSample&) noexcept { hold(s); }};

Result<void> init(Host& host) {
  if (auto r = host.add_congestion_control(kOps); !r) return r;
#ifdef FAILS
  return error(Status::kUnsupported, "on second thoughts, no");
#else
  return {};
#endif
}

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {.name = PLUGIN, .init = init};
