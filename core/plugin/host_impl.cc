#include "plugin/host_impl.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include <hostloom/api_server.h>

#include "api/registry.h"
#include "cli/tree.h"
#include "config/stanza_registry.h"
#include "graph/engine.h"
#include "net/net.h"
#include "plugin/guard.h"
#include "session/session_layer.h"
#include "stats/stats_registry.h"
#include "transport/ops_table.h"
#include "transport/registry.h"

namespace loom {
namespace {

// Splits a Result into the code that crosses the table and the message beside it.
template <class T>
Status split(Result<T>&& result, std::string* message) {
  if (result) return Status::kOk;
  *message = std::move(result.error().message);
  return result.error().code;
}
template <class T, class Out>
Status split(Result<T>&& result, Out* out, std::string* message) {
  if (result) *out = *result;
  return split(std::move(result), message);
}
Status refuse(std::string* message, std::string text) {
  *message = std::move(text);
  return Status::kInvalid;
}
std::string text_or(const char* text, const char* otherwise) {
  return text && *text ? text : otherwise;
}

}  // namespace

struct HostImpl::Table {
  static HostImpl& of(Host& h) noexcept { return *static_cast<HostImpl*>(h.impl); }

  static Result<void> run_command(Host& h, void* context, CliArgs& args, CliReply& reply) {
    const Command& c = *static_cast<const Command*>(context);
    if (c.is_refused)
      return error(Status::kNotFound, "this command belongs to plugin '" + c.owner +
                                          "', which was refused (see `show plugins`)");
    return guarded(std::string("command '") + c.own.path + "'",
                   [&] { return c.own.run(h, c.own.context, args, reply); });
  }
  static Result<void> apply_stanza(void* context, const ConfigNode& node) {
    const Stanza& s = *static_cast<const Stanza*>(context);
    if (s.is_refused)
      return node.fail("stanza '" + node.word + "' belongs to plugin '" + s.owner +
                       "', which was refused");
    return guarded(node.fail("stanza '" + node.word + "'").message,
                   [&] { return s.own.apply(s.own.context, node); });
  }

  // --- Graph.
  static Status add_node(Host& h, const NodeInfo* n, NodeId* out, std::string* message) {
    HostImpl& self = of(h);
    auto id = self.parts_.engine.add_node(*n);
    if (id && !self.owner_.empty()) self.nodes_.push_back({*id, self.owner_});
    return split(std::move(id), out, message);
  }
  static NodeId find_node(Host& h, const char* name) { return of(h).parts_.engine.find_node(name); }
  static Status add_feature(Host& h, const FeatureInfo* f, std::string* message) {
    const auto full = full_size_copy(*f, offsetof(FeatureInfo, before));
    if (!full)
      return refuse(message, "feature description of " + std::to_string(f->struct_size) +
                                 " bytes is not of any known version");
    if (!full->arc || !full->node)
      return refuse(message, "feature '" + text_or(full->node, "?") + "' of arc '" +
                                 text_or(full->arc, "?") + "' lacks a name");
    if (of(h).parts_.engine.find_node(full->node) == kNoNode)
      return refuse(message, std::string("feature '") + full->node + "' of arc '" + full->arc +
                                 "' names a node that does not exist");
    return split(of(h).parts_.engine.features().add(*full), message);
  }
  static Status enable_feature(Host& h, const char* arc, const char* node, IfIndex interface,
                               bool enable, std::string* message) {
    HostImpl& self = of(h);
    auto result = self.parts_.engine.features().enable(arc, node, interface, enable);
    if (result && enable && !self.owner_.empty())
      self.features_.push_back({arc, node, interface, self.owner_});
    return split(std::move(result), message);
  }
  static Status add_ip_protocol(Host& h, uint8_t protocol, bool is_ip6, const char* node,
                                std::string* message) {
    return split(of(h).parts_.net.add_ip_protocol(protocol, is_ip6, node), message);
  }
  static Status add_icmp_error_handler(Host& h, uint8_t protocol, bool is_ip6, const char* node,
                                       std::string* message) {
    return split(of(h).parts_.net.add_icmp_error_handler(protocol, is_ip6, node), message);
  }

