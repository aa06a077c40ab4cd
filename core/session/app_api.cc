// Applications over the binary API: listed, workers of them removed, and certificates given that
// they may use (endpoint_settings.h). Attaching is refused here: an application needs descriptors
// and queues of ours, which only the attach socket gives (see
// docs/decisions/0007-applications-attach-over-their-own-socket.md). Control thread.
#include "session/app_api.h"

#include <hostloom/endpoint_settings.h>

#include "api/registry.h"
#include "session.api.h"

namespace loom::session {
namespace {

constexpr int32_t kInvalidValue2 = -8, kFeatureDisabled = -30, kNotAttached = -118,
                  kUnsupported = -126;

void describe(const App& app, api::AppDetails& d) {
  d.app_index = app.index;
  d.app = app.name;
  d.namespace_id = app.ns->id;
  d.is_attached = !app.detached;
  d.sessions = app.n_sessions.load(std::memory_order_relaxed);
  d.rx_fifo_size = app.rx_fifo_size;
  d.tx_fifo_size = app.tx_fifo_size;
  d.segment_bytes = app.arena.stats().segment_bytes;
  for (const auto& worker : app.workers)
    if (worker) d.pids.push_back(static_cast<uint32_t>(worker->pid));
}

// Says where applications do attach, once: a client may ask for ever.
struct WayToAttach {
  Impl& layer;
  bool is_said = false;

  int32_t refuse(const char* message) {
    if (!std::exchange(is_said, true))
      layer.log(LogLevel::kWarn, std::string("API message ") + message +
                                     " refused: its socket passes no memory; applications attach "
                                     "over " +
                                     layer.layer->default_socket_path() +
                                     (layer.attach_off ? ", which is disabled now" : ""));
    return kUnsupported;
  }
};

int32_t add_del_worker(Impl& l, WayToAttach& way, const api::AppWorkerAddDel& request) {
  App* app = request.app_index < l.apps.size() ? l.apps[request.app_index].get() : nullptr;
  if (!app) return kApiInvalidValue;
  if (request.is_add) return way.refuse("app_worker_add_del");
  const std::string name = app->name;  // it may go with this worker
  if (end_worker(l, *app, request.wrk_index) != Status::kOk) return kInvalidValue2;
  l.log(LogLevel::kNotice, "worker " + std::to_string(request.wrk_index) + " of application '" +
                               name + "' was removed by an API client");
  return 0;
}

// The certificate and behind it its key, PEM both.
api::AppAddCertKeyPairReply add_pair(Impl& l, const api::AppAddCertKeyPair& request) {
  const std::string_view both(reinterpret_cast<const char*>(request.certkey.data()),
                              request.certkey.size());
  if (request.cert_len == 0 || request.cert_len >= both.size())
    return {.retval = kApiInvalidValue, .index = ~0u};
  SecretString bytes;
  bytes.reserve(both.size() + 16);  // the key is not left behind in a smaller one
  add_setting(bytes, Setting::kCertificate, both.substr(0, request.cert_len));
  add_setting(bytes, Setting::kPrivateKey, both.substr(request.cert_len));
  const auto number = l.settings.add_of_operator(std::move(bytes));
  if (number) return {.index = *number};
  l.log(LogLevel::kWarn, "API message app_add_cert_key_pair: " + number.error().message);
  return {.retval = api_retval(number.error().code), .index = ~0u};
}

}  // namespace

void add_app_handlers(ApiRegistry& registry, Impl& l) {
  registry.dump<api::AppDump, api::AppDetails>(
      [&l](const api::AppDump& request, uint64_t& cursor, api::AppDetails& details) {
        if (cursor >= l.apps.size()) return ApiStep::kEnd;
        const App* app = l.apps[cursor++].get();
        if (!app || (!request.app.empty() && request.app != app->name)) return ApiStep::kSkip;
        describe(*app, details);
        return ApiStep::kItem;
      });
  const auto way = std::make_shared<WayToAttach>(l);
  registry.handle<api::AppAttach, api::AppAttachReply>([&l, way](ApiCall&, const api::AppAttach&) {
    return api::AppAttachReply{.retval = l.stopped ? kFeatureDisabled : way->refuse("app_attach"),
                               .app_index = ~0u};
  });
  registry.handle<api::ApplicationDetach, api::ApplicationDetachReply>(
      [&l](ApiCall&, const api::ApplicationDetach&) {
        return api::ApplicationDetachReply{.retval = l.stopped ? kFeatureDisabled : kNotAttached};
      });
  registry.handle<api::AppWorkerAddDel, api::AppWorkerAddDelReply>(
      [&l, way](ApiCall&, const api::AppWorkerAddDel& request) {
        return api::AppWorkerAddDelReply{
            .retval = l.stopped ? kFeatureDisabled : add_del_worker(l, *way, request),
            .wrk_index = request.wrk_index,
            .is_add = request.is_add};
      });
  registry.handle<api::AppAddCertKeyPair, api::AppAddCertKeyPairReply>(
      [&l](ApiCall&, const api::AppAddCertKeyPair& request) {
        if (l.stopped) return api::AppAddCertKeyPairReply{.retval = kFeatureDisabled, .index = ~0u};
        return add_pair(l, request);
      });
  registry.handle<api::AppDelCertKeyPair, api::AppDelCertKeyPairReply>(
      [&l](ApiCall&, const api::AppDelCertKeyPair& request) {
        return api::AppDelCertKeyPairReply{
            .retval = l.stopped ? kFeatureDisabled
                                : api_retval(l.settings.remove_of_operator(request.index))};
      });
}

}  // namespace loom::session
