#include "fake_daemon.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <new>

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
  DaemonFifoProducer rx;
  DaemonFifoConsumer tx;
  Session* peer = nullptr;  // nullptr: the test is the other side
  SocketOptions options{};
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

namespace {

constexpr uint64_t kSegmentSize = 256ull << 20;

uint64_t handle_of(uint32_t index, bool listener) {
  // generation:24 | worker:8 | index:32; listeners are on no worker in particular.
  return uint64_t{1} << 40 | uint64_t{listener ? 0xffu : 0u} << 32 | index;
}

}  // namespace

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
          ++counts_[e.type % 16];
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

// --- Attach

std::unique_ptr<FakeDaemon::Worker> FakeDaemon::new_worker(App& app, int socket) {
  auto w = std::make_unique<Worker>();
  w->app = &app;
  w->index = static_cast<uint32_t>(app.workers.size());
  w->socket = socket;
  w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const auto queue = [&](Ref& ref) {
    const auto object = app.arena.alloc_object(mq_bytes(app.queue_size));
    auto* q = new (object.ptr) MqShared{};
    init_mq(*q, app.queue_size);
    ref = object.ref;
    return q;
  };
  w->to_app = MqProducer(*queue(w->to_app_ref), app.queue_size);
  w->from_app = MqConsumer(*queue(w->from_app_ref), app.queue_size);
  return w;
}

void FakeDaemon::accept_worker() {
  const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  auto app = std::make_unique<App>();
  app->index = static_cast<uint32_t>(apps_.size());
  auto& a = *app;
  apps_.push_back(std::move(app));
  auto w = std::make_unique<Worker>();
  w->app = &a;
  w->socket = fd;
  a.workers.push_back(std::move(w));
}

void FakeDaemon::reply_attach(Worker& to, Worker& about, bool with_socket) {
  App& app = *about.app;
  AttachReply r{};
  r.version = kProtocolVersion;
  r.app_index = app.index;
  r.worker_index = about.index;
  r.n_daemon_workers = 1;
  r.rx_fifo_size = app.rx_size;
  r.tx_fifo_size = app.tx_size;
  const auto& d = app.arena.segment(0);
  const auto& s = *app.app_segments[0];
  r.n_segments = 2;
  r.segments[0] = {d.id(), d.kind(), d.size()};
  r.segments[1] = {s.id(), s.kind(), s.size()};
  r.app_mq = about.to_app_ref;
  r.daemon_mq[0] = about.from_app_ref;
  std::vector<int> fds;
  int mine = -1, theirs = -1;
  if (with_socket) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) std::abort();
    mine = pair[0];
    theirs = pair[1];
    about.socket = mine;
    fds.push_back(theirs);
  }
  fds.insert(fds.end(), {about.event_fd, wake_fd_, d.fd(), s.fd()});
  iovec iov{&r, sizeof r};
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control.data();
  m.msg_controllen = control.size();
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
  std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  if (sendmsg(to.socket, &m, MSG_NOSIGNAL) < 0) std::abort();
  if (theirs >= 0) close(theirs);
}

void FakeDaemon::serve_socket(Worker& w) {
  AttachRequest r;
  const ssize_t n = recv(w.socket, &r, sizeof r, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n != sizeof r) {
    drop_worker(w);
    return;
  }
  App& app = *w.app;
  if (r.op == AttachOp::kAttach) {
    app.name = r.app_name;
    app.rx_size = r.rx_fifo_size ? r.rx_fifo_size : 1u << 20;
    app.tx_size = r.tx_fifo_size ? r.tx_fifo_size : 1u << 20;
    app.queue_size = r.event_queue_size ? r.event_queue_size : 2048;
    app.arena.add_segment(
        std::move(*svm::Segment::create(kSegmentSize, SegmentKind::kDaemonArena)));
    app.app_segments.push_back(
        std::move(*svm::Segment::create(kSegmentSize, SegmentKind::kAppArena)));
    app.table.add(*app.app_segments[0]);
    const int fd = w.socket;
    w.socket = -1;
    app.workers.clear();
    app.workers.push_back(new_worker(app, fd));
    reply_attach(*app.workers[0], *app.workers[0], false);
  } else if (r.op == AttachOp::kAddWorker) {
    ++workers_added_;
    app.workers.push_back(new_worker(app, -1));
    reply_attach(w, *app.workers.back(), true);
  } else {
    AttachReply reply{};
    reply.version = kProtocolVersion;
    reply.status = static_cast<int32_t>(Status::kNotFound);
    (void)!::send(w.socket, &reply, sizeof reply, MSG_NOSIGNAL);
  }
}

