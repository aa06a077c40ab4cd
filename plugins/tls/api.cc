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

// The cursor is a listener's number: they may come and go meanwhile.
ApiStep next_listener(const api::TlsListenerDump&, uint64_t& cursor, api::TlsListenerDetails& to,
                      void*) {
  const auto& all = shared().listeners;
  const auto it = all.lower_bound(static_cast<ConnId>(cursor));
  if (it == all.end()) return ApiStep::kEnd;
  cursor = uint64_t{it->first} + 1;
  ListenerRow row = describe(*it->second);
  to.lower_handle = row.lower;
  to.certificates = row.certificates;
  to.not_after = row.not_after;
  to.verify = static_cast<api::TlsVerify>(row.verify);
  to.handshakes = row.handshakes;
  to.alpn = std::move(row.alpn);
  to.subject = std::move(row.subject);
  return ApiStep::kItem;
}

api::TlsCountersGetReply get_counters(ApiCall&, const api::TlsCountersGet& request, void*) {
  api::TlsCountersGetReply reply;
  std::optional<uint32_t> worker;
  if (request.worker != ~0u) worker = request.worker;
  if (worker && *worker >= shared().workers.size()) {
    reply.retval = kInvalidWorker;
    return reply;
  }
  const auto values = counters(worker);
  for (std::size_t i = 0; i < values.size(); ++i)
    reply.counters.push_back({.name = kStats[i].name, .value = values[i]});
  return reply;
}

api::TlsReloadReply reload_files(ApiCall&, const api::TlsReload&, void*) {
  const auto done = reload();
  if (done) return {};
  shared().host->log(LogLevel::kWarn, "tls", "tls_reload: " + done.error().message);
  return {.retval = api_retval(done.error().code)};
}

}  // namespace

Result<void> add_api(Host& host) {
  auto api = host.api();
  auto done = api.module(api::kTlsModule);
  if (done) done = api.walk<api::TlsConnectionDump, ConnectionWalk>();
  if (done) done = api.dump<api::TlsListenerDump, api::TlsListenerDetails>(next_listener);
  if (done) done = api.handle<api::TlsCountersGet, api::TlsCountersGetReply>(get_counters);
  if (done) done = api.handle<api::TlsReload, api::TlsReloadReply>(reload_files);
  return done;
}

}  // namespace loom::tls
