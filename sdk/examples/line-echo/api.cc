// The plugin's messages (line_echo.api.json), answered on the control thread.
#include <algorithm>

#include <hostloom/api_server.h>

#include "connection.h"
#include "line_echo.api.h"

namespace line_echo {
namespace {

api::LineEchoSetRetransmitReply set(ApiCall&, const api::LineEchoSetRetransmit& request, void*) {
  const auto done = set_retransmit(*shared().host, request.milliseconds);
  return {.context = 0, .retval = done ? 0 : api_retval(done.error().code)};
}

api::LineEchoDetails details_of(uint32_t worker, const Connection& c) {
  return {.context = 0,
          .worker = worker,
          .local = c.ends.local.ip4().bytes,
          .remote = c.ends.remote.ip4().bytes,
          .local_port = c.ends.local_port,
          .remote_port = c.ends.remote_port,
          .is_open = c.is_open,
          .peer_closed = c.peer_closed,
          .bytes_acknowledged = c.bytes_acked,
          .bytes_received = c.bytes_received};
}

// The cursor is the worker and the connection's place there: connections may come and go between
// two calls.
ApiStep next(const api::LineEchoDump&, uint64_t& cursor, api::LineEchoDetails& out, void*) {
  constexpr uint32_t kMostLooks = 256;  // then other requests have their turn
  const auto worker = static_cast<uint32_t>(cursor >> 32);
  if (worker >= shared().host->n_workers()) return ApiStep::kEnd;
  ApiStep step = ApiStep::kSkip;
  shared().host->run_on_worker(worker, [&](Worker& w) {
    auto& all = line_worker(w).connections;
    auto at = static_cast<uint32_t>(cursor);
    const uint32_t end = std::min<uint32_t>(static_cast<uint32_t>(all.size()), at + kMostLooks);
    while (at < end && !all[at].in_use) ++at;
    if (at < end) {
      out = details_of(worker, all[at++]);
      step = ApiStep::kItem;
    }
    cursor = at < all.size() ? uint64_t{worker} << 32 | at : uint64_t{worker + 1} << 32;
  });
  return step;
}

}  // namespace

Result<void> add_messages(Host& host) {
  auto api = host.api();
  auto done = api.module(api::kLineEchoModule);
  if (done) done = api.handle<api::LineEchoSetRetransmit, api::LineEchoSetRetransmitReply>(set);
  if (done) done = api.dump<api::LineEchoDump, api::LineEchoDetails>(next);
  return done;
}

}  // namespace line_echo
