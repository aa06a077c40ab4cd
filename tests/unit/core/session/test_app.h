// The session layer with everything around it, stepped by the test in virtual time, and
// applications that speak to it through the real attach socket and shared memory.
#pragma once
#include <poll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <filesystem>
#include <map>

#include <gtest/gtest.h>

#include "graph/engine.h"
#include "net/net.h"
#include "session/session_layer.h"
#include "svm/accept_queue.h"
#include "svm/fifo.h"
#include "svm/mq.h"
#include "svm/protocol.h"
#include "tests/unit/core/session/pipe_transport.h"
#include "transport/registry.h"

namespace loom::test {

class SessionBed {
 public:
  enum class Network { kNone, kReal };
  // `add_transport`: instead of the pipe, which is for one worker.
  explicit SessionBed(SessionConfig config = {}, Network network = Network::kNone,
                      uint32_t n_workers = 1,
                      const std::function<void(SessionBed&)>& add_transport = {}) {
    char name[] = "/tmp/hostloom-session-test-XXXXXX";
    dir = mkdtemp(name);
    config.runtime_dir = dir;
    EngineConfig e;
    e.buffers.buffers_per_numa = 4096;
    e.clock = [](void* c) noexcept {
      auto& bed = *static_cast<SessionBed*>(c);
      ++bed.clock_looks;
      return bed.now += bed.per_clock_look;
    };
    e.clock_context = this;
    e.n_workers = n_workers;
    engine = std::move(Engine::create(e)).value();
    if (add_transport)
      add_transport(*this);
    else
      pipe.id = transports.add(pipe.ops()).value();
    layer = std::make_unique<SessionLayer>(config, *engine, transports);
    if (network == Network::kReal) {
      net = std::move(Net::create(*engine)).value();
      layer->use(*net);
    }
    EXPECT_TRUE(layer->build());
    EXPECT_TRUE(engine->build());
    SessionLayer::ControlLoop loop;
    loop.watch_fd = [this](int fd, std::function<void()> fn) -> uint64_t {
      if (watches_left == 0) return 0;
      --watches_left;
      watches[++next_watch] = {fd, std::move(fn)};
      return next_watch;
    };
    loop.unwatch_fd = [this](uint64_t h) { watches.erase(h); };
    loop.after = [this](double seconds, std::function<void()> fn) {
      later.emplace(now + from_seconds(seconds), std::move(fn));
      return 0;
    };
    loop.log = [this](LogLevel, const std::string& text) { log += text + "\n"; };
    EXPECT_TRUE(layer->start(std::move(loop)));
  }
  ~SessionBed() {
    layer->stop();
    pump();
    layer.reset();
    net.reset();
    engine.reset();
    std::filesystem::remove_all(dir);
  }

  // One thing that the control thread has to do. False: there is none.
  bool control_once() {
    for (auto& [h, w] : watches) {
      pollfd p{w.first, POLLIN, 0};
      if (::poll(&p, 1, 0) <= 0 || p.revents == 0) continue;
      auto fn = w.second;  // it may unwatch itself
      fn();
      return true;
    }
    return false;
  }
  // All of them.
  bool control() {
    bool busy = false;
    while (control_once()) busy = true;
    return busy;
  }
  // Runs workers and control thread until both have nothing to do.
  void pump(TimeNs advance = 2 * kMillisecond) {
    for (int quiet = 0; quiet < 3;) {
      bool worked = false;
      for (uint32_t i = 0; i < engine->n_workers(); ++i) worked |= engine->step(i) != 0;
      quiet = control() || worked ? 0 : quiet + 1;
    }
    if (advance == 0) return;
    now += advance;
    while (!later.empty() && later.begin()->first <= now) {
      auto fn = std::move(later.begin()->second);
      later.erase(later.begin());
      fn();
    }
    pump(0);
  }
  uint64_t counter(const char* name, uint32_t worker = 0) {
    const NodeId id = engine->find_node("session-queue");
    const NodeRuntime& rt = engine->worker(worker).node_runtime(id);
    for (std::size_t i = 0; i < rt.info->counters.size(); ++i)
      if (std::strcmp(rt.info->counters[i].name, name) == 0) return rt.counters[i];
    ADD_FAILURE() << "no counter " << name;
    return 0;
  }
  uint32_t buffers_in_use() {  // those in workers' caches are free
    const auto stats = engine->buffer_pools()[0]->stats();
    uint32_t cached = 0;
    for (uint32_t i = 0; i < engine->n_workers(); ++i) cached += engine->worker(i).cache.n;
    return stats.total - stats.free - cached;
  }

