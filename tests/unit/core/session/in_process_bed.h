// Applications inside the process that write down what they are told. For tests.
#pragma once
#include <hostloom/app.h>

#include "session/control.h"
#include "session/in_process.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {

using Strings = std::vector<std::string>;

inline std::string pattern(std::size_t n) {
  std::string s(n, 0);
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 7 + i / 251);
  return s;
}

// An application that writes down what it is told, and does what the test wants done then.
class Recorder {
 public:
  explicit Recorder(SessionBed& b, const char* name = "recorder", AppConfig config = small())
      : bed(b) {
    static_assert(sizeof(void*) == sizeof(Recorder*));
    AppOps ops;
    ops.name = name;
    ops.accepted = [](Worker& w, SessionId, SessionId id, void** context) noexcept {
      return static_cast<Recorder*>(*context)->take(w, id);
    };
    ops.connected = [](Worker& w, SessionId id, Status s, void* context) noexcept {
      of(context).note(w, id, std::string("connected ") + status_name(s));
    };
    ops.readable = [](Worker& w, SessionId id, void* context) noexcept {
      of(context).note(w, id, "readable");
    };
    ops.writable = [](Worker& w, SessionId id, void* context) noexcept {
      of(context).note(w, id, "writable");
    };
    ops.reset = [](Worker& w, SessionId id, ResetReason r, void* context) noexcept {
      of(context).note(w, id, "reset " + std::to_string(static_cast<int>(r)));
    };
    ops.closed = [](Worker& w, SessionId id, void* context) noexcept {
      of(context).note(w, id, "closed");
    };
    auto made = bed.layer->add_application(ops, config);
    EXPECT_TRUE(made) << made.error().message;
    app = *made;
  }
  ~Recorder() {
    if (app) remove();
  }
  void remove() { bed.layer->remove_application(*std::exchange(app, nullptr)); }
  static AppConfig small() {
    AppConfig c;
    c.rx_fifo_size = c.tx_fifo_size = 64 << 10;
    return c;
  }
  static Recorder& of(void* context) { return *static_cast<Recorder*>(context); }

  bool take(Worker& w, SessionId id) {
    note(w, id, "accepted");
    accepted = id;
    return accepts;
  }
  void note(Worker& w, SessionId id, const std::string& what) {
    EXPECT_EQ(depth, 0) << "a callback inside another: " << what;
    ++depth;
    log.push_back(what);
    if (const auto it = on.find(what); it != on.end()) {
      const auto fn = it->second;  // it may replace itself
      fn(AppSession(w, id));
    }
    --depth;
  }
  Strings told() { return std::exchange(log, {}); }

  SessionHandle listen(uint16_t port) {
    auto h = bed.layer->listen(*app, endpoint(port), this);
    EXPECT_TRUE(h) << h.error().message;
    return *h;
  }
  SessionId connect(uint16_t port) {
    const auto id = AppSession::connect(worker(), *app, endpoint(port), this);
    EXPECT_TRUE(id) << id.error().message;
    bed.pump();
    return *id;
  }
  static AppEndpoint endpoint(uint16_t port) {
    AppEndpoint e;
    std::strcpy(e.transport, "pipe");
    e.address = Ip4Address{{10, 0, 0, 0}};
    e.port = port;
    return e;
  }
  Worker& worker() { return bed.engine->worker(0); }
  AppSession session(SessionId id) { return AppSession(worker(), id); }
  uint32_t write(SessionId id, std::string_view text) {
    const uint32_t n = session(id).write(std::as_bytes(std::span(text)));
    bed.pump();
    return n;
  }
  // Everything unread, consumed.
  std::string read(SessionId id) {
    std::string text;
    std::span<const std::byte> views[2];
    while (const uint32_t n = session(id).peek(views)) {
      std::size_t got = 0;
      for (const auto& v : std::span(views, n)) {
        text.append(reinterpret_cast<const char*>(v.data()), v.size());
        got += v.size();
      }
      session(id).consume(static_cast<uint32_t>(got));
    }
    bed.pump();
    return text;
  }
  session::App& core() { return static_cast<session::InProcessApp&>(*app); }

  SessionBed& bed;
  Application* app = nullptr;
  Strings log;
  std::map<std::string, std::function<void(AppSession)>> on;
  bool accepts = true;
  int depth = 0;
  SessionId accepted = kNoSession;
};

struct InProcess : testing::Test {
  SessionBed bed;
  Recorder server{bed, "server"}, client{bed, "client"};
  SessionId near = kNoSession, far = kNoSession;

  // A listener, unless there is one, and a connection to it.
  void open(uint16_t port = 80) {
    if (server.accepted == kNoSession && !bed.pipe.listeners.contains(port)) server.listen(port);
    near = client.connect(port);
    far = server.accepted;
    EXPECT_EQ(client.told(), Strings{"connected ok"});
    EXPECT_EQ(server.told(), Strings{"accepted"});
  }
  uint32_t sessions() { return bed.layer->impl().workers[0]->pool.in_use(); }
  // Nothing is left of any connection.
  void expect_all_back() {
    bed.pump();
    EXPECT_EQ(sessions(), 0u);
    EXPECT_EQ(bed.buffers_in_use(), 0u);
    for (Recorder* r : {&server, &client})
      if (r->app) {
        EXPECT_EQ(r->core().arena.stats().chunk_bytes, 0u);
        EXPECT_EQ(r->core().n_sessions.load(), 0u);
      }
  }
};

}  // namespace loom::test
