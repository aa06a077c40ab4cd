#include "session/session_layer.h"

#include <algorithm>

#include "net/net.h"
#include "session/in_process.h"

namespace loom {

using namespace session;

namespace {

bool before_sleep(Worker& w, void*) noexcept { return may_sleep(of(w)); }

void after_sleep(Worker& w, void*) noexcept {
  for (AppPort* p : of(w).ports) p->requests.finish_sleep();
}

bool is_alone_now(Worker& w, void*) noexcept { return is_alone(of(w)); }

}  // namespace

SessionLayer::SessionLayer(SessionConfig config, Engine& engine, TransportRegistry& transports)
    : impl_(std::make_unique<Impl>(std::move(config), engine, transports)) {
  impl_->layer = this;
}

SessionLayer::~SessionLayer() = default;

Result<void> SessionLayer::build() {
  Impl& l = *impl_;
  auto flows = FlowTables::create(l.config);
  if (!flows) return flows.error();
  l.flows = std::move(*flows);
  l.filters = std::make_unique<Filters>(l);
  l.ops = std::make_unique<Ops>();
  l.ops->layer = &l;
  fill_ops(*l.ops);
  auto node = l.engine.add_node(kSessionQueue);
  if (!node) return node.error();
  l.queue_node = *node;
  for (uint32_t i = 0; i < l.engine.n_workers(); ++i) {
    auto sw = std::make_unique<SessionWorker>();
    sw->worker = &l.engine.worker(i);
    sw->layer = &l;
    sw->pool.use(*sw->worker);
    sw->holding_timer.fired = holding_tick;
    sw->overflow_timer.fired = overflow_tick;
    sw->starved_timer.fired = starved_tick;
    sw->backlog_timer.fired = cut_through_tick;
    sw->hearing_timer.fired = [](Worker&, Timer&) noexcept {};  // the round that follows listens
    sw->port_counter = static_cast<uint32_t>(sw->worker->random());
    const uint32_t share = (l.config.preallocated_sessions + l.engine.n_workers() - 1) /
                           static_cast<uint32_t>(l.engine.n_workers());
    if (!sw->holding.has_memory())
      return error(Status::kNoMemory, "no addresses for a worker's lists");
    if (share != 0 && !sw->pool.reserve(share))
      return error(Status::kNoMemory, "no memory for preallocated-sessions " +
                                          std::to_string(l.config.preallocated_sessions));
    l.workers.push_back(std::move(sw));
    l.engine.worker(i).sessions = l.ops.get();
  }
  l.engine.add_sleep_hook(
      {.before = before_sleep, .after = after_sleep, .is_alone = is_alone_now, .context = nullptr});
  return {};
}

void SessionLayer::use(Net& net) {
  Impl& l = *impl_;
  l.net = &net;
  const std::weak_ptr<Impl*> alive = l.alive;
  net.on_interface_event([alive](IfIndex index, bool, bool, bool has_gone) {
    if (const auto layer = alive.lock()) interface_changed(**layer, index, has_gone);
  });
  net.on_address_event([alive](IfIndex index) {
    if (const auto layer = alive.lock()) interface_changed(**layer, index, false);
  });
  net.add_table_user([alive](uint32_t table, bool is_ip6) {
    const auto layer = alive.lock();
    if (!layer) return std::string();
    std::string user = namespace_in_table(**layer, table, is_ip6);
    // Its index will be another table's, which must not find what was meant for this one.
    if (const auto fib = (*layer)->net->fib_index(table, is_ip6); user.empty() && fib)
      user = (*layer)->filters->use_of_table(*fib, !is_ip6);
    return user;
  });
}

Result<void> SessionLayer::start(ControlLoop loop) {
  impl_->loop = std::move(loop);
  if (auto opened = open_attach_sockets(*impl_); !opened) return opened;
  give_back_later(*impl_);
  return {};
}

void SessionLayer::stop() {
  if (!impl_->stopped) close_all_applications(*impl_, "the daemon goes down");
}

Result<void> SessionLayer::set_enabled(bool enabled) {
  Impl& l = *impl_;
  if (enabled == !l.stopped) return {};
  if (!enabled) {
    close_all_applications(l, "the session layer is disabled");
    return {};
  }
  if (!l.attach_off)
    if (auto opened = open_attach_sockets(l); !opened) return opened;
  l.stopped = false;
  give_back_later(l);
  tell_enabled(l);
  return {};
}

Result<void> SessionLayer::set_attach_socket(bool enabled) {
  Impl& l = *impl_;
  if (enabled == !l.attach_off) return {};
  if (!enabled)
    close_attach_sockets(l);
  else if (!l.stopped)
    if (auto opened = open_attach_sockets(l); !opened) return opened;
  l.attach_off = !enabled;
  l.log(LogLevel::kNotice, "attach socket " + default_socket_path() +
                               (enabled ? " enabled" : " disabled: no application comes"));
  return {};
}

SessionStats SessionLayer::stats() const {
  const Impl& l = *impl_;
  SessionStats s;
  for (const auto& sw : l.workers) s.per_worker.push_back(n_sessions(*sw));
  s.established = l.flows->established();
  s.half_open = l.flows->half_open();
  for (uint32_t i = 0; i < l.n_listeners; ++i) s.listeners += l.listener(i) != nullptr;
  for (const auto& app : l.apps) {
    if (!app) continue;
    ++s.applications;
    const auto arena = app->arena.stats();
    s.segment_bytes += arena.segment_bytes;
    s.segment_used_bytes += arena.chunk_bytes + arena.object_bytes + app->app_arena.carved_bytes();
    for (const auto& segment : app->app_arenas) s.segment_bytes += segment->size();
  }
  for (const auto& pair : l.pairs) {
    const auto arena = pair->arena.stats();
    s.segment_bytes += arena.segment_bytes;
    s.segment_used_bytes += arena.chunk_bytes + arena.object_bytes + pair->app_arena.carved_bytes();
    for (const auto& segment : pair->app_arenas) s.segment_bytes += segment->size();
  }
  // What is carved is written by applications, too.
  s.segment_used_bytes = std::min(s.segment_used_bytes, s.segment_bytes);
  return s;
}

const std::string& SessionLayer::default_socket_path() const {
  return impl_->namespaces.front()->socket.name;
}

}  // namespace loom
