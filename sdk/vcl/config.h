// vcl.conf and the environment: what an application wants from the stack.
//
// Order: defaults, then the file (VCL_CONFIG, or the first default path that exists), then the
// other VCL_* variables. A file that was asked for and cannot be read, or that does not parse, is
// an error with file, line and, for an unknown key, the nearest known one.
#pragma once
#include <string>

#include <hostloom/status.h>
#include <hostloom/types.h>

namespace loom::vcl {

struct Config {
  std::string app_socket = "/run/hostloom/app_ns_sockets/default";
  std::string namespace_id;
  uint64_t namespace_secret = 0;
  uint32_t max_workers = 16;
  // 0: as startup.conf of the daemon says.
  uint64_t segment_size = 0, add_segment_size = 0;  // bytes
  uint32_t rx_fifo_size = 0, tx_fifo_size = 0;      // bytes
  uint32_t event_queue_size = 0;                    // slots; at most svm::kMostQueueSlots are had
  double app_timeout = 600, session_timeout = 600;                        // seconds
  TimeNs spin = 50 * kMicrosecond;  // that a thread looks for peers' news before it sleeps; 0: none
  // Of that, what passes before signals are held. No key of the file; tests have none of it.
  TimeNs spin_unheld = 2 * kMicrosecond;
  bool require_stack = false;  // preload: fail, instead of using the kernel, without a daemon
  uint32_t debug = 0;          // 1 = say on standard error why something fell back to the kernel
  // Accepted for compatibility; nothing here depends on them.
  uint64_t heap_size = 0;
  bool scope_local = false, scope_global = false;
  bool proxy_transport_tcp = false, proxy_transport_udp = false;
  bool multi_thread_workers = false, huge_page = false, original_dst = false;
  uint32_t tls_engine = 0;
};

// The configuration of this process.
Result<Config> load_config();
// `text` as the content of `file`, on top of `config`.
Result<void> parse_config(const std::string& file, const std::string& text, Config& config);
// The VCL_* variables but VCL_CONFIG, on top of `config`.
Result<void> apply_environment(Config& config);

}  // namespace loom::vcl
