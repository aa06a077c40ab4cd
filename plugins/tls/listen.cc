// Listeners: an upper one, whose connections the application takes, and a lower one, where they
// come from. Control thread.
#include <algorithm>

#include "dtls.h"
#include "tls.h"

namespace loom::tls {
namespace {

Result<ServerContextPtr> context_of(const Settings& settings, X509_STORE* store) {
  return make_server_context(shared().config, settings, store);
}

// Of sessions that nobody may resume any more a quarter of a lifetime's are there at most.
void sweep_early(const ServerContext& context) {
  Shared& s = shared();
  if (context.early_sessions.is_attached())
    s.early_sweep.start(std::max(s.config.ticket_lifetime / 4, kSecond));
}

}  // namespace

Status make_parts(uint32_t number, Result<ServerContextPtr> (*make)(const Settings&, X509_STORE*),
                  const char* for_what, ListenerParts& out) {
  Shared& s = shared();
  const auto refuse = [&](const Error& e) {
    s.host->log(LogLevel::kWarn, "tls", "cannot listen" + std::string(for_what) + ": " + e.message);
    return e.code;
  };
  auto settings = settings_of(*s.host, number);
  if (!settings) return refuse(settings.error());
  auto context = make(*settings, s.store.get());
  if (!context) return refuse(context.error());
  out = {std::move(*settings), std::move(*context)};
  return Status::kOk;
}

Status open_listener(SessionId upper, const SocketOptionsView& options, ConnId* out) noexcept {
  Shared& s = shared();
  try {
    auto l = std::make_unique<Listener>();
    l->upper = upper;
    l->under_way = std::vector<StatCounter>(s.host->n_workers());
    ListenerParts parts;
    if (const Status made = make_parts(options.settings, context_of, "", parts);
        made != Status::kOk)
      return made;
    l->context = std::move(parts.context);
    l->shown = l->context.get();
    l->settings = std::move(parts.settings);
    if (!s.app) return Status::kClosed;
    start_threads();
    sweep_early(*l->context);
    // It has its place before connections come, which is all that may want memory.
    const ConnId id = s.next_listener++;
    Listener& listener = *(s.listeners[id] = std::move(l));
    const auto lower = s.host->app_listen_for(s.app, upper, lower_endpoint(options), &listener);
    if (!lower) {
      s.listeners.erase(id);
      return lower.error().code;
    }
    listener.lower = *lower;
    *out = id;
    return Status::kOk;
  } catch (const std::bad_alloc&) {
    return Status::kNoMemory;
  }
}

Status use_settings(ConnId id, uint32_t number) noexcept {
  Shared& s = shared();
  const auto found = s.listeners.find(id);
  if (found == s.listeners.end()) return Status::kNotFound;
  try {
    ListenerParts parts;
    const Status made = make_parts(number, context_of, "", parts);
    if (made != Status::kOk) return made;
    found->second->show(*s.host, std::move(parts.context));
    sweep_early(*found->second->context);
    std::swap(found->second->settings, parts.settings);
    s.reload.listener_changed(id);
    return made;
  } catch (const std::bad_alloc&) {
    return Status::kNoMemory;
  }
}

void close_listener(ConnId id) noexcept {
  Shared& s = shared();
  const auto found = s.listeners.find(id);
  if (found == s.listeners.end()) return;
  Listener* const l = found->second.get();
  (void)s.host->app_unlisten(s.app, l->lower);  // it may have ended without our doing
  s.host->run_on_all_workers([&](Worker& w) {
    for (const auto& c : tls_worker(w).connections)
      if (c && c->listener == l) {
        if (c->upper != kNoSession) {  // by early data: it was accepted, and goes on
          c->listener = nullptr;
          continue;
        }
        AppSession(w, c->lower).abort();
        lost(*c, Status::kReset, ResetReason::kAborted);
      }
  });
  retired().take(std::move(l->context));
  s.listeners.erase(found);
}

void renew_application() noexcept { renew(shared().app, kLowerOps); }

void renew(Application*& ours, const AppOps& ops) noexcept {
  Host& host = *shared().host;
  if (Application* const ended = ours) {
    host.with_barrier([&] { ours = nullptr; });  // nobody connects by it meanwhile
    host.remove_application(ended);
  }
  const auto app = host.add_application(ops);
  if (!app) return host.log(LogLevel::kError, ops.name, "no sessions: " + app.error().message);
  host.with_barrier([&] { ours = *app; });
}

}  // namespace loom::tls
