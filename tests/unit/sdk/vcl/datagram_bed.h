// A datagram session as the preload library uses it. The far end is the test, which writes and
// reads the fifos' bytes, headers and all.
#pragma once
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <cstring>

#include "datagram_calls.h"
#include "fake_daemon.h"
#include "svm/datagram.h"
#include "vcl/app_worker.h"

namespace loom::vcl::test_bed {

using svm::DatagramHeader;
using test::FakeDaemon;

struct Datagrams : testing::Test, DatagramCalls {
  void SetUp() override {
    Config config;
    config.app_socket = "/tmp/vcl-datagram-" + std::to_string(getpid()) + ".sock";
    config.rx_fifo_size = config.tx_fifo_size = 256 << 10;
    config.session_timeout = 20;
    daemon = std::make_unique<FakeDaemon>(config.app_socket);
    worker = new AppWorker(config, "datagram-test");
    s = worker->new_session(Session::kProtoUdp, true, true);
  }
  void TearDown() override {
    s->unref();
    worker->leave();
    delete worker;
  }
  static svm::Endpoint end(uint16_t port) {
    return {.is_ip4 = 1, .reserved = 0, .port = htons(port), .ip = {192, 0, 2, 9}};
  }
  void bind(uint16_t port = 53) {
    ASSERT_EQ(s->bind({.is_ip4 = 1, .reserved = 0, .port = htons(port), .ip = {}}), 0);
    ASSERT_EQ(s->open_datagrams(nullptr), 0);
  }
  void set_group_source(const svm::Endpoint& e) {
    s->change_options([&](svm::SocketOptions& o) { std::memcpy(o.ip4_group_source, e.ip, 4); });
  }
  ssize_t send(std::string text, const DatagramOut& out = {}) {
    return DatagramCalls::send(*s, std::move(text), out);
  }
  Got receive(size_t room, int flags = 0) { return DatagramCalls::receive(*s, flags, room); }
  void inject(const std::string& payload, uint16_t from = 7, uint8_t flags = 0x0f) {
    DatagramHeader h{};
    h.length = static_cast<uint32_t>(payload.size());
    h.flags = flags;
    h.is_ip4 = 1;
    h.remote_port = htons(from);
    h.remote_ip[0] = 192;
    inject_raw(h, payload);
  }
  void inject_raw(const DatagramHeader& h, const std::string& payload) {
    daemon->inject(0, std::string(reinterpret_cast<const char*>(&h), sizeof h) + payload);
  }
  static ssize_t receive_error_of(Session& of) {
    DatagramIn in;
    return of.receive_error({}, in);
  }
  void inject_error(int error) {
    DatagramHeader h{};
    h.flags = svm::kDatagramError;
    h.error = static_cast<uint16_t>(error);
    inject_raw(h, "");
  }
  // What has been sent, once there are `n` datagrams.
  std::vector<std::pair<DatagramHeader, std::string>> sent(size_t n) {
    std::vector<std::pair<DatagramHeader, std::string>> all;
    for (std::string bytes; all.size() < n;) {
      bytes += daemon->sent(0);
      DatagramHeader h;
      while (bytes.size() >= sizeof h) {
        std::memcpy(&h, bytes.data(), sizeof h);
        if (bytes.size() < sizeof h + h.length) break;
        all.emplace_back(h, bytes.substr(sizeof h, h.length));
        bytes.erase(0, sizeof h + h.length);
      }
      std::this_thread::yield();
    }
    return all;
  }

  std::unique_ptr<FakeDaemon> daemon;
  AppWorker* worker = nullptr;
  Session* s = nullptr;
};

}  // namespace loom::vcl::test_bed