void FakeDaemon::drop_worker(Worker& w) {
  MqEvent e;
  while (w.attached() && w.from_app.pop(e)) handle(w, e);  // its last words
  close(w.socket);
  w.socket = -1;
  const uint64_t bit = 1ull << w.index;
  for (auto& s : sessions_) {
    if (s->app != w.app || s->closed || !s->shared) continue;
    if ((s->shared->holders.fetch_and(~bit) & bit)) after_holders(*s);
  }
  std::erase_if(listeners_, [&](const auto& l) {
    return l->app == w.app && (l->shared->holders.fetch_and(~bit) & ~bit) == 0;
  });
}

void FakeDaemon::after_holders(Session& s) {
  if (s.shared->holders.load() != 0) return;
  s.closed = true;
  s.shut = true;
}

FakeDaemon::Worker* FakeDaemon::worker(App& app, uint32_t index) {
  return index < app.workers.size() && app.workers[index]->socket >= 0 ? app.workers[index].get()
                                                                       : nullptr;
}

template <class T>
void FakeDaemon::send(Worker& w, ToApp type, const T& payload) {
  if (w.to_app.push(type, payload) != MqProducer::Push::kOk) std::abort();
  if (w.to_app.needs_wake()) {
    const uint64_t one = 1;
    (void)!write(w.event_fd, &one, sizeof one);
  }
}

void FakeDaemon::to_owner(Session& s, ToApp type) {
  if (Worker* w = worker(*s.app, s.shared->owner.load())) send(*w, type, SessionEvent{s.handle, 0});
}

// --- Sessions

FakeDaemon::Session& FakeDaemon::new_session(App& app, const Endpoint& local,
                                             const Endpoint& remote) {
  auto s = std::make_unique<Session>();
  s->app = &app;
  s->handle = handle_of(static_cast<uint32_t>(sessions_.size()), false);
  const auto object = app.arena.alloc_object(sizeof(SessionShared));
  s->shared = new (object.ptr) SessionShared{};
  s->ref = object.ref;
  s->shared->handle = s->handle;
  s->shared->rx_size = app.rx_size;
  s->shared->tx_size = app.tx_size;
  init_fifo(s->shared->rx);
  init_fifo(s->shared->tx);
  s->rx = DaemonFifoProducer(s->shared->rx, app.arena, app.rx_size);
  s->tx = DaemonFifoConsumer(s->shared->tx, app.table, app.tx_size);
  s->local = local;
  s->remote = remote;
  sessions_.push_back(std::move(s));
  return *sessions_.back();
}

bool FakeDaemon::offer(Listener& l, Session& s) {
  AcceptedSession a;
  a.handle = s.handle;
  a.session = s.ref;
  a.is_ip4 = s.local.is_ip4;
  a.local_port = s.local.port;
  a.remote_port = s.remote.port;
  std::memcpy(a.local_ip, s.local.ip, 16);
  std::memcpy(a.remote_ip, s.remote.ip, 16);
  if (l.queue.push(a) != AcceptProducer::Push::kOk) return false;
  const uint64_t interested = l.queue.take_interest();
  for (uint32_t i = 0; i < kMaxAppWorkers; ++i)
    if (interested >> i & 1)
      if (Worker* w = worker(*l.app, i)) send(*w, ToApp::kAcceptReady, SessionEvent{l.handle, 0});
  return true;
}

