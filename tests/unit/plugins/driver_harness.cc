#include "driver_harness.h"

#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace loom {
namespace {

DriverHarness* current = nullptr;  // node functions have no context

void keep(Worker&, NodeRuntime&, std::span<Buffer* const> in) noexcept {
  current->sink.insert(current->sink.end(), in.begin(), in.end());
}

const NodeInfo kSink{.name = "ethernet-input", .run = keep};

template <class T>
T must(Result<T> r) {
  if (!r) throw std::runtime_error(r.error().message);
  return std::move(*r);
}

}  // namespace

struct DriverHarness::Table {
  static DriverHarness& of(Host& h) { return *static_cast<DriverHarness*>(h.impl); }
  static Status add_interface(Host& h, const InterfaceConfig* c, IfIndex* out, std::string* m) {
    if (of(h).refuse_interface) {
      *m = "no more interfaces";
      return Status::kNoMemory;
    }
    of(h).interface = *c;
    of(h).has_interface = true;
    *out = 7;
    return Status::kOk;
  }
  static Status remove_interface(Host& h, IfIndex i) {
    if (i != 7 || !of(h).has_interface) return Status::kNotFound;
    of(h).has_interface = false;
    of(h).interface.ops->destroy(of(h).interface.device);
    return Status::kOk;
  }
  static Status set_link(Host& h, IfIndex, bool up) {
    of(h).links.push_back(up);
    return Status::kOk;
  }
  static uint64_t watch_fd(Host& h, int fd, void (*fn)(void*), void* arg) {
    const uint64_t handle = of(h).watched.size() + 1;
    of(h).watched[handle] = [fn, arg] { fn(arg); };
    of(h).watched_fds[handle] = fd;
    return handle;
  }
  static constexpr HostOps make() {
    HostOps ops{};
    ops.struct_size = sizeof ops;
    ops.add_interface = add_interface;
    ops.remove_interface = remove_interface;
    ops.set_link = set_link;
    ops.set_mtu = [](Host& h, IfIndex, uint32_t mtu, std::string* m) {
      if (of(h).refuse_mtu) {
        *m = "it has addresses of IPv6";
        return Status::kInUse;
      }
      of(h).interface.mtu = mtu;
      return Status::kOk;
    };
    ops.rx_counters = [](Host& h, IfIndex, uint32_t) { return &of(h).counters; };
    ops.n_workers = [](Host&) { return 1u; };
    ops.run_on_worker = [](Host& h, uint32_t w, void (*fn)(Worker&, void*), void* arg) {
      ++of(h).n_worker_calls;
      of(h).engine->run_on_worker(w, [=](Worker& worker) { fn(worker, arg); });
    };
    ops.with_barrier = [](Host&, void (*fn)(void*), void* arg) { fn(arg); };
    ops.watch_fd = watch_fd;
    ops.unwatch_fd = [](Host& h, uint64_t handle) { of(h).watched.erase(handle); };
    ops.log = [](Host& h, LogLevel, const char*, const char* text) { of(h).log.push_back(text); };
    ops.find_interface = [](Host& h, const char* name) -> IfIndex {
      if (of(h).has_interface && of(h).interface.name == name) return 7;
      const auto other = of(h).others.find(name);
      return other == of(h).others.end() ? kNoIndex : other->second;
    };
    ops.device = [](Host& h, IfIndex i, const DriverOps* ops) -> void* {
      return i == 7 && of(h).has_interface && of(h).interface.ops == ops ? of(h).interface.device
                                                                         : nullptr;
    };
    ops.add_cli_command = [](Host& h, const CliCommand* c, std::string*) {
      of(h).commands[c->path] = *c;
      return Status::kOk;
    };
    return ops;
  }
};

