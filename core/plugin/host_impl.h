// What plugins ask of the daemon (hostloom/host.h), forwarded to the parts of the core that do it.
//
// It also remembers which plugin registered what, so that a plugin that is refused after its init()
// has begun leaves nothing behind that would run its code: its transports and congestion
// controllers are no longer found, its interfaces and features are removed, and its commands and
// stanzas answer that their plugin was refused. Its nodes stay in the graph, where nothing leads to
// them.
//
// Control thread, but for find_congestion_control, which any thread may call.
#pragma once
#include <deque>
#include <functional>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "plugin/loader.h"

namespace loom {

class CcRegistry;
class CliTree;
class Engine;
class Net;
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
    StatsRegistry& stats;
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

  // For PluginLoader: bound to this.
  PluginHooks plugin_hooks();

 private:
  struct Table;  // the entries of HostOps
  struct Command {
    CliCommand command;
    std::string owner;
  };
  struct Stanza {
    ConfigStanza stanza;
    std::string owner;
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
  // The command tree and the stanza registry point to these copies.
  std::deque<Command> commands_;
  std::deque<Stanza> stanzas_;
  std::vector<Feature> features_;
  std::vector<Owned<TransportId>> transports_;
  std::vector<Owned<std::string>> congestion_controls_;
  std::vector<Owned<IfIndex>> interfaces_;
};

}  // namespace loom