  TimeNs now = kSecond;
  uint64_t clock_looks = 0;
  TimeNs per_clock_look = 0;  // how long each takes
  std::string dir, log;
  PipeTransport pipe;
  TransportRegistry transports;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Net> net;
  std::unique_ptr<SessionLayer> layer;
  std::map<uint64_t, std::pair<int, std::function<void()>>> watches;
  uint64_t next_watch = 0;
  uint32_t watches_left = ~0u;  // so many descriptors can still be watched
  std::multimap<TimeNs, std::function<void()>> later;
};

// What is posted to the control thread waits until run(): what came of it before, workers did.
class HeldControl {
 public:
  explicit HeldControl(Engine& e) : engine_(e) {
    e.set_control_executor(
        [](void* self, void (*fn)(void*), void* arg) {
          static_cast<HeldControl*>(self)->held_.emplace_back(fn, arg);
        },
        this);
  }
  ~HeldControl() {
    run();
    engine_.set_control_executor(nullptr, nullptr);
  }
  void run() {
    while (!held_.empty()) {
      const auto [fn, arg] = held_.front();
      held_.pop_front();
      fn(arg);
    }
  }

 private:
  Engine& engine_;
  std::deque<std::pair<void (*)(void*), void*>> held_;
};

// One application worker.
class TestApp {
 public:
  struct Connection {
    uint64_t handle = 0;
    svm::SessionShared* shared = nullptr;
    svm::AppFifoConsumer rx;
    svm::AppFifoProducer tx;
  };

