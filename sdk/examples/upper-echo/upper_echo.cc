// An application inside the daemon: sends back what it receives, in capitals.
//
//   upper-echo listen tcp://10.88.0.2/7 | upper-echo unlisten tcp://10.88.0.2/7 | show upper-echo
//
// Threads: commands and the list of listeners are the control thread's. A connection and all that
// is called for it are its worker's; the counters are written by the workers, each its own.
#include <hostloom/plugin.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <new>
#include <vector>

namespace {

using namespace loom;

constexpr uint32_t kMostPerCall = 64 * 1024;  // bytes: then it is the other connections' turn
constexpr uint32_t kWorthAWrite = 4096;       // bytes of room to wait for

struct alignas(kCacheLine) Counters {  // one writer, its worker
  std::atomic<uint64_t> opened{0}, closed{0}, bytes{0};
};
void add(std::atomic<uint64_t>& counter, uint64_t n) noexcept {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

struct State {
  Application* app = nullptr;
  std::vector<Counters> counters;                  // by worker
  std::map<std::string, SessionHandle> listeners;  // by URI
};
State* state = nullptr;  // made by init; lives as long as the process, like the commands

// What the application keeps for each connection: its context, from accepted to closed.
struct Connection {
  Counters& counters;
};

bool accepted(Worker& w, SessionId, SessionId, void** context) noexcept {
  auto* c = new (std::nothrow) Connection{state->counters[w.index]};
  if (!c) return false;  // no memory: the peer gets a reset
  add(c->counters.opened, 1);
  *context = c;
  return true;
}

std::byte upper(std::byte b) noexcept {
  const auto c = std::to_integer<char>(b);
  return c >= 'a' && c <= 'z' ? static_cast<std::byte>(c - 'a' + 'A') : b;
}

// Bytes have come, or there is room again: goes on where the last call stopped.
void go_on(Worker& w, SessionId id, void* context) noexcept {
  auto& c = *static_cast<Connection*>(context);
  AppSession s(w, id);
  uint32_t done = 0;
  std::span<const std::byte> unread[1];
  while (done < kMostPerCall && s.peek(unread) != 0) {
    std::byte text[4096];
    const std::size_t n = std::min(unread[0].size(), sizeof text);
    std::transform(unread[0].begin(), unread[0].begin() + static_cast<std::ptrdiff_t>(n), text,
                   upper);
    const uint32_t taken = s.write({text, n});
    s.consume(taken);
    done += taken;
    if (taken < n) {  // full: the rest stays unread until the peer has read
      s.want_writable(kWorthAWrite);
      break;
    }
  }
  add(c.counters.bytes, done);
  if (done >= kMostPerCall) s.want_readable();  // another call in the next round
  if (s.eof()) s.close();                       // what was written is still sent
}

// The last call, whoever ended the connection.
void closed(Worker&, SessionId, void* context) noexcept {
  auto* c = static_cast<Connection*>(context);
  add(c->counters.closed, 1);
  delete c;
}

Result<void> listen(Host& host, void*, CliArgs& args, CliReply&) {
  const auto uri = args.text("TRANSPORT://ADDRESS/PORT");
  if (!uri) return uri.error();
  if (!args.done()) return args.unknown();
  const auto endpoint = parse_app_uri(*uri);
  if (!endpoint) return endpoint.error();
  const auto listener = host.app_listen(state->app, *endpoint, nullptr);
  if (!listener) return listener.error();
  state->listeners[std::string(*uri)] = *listener;
  return {};
}

Result<void> unlisten(Host& host, void*, CliArgs& args, CliReply&) {
  const auto uri = args.text("TRANSPORT://ADDRESS/PORT");
  if (!uri) return uri.error();
  if (!args.done()) return args.unknown();
  const auto found = state->listeners.find(std::string(*uri));
  if (found == state->listeners.end())
    return error(Status::kNotFound, "nothing listens on '" + std::string(*uri) + "'");
  (void)host.app_unlisten(state->app, found->second);  // it may have ended without our doing
  state->listeners.erase(found);
  return {};
}

Result<void> show(Host&, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  uint64_t opened = 0, closed = 0, bytes = 0;
  for (const Counters& c : state->counters) {
    closed += c.closed.load(std::memory_order_relaxed);
    opened += c.opened.load(std::memory_order_relaxed);
    bytes += c.bytes.load(std::memory_order_relaxed);
  }
  reply.field("open", std::to_string(opened - closed));
  reply.field("connections", std::to_string(opened));
  reply.field("bytes", std::to_string(bytes));
  CliTable& listeners = reply.table("listeners", {"uri"});
  for (const auto& [uri, handle] : state->listeners) listeners.rows.push_back({uri});
  return {};
}

constexpr CliCommand kCommands[] = {
    {.path = "upper-echo listen",
     .syntax = "TRANSPORT://ADDRESS/PORT",
     .help = "Takes connections there.",
     .run = listen},
    {.path = "upper-echo unlisten",
     .syntax = "TRANSPORT://ADDRESS/PORT",
     .help = "Takes no more; those that are open go on.",
     .run = unlisten},
    {.path = "show upper-echo", .help = "Listeners, connections, bytes sent back.", .run = show},
};

Result<void> init(Host& host) {
  state = new State;
  for (const CliCommand& c : kCommands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

Result<void> start(Host& host) {
  state->counters = std::vector<Counters>(host.n_workers());
  const auto app = host.add_application({.name = "upper-echo",
                                         .accepted = accepted,
                                         .readable = go_on,
                                         .writable = go_on,
                                         .closed = closed});
  if (!app) return app.error();
  state->app = *app;
  return {};
}

void stop(Host& host) { host.remove_application(state->app); }

}  // namespace

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "upper-echo",
    .version = "1.0",
    .summary = "sends back what it receives, in capitals",
    .init = init,
    .start = start,
    .stop = stop,
};
