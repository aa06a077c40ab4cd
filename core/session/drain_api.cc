// Module "drain": what `drain` and `show drain` do, and events.
#include "api/registry.h"
#include "drain.api.h"
#include "session/api.h"
#include "session/control.h"

namespace loom {

using namespace session;

namespace {

api::DrainState to_api(DrainState state) {
  switch (state) {
    case DrainState::kDraining:
      return api::DrainState::kDrainApiStateDraining;
    case DrainState::kDrained:
      return api::DrainState::kDrainApiStateDrained;
    case DrainState::kOff:
      break;
  }
  return api::DrainState::kDrainApiStateOff;
}

}  // namespace

Result<void> add_drain_api(Host& host, ApiRegistry& registry, SessionLayer& layer) {
  if (auto added = registry.add_module(api::kDrainModule); !added) return added;
  Impl& l = layer.impl();
  registry.handle<api::DaemonDrain, api::DaemonDrainReply>(
      [&l](ApiCall&, const api::DaemonDrain& request) {
        if (request.timeout > kMaxDrainTimeout)
          return api::DaemonDrainReply{.retval = kApiInvalidValue};
        set_drain(l, request.enable, request.timeout);
        return api::DaemonDrainReply{.sessions = drain_status(l).sessions};
      });
  registry.handle<api::DaemonDrainStatus, api::DaemonDrainStatusReply>(
      [&l](ApiCall&, const api::DaemonDrainStatus&) {
        const DrainStatus s = drain_status(l);
        return api::DaemonDrainStatusReply{.state = to_api(s.state),
                                           .timeout = s.timeout_s,
                                           .elapsed = to_seconds(s.elapsed),
                                           .sessions = s.sessions,
                                           .half_open = s.half_open,
                                           .refused_packets = s.refused_packets,
                                           .refused_apps = s.refused_apps,
                                           .resets = s.resets};
      });
  registry.events<api::WantDrainEvents, api::WantDrainEventsReply>();
  l.drain.on_change = [&host](const DrainStatus& s) {
    host.api().send_event<api::WantDrainEvents>(
        api::DrainEvent{.state = to_api(s.state), .sessions = s.sessions, .resets = s.resets});
  };
  return {};
}

}  // namespace loom
