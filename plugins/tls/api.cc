// Module "tls": what there is, and the counters, over the binary API; certificates read again.
// Control thread.
#include <hostloom/api_server.h>

#include "listing.h"
#include "tls.api.h"

namespace loom::tls {
namespace {

constexpr int32_t kInvalidWorker = -89;

api::Address to_api(const IpAddress& a) {
  api::Address to;
  to.af = a.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6;
  to.un.raw = a.bits.bytes;
  return to;
}

// The API's numbers begin with that for any.
api::TlsState to_api(Connection::State s) {
  return static_cast<api::TlsState>(static_cast<uint8_t>(s) + 1);
}

ConnectionFilter filter_of(const api::TlsConnectionDump& request) {
  ConnectionFilter f{.local_port = request.local_port, .remote_port = request.remote_port};
  if (request.state != api::TlsState::kTlsApiStateAny)
    f.state = static_cast<Connection::State>(static_cast<uint8_t>(request.state) - 1);
  return f;
}

// One tls_connection_dump under way.
class ConnectionWalk {
 public:
  ConnectionWalk(const api::TlsConnectionDump& request, void*)
      : context_(request.context), scan_(filter_of(request)) {}

  ApiStep next(ApiCall& call) {
    if (at_ < rows_.size()) {
      send(call, rows_[at_++]);
      return ApiStep::kItem;
    }
    rows_.clear();
    at_ = 0;
    return scan_.next(rows_) ? ApiStep::kSkip : ApiStep::kEnd;
  }

 private:
  void send(ApiCall& call, ConnectionRow& row) {
    api::TlsConnectionDetails d;
    d.context = context_;
    d.session_handle = row.session;
    d.worker = row.worker;
    d.state = to_api(row.state);
    d.is_server = row.is_server;
    d.is_resumed = row.is_resumed;
    d.is_verified = row.is_verified;
    d.local = to_api(row.ends.local);
    d.local_port = row.ends.local_port;
    d.remote = to_api(row.ends.remote);
    d.remote_port = row.ends.remote_port;
    d.version = std::move(row.version);
    d.cipher = std::move(row.cipher);
    d.alpn = std::move(row.alpn);
    d.server_name = std::move(row.server_name);
    d.peer = std::move(row.peer);
    call.send(d);
  }

  const uint32_t context_;
  ConnectionScan scan_;
  std::vector<ConnectionRow> rows_;
  std::size_t at_ = 0;  // next to be sent
};

// What the message has room for; of a longer list whole names, and what says that there are more.
std::string cut_names(std::string names) {
  constexpr std::size_t kMost = 255;
  constexpr std::string_view kMore = ",...";
  if (names.size() <= kMost) return names;
  const std::size_t end = names.rfind(',', kMost - kMore.size());
  return names.substr(0, end == names.npos ? 0 : end) + std::string(kMore);
}

// The first of a map's listeners from number `at` on; `at` is then that of the next.
template <class Listeners>
std::optional<ListenerRow> row_from(const Listeners& all, uint64_t& at) {
  const auto it = at > kNoConn ? all.end() : all.lower_bound(static_cast<ConnId>(at));
  if (it == all.end()) return {};
  at = uint64_t{it->first} + 1;
  return describe(*it->second);
}

// The cursor is a listener's number, of DTLS with kDtls added: they may come and go meanwhile.
ApiStep next_listener(const api::TlsListenerDump&, uint64_t& cursor, api::TlsListenerDetails& to,
                      void*) {
  constexpr uint64_t kDtls = uint64_t{1} << 33;
  std::optional<ListenerRow> found;
  if (cursor < kDtls) found = row_from(shared().listeners, cursor);
  if (!found) {
    uint64_t at = cursor < kDtls ? 0 : cursor - kDtls;
    found = row_from(dtls::shared().listeners, at);
    cursor = kDtls + at;
  }
  if (!found) return ApiStep::kEnd;
  ListenerRow& row = *found;
  to.lower_handle = row.lower;
  to.certificates = row.certificates;
  to.not_after = row.not_after;
  to.verify = static_cast<api::TlsVerify>(row.verify);
  to.handshakes = row.handshakes;
  to.alpn = cut_names(std::move(row.alpn));
  to.subject = std::move(row.subject);
  return ApiStep::kItem;
}

// Reply: TlsCountersGetReply, DtlsCountersGetReply.
template <class Reply, class Request>
Reply counters_of(const Request& request, const StatInfo* stats,
                  std::vector<uint64_t> (*sums)(std::optional<uint32_t>)) {
  Reply reply;
  std::optional<uint32_t> worker;
  if (request.worker != ~0u) worker = request.worker;
  if (worker && *worker >= shared().workers.size()) {
    reply.retval = kInvalidWorker;
    return reply;
  }
  const auto values = sums(worker);
  for (std::size_t i = 0; i < values.size(); ++i)
    reply.counters.push_back({.name = stats[i].name, .value = values[i]});
  return reply;
}

api::TlsCountersGetReply get_counters(ApiCall&, const api::TlsCountersGet& request, void*) {
  return counters_of<api::TlsCountersGetReply>(request, kStats, counters);
}
api::DtlsCountersGetReply get_dtls_counters(ApiCall&, const api::DtlsCountersGet& request, void*) {
  return counters_of<api::DtlsCountersGetReply>(request, dtls::kStats, dtls_counters);
}

// A tls_reload for a client that waits for its end, or has left before.
class ReloadWalk {
 public:
  ReloadWalk(const api::TlsReload&, void*) {}

  ApiStep next(ApiCall& call, api::TlsReloadReply& reply) {
    if (!outcome_) {
      outcome_ = std::make_shared<std::optional<Result<void>>>();
      shared().reload.ask([outcome = outcome_, wake = call.waker()](const Result<void>& r) {
        if (!r) shared().host->log(LogLevel::kWarn, "tls", "tls_reload: " + r.error().message);
        *outcome = r;
        wake();
      });
    }
    if (!*outcome_) return ApiStep::kWait;
    if (const Result<void>& r = **outcome_; !r) reply.retval = api_retval(r.error().code);
    return ApiStep::kEnd;
  }

 private:
  std::shared_ptr<std::optional<Result<void>>> outcome_;  // null: it has not begun
};

}  // namespace

Result<void> add_api(Host& host) {
  auto api = host.api();
  auto done = api.module(api::kTlsModule);
  if (done) done = api.walk<api::TlsConnectionDump, ConnectionWalk>();
  if (done) done = api.dump<api::TlsListenerDump, api::TlsListenerDetails>(next_listener);
  if (done) done = api.handle<api::TlsCountersGet, api::TlsCountersGetReply>(get_counters);
  if (done) done = api.handle<api::DtlsCountersGet, api::DtlsCountersGetReply>(get_dtls_counters);
  if (done) done = api.steps<api::TlsReload, api::TlsReloadReply, ReloadWalk>();
  return done;
}

}  // namespace loom::tls
