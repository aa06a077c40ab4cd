// What a plugin sees of the daemon, in virtual time: the IP layer on devices in memory (NetHost),
// commands and the binary API without sockets. Stepped by the test.
#pragma once
#include <poll.h>

#include "cli/tree.h"
#include "config/stanza_registry.h"
#include "plugin/host_impl.h"
#include "stats/stats_registry.h"
#include "tests/unit/core/net/api/api_host.h"
#include "transport/registry.h"

namespace loom {

class PluginHost : public ApiHost {
 public:
  explicit PluginHost(uint32_t n_workers = 1) : ApiHost({}, n_workers) {
    impl_.log = [this](LogLevel, const char* who, const char* text) {
      log += std::string(who) + ": " + text + "\n";
    };
    impl_.watch_fd = [this](int fd, std::function<void()> readable) {
      watched_[++last_watch_] = {fd, std::move(readable)};
      return last_watch_;
    };
    impl_.unwatch_fd = [this](uint64_t handle) { watched_.erase(handle); };
  }
  Host& host() { return impl_.host(); }
  // Before the plugin is made.
  void set_runtime_dir(std::string dir) { impl_.runtime_dir = std::move(dir); }

  CliOutcome cli(std::string_view line) { return tree_.run(host(), line); }
  // What a command that must succeed prints; lets the packets go that it has made.
  std::string ok(std::string_view line) {
    const CliOutcome o = cli(line);
    EXPECT_EQ(o.status, Status::kOk) << line << ": " << o.text;
    run();
    return o.text;
  }
  // What a command that must fail says.
  std::string refusal(std::string_view line) {
    const CliOutcome o = cli(line);
    EXPECT_NE(o.status, Status::kOk) << line << ": " << o.text;
    return o.text;
  }

  // Rounds, and watched descriptors that are readable, until there is nothing left to do.
  void settle() {
    for (bool again = true; again;) {
      run();
      again = false;
      for (const auto& [handle, watch] : std::map(watched_)) {
        pollfd p{.fd = watch.fd, .events = POLLIN, .revents = 0};
        if (!watched_.contains(handle) || poll(&p, 1, 0) != 1) continue;
        watch.readable();
        again = true;
      }
    }
  }

  std::string log;

 private:
  struct Watch {
    int fd;
    std::function<void()> readable;
  };
  std::map<uint64_t, Watch> watched_;
  uint64_t last_watch_ = 0;
  TransportRegistry transports_;
  CcRegistry congestion_;
  CliTree tree_;
  StanzaRegistry stanzas_;
  StatsRegistry stats_;
  HostImpl impl_{{*engine, *net, transports_, congestion_, tree_, stanzas_, registry, stats_}};
};

}  // namespace loom
