// Module "perf": what the commands do, over the binary API. Control thread.
#include <hostloom/api_server.h>

#include "perf.api.h"
#include "perf.h"

namespace loom::perf {
namespace {

constexpr int32_t kInvalidValue2 = -8, kSessionConnect = -115;

Perf& perf_of(void* context) { return *static_cast<Perf*>(context); }

void log(Perf& perf, const char* message, const Error& why) {
  perf.host.log(LogLevel::kWarn, "perf", std::string(message) + ": " + why.message);
}

// The kinds of both versions have our numbers; the first has two of them.
static_assert(static_cast<int>(api::PerfServerKind::kPerfApiServerEcho) ==
              static_cast<int>(ServerKind::kEcho));
static_assert(static_cast<int>(api::PerfServerKindV2::kPerfApiServerV2Source) ==
              static_cast<int>(ServerKind::kSource));
ServerKind last_of(api::PerfServerKind) { return ServerKind::kEcho; }
ServerKind last_of(api::PerfServerKindV2) { return ServerKind::kSource; }

Result<ServerKind> kind_of(auto kind) {
  if (const auto k = static_cast<ServerKind>(kind); k <= last_of(kind)) return k;
  return error(Status::kInvalid,
               "there is no kind of servers " + std::to_string(static_cast<uint32_t>(kind)));
}

template <class Request, class Reply>
Reply add_del(ApiCall&, const Request& r, void* context) {
  Perf& perf = perf_of(context);
  const auto change = [&]() -> Result<void> {
    const auto kind = kind_of(r.kind);
    if (!kind) return kind.error();
    return r.is_add ? perf.servers.add(*kind, r.uri, r.fifo_size)
                    : perf.servers.remove(*kind, r.uri);
  };
  const auto done = change();
  if (done) return {};
  log(perf, Request::kInfo.name, done.error());
  return {.retval = api_retval(done.error().code)};
}

// The cursor is a server's number: servers may come and go meanwhile.
template <class Request, class Details>
ApiStep next_server(const Request&, uint64_t& cursor, Details& to, void* context) {
  const Server* s = perf_of(context).servers.at_or_behind(cursor);
  while (s && s->kind > last_of(to.kind)) s = perf_of(context).servers.at_or_behind(s->number + 1);
  if (!s) return ApiStep::kEnd;
  cursor = s->number + 1;
  const uint64_t closed = s->sum(&Counters::closed);  // first: it is never above the other
  to.kind = static_cast<decltype(to.kind)>(s->kind);
  to.uri = s->uri;
  to.connections = s->sum(&Counters::opened);
  to.open = to.connections - closed;
  to.bytes_received = s->sum(&Counters::received);
  to.bytes_sent = s->sum(&Counters::sent);
  if constexpr (requires { to.retransmitted; }) to.retransmitted = s->sum(&Counters::retransmitted);
  return ApiStep::kItem;
}

RunConfig config_of(const auto& request) {
  RunConfig c;
  c.uri = request.uri;
  c.run_time = TimeNs{request.run_time} * kSecond;
  c.bytes = request.bytes;
  c.n_clients = request.n_clients;
  c.echo = request.echo_bytes;
  c.fifo_size = request.fifo_size;
  if constexpr (requires { request.requests_per_second; }) {
    c.requests = request.requests;
    c.over = TimeNs{request.over} * kSecond;
    c.reverse = request.reverse;
    c.verify = request.verify;
    c.rate = request.rate;
    c.request = request.request;
    c.response = request.response;
    c.requests_per_second = request.requests_per_second;
  }
  return c;
}

api::PerfLatency to_api(const Latency& l) {
  return {
      .count = l.count, .min = l.least, .p50 = l.p50, .p99 = l.p99, .p999 = l.p999, .max = l.most};
}

void describe(const Run& run, auto& reply) {
  const Outcome& o = run.outcome();
  const Totals& t = o.totals;
  reply.connections = t.connections;
  reply.failed = t.failed;
  reply.reset = t.reset;
  reply.unfinished = t.unfinished;
  reply.mismatched = t.mismatched;
  reply.bytes_sent = run.sum(&Counters::sent);
  reply.bytes_received = run.sum(&Counters::received);
  reply.seconds = o.seconds;
  if constexpr (requires { reply.round_trip; }) {
    reply.refused = t.refused;
    reply.timed_out = t.timed_out;
    reply.unreachable = t.unreachable;
    reply.no_resources = t.no_resources;
    reply.not_begun = t.not_opened;
    reply.failed_otherwise = t.failed_otherwise;
    reply.reset_by_peer = t.reset_by_peer;
    reply.reset_by_timeout = t.reset_by_timeout;
    reply.reset_otherwise = t.reset_otherwise;
    reply.retransmitted = run.sum(&Counters::retransmitted);
    reply.connections_per_second = o.connections_per_second;
    reply.round_trips_per_second = o.round_trips_per_second;
    reply.connect = to_api(o.connect);
    reply.round_trip = to_api(o.round_trip);
  }
}

// A run for a client that waits for its end, or has left before.
template <class Request, class Reply>
class RunWalk {
 public:
  RunWalk(const Request& request, void* context) : perf_(perf_of(context)), request_(request) {}
  RunWalk(const RunWalk&) = delete;
  RunWalk& operator=(const RunWalk&) = delete;
  ~RunWalk() {
    if (run_) run_->stop();  // nothing, when it is over
  }

