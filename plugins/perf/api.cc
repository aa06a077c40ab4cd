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

api::PerfServerKind to_api(ServerKind kind) {
  return kind == ServerKind::kEcho ? api::PerfServerKind::kPerfApiServerEcho
                                   : api::PerfServerKind::kPerfApiServerPerf;
}

Result<ServerKind> kind_of(api::PerfServerKind kind) {
  for (const auto k : {ServerKind::kPerf, ServerKind::kEcho})
    if (to_api(k) == kind) return k;
  return error(Status::kInvalid,
               "there is no kind of servers " + std::to_string(static_cast<uint32_t>(kind)));
}

api::PerfServerAddDelReply add_del(ApiCall&, const api::PerfServerAddDel& r, void* context) {
  Perf& perf = perf_of(context);
  const auto change = [&]() -> Result<void> {
    const auto kind = kind_of(r.kind);
    if (!kind) return kind.error();
    return r.is_add ? perf.servers.add(*kind, r.uri, r.fifo_size)
                    : perf.servers.remove(*kind, r.uri);
  };
  const auto done = change();
  if (done) return {};
  log(perf, "perf_server_add_del", done.error());
  return {.retval = api_retval(done.error().code)};
}

// The cursor is a server's number: servers may come and go meanwhile.
ApiStep next_server(const api::PerfServerDump&, uint64_t& cursor, api::PerfServerDetails& to,
                    void* context) {
  const Server* s = perf_of(context).servers.at_or_behind(cursor);
  if (!s) return ApiStep::kEnd;
  cursor = s->number + 1;
  const uint64_t closed = s->sum(&Counters::closed);  // first: it is never above the other
  to.kind = to_api(s->kind);
  to.uri = s->uri;
  to.connections = s->sum(&Counters::opened);
  to.open = to.connections - closed;
  to.bytes_received = s->sum(&Counters::received);
  to.bytes_sent = s->sum(&Counters::sent);
  return ApiStep::kItem;
}

// A run for a client that waits for its end, or has left before.
class RunWalk {
 public:
  RunWalk(const api::PerfClientRun& request, void* context)
      : perf_(perf_of(context)), request_(request) {}
  RunWalk(const RunWalk&) = delete;
  RunWalk& operator=(const RunWalk&) = delete;
  ~RunWalk() {
    if (run_) run_->stop();  // nothing, when it is over
  }

  ApiStep next(ApiCall& call, api::PerfClientRunReply& reply) {
    if (!run_) {
      auto run = perf_.begin(config(), [wake = call.waker()](const Run&) { wake(); });
      if (!run) {
        log(perf_, "perf_client_run", run.error());
        reply.retval = api_retval(run.error().code);
        return ApiStep::kEnd;
      }
      run_ = std::move(*run);
    }
    if (!run_->is_over()) return ApiStep::kWait;
    describe(reply);
    return ApiStep::kEnd;
  }

 private:
  RunConfig config() const {
    RunConfig c;
    c.uri = request_.uri;
    c.run_time = TimeNs{request_.run_time} * kSecond;
    c.bytes = request_.bytes;
    c.n_clients = request_.n_clients;
    c.echo = request_.echo_bytes;
    c.fifo_size = request_.fifo_size;
    return c;
  }

  void describe(api::PerfClientRunReply& reply) const {
    const Totals t = run_->totals();
    if (const auto outcome = run_->outcome(); !outcome) {
      log(perf_, "perf_client_run", outcome.error());
      reply.retval = t.mismatched ? kInvalidValue2 : kSessionConnect;
    }
    reply.connections = t.connections;
    reply.failed = t.failed;
    reply.reset = t.reset;
    reply.unfinished = t.unfinished;
    reply.mismatched = t.mismatched;
    reply.bytes_sent = run_->sum(&Counters::sent);
    reply.bytes_received = run_->sum(&Counters::received);
    reply.seconds = run_->seconds();
  }

  Perf& perf_;
  const api::PerfClientRun request_;
  std::shared_ptr<Run> run_;
};

api::PerfClientStopReply stop(ApiCall&, const api::PerfClientStop&, void* context) {
  perf_of(context).stop_runs();
  return {};
}

}  // namespace

Result<void> add_api(Host& host, Perf& perf) {
  auto api = host.api();
  auto done = api.module(api::kPerfModule);
  if (done) done = api.handle<api::PerfServerAddDel, api::PerfServerAddDelReply>(add_del, &perf);
  if (done) done = api.dump<api::PerfServerDump, api::PerfServerDetails>(next_server, &perf);
  if (done) done = api.steps<api::PerfClientRun, api::PerfClientRunReply, RunWalk>(&perf);
  if (done) done = api.handle<api::PerfClientStop, api::PerfClientStopReply>(stop, &perf);
  return done;
}

}  // namespace loom::perf
