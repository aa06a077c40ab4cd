// DPDK's log lines in the daemon's log, whichever thread writes them.
#pragma once
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include <hostloom/host.h>
#include <hostloom/unique_fd.h>

namespace loom::dpdk {

class EalLog {
 public:
  explicit EalLog(Host& host) : host_(host) {}
  EalLog(const EalLog&) = delete;
  // Before EAL starts; from then on for as long as the process lives.
  Result<void> open();
  // What has been written since, into the daemon's log. Control thread.
  void drain();

  // What this thread logs as an error while it lives, for whoever reports a failure: several
  // threads may call DPDK at once, and be refused. One a thread; DPDK's own threads have none.
  class Errors {
   public:
    Errors() noexcept;
    Errors(const Errors&) = delete;
    ~Errors();
    const std::string& last() const noexcept { return last_; }  // "" = there was none

   private:
    friend class EalLog;
    std::string last_;
  };

 private:
  static constexpr std::size_t kMostLines = 1000, kMostLetters = 1000;
  struct Line {
    uint32_t level;
    std::string text;
  };
  static ssize_t on_write(void* log, const char* text, std::size_t size);
  void add(uint32_t level, std::string_view text);  // whole lines

  Host& host_;
  std::FILE* stream_ = nullptr;
  UniqueFd ready_;   // eventfd
  std::mutex lock_;  // guards what follows
  std::vector<Line> lines_;
  uint64_t n_lost_ = 0;
};

}  // namespace loom::dpdk
