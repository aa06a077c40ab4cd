// Module "session": sessions and listeners are listed and reset, the layer and its attach socket
// are taken out of service and back. The module's messages about applications are in app_api.cc.
//
// A million sessions are listed by position: a worker is visited for kSlots slots or kBatch finds
// at a time, and after a millisecond of visits everything else is served.
#include "session/api.h"

#include <cstring>

#include "api/registry.h"
#include "session.api.h"
#include "session/app_api.h"
#include "session/control.h"
#include "session/rules_api.h"

namespace loom {

using namespace session;

namespace {

constexpr int32_t kInvalidSessionId = -148, kInvalidWorker = -89, kNotReady = -77;
// Of a visit to a worker, which stands still meanwhile.
constexpr uint32_t kSlots = 1024;
constexpr std::size_t kBatch = 256;

api::Address to_api(const IpAddress& a) {
  api::Address to;
  to.af = a.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6;
  to.un.raw = a.bits.bytes;
  return to;
}

api::SessionState to_api(State state) {
  switch (state) {
    case State::kConnecting:
      return api::SessionState::kSessionApiStateConnecting;
    case State::kAccepted:
      return api::SessionState::kSessionApiStateAccepted;
    case State::kOpen:
      return api::SessionState::kSessionApiStateOpen;
    case State::kClosing:
      return api::SessionState::kSessionApiStateClosing;
    case State::kDetached:
      return api::SessionState::kSessionApiStateDetached;
    case State::kLingering:
      return api::SessionState::kSessionApiStateLingering;
    case State::kMigrated:
    case State::kFree:
      break;
  }
  return api::SessionState::kSessionApiStateAny;
}

bool is_within(const api::Address& address, const api::Prefix& prefix) {
  if (prefix.len == 0) return true;
  if (address.af != prefix.address.af) return false;
  const uint32_t most = address.af == api::AddressFamily::kAddressIp4 ? 32 : 128;
  if (prefix.len > most) return false;
  const uint32_t bytes = prefix.len / 8, bits = prefix.len % 8;
  const auto &a = address.un.raw, &b = prefix.address.un.raw;
  if (std::memcmp(a.data(), b.data(), bytes) != 0) return false;
  return bits == 0 || (a[bytes] ^ b[bytes]) >> (8 - bits) == 0;
}

// One session_dump under way.
struct SessionWalk {
  Impl* layer;
  api::SessionDump wanted;
  uint32_t listener = 0;  // next to look at; then the workers' slots
  uint32_t worker = 0, slot = 0;
  std::vector<api::SessionDetails> batch{};
  std::size_t at = 0;  // next to send

  bool matches(const api::SessionDetails& d) const {
    const auto same = [](const std::string& asked, const std::string& is) {
      return asked.empty() || asked == is;
    };
    return same(wanted.namespace_id, d.namespace_id) && same(wanted.app, d.app) &&
           same(wanted.transport, d.transport) &&
           (wanted.app_index == ~0u || wanted.app_index == d.app_index) &&
           (wanted.state == api::SessionState::kSessionApiStateAny || wanted.state == d.state) &&
           (wanted.local_port == 0 || wanted.local_port == d.local_port) &&
           (wanted.remote_port == 0 || wanted.remote_port == d.remote_port) &&
           is_within(d.local, wanted.local) && is_within(d.remote, wanted.remote);
  }

  // What can be told without asking the transport.
  bool may_match(const Session& s) const {
    return (wanted.state == api::SessionState::kSessionApiStateAny ||
            wanted.state == to_api(s.state)) &&
           (wanted.app_index == ~0u || wanted.app_index == s.app->index) &&
           (wanted.app.empty() || wanted.app == s.app->name) &&
           (wanted.namespace_id.empty() || wanted.namespace_id == s.app->ns->id);
  }

  void set_owner(api::SessionDetails& d, const App& app, TransportId transport) const {
    const TransportOps* ops = layer->transports.get(transport);
    d.transport = ops ? ops->name : "?";
    d.namespace_id = app.ns->id;
    d.app = app.name;
    d.app_index = app.index;
  }

  api::SessionDetails describe(const Listener& l) const {
    api::SessionDetails d{.handle = l.handle()};
    set_owner(d, *l.app, l.transport);
    d.state = api::SessionState::kSessionApiStateListen;
    d.worker = ~0u;
    d.local = to_api(l.endpoints.local);
    d.local_port = l.endpoints.local_port;
    d.remote = to_api(l.endpoints.remote);
    d.rx_fifo_size = l.rx_size;
    d.tx_fifo_size = l.tx_size;
    d.backlog = l.backlog;
    d.queued = l.accepts.count();
    return d;
  }

