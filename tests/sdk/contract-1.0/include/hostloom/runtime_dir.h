// Where a daemon keeps its sockets when nobody says otherwise.
#pragma once
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace loom {

// /run/hostloom for root; for others hostloom/ below $XDG_RUNTIME_DIR, else /tmp/hostloom-UID.
inline std::string default_runtime_dir() {
  const uid_t uid = ::geteuid();
  if (uid == 0) return "/run/hostloom";
  const char* user_dir = std::getenv("XDG_RUNTIME_DIR");
  if (user_dir && *user_dir == '/') return std::string(user_dir) + "/hostloom";
  return "/tmp/hostloom-" + std::to_string(uid);
}

// Where a client looks for the API: $HOSTLOOM_API_SOCKET, this user's own daemon, the system's.
inline std::string default_api_socket() {
  if (const char* path = std::getenv("HOSTLOOM_API_SOCKET"); path && *path) return path;
  const std::string own = default_runtime_dir() + "/api.sock";
  return ::access(own.c_str(), F_OK) == 0 ? own : "/run/hostloom/api.sock";
}

}  // namespace loom
