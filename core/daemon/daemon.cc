#include "daemon/daemon.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include <hostloom/runtime_dir.h>

#include "api/cli.h"
#include "api/core_handlers.h"
#include "api/server.h"
#include "cli/tree.h"
#include "config/core_config.h"
#include "config/parser.h"
#include "config/stanza_registry.h"
#include "daemon/builtin_commands.h"
#include "daemon/cli_socket.h"
#include "daemon/event_loop.h"
#include "daemon/log.h"
#include "daemon/log_api.h"
#include "daemon/process.h"
#include "daemon/runtime_dir.h"
#include "daemon/terminal.h"
#include "event_log/cli.h"
#include "graph/api.h"
#include "graph/cli.h"
#include "graph/engine.h"
#include "net/net.h"
#include "plugin/api.h"
#include "plugin/host_impl.h"
#include "plugin/loader.h"
#include "plugin/plugin_config.h"
#include "session/api.h"
#include "session/session_layer.h"
#include "stats/stats_registry.h"
#include "stats/stats_service.h"
#include "transport/registry.h"

namespace loom {
namespace {

constexpr const char* kDaemonName = "hostloom";
constexpr uint32_t kBuffersForCheck = 1024;

EngineConfig engine_config(const config::Core& c, bool is_check) {
  EngineConfig e;
  e.n_workers = c.cpu.workers;
  e.corelist.assign(c.cpu.worker_cores.begin(), c.cpu.worker_cores.end());
  e.buffers.buffers_per_numa = is_check ? kBuffersForCheck : c.buffers.per_numa;
  e.buffers.data_size = c.buffers.data_size;
  e.buffers.page_size = c.buffers.page_size;
  e.poll_mode = c.cpu.poll;
  e.follows = c.cpu.follow;
  e.spin_time = TimeNs{c.cpu.spin_us} * kMicrosecond;
  return e;
}

}  // namespace

// In the order in which they are made; each may use those above it, and goes before them.
struct Daemon::Parts {
  explicit Parts(DaemonOptions o) : options(std::move(o)) {}

  DaemonOptions options;
  ConfigNode file;
  config::Core core;
  std::string runtime_dir;

  DaemonLog log;
  EventLoop loop;
  std::optional<RuntimeDir> lock;
  std::optional<PidFile> pidfile;
  TransportRegistry transports;
  CcRegistry congestion_controls;
  CliTree cli;
  StanzaRegistry stanzas;
  ApiRegistry messages;
  StatsRegistry stats_sets;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Net> net;
  std::unique_ptr<SessionLayer> sessions;
  std::unique_ptr<StatsService> stats;
  std::unique_ptr<HostImpl> host;
  std::unique_ptr<PluginLoader> plugins;
  std::unique_ptr<BuiltinParts> builtin;
  std::unique_ptr<EventLogCommands> event_log;
  std::unique_ptr<ApiServer> api;
  ApiCommands api_commands{api, messages};
  std::unique_ptr<CliSocket> cli_socket;
  std::unique_ptr<Terminal> terminal;
  bool is_started = false;

