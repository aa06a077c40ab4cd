// What plugins ask of the daemon (hostloom/host.h), forwarded to the parts of the core that do it.
//
// It also remembers which plugin registered what, so that a plugin that is refused after its init()
// has begun leaves nothing behind that would run its code: its transports and congestion
// controllers are no longer found, its applications, interfaces, features, API messages and their
// handlers are removed, its commands and stanzas answer that their plugin was refused, and its
// nodes are retired: their functions are not called.
//
// What a plugin's commands, stanzas and watched fds throw ends here, as the answer or a log line.
//
// Control thread, but for find_congestion_control, which any thread may call.
#pragma once
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/host.h>

#include "plugin/loader.h"

namespace loom {

class ApiRegistry;
class CcRegistry;
class CliTree;
class Engine;
class Net;
class SessionLayer;
class StanzaRegistry;
class StatsRegistry;
class TransportRegistry;

class HostImpl {
 public:
  // All of them outlive this, and this outlives the last call of any plugin.
  struct Parts {
    Engine& engine;
    Net& net;
    TransportRegistry& transports;
    CcRegistry& congestion_controls;
    CliTree& cli;
    StanzaRegistry& stanzas;
    ApiRegistry& messages;
    StatsRegistry& stats;
    SessionLayer* sessions = nullptr;  // null: there are no in-process applications
  };
  explicit HostImpl(const Parts& parts);
  HostImpl(const HostImpl&) = delete;
  HostImpl& operator=(const HostImpl&) = delete;

  Host& host() noexcept { return host_; }

  // The daemon's event loop and log. What is left empty does nothing: a log line is lost, a watched
  // fd never reported.
  std::function<void(LogLevel, const char* who, const char* text)> log;
  std::function<uint64_t(int fd, std::function<void()> readable)> watch_fd;  // returns a handle
  std::function<void(uint64_t handle)> unwatch_fd;
  std::string runtime_dir;  // as HostOps::runtime_dir; before the first plugin's init()

  // For PluginLoader: bound to this.
  PluginHooks plugin_hooks();

 private:
  struct Table;  // the entries of HostOps
  // `registered` is what tree and registry point to: it calls the plugin's own, guarded.
  struct Command {
    CliCommand registered, own;
    std::string owner;
    bool is_refused = false;
  };
  struct Stanza {
    ConfigStanza registered, own;
    std::string owner;
    bool is_refused = false;
  };
  struct Feature {
    std::string arc, node;
    IfIndex interface;
    std::string owner;
  };
  template <class T>
  struct Owned {
    T thing;
    std::string owner;
  };
  void retract(const std::string& plugin);

  Parts parts_;
  Host host_;
  std::string owner_;  // whose init() or start() runs; "" = nobody's
  // The command tree and the stanza registry point into these.
  std::deque<Command> commands_;
  std::deque<Stanza> stanzas_;
  std::vector<Feature> features_;
  std::vector<Owned<NodeId>> nodes_;
  std::vector<Owned<TransportId>> transports_;
  std::vector<Owned<const CcOps*>> congestion_controls_;  // the registry's copies
  std::vector<Owned<IfIndex>> interfaces_;
  std::vector<Owned<const ApiModule*>> api_modules_;
  std::vector<Owned<ApiMessageInfo>> api_handlers_;
  std::vector<Owned<Application*>> applications_;
};

}  // namespace loom
