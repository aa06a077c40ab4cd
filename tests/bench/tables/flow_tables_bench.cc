// The flow tables where connections begin: a local port is chosen, and given back.
#include <benchmark/benchmark.h>

#include <hostloom/wire.h>

#include "session/flow_tables.h"

namespace loom::session {
namespace {

constexpr uint32_t kPorts = 64512;  // 1024 to 65535

Endpoints to_server() {
  Endpoints e;
  e.local = IpAddress(Ip4Address{{10, 0, 0, 1}});
  e.remote = IpAddress(Ip4Address{{10, 0, 0, 2}});
  e.remote_port = 80;
  return e;
}

// With range(0) connections to the same server.
void BM_FlowOpenDel(benchmark::State& state) {
  const auto tables = std::move(FlowTables::create({})).value();
  uint32_t counter = 0;
  for (int64_t i = 0; i < state.range(0); ++i) {
    Endpoints e = to_server();
    (void)tables->open(e, kProtoTcp, 0, 1, counter, 0);
    (void)tables->add(e, kProtoTcp, FlowKind::kEstablished, 0, 1);
  }
  for (auto _ : state) {
    Endpoints e = to_server();
    if (tables->open(e, kProtoTcp, 0, 1, counter, 0) != Status::kOk) state.SkipWithError("no port");
    tables->del(e, kProtoTcp, 0);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_FlowOpenDel)->Arg(0)->Arg(1 << 10)->Arg(kPorts / 2);

// Connects to a server to which there is a connection from every port: TIME-WAIT, for the most.
void BM_FlowOpenWithoutAPort(benchmark::State& state) {
  const auto tables = std::move(FlowTables::create({})).value();
  uint32_t counter = 0;
  for (uint32_t i = 0; i < kPorts; ++i) {
    Endpoints e = to_server();
    (void)tables->open(e, kProtoTcp, 0, 1, counter, 0);
    (void)tables->add(e, kProtoTcp, FlowKind::kEstablished, 0, 1);
  }
  TimeNs now = 0;
  for (auto _ : state) {
    now += 20'000;  // so that they are believed for 5000 turns
    Endpoints e = to_server();
    if (tables->open(e, kProtoTcp, 0, 1, counter, now) == Status::kOk)
      state.SkipWithError("a port");
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_FlowOpenWithoutAPort);

}  // namespace
}  // namespace loom::session
