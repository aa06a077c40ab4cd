#include "daemon/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <chrono>

namespace loom {
namespace {

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string printable(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  return out;
}

}  // namespace

struct DaemonLog::Sink {
  std::shared_ptr<spdlog::logger> logger;
  explicit Sink(spdlog::sink_ptr to) : logger(std::make_shared<spdlog::logger>("", std::move(to))) {
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %v");
    logger->set_level(spdlog::level::trace);
    logger->flush_on(spdlog::level::trace);
    // A full disk must not end the daemon; spdlog's own handler would write to stderr.
    logger->set_error_handler([](const std::string&) {});
  }
};

DaemonLog::DaemonLog()
    : sink_(std::make_unique<Sink>(std::make_shared<spdlog::sinks::stderr_sink_mt>())),
      start_ns_(now_ns()) {}
DaemonLog::~DaemonLog() = default;

Result<void> DaemonLog::open_file(const std::string& path) {
  try {
    sink_ = std::make_unique<Sink>(std::make_shared<spdlog::sinks::basic_file_sink_mt>(path));
  } catch (const spdlog::spdlog_ex& e) {
    return error(Status::kIo, e.what());
  }
  return {};
}

double DaemonLog::uptime_s() const { return static_cast<double>(now_ns() - start_ns_) * 1e-9; }

void DaemonLog::write(LogLevel level, std::string_view who, std::string_view text) {
  if (level < least_) return;
  Line line{uptime_s(), level, std::string(who), printable(text)};
  sink_->logger->log(spdlog::level::info, "{:<6} {}: {}", log_level_name(level), line.who,
                     line.text);
  const std::lock_guard hold(lock_);
  lines_.push_back(std::move(line));
  if (lines_.size() > kKept) lines_.pop_front();
}

std::vector<DaemonLog::Line> DaemonLog::lines() const {
  const std::lock_guard hold(lock_);
  return {lines_.begin(), lines_.end()};
}

const char* log_level_name(LogLevel level) {
  constexpr const char* kNames[] = {"debug", "info", "notice", "warn", "error"};
  return kNames[static_cast<std::size_t>(level)];
}

}  // namespace loom
