// Module "udp": what `show udp` lists, over the binary API. Ports are counted slice by slice, with
// whatever else there is to do between two of them.
#include "api.h"

#include <hostloom/api_server.h>

#include "figures.h"
#include "udp.api.h"

namespace loom::udp {
namespace {

// One udp_port_dump under way.
class PortWalk {
 public:
  PortWalk(const api::UdpPortDump& request, void*) : context_(request.context) {}

  ApiStep next(ApiCall& call) {
    while (at_ < ports_.size() && ports_[at_].sockets == 0) ++at_;
    if (at_ < ports_.size()) {
      const Port& p = ports_[at_];
      call.send(api::UdpPortDetails{.context = context_,
                                    .port = static_cast<uint16_t>(first_ + at_++),
                                    .sockets = p.sockets,
                                    .received = p.received,
                                    .sent = p.sent,
                                    .overflowed = p.overflowed});
      return ApiStep::kItem;
    }
    first_ += static_cast<uint32_t>(ports_.size());
    if (first_ > UINT16_MAX) return ApiStep::kEnd;
    ports_.assign(kPortsAtOnce, {});
    at_ = 0;
    (void)count_ports(*shared().host, first_, ports_);
    return ApiStep::kSkip;
  }

 private:
  uint32_t context_;
  uint32_t first_ = 0;       // port of ports_[0]
  std::vector<Port> ports_;  // empty: not begun
  std::size_t at_ = 0;       // in ports_: to be looked at next
};

ApiStep next_worker(const api::UdpStatsDump&, uint64_t& cursor, api::UdpStatsDetails& to, void*) {
  Host& host = *shared().host;
  if (cursor >= host.n_workers()) return ApiStep::kEnd;
  to.worker = static_cast<uint32_t>(cursor++);
  const Figures f = figures_of(host, to.worker);
  to.sockets_without_peer = f.bound;
  to.sockets_with_peer = f.with_peer;
  to.group_memberships = f.members;
  to.known_paths = f.known_paths;
  return ApiStep::kItem;
}

}  // namespace

Result<void> add_api(Host& host) {
  auto api = host.api();
  auto done = api.module(api::kUdpModule);
  if (done) done = api.walk<api::UdpPortDump, PortWalk>();
  if (done) done = api.dump<api::UdpStatsDump, api::UdpStatsDetails>(next_worker);
  return done;
}

}  // namespace loom::udp