  // `path`: of the attach socket, '@' and an abstract name, or "" for the default namespace's.
  explicit TestApp(SessionBed& b, svm::AttachRequest request = {}, std::string path = {}) : bed(b) {
    if (path.empty()) path = b.layer->default_socket_path();
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::memcpy(a.sun_path, path.data(), path.size());
    if (path[0] == '@') a.sun_path[0] = 0;
    const auto size = offsetof(sockaddr_un, sun_path) + path.size();
    socket = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&a), static_cast<socklen_t>(size)), 0);
    request.version = svm::kProtocolVersion;
    request.op = svm::AttachOp::kAttach;
    if (!request.app_name[0]) std::strcpy(request.app_name, "test");
    if (!request.segment_size_mb) request.segment_size_mb = 16;
    if (!request.add_segment_size_mb) request.add_segment_size_mb = 8;
    if (!request.rx_fifo_size) request.rx_fifo_size = request.tx_fifo_size = 64 << 10;
    if (!request.event_queue_size) request.event_queue_size = 64;
    reply = ask(request);
    if (reply.status == 0) open(fds);
  }
  // The worker that add_worker() made.
  TestApp(SessionBed& b, TestApp& parent) : bed(b) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kAddWorker;
    reply = parent.ask(r);
    socket = parent.fds.at(0);
    open(std::vector<int>(parent.fds.begin() + 1, parent.fds.end()));
    parent.fds.clear();
  }
  ~TestApp() { die(); }
  void die() {
    if (socket >= 0) ::close(std::exchange(socket, -1));
    if (eventfd >= 0) ::close(std::exchange(eventfd, -1));
    for (const int fd : std::exchange(wake_fds, {})) ::close(fd);
  }

  // `more`: what follows the request.
  svm::AttachReply ask(const svm::AttachRequest& r, std::string_view more = {}) {
    iovec out[2] = {{const_cast<svm::AttachRequest*>(&r), sizeof r},
                    {const_cast<char*>(more.data()), more.size()}};
    EXPECT_EQ(::writev(socket, out, more.empty() ? 1 : 2),
              static_cast<ssize_t>(sizeof r + more.size()));
    bed.pump(0);
    svm::AttachReply answer{};
    iovec iov{&answer, sizeof answer};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * svm::kMaxReplyFds)];
    msghdr m{};
    m.msg_iov = &iov;
    m.msg_iovlen = 1;
    m.msg_control = control;
    m.msg_controllen = sizeof control;
    EXPECT_EQ(::recvmsg(socket, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC),
              static_cast<ssize_t>(sizeof answer));
    fds.clear();
    if (const cmsghdr* c = CMSG_FIRSTHDR(&m)) {
      fds.resize((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
      std::memcpy(fds.data(), CMSG_DATA(c), fds.size() * sizeof(int));
    }
    return answer;
  }

  // Settings for endpoints; `flags`: svm::kOnce.
  svm::AttachReply give_settings(std::string_view bytes, uint32_t flags = 0) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kAddSettings;
    r.flags = flags;
    return ask(r, bytes);
  }
  Status remove_settings(uint32_t number) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kDelSettings;
    r.settings = number;
    return static_cast<Status>(ask(r).status);
  }

  void open(const std::vector<int>& f) {
    const uint32_t n = reply.n_daemon_workers;
    ASSERT_EQ(n, bed.engine->n_workers());
    ASSERT_EQ(f.size(), 1u + n + reply.n_segments);
    eventfd = f[0];
    wake_fds.assign(f.begin() + 1, f.begin() + 1 + n);
    for (uint32_t i = 0; i < reply.n_segments; ++i) {
      const auto& s = reply.segments[i];
      segments.push_back(std::move(svm::Segment::map(f[1 + n + i], s.id, s.kind, s.size)).value());
      ASSERT_TRUE(table.add(*segments.back()));
      if (s.kind == svm::SegmentKind::kAppArena) {
        ASSERT_TRUE(arena.add_segment(*segments.back()));
      }
    }
    auto* mine = table.resolve_as<svm::MqShared>(reply.app_mq);
    ASSERT_TRUE(mine);
    events = svm::MqConsumer(*mine, mine->capacity);
    for (uint32_t i = 0; i < n; ++i) {
      auto* theirs = table.resolve_as<svm::MqShared>(reply.daemon_mq[i]);
      ASSERT_TRUE(theirs);
      std::construct_at(i == 0 ? &requests : &other_requests.emplace_back(), *theirs,
                        theirs->capacity);
    }
  }

  // To that worker of the daemon, which has not looked yet.
  template <class T>
  void ask_worker(uint32_t worker, svm::ToDaemon type, const T& payload) {
    ASSERT_EQ((worker == 0 ? requests : other_requests[worker - 1]).push(type, payload),
              svm::MqProducer::Push::kOk);
  }
  template <class T>
  void push(svm::ToDaemon type, const T& payload) {
    ASSERT_EQ(requests.push(type, payload), svm::MqProducer::Push::kOk);
    bed.pump();
  }
  void push(svm::ToDaemon type, uint64_t handle, uint32_t context = 0) {
    push(type, svm::SessionEvent{handle, context});
  }
  // The next event, which must be of that type.
  template <class T>
  T expect(svm::ToApp type) {
    svm::MqEvent e{};
    if (!events.pop(e)) {
      ADD_FAILURE() << "no event where type " << static_cast<int>(type) << " should be";
      return {};
    }
    EXPECT_EQ(static_cast<svm::ToApp>(e.type), type);
    return e.as<T>();
  }
  bool no_event() {
    svm::MqEvent e;
    return !events.pop(e);
  }

  svm::BoundEvent listen(uint16_t port, uint32_t backlog = 16) {
    svm::ListenEvent e{};
    e.context = 7;
    e.local = end(port);
    e.backlog = backlog;
    push(svm::ToDaemon::kListen, e);
    const auto bound = expect<svm::BoundEvent>(svm::ToApp::kBound);
    EXPECT_EQ(bound.context, 7u);
    if (bound.status == 0) {
      listener = table.resolve_as<svm::ListenerShared>(bound.listener);
      EXPECT_NE(listener, nullptr);
    }
    return bound;
  }
  void start_connect(uint16_t port, uint32_t context = 1) {
    svm::ConnectEvent e{};
    e.context = context;
    e.remote = end(port);
    e.local.is_ip4 = 1;
    push(svm::ToDaemon::kConnect, e);
  }
  std::unique_ptr<Connection> connect(uint16_t port) {
    start_connect(port);
    const auto c = expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(c.status, 0);
    return c.status == 0 ? connection(c.handle, c.session) : nullptr;
  }
  std::unique_ptr<Connection> accept() {
    svm::AcceptedSession a;
    svm::AcceptConsumer queue(*listener, listener->capacity);
    if (!queue.pop(a)) return nullptr;
    auto c = connection(a.handle, a.session);
    c->shared->holders.store(1ull << reply.worker_index);
    c->shared->owner.store(reply.worker_index);
    push(svm::ToDaemon::kClaim, a.handle);
    return c;
  }
  std::unique_ptr<Connection> connection(uint64_t handle, svm::Ref session) {
    auto c = std::make_unique<Connection>();
    c->handle = handle;
    c->shared = table.resolve_as<svm::SessionShared>(session);
    EXPECT_NE(c->shared, nullptr);
    c->rx = svm::AppFifoConsumer(c->shared->rx(), table, c->shared->rx_size);
    c->tx = svm::AppFifoProducer(c->shared->tx(), arena, c->shared->tx_size);
    return c;
  }
  uint32_t write(Connection& c, std::string_view text) {
    const uint32_t n = c.tx.enqueue(svm::bytes_of(text.data(), text.size()));
    if (c.tx.should_notify()) push(svm::ToDaemon::kTx, c.handle);
    bed.pump();
    return n;
  }
  std::string read(Connection& c, uint32_t most = 1 << 20) {
    std::string text(std::min(most, c.rx.refresh()), 0);
    text.resize(c.rx.dequeue(std::as_writable_bytes(std::span(text))));
    if (c.rx.should_notify()) push(svm::ToDaemon::kRxSpace, c.handle);
    bed.pump();
    return text;
  }
  void close(Connection& c) {
    c.shared->holders.fetch_and(~(1ull << reply.worker_index));
    push(svm::ToDaemon::kClose, c.handle);
  }
  static svm::Endpoint end(uint16_t port) {
    svm::Endpoint e{};
    e.is_ip4 = 1;
    e.port = Be16(port).raw();
    e.ip[0] = 10;
    return e;
  }

  SessionBed& bed;
  int socket = -1, eventfd = -1;
  std::vector<int> wake_fds;  // by worker of the daemon
  svm::AttachReply reply{};
  std::vector<int> fds;  // of the last reply
  std::vector<std::unique_ptr<svm::Segment>> segments;
  svm::SegmentTable table;
  svm::AppArena arena{table};
  svm::MqConsumer events;
  svm::MqProducer requests;  // to worker 0
  std::deque<svm::MqProducer> other_requests;
  svm::ListenerShared* listener = nullptr;
};

}  // namespace loom::test
