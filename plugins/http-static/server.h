// Servers: each an in-process application of its own with a root, a cache and a share on every
// worker. Control thread, but for what is said to be a worker's.
#pragma once
#include <array>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "answer.h"
#include "cache.h"
#include "date.h"
#include "request.h"

namespace loom::http {

enum Stat : uint8_t {
  kOpened,
  kClosed,
  kRequests,
  kStatus2xx,
  kStatus3xx,
  kStatus4xx,
  kStatus5xx,
  kReceived,
  kSent,
  kCacheHits,
  kCacheMisses,
  kTimeouts,
  kStatCount
};
// In that order; the first two are also published as the connections that are open.
extern const std::array<const char*, kStatCount> kStatNames;

struct alignas(kCacheLine) Stats {
  std::array<StatCounter, kStatCount> values;
};

// A file on a worker's shelf, or lent to one connection alone. Made and freed on the control
// thread; all but `file` is the worker's.
struct Entry {
  FilePtr file;
  uint32_t users = 0;      // connections that send it
  bool is_listed = false;  // on the shelf; if not, it is given back with its last user
  TimeNs checked = 0;      // when it was last known to be what is on disk
  Entry* next = nullptr;
};

// Entries by path. A worker's.
class Shelf {
 public:
  Shelf() : buckets_(kBuckets, nullptr) {}
  Entry* find(std::string_view path) const noexcept;
  void add(Entry& e) noexcept;
  // Takes off the entry of that file; null when there is none.
  Entry* take(const File& file) noexcept;
  // Takes off any one; null when the shelf is empty.
  Entry* take_any() noexcept;

 private:
  static constexpr std::size_t kBuckets = 4096;
  static std::size_t bucket(std::string_view path) noexcept;
  std::vector<Entry*> buckets_;
};

// A server on one worker.
struct Part {
  Shelf shelf;
  Stats stats;
  DateText date;  // of answers
  int64_t date_of = 0;
  std::array<char, kMostHead> scratch;  // a head that does not lie in one piece in its fifo
};

struct ServerConfig {
  std::string uri, www_root;
  uint64_t cache_size = 10 << 20;   // bytes
  uint32_t fifo_size = 512 << 10;   // of each of a connection's two
  uint32_t max_age = 600;           // seconds, in Cache-Control; 0: none
  uint32_t keepalive_timeout = 60;  // seconds a connection may do nothing
  uint64_t max_body_size = 8192;    // bytes of a request's body that are read and thrown away
};
constexpr uint32_t kLeastFifo = 32768, kMostFifo = 1u << 30;
constexpr uint64_t kMostCache = uint64_t{1} << 40, kMostBody = 1 << 20;
constexpr uint32_t kMostMaxAge = 31'536'000, kMostTimeout = 86'400;

class Totals;

struct Server : std::enable_shared_from_this<Server> {
  Server(Host& h, Totals& t, ServerConfig c, Fd root);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // On a worker.
  Part& part(const Worker& w) noexcept { return *parts[w.index]; }
  void count(const Worker& w, Stat what, uint64_t n = 1) noexcept;

  uint64_t sum(Stat what) const noexcept;
  void forget(const FilePtr& file);

  Host& host;
  Totals& totals;
  const ServerConfig config;
  const uint32_t piece;  // bytes of a large file that are read at a time
  uint64_t number = 0;   // never given to another
  std::string name;      // of the application
  Application* app = nullptr;
  bool is_gone = false;
  std::vector<std::unique_ptr<Part>> parts;  // by worker
  Cache cache;
};

// Numbers of all servers, those that are gone included: what the statistics segment has.
class Totals {
 public:
  void start(uint32_t n_workers) { workers_ = std::vector<Stats>(n_workers); }
  Stats& of(uint32_t worker) noexcept { return workers_[worker]; }

 private:
  std::vector<Stats> workers_;
};
Result<void> add_statistics(Host&, Totals&);

class Servers {
 public:
  explicit Servers(Host& host) : host_(host) {}
  Host& host() { return host_; }
  Result<void> add(ServerConfig config);
  Result<void> remove(std::string_view uri);
  void remove_all();
  const std::vector<std::shared_ptr<Server>>& list() const { return servers_; }  // by number
  // The first whose number is not below that one; null behind the last.
  const Server* at_or_behind(uint64_t number) const;
  Totals totals;

 private:
  void end(Server& s);
  Host& host_;
  std::vector<std::shared_ptr<Server>> servers_;
  uint64_t n_added_ = 0;
};

Result<void> register_commands(Host&, Servers&);
Result<void> add_api(Host&, Servers&);

}  // namespace loom::http