  Result<void> read_file();
  Result<void> make_parts();
  Result<void> register_commands();
  void note(EventKind, uint32_t number, uint64_t value, std::string_view text);
  void note_events(PluginHooks&);
  void complete_names();
  Result<void> load_plugins();
  Result<void> open_sockets();
  Result<void> run_startup_commands();
  CoreApiParts api_parts();
  std::string api_path() const {
    return core.sockets.api.empty() ? runtime_dir + "/api.sock" : core.sockets.api;
  }
  std::string stats_path() const {
    return core.sockets.stats.empty() ? runtime_dir + "/stats.sock" : core.sockets.stats;
  }
  std::optional<uint32_t> gid() const {
    return core.sockets.api_gid ? core.sockets.api_gid : core.unix_.gid;
  }
};

Result<void> Daemon::Parts::read_file() {
  auto parsed = parse_config(options.config_text, options.config_name);
  if (!parsed) return parsed.error();
  file = std::move(*parsed);
  auto read = config::read_core(file);
  if (!read) return read.error();
  core = std::move(*read);
  runtime_dir = !options.runtime_dir.empty()      ? options.runtime_dir
                : !core.unix_.runtime_dir.empty() ? core.unix_.runtime_dir
                                                  : default_runtime_dir();
  core.session.runtime_dir = runtime_dir;
  log.set_level(options.is_check ? LogLevel::kWarn : core.logging.default_level);
  return {};
}

Result<void> Daemon::Parts::make_parts() {
  auto made_engine = Engine::create(engine_config(core, options.is_check));
  if (!made_engine) return made_engine.error();
  engine = std::move(*made_engine);
  engine->set_control_executor(
      [](void* to, void (*fn)(void*), void* arg) { static_cast<EventLoop*>(to)->post(fn, arg); },
      &loop);
  auto made_net = Net::create(*engine);
  if (!made_net) return made_net.error();
  net = std::move(*made_net);
  sessions = std::make_unique<SessionLayer>(core.session, *engine, transports);
  sessions->use(*net);
  auto built = sessions->build();
  // Before any plugin's: they have fixed numbers.
  if (built) built = add_core_modules(messages);
  if (built) built = add_net_messages(messages, *net);
  if (!built) return built;
  stats = std::make_unique<StatsService>(core.stats,
                                         StatsService::Parts{*engine, *net, *sessions, stats_sets});
  host = std::make_unique<HostImpl>(HostImpl::Parts{*engine, *net, transports, congestion_controls,
                                                    cli, stanzas, messages, stats_sets,
                                                    sessions.get()});
  host->log = [this](LogLevel level, const char* who, const char* text) {
    log.write(level, who, text);
  };
  host->watch_fd = [this](int fd, std::function<void()> fn) {
    return loop.watch(fd, std::move(fn));
  };
  host->unwatch_fd = [this](uint64_t handle) { loop.unwatch(handle); };
  host->runtime_dir = runtime_dir;
  PluginHooks hooks = host->plugin_hooks();
  note_events(hooks);
  plugins = std::make_unique<PluginLoader>(host->host(), std::move(hooks));
  return {};
}

void Daemon::Parts::note(EventKind kind, uint32_t number, uint64_t value, std::string_view text) {
  engine->events().write(EventLog::kControl, engine->clock_now(), kind, number, value, text);
}

// What the event log hears of, beside the engine's and the session layer's own.
void Daemon::Parts::note_events(PluginHooks& hooks) {
  hooks.changed = [this](const PluginRow& row) {
    const std::string& who = row.name.empty() ? row.file : row.name;
    note(EventKind::kPlugin, static_cast<uint32_t>(row.state), 0,
         who + " " + plugin_state_name(row.state));
  };
  net->on_interface_event([this](IfIndex index, bool admin_up, bool link_up, bool is_deleted) {
    const auto interface = net->interface(index);
    note(EventKind::kInterface, index,
         (admin_up ? kEventAdminUp : 0u) | (link_up ? kEventLinkUp : 0u) |
             (is_deleted ? kEventDeleted : 0u),
         interface ? interface->name : "");
  });
  cli.on_ran([this](std::string_view line, Status status) {
    note(EventKind::kCli, static_cast<uint32_t>(status), 0, line);
  });
}

Result<void> Daemon::Parts::register_commands() {
  builtin = std::make_unique<BuiltinParts>(BuiltinParts{log, *plugins});
  auto done = register_builtin_commands(cli, *builtin);
  if (done) done = register_api_commands(host->host(), api_commands);
  if (done) done = register_graph_commands(host->host(), *engine);
  event_log = std::make_unique<EventLogCommands>(EventLogCommands{*engine, runtime_dir});
  if (done) done = register_event_log_commands(host->host(), *event_log);
  if (done) done = register_net_commands(host->host(), *net);
  if (done) done = register_session_commands(host->host(), *sessions);
  if (done) done = register_stats_commands(host->host(), *stats);
  if (done) done = add_plugin_api(messages, *plugins);
  if (done) done = add_session_api(host->host(), messages, *sessions);
  if (done) done = add_drain_api(host->host(), messages, *sessions);
  if (done) done = add_congestion_api(messages, *sessions, congestion_controls);
  if (done) done = register_congestion_commands(host->host(), *sessions, congestion_controls);
  if (done)
    done = add_trace_api(messages, *engine,
                         [this](uint32_t index) { return bool(net->interface(index)); });
  if (done) done = add_log_api(messages, log);
  complete_names();
  return done;
}

// What a command's syntax may name, for completion.
void Daemon::Parts::complete_names() {
  cli.add_values("INTERFACE", [this] {
    std::vector<std::string> names;
    for (auto& i : net->interfaces()) names.push_back(std::move(i.name));
    return names;
  });
  cli.add_values("NODE", [this] {
    std::vector<std::string> names;
    for (uint32_t i = 0; i < engine->nodes().size(); ++i)
      names.push_back(engine->nodes()[static_cast<NodeId>(i)].info.name);
    std::sort(names.begin(), names.end());
    return names;
  });
  cli.add_values("PLUGIN", [this] {
    std::vector<std::string> names;
    for (const auto& p : plugins->list())
      if (!p.name.empty()) names.push_back(p.name);  // what was refused may have none
    return names;
  });
}

Result<void> Daemon::Parts::load_plugins() {
  auto wanted = parse_plugin_config(config::merged_stanza(file, "plugins"));
  if (!wanted) return wanted.error();
  if (!options.plugin_path.empty()) wanted->paths = {options.plugin_path};
  return plugins->load_all(*wanted);
}

Result<void> Daemon::Parts::open_sockets() {
  auto opened = sessions->start({
      .watch_fd = [this](int fd,
                         std::function<void()> fn) { return loop.watch(fd, std::move(fn)); },
      .unwatch_fd = [this](uint64_t handle) { loop.unwatch(handle); },
      .after = [this](double s, std::function<void()> fn) { return loop.after(s, std::move(fn)); },
      .log = [this](LogLevel level, const std::string& text) { log.write(level, "session", text); },
  });
  if (opened) opened = stats->open();
  if (opened)
    opened = stats->start(
        {
            .watch_fd = [this](int fd,
                               std::function<void()> fn) { return loop.watch(fd, std::move(fn)); },
            .unwatch_fd = [this](uint64_t handle) { loop.unwatch(handle); },
            .after = [this](double s,
                            std::function<void()> fn) { return loop.after(s, std::move(fn)); },
            .log = [this](LogLevel level,
                          const std::string& text) { log.write(level, "stats", text); },
        },
        stats_path(), gid());
  if (!opened) return opened;
  add_core_handlers(messages, api_parts());
  api = std::make_unique<ApiServer>(
      loop.io(), messages,
      [this](LogLevel level, const std::string& text) { log.write(level, "api", text); });
  api->on_request([this](const ApiMessageInfo& message, uint32_t client, std::size_t bytes) {
    note(EventKind::kApi, client, bytes, message.name);
  });
  opened = api->listen(api_path(), gid());
  if (!opened || core.unix_.cli_listen.empty()) return opened;
  cli_socket = std::make_unique<CliSocket>(loop.io(), cli, host->host());
  return cli_socket->listen(core.unix_.cli_listen, gid());
}

CoreApiParts Daemon::Parts::api_parts() {
  return {
      .host = host->host(),
      .cli = cli,
      .version = program_version(),
      .build_date = "",  // the same source gives the same program
      .uptime_s = [this] { return log.uptime_s(); },
      .find_node =
          [this](const std::string& name) {
            const NodeId id = engine->find_node(name);
            return id == kNoNode ? ~0u : uint32_t{id};
          },
      .node = [this](uint32_t index) -> std::optional<CoreApiParts::Node> {
        if (index >= engine->nodes().size()) return std::nullopt;
        const auto& node = engine->nodes()[static_cast<NodeId>(index)];
        CoreApiParts::Node found{node.info.name, {}};
        for (const NodeId to : node.next) found.next.push_back(to == kNoNode ? ~0u : uint32_t{to});
        return found;
      },
      .threads =
          [this] {
            std::vector<CoreApiParts::Thread> all{{"loom-main", "",
                                                   static_cast<uint32_t>(::getpid()),
                                                   core.cpu.main_core.value_or(~0u)}};
            for (uint32_t i = 0; i < engine->n_workers(); ++i) {
              const auto worker = engine->stats().worker(i);
              all.push_back({"loom-w" + std::to_string(i), "workers",
                             static_cast<uint32_t>(worker.thread_id),
                             worker.core < 0 ? ~0u : static_cast<uint32_t>(worker.core)});
            }
            return all;
          },
      .log_lines =
          [this] {
            std::vector<CoreApiParts::LogLine> all;
            for (auto& line : log.lines())
              all.push_back({line.time_s, line.level, line.who, line.text});
            return all;
          },
      .log = [this](LogLevel level, const std::string& text) { log.write(level, "api", text); },
  };
}

Result<void> Daemon::Parts::run_startup_commands() {
  std::string out;
  auto done =
      cli.run_script(host->host(), options.startup_commands, "built-in start-up commands", out);
  for (const auto& path : core.unix_.startup_files)
    if (done) done = cli.run_file(host->host(), path, out);
  for (std::size_t at = 0; at < out.size();) {
    const std::size_t end = std::min(out.find('\n', at), out.size());
    if (end > at) log.write(LogLevel::kInfo, "startup", std::string_view(out).substr(at, end - at));
    at = end + 1;
  }
  return done;
}

Daemon::Daemon(DaemonOptions options) : parts_(std::make_unique<Parts>(std::move(options))) {}

Daemon::~Daemon() { stop(); }

Result<void> Daemon::configure() {
  Parts& p = *parts_;
  auto done = p.read_file();
  if (done) done = p.make_parts();
  if (done) done = p.register_commands();
  if (done) done = p.load_plugins();
  if (done) done = p.stanzas.check(p.file);
  if (done) done = p.stanzas.apply(p.file);
  return done;
}

bool Daemon::wants_background() const { return !parts_->core.unix_.nodaemon && !is_interactive(); }
bool Daemon::is_interactive() const { return parts_->core.unix_.interactive; }

Result<void> Daemon::start(bool in_background) {
  Parts& p = *parts_;
  auto lock = RuntimeDir::open(p.runtime_dir, p.core.unix_.gid);
  if (!lock) return lock.error();
  p.lock.emplace(std::move(*lock));
  if (!p.core.unix_.pidfile.empty()) {
    auto pidfile = PidFile::write(p.core.unix_.pidfile);
    if (!pidfile) return pidfile.error();
    p.pidfile.emplace(std::move(*pidfile));
  }
  std::string log_file = p.core.unix_.log;
  if (log_file.empty() && in_background) log_file = p.runtime_dir + "/hostloom.log";
  auto done = log_file.empty() ? Result<void>{} : p.log.open_file(log_file);
  if (!done) return done;
  p.log.write(
      LogLevel::kNotice, kDaemonName,
      std::string("version ") + program_version() + ", configuration " + p.options.config_name);

  p.is_started = true;
  std::signal(SIGPIPE, SIG_IGN);
  p.loop.on_signal([this, log_file](int signal) {
    if (signal != SIGHUP) return request_stop();
    if (log_file.empty()) return;
    if (const auto again = parts_->log.open_file(log_file); !again)  // for log rotation
      parts_->log.write(LogLevel::kWarn, kDaemonName, again.error().message);
  });
  done = p.engine->build();
  if (done) done = p.plugins->start_all();
  if (done) done = p.engine->start();
  if (done && p.core.cpu.main_core) {  // after the workers are started: they would inherit it
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(*p.core.cpu.main_core, &cores);
    if (::sched_setaffinity(0, sizeof cores, &cores) != 0)
      p.log.write(
          LogLevel::kWarn, kDaemonName,
          "main-core " + std::to_string(*p.core.cpu.main_core) + ": " + std::strerror(errno));
  }
  if (done) done = p.open_sockets();
  if (done) done = p.run_startup_commands();
  if (!done) return done;
  p.stats->update();  // whoever was told that the daemon is ready finds its interfaces
  if (is_interactive())
    p.terminal =
        std::make_unique<Terminal>(p.loop, p.cli, p.host->host(), [this] { request_stop(); });
  p.log.write(LogLevel::kNotice, kDaemonName, "ready");
  notify_service_manager("READY=1");
  return {};
}

void Daemon::run() { parts_->loop.run(); }
void Daemon::request_stop() { parts_->loop.stop(); }

void Daemon::stop() {
  Parts& p = *parts_;
  if (p.is_started) {
    p.log.write(LogLevel::kNotice, kDaemonName, "stopping");
    notify_service_manager("STOPPING=1");
  }
  p.is_started = false;
  p.terminal.reset();
  p.cli_socket.reset();
  p.api.reset();
  if (p.stats) p.stats->stop();
  // While the workers run, so that the peers of open connections hear of the end.
  if (p.sessions) p.sessions->stop();
  if (p.engine) p.engine->stop();
  if (p.plugins) p.plugins->stop_all();
  // Drivers' destroy functions ask the host; so it is still there.
  if (p.net)
    for (const auto& interface : p.net->interfaces())
      (void)p.net->remove_interface(interface.index);
  // What neighbours had waiting may refer to bytes of sessions, which are still there.
  if (p.engine) p.engine->free_pending();
  p.loop.poll();  // what was posted on the way down
}

}  // namespace loom
