// The daemon's log: lines to a file or to stderr, and the latest of them in memory for `show log`.
// Any thread may write; never the data path.
#pragma once
#include <atomic>
#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/host.h>
#include <hostloom/status.h>

namespace loom {

class DaemonLog {
 public:
  struct Line {
    double time_s;  // since the log was made
    LogLevel level;
    std::string who, text;
  };
  static constexpr std::size_t kKept = 2000;

  DaemonLog();  // to stderr
  ~DaemonLog();
  DaemonLog(const DaemonLog&) = delete;
  DaemonLog& operator=(const DaemonLog&) = delete;

  // Appends to a file instead. kIo with the reason.
  Result<void> open_file(const std::string& path);
  void set_level(LogLevel least) { least_.store(least, std::memory_order_relaxed); }
  LogLevel level() const { return least_.load(std::memory_order_relaxed); }
  // "2026-01-31 12:00:00.000 info   tap: text". Control characters in the text are replaced: it may
  // come from a client. Written through to the file at once.
  void write(LogLevel level, std::string_view who, std::string_view text);
  std::vector<Line> lines() const;  // oldest first
  double uptime_s() const;

 private:
  struct Sink;
  std::unique_ptr<Sink> sink_;
  std::atomic<LogLevel> least_ = LogLevel::kInfo;
  int64_t start_ns_;
  mutable std::mutex lock_;  // guards lines_
  std::deque<Line> lines_;
};

const char* log_level_name(LogLevel level);

}  // namespace loom
