// What a plugin sees of the daemon, in virtual time: the IP layer on devices in memory (NetHost),
// commands and the binary API without sockets. Stepped by the test.
#pragma once
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
  }
  Host& host() { return impl_.host(); }

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

  std::string log;

 private:
  TransportRegistry transports_;
  CcRegistry congestion_;
  CliTree tree_;
  StanzaRegistry stanzas_;
  StatsRegistry stats_;
  HostImpl impl_{{*engine, *net, transports_, congestion_, tree_, stanzas_, registry, stats_}};
};

}  // namespace loom
