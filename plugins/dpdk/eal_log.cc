#include "eal_log.h"

#include <rte_log.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <hostloom/waker.h>

namespace loom::dpdk {
namespace {

thread_local EalLog::Errors* errors = nullptr;  // the thread's

LogLevel level_of(uint32_t rte) {
  if (rte <= RTE_LOG_ERR) return LogLevel::kError;
  if (rte == RTE_LOG_WARNING) return LogLevel::kWarn;
  if (rte == RTE_LOG_NOTICE) return LogLevel::kNotice;
  return rte == RTE_LOG_INFO ? LogLevel::kInfo : LogLevel::kDebug;
}

}  // namespace

Result<void> EalLog::open() {
  ready_ = open_eventfd();
  if (!ready_) return error(Status::kIo, std::string("eventfd: ") + std::strerror(errno));
  cookie_io_functions_t io{};
  io.write = on_write;
  stream_ = ::fopencookie(this, "w", io);
  if (!stream_ || rte_openlog_stream(stream_) != 0)
    return error(Status::kIo, "there is no stream for DPDK's log");
  // Each message is written by the thread that logs it, and in one piece: what is kept in a buffer
  // would be written by whoever comes next.
  (void)std::setvbuf(stream_, nullptr, _IONBF, 0);
  (void)host_.watch_fd(
      ready_.get(), [](void* log) { static_cast<EalLog*>(log)->drain(); }, this);
  return {};
}

// Called where a thread logs: within it the level of the message is known.
ssize_t EalLog::on_write(void* log, const char* text, std::size_t size) {
  const int level = rte_log_cur_msg_loglevel();
  static_cast<EalLog*>(log)->add(level < 0 ? RTE_LOG_INFO : static_cast<uint32_t>(level),
                                 {text, size});
  return static_cast<ssize_t>(size);
}

void EalLog::add(uint32_t level, std::string_view text) {
  const std::lock_guard hold(lock_);
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    const std::string line(text.substr(0, std::min(end, kMostLetters)));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty()) continue;
    if (level <= RTE_LOG_ERR && errors) errors->last_ = line;
    if (lines_.size() < kMostLines)
      lines_.push_back({level, line});
    else
      ++n_lost_;
  }
  const uint64_t one = 1;
  (void)!::write(ready_.get(), &one, sizeof one);
}

void EalLog::drain() {
  uint64_t n;
  (void)!::read(ready_.get(), &n, sizeof n);
  std::vector<Line> lines;
  uint64_t n_lost = 0;
  {
    const std::lock_guard hold(lock_);
    lines.swap(lines_);
    std::swap(n_lost, n_lost_);
  }
  for (const Line& line : lines) host_.log(level_of(line.level), "dpdk", line.text);
  if (n_lost != 0)
    host_.log(LogLevel::kWarn, "dpdk", std::to_string(n_lost) + " more lines of DPDK's are lost");
}

EalLog::Errors::Errors() noexcept { errors = this; }
EalLog::Errors::~Errors() { errors = nullptr; }

}  // namespace loom::dpdk
