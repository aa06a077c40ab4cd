// What the tap tests stand on: an engine that is stepped by hand, a Host that records what the
// driver asks of it, and private network namespaces.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <hostloom/host.h>
#include <hostloom/virtio_net.h>
#include <hostloom/wire.h>

#include "device.h"
#include "graph/engine.h"
#include "taps.h"

namespace loom::tap {

// One worker, never started, with a node "ethernet-input" that keeps what it gets.
class Harness {
 public:
  explicit Harness(uint32_t n_buffers = 16384, uint32_t data_size = kDefaultDataSize);
  ~Harness();

  Worker& worker() { return engine->worker(0); }
  NodeRuntime& input() { return worker().node_runtime(engine->find_node("tap-input")); }
  uint64_t counter(RxCounter c) { return input().counters[c]; }
  // Calls the driver's rx once, and has its packets reach the sink.
  uint32_t rx(Device& d, uint16_t queue = 0);
  // Waits (bounded) until the TAP has packets and collects them.
  bool rx_wait(Device& d);
  uint32_t free_buffers();  // of the pool, wherever they lie

  // A device whose only queue is `fd`, for packets that no kernel would send. Closes fd.
  std::unique_ptr<Device> device_on(int fd);

  // `create tap ...` and the like; the reply's first line, or "error: ...".
  std::string cli(const std::string& line);
  // The first column of the table that a command answers with.
  std::vector<std::string> names(const std::string& line);

  std::unique_ptr<Engine> engine;
  Host host;
  std::vector<Buffer*> sink;  // freed by clear()
  void clear();

  // What the driver did.
  InterfaceConfig interface;
  bool has_interface = false;
  std::map<std::string, IfIndex> others;  // interfaces of other drivers
  bool refuse_interface = false;
  std::vector<bool> links;
  std::map<uint64_t, std::function<void()>> watched;
  std::map<uint64_t, int> watched_fds;
  std::vector<std::string> log;
  InterfaceCounters counters;
  std::map<std::string, CliCommand> commands;
  std::unique_ptr<Taps> taps;
  Device* device() { return static_cast<Device*>(interface.device); }

 private:
  struct Table;
  Result<void> run(const std::string& line, CliReply& reply);
};

// All bytes of a chain.
std::string bytes_of(const Buffer& b);
// A packet with those bytes in the harness's buffers, `first` of them in the first segment.
Buffer* make_packet(Worker& w, const std::string& bytes, std::size_t first = 2048);

// A network namespace that lives as long as this; `path` names it.
class PrivateNamespace {
 public:
  PrivateNamespace();
  ~PrivateNamespace();
  const std::string& path() const { return path_; }
  void run(const std::function<void()>& fn);  // inside it

 private:
  std::string path_;
};

// Moves this process into a user and a network namespace of its own, once. Every test that touches
// the kernel's network calls it first. Empty, or why real TAPs cannot be tested here.
std::string enter_private_network();

}  // namespace loom::tap