  // --- Registries.
  static Status add_transport(Host& h, const TransportOps* t, TransportId* out,
                              std::string* message) {
    HostImpl& self = of(h);
    auto id = self.parts_.transports.add(*t);
    if (id) self.transports_.push_back({*id, self.owner_});
    return split(std::move(id), out, message);
  }
  static Status add_congestion_control(Host& h, const CcOps* cc, std::string* message) {
    HostImpl& self = of(h);
    // A plugin that is loaded while connections run may bring a newer controller of a known name.
    auto added = self.parts_.congestion_controls.add(*cc, self.parts_.engine.is_running()
                                                              ? CcRegistry::IfTaken::kReplace
                                                              : CcRegistry::IfTaken::kRefuse);
    if (added) self.congestion_controls_.push_back({*added, self.owner_});
    const CcOps* table = nullptr;
    return split(std::move(added), &table, message);
  }
  static const CcOps* find_congestion_control(Host& h, const char* name) {
    return of(h).parts_.congestion_controls.find(name ? name : "");
  }
  static Status set_default_congestion_control(Host& h, const char* name, std::string* message) {
    CcRegistry& controllers = of(h).parts_.congestion_controls;
    if (!name || !*name || !controllers.find(name)) {
      *message = "there is no congestion controller '" + text_or(name, "") + "'";
      return Status::kNotFound;
    }
    controllers.set_default(name);
    return Status::kOk;
  }
  static Status own_address(Host& h, const IpAddress* a, uint32_t table, uint32_t* fib_index,
                            std::string* message) {
    return split(of(h).parts_.net.own_address(*a, table), fib_index, message);
  }
  static Status add_cli_command(Host& h, const CliCommand* given, std::string* message) {
    HostImpl& self = of(h);
    const auto full = full_size_copy(*given, sizeof(CliCommand));
    if (!full)
      return refuse(message, "command description of " + std::to_string(given->struct_size) +
                                 " bytes is not of any known version");
    if (!full->path || !full->run)
      return refuse(message,
                    "command '" + text_or(full->path, "?") + "' lacks its path or its function");
    Command& c = self.commands_.emplace_back(Command{*full, *full, self.owner_});
    c.registered.run = run_command;
    c.registered.context = &c;
    auto result = self.parts_.cli.add(c.registered);
    if (!result) self.commands_.pop_back();
    return split(std::move(result), message);
  }
  static Status add_config_stanza(Host& h, const ConfigStanza* given, std::string* message) {
    HostImpl& self = of(h);
    const auto full = full_size_copy(*given, sizeof(ConfigStanza));
    if (!full)
      return refuse(message, "stanza description of " + std::to_string(given->struct_size) +
                                 " bytes is not of any known version");
    if (!full->name || !full->apply)
      return refuse(message,
                    "stanza '" + text_or(full->name, "?") + "' lacks its name or its function");
    Stanza& s = self.stanzas_.emplace_back(Stanza{*full, *full, self.owner_});
    s.registered.apply = apply_stanza;
    s.registered.context = &s;
    auto result = self.parts_.stanzas.add(s.registered);
    if (!result) self.stanzas_.pop_back();
    return split(std::move(result), message);
  }