void FakeDaemon::connect(Worker& w, const ConnectEvent& e) {
  const uint16_t port = ntohs(e.remote.port);
  ConnectedEvent answer{};
  answer.context = e.context;
  if (port == kSilent) return;
  Listener* l = nullptr;
  for (auto& candidate : listeners_)
    if (candidate->local.port == e.remote.port) l = candidate.get();
  if (!l && port != 7) {
    answer.status = static_cast<int32_t>(Status::kRefused);
    send(w, ToApp::kConnected, answer);
    return;
  }
  Endpoint local = e.local;
  if (local.port == 0) local.port = htons(next_port_++);
  if (local.is_ip4 && local.ip[0] == 0) std::memcpy(local.ip, "\x0a\x00\x00\x02", 4);
  Session& near = new_session(*w.app, local, e.remote);
  near.options = e.options;
  if (l) {
    Session& far = new_session(*l->app, e.remote, local);
    far.options = l->options;
    near.peer = &far;
    far.peer = &near;
    if (!offer(*l, far)) {
      near.closed = far.closed = true;
      answer.status = static_cast<int32_t>(Status::kRefused);
      send(w, ToApp::kConnected, answer);
      return;
    }
  }
  answer.handle = near.handle;
  answer.session = near.ref;
  answer.local = local;
  answer.remote = e.remote;
  send(w, ToApp::kConnected, answer);
}

void FakeDaemon::listen(Worker& w, const ListenEvent& e) {
  BoundEvent answer{};
  answer.context = e.context;
  answer.local = e.local;
  if (answer.local.port == 0) answer.local.port = htons(next_port_++);
  for (auto& other : listeners_)
    if (other->local.port == answer.local.port) {
      answer.status = static_cast<int32_t>(Status::kInUse);
      send(w, ToApp::kBound, answer);
      return;
    }
  auto l = std::make_unique<Listener>();
  l->app = w.app;
  l->handle = handle_of(static_cast<uint32_t>(listeners_.size() + 1000 * counts_[2]), true);
  const uint32_t capacity = std::bit_ceil(std::max(1u, e.backlog));
  const auto object = w.app->arena.alloc_object(listener_bytes(capacity));
  l->shared = new (object.ptr) ListenerShared{};
  l->queue = AcceptProducer(*l->shared, capacity, l->handle);
  l->local = answer.local;
  l->options = e.options;
  answer.handle = l->handle;
  answer.listener = object.ref;
  listeners_.push_back(std::move(l));
  send(w, ToApp::kBound, answer);
}

void FakeDaemon::handle(Worker& w, const MqEvent& event) {
  const auto type = static_cast<ToDaemon>(event.type);
  if (type == ToDaemon::kConnect) return connect(w, event.as<ConnectEvent>());
  if (type == ToDaemon::kListen) return listen(w, event.as<ListenEvent>());
  const auto e = event.as<SessionEvent>();
  if (type == ToDaemon::kUnlisten) {
    std::erase_if(listeners_, [&](const auto& l) { return l->handle == e.handle; });
    return;
  }
  const auto index = static_cast<uint32_t>(e.handle);
  if (index >= sessions_.size()) std::abort();
  Session& s = *sessions_[index];
  switch (type) {
    case ToDaemon::kClaim:
      // What came while the owner changed may have been announced to the old one.
      to_owner(s, ToApp::kRx);
      break;
    case ToDaemon::kShutdown:
      s.shut = true;
      break;
    case ToDaemon::kClose:
    case ToDaemon::kReset:
      s.reset = type == ToDaemon::kReset;
      after_holders(s);
      break;
    case ToDaemon::kSetOption:
      s.options = event.as<OptionEvent>().options;
      break;
    case ToDaemon::kGetInfo: {
      InfoEvent info{};
      info.context = e.context;
      info.state = 1;
      info.rtt = 1234;
      send(w, ToApp::kInfo, info);
      break;
    }
    default:
      break;
  }
}

void FakeDaemon::pump() {
  bool again = true;
  while (again) {
    again = false;
    for (size_t i = 0; i < sessions_.size(); ++i) again = pump_one(*sessions_[i]) || again;
  }
}

