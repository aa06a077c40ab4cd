// Sessions by throughput, from two listings over the binary API. A session's bytes are those that
// its peer sent in order (rx) and has acknowledged (tx).
#pragma once
#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <hostloom/status.h>

#include "client/client.h"

namespace loomctl {

struct SessionsSample {
  struct Session {
    std::string transport, local, remote, app;
    uint64_t rx_bytes = 0, tx_bytes = 0;
  };
  std::chrono::steady_clock::time_point at;
  std::map<uint64_t, Session> by_handle;
};

struct SessionRate {
  uint64_t handle;
  SessionsSample::Session session;
  double rx_bits_s, tx_bits_s;
};
// Of sessions that moved bytes in between, fastest first. `before` is of the same daemon, and
// earlier; one that came in between, or whose handle is another's now, began at 0.
std::vector<SessionRate> session_rates(const SessionsSample& before, const SessionsSample& now);

// A connection of its own to the daemon, made anew when it is lost.
class SessionSource {
 public:
  explicit SessionSource(std::string api_socket) : api_socket_(std::move(api_socket)) {}
  loom::Result<SessionsSample> sample();

 private:
  std::string api_socket_;
  std::optional<loom::Client> client_;
};

}  // namespace loomctl
