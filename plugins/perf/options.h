// What a run of a perf client is to do.
#pragma once
#include <string>

#include <hostloom/app.h>

namespace loom::perf {

constexpr uint32_t kMostSeconds = 24 * 3600, kMostClients = 100'000;
constexpr uint32_t kMostMessage = 1u << 30;  // bytes of a request, or of a response

struct RunConfig {
  std::string uri;
  AppEndpoint endpoint;  // complete() makes it of the uri
  // When a connection has done its share. At most one of the three is not 0; none: 10 s behind the
  // last opening.
  TimeNs run_time = 0;    // from the beginning of the run on
  uint64_t bytes = 0;     // on each connection, sent, or received when the server sends
  uint64_t requests = 0;  // round trips of each connection
  uint32_t n_clients = 1;
  TimeNs over = 0;         // connections are opened evenly over this time; 0: as fast as they can
  bool echo = false;       // the server sends everything back, and it is checked
  bool reverse = false;    // the server sends, the client receives
  bool verify = false;     // what the server sends is checked
  uint64_t rate = 0;       // bytes a second that all connections together send; 0: no limit
  uint32_t fifo_size = 0;  // 0: the host's default
  // Round trips, one at a time on each connection: bytes of a request; 0: none are made. Of a
  // response; 0: as many. Begun a second, by all connections together; 0: no limit.
  uint32_t request = 0, response = 0;
  uint64_t requests_per_second = 0;
};

// Checks what is asked for, and fills in what is not.
Result<void> complete(RunConfig& config);

}  // namespace loom::perf
