// Reads a running daemon's statistics from its shared memory: counters, gauges and names, without a
// request to the daemon. Not thread-safe.
//
//   auto r = loom::StatsReader::connect(loom::default_stats_socket());
//   auto all = r->dump(*loom::StatsFilter::glob("/if/*"));
//
// The segment is believed as little as any other input: every pointer and length in it is bounded,
// copied before use and looked at once, so that a daemon that dies, or is none of ours, gives an
// error and never a crash. Every answer is of one state of the directory: when it changes while it
// is read, reading begins anew.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hostloom/runtime_dir.h>
#include <hostloom/stats_segment.h>
#include <hostloom/status.h>

namespace loom {

// Which names. Copies share the compiled pattern.
class StatsFilter {
 public:
  static StatsFilter all() { return {}; }
  static StatsFilter exactly(std::string name);
  // `*` and `?` also match '/'.
  static Result<StatsFilter> glob(std::string pattern);
  // POSIX extended, anywhere in the name unless anchored, as VPP's clients have it. kInvalid: it
  // does not compile.
  static Result<StatsFilter> regex(const std::string& pattern);
  // Also names that `other` has.
  StatsFilter operator|(StatsFilter other) const;

  bool matches(const char* name) const;

 private:
  struct Pattern;
  std::vector<std::shared_ptr<const Pattern>> patterns_;  // any of them; empty = all names
};

// One statistic, copied.
struct StatsValue {
  std::string name;
  stats::EntryType type = stats::EntryType::kEmpty;  // of what a symlink leads to
  bool is_symlink = false;
  uint64_t scalar = 0;                                 // kScalar
  std::vector<std::vector<uint64_t>> simple;           // kSimple: by worker and index
  std::vector<std::vector<stats::Combined>> combined;  // kCombined: by worker and index
  std::vector<std::string> names;                      // kNames; "" where there is none

  // Over all workers and indexes; a scalar is its own sum.
  uint64_t sum() const;
  stats::Combined sum_combined() const;
  // Over all workers, at one index; 0 beyond the end.
  uint64_t sum_at(std::size_t index) const;
};

class StatsReader {
 public:
  // Errors: kNotConnected, nothing listens at the path, and the message names it; kPermission;
  // kTimedOut; kUnsupported, another version, or memory that could shrink under us; kMalformed.
  static Result<StatsReader> connect(const std::string& socket_path,
                                     std::chrono::milliseconds timeout = std::chrono::seconds(2));
  // The same for a segment at hand; takes over the fd, also when it fails.
  static Result<StatsReader> open(int fd);
  StatsReader(StatsReader&&) noexcept;
  StatsReader& operator=(StatsReader&&) noexcept;
  ~StatsReader();

  // Names in the directory's order. Errors of all three: kTimedOut, a change did not end (the
  // daemon died in it); kMalformed, pointers or lengths that cannot be.
  Result<std::vector<std::string>> list(const StatsFilter& filter = StatsFilter::all());
  // In the directory's order; symlinks carry the columns that they lead to.
  Result<std::vector<StatsValue>> dump(const StatsFilter& filter);
  // Errors besides: kNotFound.
  Result<StatsValue> read(const std::string& name);

  // Grows with every update of the daemon's; a daemon that is gone leaves it as it is.
  Result<uint64_t> heartbeat();
  uint64_t epoch() const;
  uint64_t size() const { return size_; }
  // How long a change of the directory may take before it counts as a failure.
  void set_patience(std::chrono::milliseconds patience) { patience_ = patience; }

 private:
  struct Snapshot;
  StatsReader(const std::byte* memory, uint64_t size) : memory_(memory), size_(size) {}
  template <class Fn>
  auto consistent(Fn&& fn) -> decltype(fn(std::declval<Snapshot&>()));

  const std::byte* memory_ = nullptr;
  uint64_t size_ = 0;
  std::chrono::milliseconds patience_{1000};
};

// Where a reader looks: $HOSTLOOM_STATS_SOCKET, this user's own daemon, the system's.
inline std::string default_stats_socket() {
  if (const char* path = std::getenv("HOSTLOOM_STATS_SOCKET"); path && *path) return path;
  const std::string own = default_runtime_dir() + "/stats.sock";
  return ::access(own.c_str(), F_OK) == 0 ? own : "/run/hostloom/stats.sock";
}

}  // namespace loom
