#include "server.h"

#include <algorithm>
#include <new>

#include <hostloom/app.h>

#include "pattern.h"

namespace loom::perf {
namespace {

constexpr uint32_t kMostPerCall = 256 * 1024;  // bytes sent back: then it is the others' turn
constexpr uint32_t kWorthAWrite = 32 * 1024;   // bytes of room to wait for, if so many wait

struct Connection {
  Server* server;
  enum class Kind : uint8_t { kUnknown, kSink, kEcho } kind;
};

Connection& of(void* context) noexcept { return *static_cast<Connection*>(context); }
Counters& counters(Worker& w, const Connection& c) noexcept { return c.server->counters[w.index]; }

bool accepted(Worker& w, SessionId, SessionId, void** context) noexcept {
  auto* server = static_cast<Server*>(*context);
  auto* c = new (std::nothrow)
      Connection{server, server->kind == ServerKind::kEcho ? Connection::Kind::kEcho
                                                           : Connection::Kind::kUnknown};
  if (!c) return false;  // no memory
  *context = c;
  add(counters(w, *c).opened, 1);
  return true;
}

// What the first bytes say; kUnknown while there are too few to say, and more may come.
Connection::Kind kind_of(const AppSession& s) noexcept {
  std::byte head[kMarkSize];
  std::size_t n = 0;
  std::span<const std::byte> views[kMarkSize];
  const uint32_t n_views = s.peek(views);
  for (uint32_t i = 0; i < n_views && n < kMarkSize; ++i) {
    const auto part = views[i].first(std::min(views[i].size(), kMarkSize - n));
    std::memcpy(head + n, part.data(), part.size());
    n += part.size();
  }
  if (std::memcmp(head, kEchoMark, n) != 0) return Connection::Kind::kSink;
  if (n == kMarkSize) return Connection::Kind::kEcho;
  return s.ended() ? Connection::Kind::kSink : Connection::Kind::kUnknown;
}

// Readable or writable: goes on where the last call stopped.
void pump(Worker& w, SessionId id, void* context) noexcept {
  Connection& c = of(context);
  Counters& counter = counters(w, c);
  AppSession s(w, id);
  if (c.kind == Connection::Kind::kUnknown) c.kind = kind_of(s);
  if (c.kind == Connection::Kind::kEcho) {
    const uint32_t moved = move_bytes(s, s, kMostPerCall);
    add(counter.received, moved);
    add(counter.sent, moved);
    if (const uint32_t left = s.unread(); left != 0)
      return moved == kMostPerCall ? s.want_readable()
                                   : s.want_writable(std::min(left, kWorthAWrite));
  } else if (c.kind == Connection::Kind::kSink) {
    const uint32_t n = s.unread();
    s.consume(n);
    add(counter.received, n);
  }
  if (s.eof()) s.close();
}

void closed(Worker& w, SessionId, void* context) noexcept {
  add(counters(w, of(context)).closed, 1);
  delete &of(context);
}

}  // namespace

const char* name_of(ServerKind k) noexcept { return k == ServerKind::kEcho ? "echo" : "perf"; }

Result<void> check_fifo_size(uint32_t bytes) {
  if (bytes == 0 || (bytes >= kLeastFifo && bytes <= kMostFifo)) return {};
  return error(Status::kInvalid, "fifo size " + std::to_string(bytes) + " is not from " +
                                     std::to_string(kLeastFifo) + " to " +
                                     std::to_string(kMostFifo));
}

Result<void> Servers::add(ServerKind kind, std::string_view uri, uint32_t fifo_size) {
  const auto endpoint = parse_app_uri(uri);
  if (!endpoint) return endpoint.error();
  if (auto r = check_fifo_size(fifo_size); !r) return r;
  auto server = std::make_unique<Server>();
  server->kind = kind;
  server->uri = uri;
  server->name = name_of(kind) + (" server " + server->uri);
  server->counters = std::vector<Counters>(host_.n_workers());
  AppOps ops;
  ops.name = server->name.c_str();
  ops.accepted = accepted;
  ops.readable = ops.writable = pump;
  ops.closed = closed;
  AppConfig config;
  config.rx_fifo_size = config.tx_fifo_size = fifo_size;
  const auto app = host_.add_application(ops, config);
  if (!app) return app.error();
  server->app = *app;
  if (const auto listener = host_.app_listen(*app, *endpoint, server.get()); !listener) {
    host_.remove_application(*app);
    return listener.error();
  }
  server->number = n_added_++;
  servers_.push_back(std::move(server));
  return {};
}

Result<void> Servers::remove(ServerKind kind, std::string_view uri) {
  const auto it = std::find_if(servers_.begin(), servers_.end(),
                               [&](const auto& s) { return s->kind == kind && s->uri == uri; });
  if (it == servers_.end())
    return error(Status::kNotFound,
                 std::string("no ") + name_of(kind) + " server at '" + std::string(uri) + "'");
  host_.remove_application((*it)->app);
  servers_.erase(it);
  return {};
}

const Server* Servers::at_or_behind(uint64_t number) const {
  const auto it = std::lower_bound(servers_.begin(), servers_.end(), number,
                                   [](const auto& s, uint64_t below) { return s->number < below; });
  return it == servers_.end() ? nullptr : it->get();
}

void Servers::remove_all() {
  for (const auto& s : servers_) host_.remove_application(s->app);
  servers_.clear();
}

}  // namespace loom::perf
