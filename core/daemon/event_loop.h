// The control thread's event loop: watched file descriptors, delays, closures from other threads,
// signals. It hides Boost.Asio from everything but the API server and the CLI socket.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>

namespace boost::asio {
class io_context;
}

namespace loom {

class EventLoop {
 public:
  EventLoop();
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Calls fn whenever fd is readable, at its end or in error, until unwatch(handle): from then on
  // fn is not called again, also when it was due already. The fd stays the caller's, and open until
  // unwatch. Handle 0: the fd cannot be watched (a regular file).
  uint64_t watch(int fd, std::function<void()> fn);
  void unwatch(uint64_t handle);
  // Calls fn once. Whatever is still due when the loop is destroyed is forgotten.
  uint64_t after(double seconds, std::function<void()> fn);
  // Any thread.
  void post(void (*fn)(void*), void* arg);
  // Calls fn for SIGINT, SIGTERM and SIGHUP.
  void on_signal(std::function<void(int signal)> fn);

  void run();   // until stop()
  void poll();  // runs what is due now and returns
  void stop();
  boost::asio::io_context& io();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace loom
