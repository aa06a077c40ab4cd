// The plugin as a whole: registration, and the little that all workers share. Shared state is
// written before the workers run, or while they stand still, and only read by them.
#pragma once
#include <vector>

#include <hostloom/host.h>
#include <hostloom/siphash.h>
#include <hostloom/wire.h>

#include "config.h"
#include "source_addresses.h"

namespace loom::tcp {

struct TcpWorker;

// TransportOps carries no context pointer, so this is found by name. One stack per process.
struct Shared {
  Host* host = nullptr;
  Config config;
  SourceAddresses sources;
  SipKey key;  // of initial sequence numbers
  uint32_t worker_slot = 0;
  TransportId transport = kNoTransport;
  NodeId input4 = kNoNode, input6 = kNoNode, output4 = kNoNode, output6 = kNoNode;
  const CcOps* default_cc = nullptr;      // at the start; when there should be none later
  std::vector<const TcpWorker*> workers;  // by index
};
Shared& shared() noexcept;

// Life-cycle of the plugin; see PluginInfo. start refuses a cc-algo that no plugin has registered.
Result<void> init(Host&) noexcept;
Result<void> start(Host&) noexcept;
void stop(Host&) noexcept;

Result<void> add_cli_commands(Host&);     // cli.cc
Result<void> add_statistics(Host&);       // cli.cc
extern const TransportOps kTransportOps;  // transport.cc

// Nodes, each in the file of its name.
extern const NodeInfo kTcp4Input, kTcp6Input;
extern const NodeInfo kTcp4Established, kTcp6Established;
extern const NodeInfo kTcp4SynSent, kTcp6SynSent;
extern const NodeInfo kTcp4RcvProcess, kTcp6RcvProcess;
extern const NodeInfo kTcp4Listen, kTcp6Listen;
extern const NodeInfo kTcp4Reset, kTcp6Reset;
extern const NodeInfo kTcp4Output, kTcp6Output;

}  // namespace loom::tcp
