// Loads the plugin file that it is given as the daemon does, and has hello-feature count packets.
#include <cstdio>
#include <cstring>

#include <hostloom/checksum.h>
#include <hostloom/wire.h>

#include "api/registry.h"
#include "cli/tree.h"
#include "config/stanza_registry.h"
#include "graph/engine.h"
#include "net/net.h"
#include "plugin/host_impl.h"
#include "transport/registry.h"

namespace loom {
namespace {

template <class T>
T must(const char* what, Result<T> r) {
  if (!r) {
    std::fprintf(stderr, "%s: %s\n", what, r.error().message.c_str());
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*r);
}

void must_be(const char* what, uint64_t is, uint64_t wanted) {
  if (is == wanted) return;
  std::fprintf(stderr, "%s: %llu, not %llu\n", what, static_cast<unsigned long long>(is),
               static_cast<unsigned long long>(wanted));
  std::exit(1);
}

Buffer* packet(Worker& w, IfIndex interface, uint8_t protocol) {
  Buffer* b = w.alloc();
  Ip4Header ip{};
  ip.version_ihl = 0x45;
  ip.total_length = 20;
  ip.ttl = 64;
  ip.protocol = protocol;
  ip.src = {{192, 0, 2, 1}};
  ip.dst = {{198, 51, 100, 1}};
  ip.checksum = static_cast<uint16_t>(~checksum_fold(checksum_add(0, &ip, sizeof ip)));
  std::memcpy(b->append(sizeof ip), &ip, sizeof ip);
  b->rx_if = interface;
  return b;
}

int check(const char* file) {
  EngineConfig config;
  config.buffers.buffers_per_numa = 1024;
  auto engine = must("engine", Engine::create(config));
  auto net = must("net", Net::create(*engine));
  TransportRegistry transports;
  CcRegistry congestion_controls;
  CliTree cli;
  StanzaRegistry stanzas;
  ApiRegistry messages;
  HostImpl host({*engine, *net, transports, congestion_controls, cli, stanzas, messages});
  PluginLoader loader(host.host(), host.plugin_hooks());
  const std::string name = must("load", loader.load_one(file));
  must("build", engine->build());
  must("start", loader.start_all());
  const IfIndex interface = must("loopback", net->create_loopback());

  must("up", net->set_admin(interface, true));

  const auto cli_line = [&](const std::string& line) {
    const CliOutcome outcome = cli.run(host.host(), line);
    std::printf("%s", outcome.text.c_str());
    must_be(line.c_str(), static_cast<uint64_t>(outcome.status), 0);
  };
  const auto counter = [&](std::size_t i) {
    return engine->worker(0).node_runtime(engine->find_node(name.c_str())).counters[i];
  };
  const auto arrives = [&](uint8_t protocol) {
    Worker& w = engine->worker(0);
    w.enqueue_to_node(engine->find_node("ip4-input"), packet(w, interface, protocol));
    engine->step();
  };
  arrives(kProtoTcp);
  must_be("tcp, before it is enabled", counter(0), 0);
  cli_line("hello enable loop0");
  arrives(kProtoTcp);
  arrives(kProtoTcp);
  arrives(kProtoUdp);
  arrives(kProtoIcmp);
  must_be("tcp", counter(0), 2);
  must_be("udp", counter(1), 1);
  must_be("other", counter(2), 1);
  cli_line("hello disable loop0");
  arrives(kProtoTcp);
  must_be("tcp, after it was disabled", counter(0), 2);
  return 0;
}

}  // namespace
}  // namespace loom

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s PLUGIN.so\n", argv[0]);
    return 2;
  }
  return loom::check(argv[1]);
}
