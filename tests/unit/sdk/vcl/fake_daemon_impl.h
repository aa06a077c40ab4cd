// What the files of FakeDaemon share: its applications, workers, sessions and listeners. All on its
// thread.
#pragma once
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "fake_daemon.h"

namespace loom::test {

using namespace svm;

struct FakeDaemon::App {
  uint32_t index = 0;
  std::string name;
  DaemonArena arena;
  std::vector<std::unique_ptr<svm::Segment>> app_segments;
  SegmentTable table;  // app arenas
  std::vector<std::unique_ptr<Worker>> workers;
  uint32_t rx_size = 0, tx_size = 0, queue_size = 0;
};

struct FakeDaemon::Worker {
  App* app = nullptr;
  uint32_t index = 0;
  int socket = -1;
  int event_fd = -1;
  MqProducer to_app;
  MqConsumer from_app;
  Ref to_app_ref = 0, from_app_ref = 0;
  bool attached() const { return socket >= 0 && from_app.shared(); }
  ~Worker() {
    if (socket >= 0) close(socket);
    if (event_fd >= 0) close(event_fd);
  }
};

struct FakeDaemon::Session {
  App* app = nullptr;
  uint64_t handle = 0;
  SessionShared* shared = nullptr;
  Ref ref = 0;
  OwnedFifoProducer rx;
  OwnedFifoConsumer tx;
  Session* peer = nullptr;  // nullptr: the test is the other side
  SocketOptions options{};
  uint32_t options_number = 0;
  std::string outside;  // sent, for the test
  Endpoint local{}, remote{};
  bool shut = false, closed = false, reset = false, eof_sent = false;
};

struct FakeDaemon::Listener {
  App* app = nullptr;
  uint64_t handle = 0;
  ListenerShared* shared = nullptr;
  AcceptProducer queue;
  Endpoint local{};
  SocketOptions options{};
};

template <class T>
void FakeDaemon::send(Worker& w, ToApp type, const T& payload) {
  if (w.to_app.push(type, payload) != MqProducer::Push::kOk) std::abort();
  if (w.to_app.needs_wake()) {
    const uint64_t one = 1;
    (void)!write(w.event_fd, &one, sizeof one);
  }
}

}  // namespace loom::test
