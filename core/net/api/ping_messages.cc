// want_ping_finished_events: the reply comes at once, the event when the ping is over. Nobody
// waits.
#include <algorithm>
#include <map>
#include <memory>

#include "net/api/convert.h"
#include "net/api/net_messages.h"
#include "ping.api.h"

namespace loom {
namespace {

using Want = api::WantPingFinishedEvents;

// The registry knows which clients are still there. The pings of one that has left take places that
// others need: they end when the next one asks, and by Net::kMaxPingTime in any case.
class Pings {
 public:
  Pings(ApiRegistry& registry, Net& net) : registry_(registry), net_(net) {}

  int32_t start(ApiCall& call, const Want& r) {
    IpAddress address;
    if (const int32_t bad = from_api(r.address, address)) return bad;
    if (!(r.interval >= 0 && r.interval <= 60)) return kApiInvalidValue;  // nor not-a-number
    const uint32_t client = call.client_index();
    if (client == 0) return 0;  // a replay: there is nobody to tell
    cancel_gone();
    const uint64_t key = ++n_asked_;
    const auto started =
        net_.start_ping(address, r.repeat, from_seconds(r.interval), 0,
                        [this, key](const PingOutcome& outcome) { over(key, outcome); });
    if (!started)
      return started.error().code == Status::kInUse ? kApiBusy : api_retval(started.error().code);
    under_way_[key] = {client, *started};
    call.subscribe<Want>(true, r.context, 0);
    return 0;
  }

 private:
  struct Ping {
    uint32_t client;
    uint64_t number;  // Net's
  };
  void cancel_gone() {
    std::erase_if(under_way_, [&](const auto& entry) {
      const Ping& ping = entry.second;
      if (registry_.subscriptions().has(Want::kInfo, ping.client)) return false;
      net_.cancel_ping(ping.number);
      return true;
    });
  }
  void over(uint64_t key, const PingOutcome& o) {
    const uint32_t client = under_way_.at(key).client;
    registry_.send_event<Want>(
        api::PingFinishedEvent{.request_count = o.n_sent,
                               .reply_count = static_cast<uint32_t>(o.replies.size())},
        [&](api::PingFinishedEvent&, const ApiSubscriber& s) { return s.client_index == client; });
    under_way_.erase(key);
    if (std::none_of(under_way_.begin(), under_way_.end(),
                     [&](const auto& entry) { return entry.second.client == client; }))
      registry_.subscriptions().set(Want::kInfo, {client, 0, 0}, false);
  }

  ApiRegistry& registry_;
  Net& net_;
  uint64_t n_asked_ = 0;
  std::map<uint64_t, Ping> under_way_;  // by n_asked_; at most kMaxPingRuns
};

}  // namespace

void add_ping_messages(ApiRegistry& registry, Net& net) {
  registry.handle<Want, api::WantPingFinishedEventsReply>(
      [pings = std::make_shared<Pings>(registry, net)](ApiCall& call, const Want& request) {
        return api::WantPingFinishedEventsReply{.retval = pings->start(call, request)};
      });
}

}  // namespace loom