  ApiStep next(ApiCall& call, Reply& reply) {
    if (!run_) {
      auto run = perf_.begin(config_of(request_), [wake = call.waker()](const Run&) { wake(); });
      if (!run) {
        log(perf_, Request::kInfo.name, run.error());
        reply.retval = api_retval(run.error().code);
        return ApiStep::kEnd;
      }
      run_ = std::move(*run);
    }
    if (!run_->is_over()) return ApiStep::kWait;
    if (const auto success = run_->success(); !success) {
      log(perf_, Request::kInfo.name, success.error());
      reply.retval = run_->outcome().totals.mismatched ? kInvalidValue2 : kSessionConnect;
    }
    describe(*run_, reply);
    return ApiStep::kEnd;
  }

 private:
  Perf& perf_;
  const Request request_;
  std::shared_ptr<Run> run_;
};

api::PerfClientStopReply stop(ApiCall&, const api::PerfClientStop&, void* context) {
  perf_of(context).stop_runs();
  return {};
}

template <class Request, class Reply>
Result<void> add_server_messages(auto& api, Perf& perf) {
  return api.template handle<Request, Reply>(add_del<Request, Reply>, &perf);
}

template <class Request, class Details>
Result<void> add_dump(auto& api, Perf& perf) {
  return api.template dump<Request, Details>(next_server<Request, Details>, &perf);
}

template <class Request, class Reply>
Result<void> add_run(auto& api, Perf& perf) {
  return api.template steps<Request, Reply, RunWalk<Request, Reply>>(&perf);
}

}  // namespace

Result<void> add_api(Host& host, Perf& perf) {
  using namespace api;
  auto a = host.api();
  auto done = a.module(kPerfModule);
  if (done) done = add_server_messages<PerfServerAddDel, PerfServerAddDelReply>(a, perf);
  if (done) done = add_server_messages<PerfServerAddDelV2, PerfServerAddDelV2Reply>(a, perf);
  if (done) done = add_dump<PerfServerDump, PerfServerDetails>(a, perf);
  if (done) done = add_dump<PerfServerV2Dump, PerfServerV2Details>(a, perf);
  if (done) done = add_run<PerfClientRun, PerfClientRunReply>(a, perf);
  if (done) done = add_run<PerfClientRunV2, PerfClientRunV2Reply>(a, perf);
  if (done) done = a.handle<PerfClientStop, PerfClientStopReply>(stop, &perf);
  return done;
}

}  // namespace loom::perf
