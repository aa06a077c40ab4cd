// The daemon's thread: what it waits for, and whom it asks.
#include "fake_daemon.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <condition_variable>
#include <cstring>

#include "fake_pair.h"

namespace loom::test {

FakeDaemon::FakeDaemon(std::string path) : path_(std::move(path)) {
  unlink(path_.c_str());
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path_.data(), path_.size());
  listen_fd_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (bind(listen_fd_, reinterpret_cast<sockaddr*>(&a), sizeof a) != 0 ||
      ::listen(listen_fd_, 64) != 0)
    std::abort();
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  thread_ = std::thread([this] { loop(); });
}

FakeDaemon::~FakeDaemon() {
  run([this] { stop_ = true; });
  thread_.join();
  unlink(path_.c_str());
  close(listen_fd_);
  close(wake_fd_);
}

void FakeDaemon::run(std::function<void()> f) {
  std::mutex m;
  std::condition_variable cv;
  bool done = false;
  {
    const std::lock_guard lock(mutex_);
    closures_.push_back([&] {
      f();
      const std::lock_guard inner(m);
      done = true;
      cv.notify_one();
    });
  }
  const uint64_t one = 1;
  (void)!write(wake_fd_, &one, sizeof one);
  std::unique_lock lock(m);
  cv.wait(lock, [&] { return done; });
}

void FakeDaemon::kill() {
  run([&] {
    for (auto& app : apps_)
      for (auto& w : app->workers) {
        if (w->socket >= 0) close(w->socket);
        w->socket = -1;
      }
    sessions_.clear();
    listeners_.clear();
  });
}

void FakeDaemon::loop() {
  while (true) {
    std::vector<std::function<void()>> closures;
    {
      const std::lock_guard lock(mutex_);
      closures.swap(closures_);
    }
    for (auto& f : closures) f();
    if (stop_) return;
    bool idle = true;
    for (auto& app : apps_) {
      for (size_t i = 0; i < app->workers.size(); ++i) {
        Worker& w = *app->workers[i];
        MqEvent e;
        while (w.attached() && w.from_app.pop(e)) {
          ++counts_[e.type % std::size(counts_)];
          handle(w, e);
          idle = false;
        }
      }
    }
    pump();
    if (!idle) continue;

    std::vector<pollfd> fds{{listen_fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
    std::vector<Worker*> of;
    bool sleep = true;
    for (auto& app : apps_)
      for (auto& w : app->workers) {
        if (w->socket < 0) continue;
        if (w->attached()) sleep = w->from_app.prepare_sleep() && sleep;
        fds.push_back({w->socket, POLLIN, 0});
        of.push_back(w.get());
      }
    for (auto& s : sessions_) {
      if (s->closed) continue;
      const uint32_t seen = s->tx.available();
      sleep = s->tx.arm(seen) && sleep;
    }
    if (!sleep) {
      for (Worker* w : of)
        if (w->attached()) w->from_app.finish_sleep();
      continue;
    }
    poll(fds.data(), fds.size(), -1);
    for (Worker* w : of)
      if (w->attached()) w->from_app.finish_sleep();
    if (fds[1].revents) {
      uint64_t n;
      (void)!read(wake_fd_, &n, sizeof n);
    }
    for (size_t i = 2; i < fds.size(); ++i)
      if (fds[i].revents) serve_socket(*of[i - 2]);
    if (fds[0].revents) accept_worker();
  }
}

FakeDaemon::Worker* FakeDaemon::worker(App& app, uint32_t index) {
  return index < app.workers.size() && app.workers[index]->socket >= 0 ? app.workers[index].get()
                                                                       : nullptr;
}

void FakeDaemon::to_owner(Session& s, ToApp type) {
  if (Worker* w = worker(*s.app, s.shared->owner.load())) send(*w, type, SessionEvent{s.handle, 0});
}

}  // namespace loom::test
