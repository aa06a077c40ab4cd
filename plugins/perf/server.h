// Servers: take connections and what comes on them. A perf server throws it away, unless the stream
// asks for it back (pattern.h) or for responses (request.h); an echo server sends everything back
// (RFC 862); a source sends the pattern, from kMarkSize on, until the other side ends. Each is an
// in-process application of its own, so that its end is the end of all that it has.
//
// Threads: the class is the control thread's; a server's counters are written by the workers.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "counters.h"
#include "served.h"

namespace loom::perf {

enum class ServerKind : uint8_t { kPerf, kEcho, kSource };

// Bytes of a fifo; 0 is the host's default.
constexpr uint32_t kLeastFifo = 4096, kMostFifo = 1u << 30;
Result<void> check_fifo_size(uint32_t bytes);

struct Server {
  uint64_t number = 0;  // never given to another
  ServerKind kind = ServerKind::kPerf;
  std::string uri;
  std::string name;  // of the application
  Application* app = nullptr;
  std::vector<Counters> counters;                   // by worker
  std::vector<std::unique_ptr<ServedPool>> served;  // by worker, and gone with it
  uint64_t sum(Counter what) const noexcept {
    uint64_t n = 0;
    for (const auto& c : counters) n += (c.*what).load(std::memory_order_relaxed);
    return n;
  }
};

const char* name_of(ServerKind) noexcept;  // "perf", "echo", "source"

class Servers {
 public:
  explicit Servers(Host& host) : host_(host) {}
  // fifo_size 0: the host's default.
  Result<void> add(ServerKind kind, std::string_view uri, uint32_t fifo_size);
  Result<void> remove(ServerKind kind, std::string_view uri);
  void remove_all();
  // By number.
  const std::vector<std::unique_ptr<Server>>& list() const { return servers_; }
  // The first whose number is not below that one; null behind the last.
  const Server* at_or_behind(uint64_t number) const;

 private:
  void end(Server&);

  Host& host_;
  std::vector<std::unique_ptr<Server>> servers_;
  uint64_t n_added_ = 0;
};

}  // namespace loom::perf
