// want_ping_finished_events: the reply comes at once, the event when the ping is over. Nobody
// waits.
#include <map>
#include <memory>

#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "ping.api.h"

namespace loom {
namespace {

using Want = api::WantPingFinishedEvents;

class Pings {
 public:
  Pings(ApiRegistry& registry, Net& net) : registry_(registry), net_(net) {}

  int32_t start(ApiCall& call, const Want& r) {
    IpAddress address;
    if (const int32_t bad = from_api(r.address, address)) return bad;
    if (!(r.interval >= 0 && r.interval <= 60)) return kApiInvalidValue;  // nor not-a-number
    const uint32_t client = call.client_index();
    if (client == 0) return 0;  // a replay: there is nobody to tell
    const auto started = net_.start_ping(
        address, r.repeat, from_seconds(r.interval), 0,
        [this, client](uint32_t n_sent, uint32_t n_answered) { over(client, n_sent, n_answered); });
    if (!started)
      return started.error().code == Status::kInUse ? kApiBusy : api_retval(started.error().code);
    ++under_way_[client];
    call.subscribe<Want>(true, r.context, 0);
    return 0;
  }

 private:
  void over(uint32_t client, uint32_t n_sent, uint32_t n_answered) {
    registry_.send_event<Want>(
        api::PingFinishedEvent{.request_count = n_sent, .reply_count = n_answered},
        [&](api::PingFinishedEvent&, const ApiSubscriber& s) { return s.client_index == client; });
    if (--under_way_[client] != 0) return;
    under_way_.erase(client);
    registry_.subscriptions().set(Want::kInfo, {client, 0, 0}, false);
  }

  ApiRegistry& registry_;
  Net& net_;
  std::map<uint32_t, uint32_t> under_way_;  // by client: how many; at most kMaxPingRuns of all
};

}  // namespace

void add_ping_messages(ApiRegistry& registry, Net& net) {
  registry.handle<Want, api::WantPingFinishedEventsReply>(
      [pings = std::make_shared<Pings>(registry, net)](ApiCall& call, const Want& request) {
        return api::WantPingFinishedEventsReply{.retval = pings->start(call, request)};
      });
}

}  // namespace loom
