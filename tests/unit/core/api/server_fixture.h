// A server on a real socket with its own thread, for tests to be its clients.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>  // Boost 1.74's asio/awaitable.hpp uses std::exchange without including it
#include <vector>

#include <boost/asio.hpp>

#include "api/server.h"
#include "raw_client.h"

namespace loom {

class ServerFixture : public testing::Test {
 protected:
  ServerFixture() {
    char name[] = "/tmp/hostloom-api-XXXXXX";
    dir_ = ::mkdtemp(name);
    path_ = dir_ + "/api.sock";
  }
  void start(ApiServer::Limits limits = {}) {
    server_ = std::make_unique<ApiServer>(
        io_, registry_,
        [this](LogLevel, const std::string& line) {
          const std::lock_guard hold(log_lock_);
          log_.push_back(line);
        },
        limits);
    const auto listening = server_->listen(path_, {});
    ASSERT_TRUE(listening) << listening.error().message;
    thread_ = std::thread([this] {
      const auto work = boost::asio::make_work_guard(io_);
      io_.run();
    });
  }
  void stop() {
    if (thread_.joinable()) {
      boost::asio::post(io_, [this] { server_->close(); });
      boost::asio::post(io_, [this] { io_.stop(); });
      thread_.join();
    }
    server_.reset();
  }
  void TearDown() override {
    stop();
    EXPECT_NE(::access(path_.c_str(), F_OK), 0) << "the socket is left behind";
    ::rmdir(dir_.c_str());
  }
  // Runs f on the server's thread.
  template <class F>
  auto on_server(F f) {
    std::promise<decltype(f())> p;
    boost::asio::post(io_, [&] {
      if constexpr (std::is_void_v<decltype(f())>) {
        f();
        p.set_value();
      } else {
        p.set_value(f());
      }
    });
    return p.get_future().get();
  }
  ApiServer::Counters counters() {
    return on_server([&] { return server_->counters(); });
  }
  std::vector<ApiServer::Client> clients() {
    return on_server([&] { return server_->clients(); });
  }
  std::size_t n_clients() { return clients().size(); }
  // Asks again and again; the test's time-out ends a wait for what never comes.
  template <class F>
  void wait_until(F f) {
    while (!on_server(f)) std::this_thread::yield();
  }
  std::vector<std::string> log() {
    const std::lock_guard hold(log_lock_);
    return log_;
  }

  std::string dir_, path_;
  boost::asio::io_context io_;
  ApiRegistry registry_;
  std::unique_ptr<ApiServer> server_;
  std::thread thread_;
  std::mutex log_lock_;
  std::vector<std::string> log_;
};

}  // namespace loom
