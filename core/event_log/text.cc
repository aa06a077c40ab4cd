// Events as text, and as a file.
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include <hostloom/session.h>

#include "config/private_file.h"
#include "event_log/event_log.h"

namespace loom {
namespace {

constexpr const char* kKindNames[] = {
    "sleep",         "wake",          "barrier",        "api",
    "cli",           "interface",     "plugin",         "attach",
    "detach",        "session-open",  "session-accept", "session-connected",
    "session-close", "session-reset", "session-move",   "session-free"};
static_assert(std::size(kKindNames) == static_cast<std::size_t>(EventKind::kCount));

std::string micros(uint64_t ns) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f us", static_cast<double>(ns) / 1000);
  return text;
}

std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
  return text;
}

std::string interface_text(const LoggedEvent& e) {
  const std::string name = e.text.empty() ? "" : printable(e.text) + " ";
  const std::string who = name + "(" + std::to_string(e.number) + ")";
  if (e.value & kEventDeleted) return who + " removed";
  return who + " admin " + (e.value & kEventAdminUp ? "up" : "down") + ", link " +
         (e.value & kEventLinkUp ? "up" : "down");
}

// "session 0x10000000000 (tcp) of application 'nginx'"
std::string session_text(const LoggedEvent& e) {
  char handle[24];
  std::snprintf(handle, sizeof handle, "0x%llx", static_cast<unsigned long long>(e.value));
  const std::size_t space = std::min(e.text.find(' '), e.text.size());
  const std::string app = e.text.substr(std::min(space + 1, e.text.size()));
  return std::string("session ") + handle + " (" + printable(e.text.substr(0, space)) +
         ") of application '" + printable(app) + "'";
}

const char* reset_text(uint32_t reason) {
  constexpr const char* kReasons[] = {"by its peer", "timed out", "refused",
                                      "unreachable", "aborted",   "no memory"};
  static_assert(std::size(kReasons) == static_cast<std::size_t>(ResetReason::kNoMemory) + 1);
  return reason < std::size(kReasons) ? kReasons[reason] : "otherwise";
}

constexpr std::size_t kWriteBytes = 1u << 16;  // of a file that wait in memory

struct Closer {
  int fd;
  ~Closer() { close(fd); }
};

Result<void> write_all(int fd, const std::string& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error(Status::kIo, path + ": write: " + std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

const char* event_kind_name(EventKind kind) noexcept {
  return kind < EventKind::kCount ? kKindNames[static_cast<std::size_t>(kind)] : "unknown";
}

std::string event_thread_name(uint32_t thread) {
  return thread == EventLog::kControl ? "loom-main" : "loom-w" + std::to_string(thread - 1);
}

std::string describe_event(const LoggedEvent& e) {
  switch (e.kind) {
    case EventKind::kSleep:
      return e.value ? "next timer in " + micros(e.value) : "no timer";
    case EventKind::kWake:
      return "after " + micros(e.value);
    case EventKind::kBarrier:
      return "held for " + micros(e.value) + ", waited for " + std::to_string(e.number) + " us";
    case EventKind::kApi:
      return printable(e.text) + ", " + std::to_string(e.value) + " bytes of client " +
             std::to_string(e.number);
    case EventKind::kCli:
      return printable(e.text) + ": " + status_name(static_cast<Status>(e.number));
    case EventKind::kInterface:
      return interface_text(e);
    case EventKind::kPlugin:
      return printable(e.text);
    case EventKind::kAttach:
    case EventKind::kDetach:
      return "application '" + printable(e.text) + "' (" + std::to_string(e.number) + ")" +
             (e.value ? ", pid " + std::to_string(e.value) : "");
    case EventKind::kSessionOpen:
    case EventKind::kSessionAccept:
    case EventKind::kSessionFree:
      return session_text(e);
    case EventKind::kSessionConnected:
      return session_text(e) + ": " + status_name(static_cast<Status>(e.number));
    case EventKind::kSessionClose:
      return session_text(e) + (e.number ? ", at once" : "");
    case EventKind::kSessionReset:
      return session_text(e) + ": " + reset_text(e.number);
    case EventKind::kSessionMove:
      return session_text(e) + ", from worker " + std::to_string(e.number);
    default:
      return "";
  }
}

Result<void> save_events(std::span<const LoggedEvent> events, const std::string& path, TimeNs now) {
  const auto line = [](const nlohmann::ordered_json& j) {
    return j.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace) + "\n";
  };
  const auto fd = open_private_file(path);
  if (!fd) return fd.error();
  const Closer closer{*fd};
  timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  std::string text = line({{"hostloom_events", 1},
                           {"time_ns", now},
                           {"wall_ns", wall.tv_sec * kSecond + wall.tv_nsec}});
  for (const LoggedEvent& e : events) {
    text += line({{"time_ns", e.time},
                  {"thread", event_thread_name(e.thread)},
                  {"event", event_kind_name(e.kind)},
                  {"number", e.number},
                  {"value", e.value},
                  {"text", e.text},
                  {"description", describe_event(e)}});
    if (text.size() < kWriteBytes) continue;
    if (auto ok = write_all(*fd, path, text); !ok) return ok;
    text.clear();
  }
  return write_all(*fd, path, text);
}

}  // namespace loom