  // --- Binary API.
  static Status add_api_module(Host& h, const ApiModule* m, std::string* message) {
    HostImpl& self = of(h);
    auto result = self.parts_.messages.add_module(*m);
    if (result && !self.owner_.empty()) self.api_modules_.push_back({m, self.owner_});
    return split(std::move(result), message);
  }
  static Status add_api_handler(Host& h, const ApiHandler* handler, std::string* message) {
    HostImpl& self = of(h);
    const auto full = full_size_copy(*handler, offsetof(ApiHandler, next));
    if (!full)
      return refuse(message, "API handler of " + std::to_string(handler->struct_size) +
                                 " bytes is not of any known version");
    if (!full->request || !full->begin)
      return refuse(message, std::string("API handler of '") +
                                 (full->request ? full->request->name : "?") +
                                 "' lacks its message or its function");
    // The core's messages are the core's to answer, and a plugin's that plugin's.
    const ApiModule* module = self.parts_.messages.module_of(*full->request);
    const bool is_own =
        std::any_of(self.api_modules_.begin(), self.api_modules_.end(),
                    [&](const auto& m) { return m.thing == module && m.owner == self.owner_; });
    if (module && !is_own && !self.owner_.empty()) {
      *message = std::string("API message '") + full->request->name + "' is in module '" +
                 module->name + "', which is not this plugin's";
      return Status::kPermission;
    }
    auto result = self.parts_.messages.add_handler(*full);
    if (result && !self.owner_.empty()) self.api_handlers_.push_back({*full->request, self.owner_});
    return split(std::move(result), message);
  }
  static uint32_t each_api_subscriber(Host& h, const ApiMessageInfo* want,
                                      void (*fn)(ApiCall&, const ApiSubscriber*, void*),
                                      void* arg) {
    return of(h).parts_.messages.subscriptions().each(*want, fn, arg);
  }
  static Status add_stats(Host& h, const StatSet* s, std::string* message) {
    return split(of(h).parts_.stats.add(*s, of(h).owner_), message);
  }

  // --- Interfaces.
  static Status add_interface(Host& h, const InterfaceConfig* c, IfIndex* out,
                              std::string* message) {
    HostImpl& self = of(h);
    if (!c->ops || !c->ops->tx)
      return refuse(message, "interface '" + c->name + "' has no driver that can send");
    auto index = self.parts_.net.add_interface(*c);
    if (index && !self.owner_.empty()) self.interfaces_.push_back({*index, self.owner_});
    return split(std::move(index), out, message);
  }
  static Status remove_interface(Host& h, IfIndex index) {
    HostImpl& self = of(h);
    const Status status = self.parts_.net.remove_interface(index);
    if (status == Status::kOk) {
      std::erase_if(self.interfaces_, [&](const auto& i) { return i.thing == index; });
      std::erase_if(self.features_, [&](const auto& f) { return f.interface == index; });
    }
    return status;
  }
  static Status set_link(Host& h, IfIndex index, bool up) {
    return of(h).parts_.net.set_link(index, up);
  }
  static Status set_mtu(Host& h, IfIndex index, uint32_t mtu, std::string* message) {
    return split(of(h).parts_.net.take_over_mtu(index, mtu), message);
  }
  static InterfaceCounters* rx_counters(Host& h, IfIndex index, uint32_t worker) {
    return of(h).parts_.net.rx_counters(index, worker);
  }
  static void* device(Host& h, IfIndex index, const DriverOps* ops) {
    return of(h).parts_.net.device(index, ops);
  }
  static IfIndex find_interface(Host& h, const char* name) {
    return of(h).parts_.net.find_interface(name);
  }

  // --- Threads.
  static uint32_t n_workers(Host& h) { return of(h).parts_.engine.n_workers(); }
  static uint32_t allocate_worker_slot(Host& h) {
    return of(h).parts_.engine.allocate_worker_slot();
  }
  static void run_on_worker(Host& h, uint32_t worker, void (*fn)(Worker&, void*), void* arg) {
    std::exception_ptr thrown;  // a worker has nobody to catch it: the caller gets it
    of(h).parts_.engine.run_on_worker(worker, [&](Worker& w) {
      try {
        fn(w, arg);
      } catch (...) {
        thrown = std::current_exception();
      }
    });
    if (thrown) std::rethrow_exception(thrown);
  }
  static void with_barrier(Host& h, void (*fn)(void*), void* arg) {
    of(h).parts_.engine.with_barrier([fn, arg] { fn(arg); });
  }
  static uint64_t watch_fd(Host& h, int fd, void (*fn)(void*), void* arg) {
    HostImpl& self = of(h);
    if (fd < 0 || !self.watch_fd) return 0;
    return self.watch_fd(fd, [&self, fn, arg] {
      const auto done = guarded("a watched fd's function", [&] { fn(arg); });
      if (!done && self.log) self.log(LogLevel::kError, "plugins", done.error().message.c_str());
    });
  }
  static void unwatch_fd(Host& h, uint64_t handle) {
    HostImpl& self = of(h);
    if (handle != 0 && self.unwatch_fd) self.unwatch_fd(handle);
  }
  static void log(Host& h, LogLevel level, const char* who, const char* text) {
    HostImpl& self = of(h);
    if (self.log) self.log(level, text_or(who, "plugin").c_str(), text_or(text, "").c_str());
  }

