// In-process applications come, listen and go: SessionLayer's part of hostloom/app.h. Control
// thread.
#include <cstring>

#include "session/in_process.h"
#include "session/listeners.h"
#include "transport/ops_table.h"

namespace loom {

using namespace session;

namespace session {
namespace {

// Whoever made the endpoint may have filled all of it.
std::string_view transport_name(const AppEndpoint& e) noexcept {
  return {e.transport, ::strnlen(e.transport, sizeof e.transport)};
}

// Of those that are registered, all or the ones that have ended. A copy: what is called may change
// the list.
std::vector<AppOps> calls_of_applications(const Impl& layer, bool only_ended) {
  std::vector<AppOps> calls;
  for (const auto& a : layer.apps)
    if (a && a->owner->in_this_process && !a->detached &&
        (!only_ended || a->condemned.load(std::memory_order_acquire)))
      calls.push_back(static_cast<const InProcessApp&>(*a).calls);
  return calls;
}

}  // namespace

TransportId find_transport(const Impl& layer, const AppEndpoint& e) noexcept {
  return e.transport[0] ? layer.transports.find_name(transport_name(e))
                        : layer.transports.find_proto(e.proto);
}

void tell_enabled(Impl& layer) {
  for (const AppOps& calls : calls_of_applications(layer, true))
    if (calls.enabled_again) calls.enabled_again();
}

void tell_draining(Impl& layer, bool begins) {
  for (const AppOps& calls : calls_of_applications(layer, false))
    if (calls.draining) calls.draining(begins);
}

}  // namespace session

Result<Application*> SessionLayer::add_application(const AppOps& ops, const AppConfig& config) {
  Impl& l = *impl_;
  const auto calls = full_size_copy(ops, offsetof(AppOps, accepted));
  const auto settings = full_size_copy(config, sizeof config.struct_size);
  if (!calls || !settings)
    return error(Status::kInvalid, "application description of " + std::to_string(ops.struct_size) +
                                       " bytes is not of any known version");
  if (!calls->name || !*calls->name) return error(Status::kInvalid, "an application needs a name");
  for (const auto& a : l.apps)
    if (a && a->owner->in_this_process && !a->detached && a->name == calls->name)
      return error(Status::kExists, "application '" + a->name + "' is there already");
  const auto index = free_app_index(l);
  if (!index) return index.error();
  auto app = std::make_unique<InProcessApp>();
  app->index = *index;
  app->serial = ++l.last_serial;
  app->name = calls->name;
  app->ns = l.namespaces.front();
  app->calls = *calls;
  app->add_segment_size = l.config.add_segment_size;
  app->rx_fifo_size = fifo_size(settings->rx_fifo_size, l.config.rx_fifo_size);
  app->tx_fifo_size = fifo_size(settings->tx_fifo_size, l.config.tx_fifo_size);
  if (auto s = add_daemon_segment(*app, l.config.segment_size); !s) return s.error();
  if (auto s = add_app_arena(*app, l.config.add_segment_size); !s) return s.error();
  app->self.app = app.get();
  app->live[0].store(&app->self, std::memory_order_release);
  note_application(l, EventKind::kAttach, *app, 0);
  Application* const handle = app.get();
  l.apps[*index] = std::move(app);
  return handle;
}

void SessionLayer::remove_application(Application& handle) {
  auto& app = static_cast<InProcessApp&>(handle);
  app.owner->end(*impl_, app);
  app.live[0].store(nullptr, std::memory_order_release);
  app.detached = true;
  note_application(*impl_, EventKind::kDetach, app, 0);
  free_application_if_unused(*impl_, app);
}

Result<SessionHandle> SessionLayer::listen(Application& handle, const AppEndpoint& e,
                                           void* context) {
  Impl& l = *impl_;
  auto& app = static_cast<InProcessApp&>(handle);
  const auto endpoint = full_size_copy(e, kLeastEndpoint);
  if (!endpoint)
    return error(Status::kInvalid, "endpoint of " + std::to_string(e.struct_size) +
                                       " bytes is not of any known version");
  if (l.stopped || app.condemned.load(std::memory_order_acquire))
    return error(Status::kClosed, "application '" + app.name + "' has ended");
  ListenArgs args{.transport = find_transport(l, *endpoint),
                  .options = endpoint->options,
                  .backlog = endpoint->options.backlog ? endpoint->options.backlog : ~0u,
                  .rx_fifo_size = endpoint->rx_fifo_size,
                  .tx_fifo_size = endpoint->tx_fifo_size,
                  .holders = 1,
                  .app_context = context};
  args.local.local = endpoint->address;
  args.local.local_port = endpoint->port;
  args.fibs = {endpoint->fib_index, endpoint->fib_index};
  if (args.transport == kNoTransport)
    return error(Status::kNotFound,
                 "no transport '" + std::string(transport_name(*endpoint)) + "'");
  const auto listener = open_listener(l, app, args);
  if (!listener) return listener.error();
  return (*listener)->handle();
}

Result<SessionHandle> SessionLayer::listen_for(Application& handle, SessionId upper,
                                               const AppEndpoint& e, void* context) {
  Impl& l = *impl_;
  auto& app = static_cast<InProcessApp&>(handle);
  const auto how = full_size_copy(e, kLeastEndpoint);
  Listener* const above = l.listener(upper);
  if (!how || !above) return error(Status::kInvalid, "no such endpoint or listener");
  if (l.stopped || app.condemned.load(std::memory_order_acquire))
    return error(Status::kClosed, "application '" + app.name + "' has ended");
  const TransportId transport = find_transport(l, *how);
  const TransportOps* ops = l.transports.get(transport);
  // Another internal one would be found in the name of `app`, not of who asks.
  if (!ops || ops->tx_kind == TxKind::kInternal)
    return error(ops ? Status::kUnsupported : Status::kNotFound,
                 "no transport '" + std::string(transport_name(*how)) + "' to listen on");
  const auto listener = open_listener(l, app,
                                      {.transport = transport,
                                       .local = above->endpoints,
                                       .fibs = above->fibs,
                                       .options = above->options,
                                       .backlog = above->backlog,
                                       .rx_fifo_size = how->rx_fifo_size,
                                       .tx_fifo_size = how->tx_fifo_size,
                                       .holders = 1,
                                       .app_context = context,
                                       .for_app = above->app});
  if (!listener) return listener.error();
  above->endpoints.local_port = (*listener)->endpoints.local_port;
  return (*listener)->handle();
}

Status SessionLayer::endpoint_settings(uint32_t named, uint32_t number, std::string* out) const {
  return impl_->settings.read(named, number, out);
}

Status SessionLayer::unlisten(Application& handle, SessionHandle which) {
  Listener* l = impl_->listener(handle_index(which));
  if (!l || l->handle() != which || l->app != &static_cast<InProcessApp&>(handle))
    return Status::kNotFound;
  session::unlisten(*impl_, *l->app, {&l, 1});
  return Status::kOk;
}

}  // namespace loom
