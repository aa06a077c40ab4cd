#include "daemon/event_loop.h"

#include <utility>  // Boost 1.74's asio/awaitable.hpp uses std::exchange without including it

#include <boost/asio.hpp>
#include <chrono>
#include <csignal>
#include <map>

namespace loom {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

// One watched fd. Kept alive by the wait that is pending on it; `fn` goes away when it is
// unwatched.
struct Watch : std::enable_shared_from_this<Watch> {
  Watch(asio::io_context& io, std::function<void()> f) : descriptor(io), fn(std::move(f)) {}
  ~Watch() { descriptor.release(); }  // the fd is its owner's
  void arm() {
    descriptor.async_wait(asio::posix::descriptor_base::wait_read,
                          [self = shared_from_this()](error_code e) {
                            if (e || !self->is_active) return;
                            // A copy: fn may unwatch itself.
                            const auto fn = self->fn;
                            fn();
                            if (self->is_active) self->arm();
                          });
  }
  asio::posix::stream_descriptor descriptor;
  std::function<void()> fn;
  bool is_active = true;
};

}  // namespace

struct EventLoop::Impl {
  asio::io_context io{1};
  asio::executor_work_guard<asio::io_context::executor_type> work{io.get_executor()};
  asio::signal_set signals{io};
  std::function<void(int)> on_signal;
  std::map<uint64_t, std::shared_ptr<Watch>> watches;
  uint64_t next_handle = 1;

  void wait_for_signal() {
    signals.async_wait([this](error_code e, int signal) {
      if (e) return;
      on_signal(signal);
      wait_for_signal();
    });
  }
};

EventLoop::EventLoop() : impl_(std::make_unique<Impl>()) {}

EventLoop::~EventLoop() {
  while (!impl_->watches.empty()) unwatch(impl_->watches.begin()->first);
}

uint64_t EventLoop::watch(int fd, std::function<void()> fn) {
  auto watch = std::make_shared<Watch>(impl_->io, std::move(fn));
  error_code e;
  watch->descriptor.assign(fd, e);
  if (e) return 0;
  const uint64_t handle = impl_->next_handle++;
  impl_->watches[handle] = watch;
  watch->arm();
  return handle;
}

void EventLoop::unwatch(uint64_t handle) {
  const auto it = impl_->watches.find(handle);
  if (it == impl_->watches.end()) return;
  it->second->is_active = false;
  it->second->descriptor.release();  // ends the wait
  impl_->watches.erase(it);
}

uint64_t EventLoop::after(double seconds, std::function<void()> fn) {
  auto timer = std::make_shared<asio::steady_timer>(impl_->io);
  timer->expires_after(std::chrono::nanoseconds(static_cast<int64_t>(seconds * 1e9)));
  timer->async_wait([timer, fn = std::move(fn)](error_code e) {
    if (!e) fn();
  });
  return impl_->next_handle++;
}

void EventLoop::post(void (*fn)(void*), void* arg) {
  asio::post(impl_->io, [fn, arg] { fn(arg); });
}

void EventLoop::on_signal(std::function<void(int)> fn) {
  impl_->on_signal = std::move(fn);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) impl_->signals.add(signal);
  impl_->wait_for_signal();
}

void EventLoop::run() { impl_->io.run(); }
void EventLoop::poll() {
  impl_->io.restart();
  impl_->io.poll();
}
void EventLoop::stop() { impl_->io.stop(); }
asio::io_context& EventLoop::io() { return impl_->io; }

}  // namespace loom