  // --- In-process applications.
  static Status add_application(Host& h, const AppOps* ops, const AppConfig* config,
                                Application** out, std::string* message) {
    HostImpl& self = of(h);
    if (!self.parts_.sessions) return refuse(message, "this host has no sessions");
    auto app = self.parts_.sessions->add_application(*ops, *config);
    if (app) self.applications_.push_back({*app, self.owner_});
    return split(std::move(app), out, message);
  }
  static void remove_application(Host& h, Application* app) {
    HostImpl& self = of(h);
    // Twice, or one that was never there: nothing.
    if (std::erase_if(self.applications_, [&](const auto& a) { return a.thing == app; }) != 0)
      self.parts_.sessions->remove_application(*app);
  }
  static Status app_listen(Host& h, Application* app, const AppEndpoint* e, void* context,
                           SessionHandle* out, std::string* message) {
    return split(of(h).parts_.sessions->listen(*app, *e, context), out, message);
  }
  static Status app_listen_for(Host& h, Application* app, SessionId upper, const AppEndpoint* e,
                               void* context, SessionHandle* out, std::string* message) {
    return split(of(h).parts_.sessions->listen_for(*app, upper, *e, context), out, message);
  }
  static Status endpoint_settings(Host& h, uint32_t named, uint32_t number, std::string* out) {
    const HostImpl& self = of(h);
    return self.parts_.sessions ? self.parts_.sessions->endpoint_settings(named, number, out)
                                : Status::kNotFound;
  }
  static Status app_unlisten(Host& h, Application* app, SessionHandle listener) {
    return of(h).parts_.sessions->unlisten(*app, listener);
  }

  static Status place_buffers(Host& h, const BufferPlacement* p, std::string* message) {
    // What ABI 1.1 has; a plugin of another time knows less or more.
    constexpr std::size_t kLeast = offsetof(BufferPlacement, provide) + sizeof p->provide;
    if (p->struct_size < kLeast)
      return refuse(message, "the description of the buffers' memory is too short");
    BufferPlacement known{};
    std::memcpy(static_cast<void*>(&known), p, std::min<std::size_t>(p->struct_size, sizeof known));
    return split(of(h).parts_.engine.place_buffers(known), message);
  }
  static Status buffer_pool(Host& h, uint32_t pool, BufferPoolInfo* out) {
    const auto& pools = of(h).parts_.engine.buffer_pools();
    if (pool >= pools.size()) return Status::kNotFound;
    *out = pools[pool]->info();
    return Status::kOk;
  }
  static uint32_t take_buffers(Host& h, uint32_t pool, std::span<Buffer*> out) {
    const auto& pools = of(h).parts_.engine.buffer_pools();
    return pool < pools.size() ? pools[pool]->take(out) : 0;
  }
  static void give_buffers(Host& h, uint32_t pool, std::span<Buffer* const> buffers) {
    of(h).parts_.engine.buffer_pools().at(pool)->give(buffers);
  }
  static void post_to_worker(Host& h, uint32_t worker, WorkerPost& p) noexcept {
    of(h).parts_.engine.post(worker, p);
  }
  static const char* runtime_dir(Host& h) { return of(h).runtime_dir.c_str(); }

