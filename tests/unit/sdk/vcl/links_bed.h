// Datagram sessions of the application under test, each linked with one of another application,
// which is the test (fake_pair.h).
#pragma once
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <functional>

#include "datagram_calls.h"
#include "fake_pair.h"
#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl::test_bed {

using svm::DatagramHeader;
using test::FakeDaemon;

// Called where a thread is about to sleep in the kernel.
inline std::function<void()> before_sleep;
// That the library sees; threads take turns where there is one.
inline long n_cores = 2;

struct DatagramLinks : testing::Test, DatagramCalls {
  void SetUp() override {
    ::alarm(100);  // a call that never returns ends the test
    Config config;
    config.app_socket = "/tmp/vcl-links-" + std::to_string(getpid()) + ".sock";
    config.rx_fifo_size = config.tx_fifo_size = 256 << 10;
    config.session_timeout = 20;
    daemon = std::make_unique<FakeDaemon>(config.app_socket);
    adjust(config);
    plain = sys::hooks;
    sys::hooks.online_cores = [] { return n_cores; };
    worker = new AppWorker(config, "links-test");
    sys::hooks.epoll_pwait = [](int epfd, epoll_event* events, int n, int timeout,
                                const sigset_t* mask) {
      if (const auto f = before_sleep) f();
      return ::epoll_pwait(epfd, events, n, timeout, mask);
    };
  }
  void TearDown() override {
    before_sleep = nullptr;
    for (Session* s : sessions) s->unref();
    worker->leave();
    delete worker;
    sys::hooks = plain;
    ::alarm(0);
  }
  virtual void adjust(Config&) {}
  static svm::Endpoint end(uint16_t port, uint8_t host = 1) {
    return {.is_ip4 = 1, .reserved = 0, .port = htons(port), .ip = {10, 0, 0, host}};
  }
  Session& connect(uint16_t port = FakeDaemon::kPeer) {
    Session* s = worker->new_session(Session::kProtoUdp, true, false);
    sessions.push_back(s);
    EXPECT_EQ(s->bind(end(4000, 2)), 0);
    EXPECT_EQ(s->connect(end(port)), 0);
    s->set_nonblocking(true);
    return *s;
  }
  FakeDaemon::Pair& pair(size_t i = 0) { return daemon->pair(i); }
  // By the transport, from the same peer.
  void inject(const std::string& payload, size_t session = 0) {
    DatagramHeader h{};
    h.length = static_cast<uint32_t>(payload.size());
    h.flags = svm::kDatagramKnownFlags;
    h.is_ip4 = 1;
    h.remote_port = htons(FakeDaemon::kPeer);
    daemon->inject(session, std::string(reinterpret_cast<const char*>(&h), sizeof h) + payload);
  }

  std::unique_ptr<FakeDaemon> daemon;
  AppWorker* worker = nullptr;
  std::vector<Session*> sessions;
  sys::Hooks plain{};
};

}  // namespace loom::vcl::test_bed