// Moves what session `s` has sent to its peer. True: something moved.
bool FakeDaemon::pump_one(Session& s) {
  bool moved = false;
  if (s.eof_sent) return false;
  if (s.reset) {
    if (s.peer && !s.peer->closed) {
      s.peer->rx.set_reset(ECONNRESET);
      if (s.peer->rx.should_notify()) to_owner(*s.peer, ToApp::kRx);
    }
    s.eof_sent = true;
    return true;
  }
  while (s.tx.available() != 0) {
    ByteView views[8];
    const uint32_t n = s.tx.segments(0, 1u << 20, views);
    if (s.tx.violation()) std::abort();
    uint32_t taken = 0;
    if (!s.peer) {
      for (uint32_t i = 0; i < n; ++i) {
        s.outside.append(reinterpret_cast<const char*>(views[i].data()), views[i].size());
        taken += static_cast<uint32_t>(views[i].size());
      }
    } else if (s.peer->closed) {
      for (uint32_t i = 0; i < n; ++i) taken += static_cast<uint32_t>(views[i].size());
    } else {
      s.peer->rx.refresh();
      taken = s.peer->rx.enqueue(std::span<const ByteView>(views, n));
      if (taken == 0) {
        if (s.peer->rx.want_space(s.peer->rx.size() / 2)) break;
        continue;
      }
      if (s.peer->rx.should_notify()) to_owner(*s.peer, ToApp::kRx);
    }
    s.tx.drop(taken);
    moved = true;
    if (s.tx.should_notify() && !s.closed) to_owner(s, ToApp::kTxSpace);
  }
  if (s.shut && s.tx.available() == 0) {
    s.eof_sent = true;
    if (s.peer && !s.peer->closed) {
      s.peer->rx.set_eof();
      if (s.peer->rx.should_notify()) to_owner(*s.peer, ToApp::kRx);
    }
    return true;
  }
  return moved;
}

// --- For tests

size_t FakeDaemon::n_sessions() {
  size_t n = 0;
  run([&] { n = sessions_.size(); });
  return n;
}

size_t FakeDaemon::inject(size_t i, const std::string& bytes) {
  size_t n = 0;
  run([&] {
    Session& s = *sessions_.at(i);
    s.rx.refresh();
    n = s.rx.enqueue(bytes_of(bytes.data(), bytes.size()));
    if (s.rx.should_notify()) to_owner(s, ToApp::kRx);
  });
  return n;
}

void FakeDaemon::inject_fin(size_t i) {
  run([&] {
    Session& s = *sessions_.at(i);
    s.rx.set_eof();
    if (s.rx.should_notify()) to_owner(s, ToApp::kRx);
  });
}

void FakeDaemon::inject_reset(size_t i, int error) {
  run([&] {
    Session& s = *sessions_.at(i);
    s.rx.set_reset(error);
    if (s.rx.should_notify()) to_owner(s, ToApp::kRx);
  });
}

std::string FakeDaemon::sent(size_t i) {
  std::string out;
  run([&] {
    for (bool more = true; more;) more = pump_one(*sessions_.at(i));
    out.swap(sessions_.at(i)->outside);
  });
  return out;
}

bool FakeDaemon::dial(uint16_t port) {
  bool done = false;
  run([&] {
    for (auto& l : listeners_) {
      if (l->local.port != htons(port)) continue;
      Endpoint remote{.is_ip4 = 1, .reserved = 0, .port = htons(next_port_++), .ip = {}};
      std::memcpy(remote.ip, "\x0a\x00\x00\x09", 4);
      done = offer(*l, new_session(*l->app, l->local, remote));
    }
  });
  return done;
}

SocketOptions FakeDaemon::options(size_t i) {
  SocketOptions o{};
  run([&] { o = sessions_.at(i)->options; });
  return o;
}
bool FakeDaemon::shut_down(size_t i) {
  bool b = false;
  run([&] { b = sessions_.at(i)->shut; });
  return b;
}
bool FakeDaemon::closed(size_t i) {
  bool b = false;
  run([&] { b = sessions_.at(i)->closed; });
  return b;
}
bool FakeDaemon::was_reset(size_t i) {
  bool b = false;
  run([&] { b = sessions_.at(i)->reset; });
  return b;
}

}  // namespace loom::test