  // On its worker.
  api::SessionDetails describe(SessionWorker& sw, Session& s) const {
    api::SessionDetails d{.handle = handle_of(sw, s)};
    set_owner(d, *s.app, s.transport);
    d.state = to_api(s.state);
    d.worker = sw.worker->index;
    d.rx_fifo_size = s.rx.size;
    d.tx_fifo_size = s.tx.size;
    const TransportOps* ops = ops_of(sw, s);
    if ((s.flags & kTransportUp) && ops && ops->info) {
      ConnectionInfo c;
      ops->info(*sw.worker, s.conn, c);
      d.local = to_api(c.endpoints.local);
      d.local_port = c.endpoints.local_port;
      d.remote = to_api(c.endpoints.remote);
      d.remote_port = c.endpoints.remote_port;
      d.bytes_received = c.bytes_received;
      d.bytes_acked = c.bytes_acked;
    }
    if (s.is_cut_through()) {
      d.rx_fifo_fill = unread_bytes(sw, s);
      d.tx_fifo_fill = unsent_bytes(sw, s);
    } else if (s.shared) {
      (void)rx_of(s).refresh();
      d.rx_fifo_fill = rx_of(s).used();
      d.tx_fifo_fill = tx_of(s).refresh();
    }
    return d;
  }

  void add_listeners() {
    const uint32_t end = std::min(listener + kSlice, layer->n_listeners);
    for (; listener < end && batch.size() < kBatch; ++listener) {
      const Listener* l = layer->listener(listener);
      if (!l) continue;
      auto d = describe(*l);
      if (matches(d)) batch.push_back(std::move(d));
    }
  }

  bool is_of(uint32_t w) const { return wanted.worker == ~0u || wanted.worker == w; }

  void add_sessions() {
    if (!is_of(worker)) {
      ++worker;
      return;
    }
    layer->engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      const uint32_t end = std::min(slot + kSlots, sw.pool.end());
      for (; slot < end && batch.size() < kBatch; ++slot) {
        Session& s = sw.pool.at(slot);
        if (s.state == State::kFree || s.state == State::kMigrated || !may_match(s)) continue;
        auto d = describe(sw, s);
        if (matches(d)) batch.push_back(std::move(d));
      }
      if (slot < sw.pool.end()) return;
      slot = 0;
      ++worker;
    });
  }

  ApiStep next(ApiCall& call) {
    if (at < batch.size()) {
      batch[at].context = wanted.context;
      call.send(batch[at++]);
      return ApiStep::kItem;
    }
    batch.clear();
    at = 0;
    if (listener < layer->n_listeners && wanted.worker == ~0u &&
        wanted.kind != api::SessionKind::kSessionApiKindConnection)
      add_listeners();
    else if (worker < layer->engine.n_workers() &&
             wanted.kind != api::SessionKind::kSessionApiKindListener)
      add_sessions();
    else
      return ApiStep::kEnd;
    return ApiStep::kSkip;
  }
};

int32_t migrate_retval(Status s) {
  switch (s) {
    case Status::kNotFound:
      return kInvalidSessionId;
    case Status::kInvalid:
      return kInvalidWorker;
    case Status::kAgain:
      return kNotReady;
    default:
      return api_retval(s);
  }
}

int32_t enable_retval(const Result<void>& done) { return done ? 0 : api_retval(done.error().code); }

}  // namespace

Result<void> add_session_api(Host&, ApiRegistry& registry, SessionLayer& layer) {
  if (auto added = registry.add_module(api::kSessionModule); !added) return added;
  Impl& l = layer.impl();
  registry.handle<api::SessionEnableDisable, api::SessionEnableDisableReply>(
      [&layer](ApiCall&, const api::SessionEnableDisable& request) {
        return api::SessionEnableDisableReply{
            .retval = enable_retval(layer.set_enabled(request.is_enable))};
      });
  registry.handle<api::SessionEnableDisableV2, api::SessionEnableDisableV2Reply>(
      [&layer](ApiCall&, const api::SessionEnableDisableV2& request) {
        api::SessionEnableDisableV2Reply reply;
        switch (request.rt_engine_type) {
          case api::RtBackendEngine::kRtBackendEngineApiDisable:
          case api::RtBackendEngine::kRtBackendEngineApiNone:
          case api::RtBackendEngine::kRtBackendEngineApiRuleTable:
          case api::RtBackendEngine::kRtBackendEngineApiSdl:
            reply.retval = enable_retval(layer.set_enabled(
                request.rt_engine_type != api::RtBackendEngine::kRtBackendEngineApiDisable));
            break;
          default:
            reply.retval = kApiInvalidValue;
        }
        return reply;
      });
  registry.handle<api::SessionSapiEnableDisable, api::SessionSapiEnableDisableReply>(
      [&layer](ApiCall&, const api::SessionSapiEnableDisable& request) {
        return api::SessionSapiEnableDisableReply{
            .retval = enable_retval(layer.set_attach_socket(request.is_enable))};
      });
  registry.walk<api::SessionDump>([&l](const api::SessionDump& request) {
    return SessionWalk{&l, request};
  });
  registry.handle<api::SessionDisconnect, api::SessionDisconnectReply>(
      [&l](ApiCall&, const api::SessionDisconnect& request) {
        const Status s = reset_session(l, request.handle);
        return api::SessionDisconnectReply{.retval = s == Status::kNotFound ? kInvalidSessionId
                                                                            : api_retval(s)};
      });
  registry.handle<api::SessionMigrate, api::SessionMigrateReply>(
      [&l](ApiCall&, const api::SessionMigrate& request) {
        return api::SessionMigrateReply{
            .retval = migrate_retval(migrate_session(l, request.handle, request.worker))};
      });
  add_rule_handlers(registry, l);
  add_app_handlers(registry, l);
  add_namespace_handlers(registry, l);
  return {};
}

}  // namespace loom
