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
  // The last line that was an error, for whoever reports a failure; "" = there was none since.
  std::string take_last_error();

 private:
  static constexpr std::size_t kMostLines = 1000;
  struct Line {
    uint32_t level;
    std::string text;
  };
  static ssize_t on_write(void* log, const char* text, std::size_t size);
  void add(uint32_t level, std::string_view text);

  Host& host_;
  std::FILE* stream_ = nullptr;
  UniqueFd ready_;   // eventfd
  std::mutex lock_;  // guards what follows
  std::vector<Line> lines_;
  std::string unfinished_;
  uint64_t n_lost_ = 0;
  std::string last_error_;
};

}  // namespace loom::dpdk
