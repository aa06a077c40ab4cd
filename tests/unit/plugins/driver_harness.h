// What the tests of drivers stand on that talk to the kernel: an engine that is stepped by hand, a
// Host that records what the driver asks of it, and a private network namespace.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "graph/engine.h"

namespace loom {

// One worker, never started, with a node "ethernet-input" that keeps what it gets.
class DriverHarness {
 public:
  explicit DriverHarness(const NodeInfo& input_node, uint32_t n_buffers = 16384,
                         uint32_t data_size = kDefaultDataSize);
  ~DriverHarness();
  DriverHarness(const DriverHarness&) = delete;

  Worker& worker() { return engine->worker(0); }
  NodeRuntime& input() { return worker().node_runtime(engine->find_node(input_name_)); }
  uint64_t counter(uint16_t c) { return input().counters[c]; }
  uint32_t free_buffers();  // of the pool, wherever they lie

  // A command of the driver's; the reply's first line, or "error: ...".
  std::string cli(const std::string& line);
  // The first column of the table that a command answers with.
  std::vector<std::string> names(const std::string& line);
  // Waits until a watched descriptor is readable, and has it looked at.
  bool news();

  std::unique_ptr<Engine> engine;
  Host host;
  std::vector<Buffer*> sink;  // freed by clear()
  void clear();

  // What the driver did. Its interface is number 7.
  InterfaceConfig interface;
  bool has_interface = false;
  std::map<std::string, IfIndex> others;  // interfaces of other drivers
  bool refuse_interface = false, refuse_mtu = false;
  std::vector<bool> links;
  std::map<uint64_t, std::function<void()>> watched;
  std::map<uint64_t, int> watched_fds;
  std::vector<std::string> log;
  InterfaceCounters counters;
  uint32_t n_worker_calls = 0;  // run_on_worker
  std::map<std::string, CliCommand> commands;

 private:
  struct Table;
  Result<void> run(const std::string& line, CliReply& reply);
  const char* input_name_;
  DriverHarness* before_;  // whose node "ethernet-input" was that of the process
};

// All bytes of a chain.
std::string bytes_of(const Buffer& b);
// A packet with those bytes in the worker's buffers, `first` of them in the first segment.
Buffer* make_packet(Worker& w, const std::string& bytes, std::size_t first = 2048);
// Bytes that differ from their neighbours.
std::string pattern(std::size_t n);

// Moves this process into a user and a network namespace of its own, once. Every test that touches
// the kernel's network calls it first.
void enter_private_network();

}  // namespace loom