DriverHarness::DriverHarness(const NodeInfo& input_node, uint32_t n_buffers, uint32_t data_size)
    : input_name_(input_node.name), before_(std::exchange(current, this)) {
  static constexpr HostOps kTable = Table::make();
  EngineConfig config;
  config.buffers.buffers_per_numa = n_buffers;
  config.buffers.data_size = data_size;
  engine = must(Engine::create(config));
  must(engine->add_node(kSink));
  must(engine->add_node(input_node));
  if (auto built = engine->build(); !built) throw std::runtime_error(built.error().message);
  host.ops = &kTable;
  host.impl = this;
}

DriverHarness::~DriverHarness() {
  clear();
  current = before_;
}

void DriverHarness::clear() {
  worker().free(sink);
  sink.clear();
}

bool DriverHarness::news() {
  std::vector<pollfd> all;
  for (const auto& [handle, fn] : watched)
    all.push_back({.fd = watched_fds[handle], .events = POLLIN, .revents = 0});
  if (poll(all.data(), all.size(), 20'000) < 1) return false;
  for (const auto& [handle, fn] : std::map(watched))
    for (const pollfd& p : all)
      if (p.fd == watched_fds[handle] && p.revents) fn();
  return true;
}

uint32_t DriverHarness::free_buffers() {
  return engine->pool_of(0).stats().free + worker().cache.n;
}

Result<void> DriverHarness::run(const std::string& line, CliReply& reply) {
  std::istringstream in(line);
  std::vector<std::string> words;
  for (std::string w; in >> w;) words.push_back(w);
  std::vector<std::string_view> views(words.begin(), words.end());
  const CliCommand& c = commands.at(words.at(0) + " " + words.at(1));
  CliArgs args(views, 2);
  return c.run(host, c.context, args, reply);
}

std::string DriverHarness::cli(const std::string& line) {
  CliReply reply;
  const auto r = run(line, reply);
  if (!r) return "error: " + r.error().message;
  if (reply.items().empty()) return "";
  const auto* text = std::get_if<std::string>(&reply.items()[0]);
  return text ? *text : "";
}

std::vector<std::string> DriverHarness::names(const std::string& line) {
  CliReply reply;
  std::vector<std::string> names;
  if (const auto r = run(line, reply); !r) return {"error: " + r.error().message};
  for (const auto& row : std::get<CliTable>(reply.items().at(0)).rows) names.push_back(row.at(0));
  return names;
}

std::string bytes_of(const Buffer& b) {
  std::string s;
  for (const Buffer* i = &b; i; i = i->next)
    s.append(reinterpret_cast<const char*>(i->data), i->len);
  return s;
}

Buffer* make_packet(Worker& w, const std::string& bytes, std::size_t first) {
  Buffer* head = w.alloc();
  Buffer* last = head;
  std::size_t at = std::min(first, bytes.size());
  std::memcpy(head->append(static_cast<uint32_t>(at)), bytes.data(), at);
  while (at < bytes.size()) {
    Buffer* b = w.alloc();
    const std::size_t n = std::min<std::size_t>(bytes.size() - at, b->tailroom());
    std::memcpy(b->append(static_cast<uint32_t>(n)), bytes.data() + at, n);
    head->rest_len += static_cast<uint32_t>(n);
    last->next = b;
    last = b;
    at += n;
  }
  return head;
}

std::string pattern(std::size_t n) {
  std::string s(n, 0);
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 7 + i / 251);
  return s;
}

void enter_private_network() {
  static const bool is_done = [] {
    const uid_t uid = getuid();
    const gid_t gid = getgid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) {
      // Some machines forbid user namespaces; root does without.
      if (unshare(CLONE_NEWNET) != 0)
        throw std::runtime_error(std::string("unshare: ") + strerror(errno));
      return true;
    }
    std::ofstream("/proc/self/setgroups") << "deny";
    std::ofstream("/proc/self/uid_map") << "0 " << uid << " 1";
    std::ofstream("/proc/self/gid_map") << "0 " << gid << " 1";
    return true;
  }();
  (void)is_done;
}

}  // namespace loom