  static constexpr HostOps kOps{
      .struct_size = sizeof(HostOps),
      .add_node = add_node,
      .find_node = find_node,
      .add_feature = add_feature,
      .enable_feature = enable_feature,
      .add_ip_protocol = add_ip_protocol,
      .add_transport = add_transport,
      .add_congestion_control = add_congestion_control,
      .find_congestion_control = find_congestion_control,
      .add_cli_command = add_cli_command,
      .add_config_stanza = add_config_stanza,
      .add_interface = add_interface,
      .remove_interface = remove_interface,
      .set_link = set_link,
      .rx_counters = rx_counters,
      .n_workers = n_workers,
      .allocate_worker_slot = allocate_worker_slot,
      .run_on_worker = run_on_worker,
      .with_barrier = with_barrier,
      .watch_fd = watch_fd,
      .unwatch_fd = unwatch_fd,
      .log = log,
      .device = device,
      .find_interface = find_interface,
      .add_icmp_error_handler = add_icmp_error_handler,
      .add_api_module = add_api_module,
      .add_api_handler = add_api_handler,
      .each_api_subscriber = each_api_subscriber,
      .add_stats = add_stats,
      .set_default_congestion_control = set_default_congestion_control,
      .own_address = own_address,
      .add_application = add_application,
      .remove_application = remove_application,
      .app_listen = app_listen,
      .app_unlisten = app_unlisten,
      .app_listen_for = app_listen_for,
      .endpoint_settings = endpoint_settings,
      .place_buffers = place_buffers,
      .buffer_pool = buffer_pool,
      .take_buffers = take_buffers,
      .give_buffers = give_buffers,
      .post_to_worker = post_to_worker,
      .runtime_dir = runtime_dir,
      .set_mtu = set_mtu,
  };
};

HostImpl::HostImpl(const Parts& parts) : parts_(parts) {
  host_.ops = &Table::kOps;
  host_.impl = this;
}

PluginHooks HostImpl::plugin_hooks() {
  return {.log =
              [this](LogLevel level, const std::string& text) {
                if (log) log(level, "plugins", text.c_str());
              },
          .set_owner = [this](const std::string& plugin) { owner_ = plugin; },
          .retract = [this](const std::string& plugin) { retract(plugin); }};
}

void HostImpl::retract(const std::string& plugin) {
  const auto is_owned = [&](const auto& entry) { return entry.owner == plugin; };
  for (const Feature& f : features_)
    if (is_owned(f))  // fails only when the interface has gone meanwhile
      (void)parts_.engine.features().enable(f.arc, f.node, f.interface, false);
  std::erase_if(features_, is_owned);
  for (const auto& a : applications_)
    if (is_owned(a)) parts_.sessions->remove_application(*a.thing);
  std::erase_if(applications_, is_owned);
  for (const auto& i : interfaces_)
    if (is_owned(i)) (void)parts_.net.remove_interface(i.thing);
  std::erase_if(interfaces_, is_owned);
  for (const auto& t : transports_)
    if (is_owned(t)) parts_.transports.remove(t.thing);
  std::erase_if(transports_, is_owned);
  for (const auto& cc : congestion_controls_)
    if (is_owned(cc)) parts_.congestion_controls.remove(*cc.thing);
  std::erase_if(congestion_controls_, is_owned);
  for (const auto& handler : api_handlers_)
    if (is_owned(handler)) parts_.messages.remove_handler(handler.thing);
  std::erase_if(api_handlers_, is_owned);
  for (const auto& module : api_modules_)
    if (is_owned(module)) parts_.messages.remove_module(*module.thing);
  std::erase_if(api_modules_, is_owned);
  for (const auto& n : nodes_)
    if (is_owned(n)) parts_.engine.retire_node(n.thing);
  std::erase_if(nodes_, is_owned);
  for (Command& c : commands_)
    if (is_owned(c)) c.is_refused = true;
  for (Stanza& s : stanzas_)
    if (is_owned(s)) s.is_refused = true;
  parts_.stats.remove_of(plugin);
}

}  // namespace loom
