// What `tcp { }` in the start-up file sets. Read-only once the workers run.
#pragma once
#include <string>

#include <hostloom/config.h>
#include <hostloom/types.h>

namespace loom::tcp {

struct Config {
  std::string cc_algo = "cubic";        // controller of sockets that do not name one
  uint32_t mtu = 0;                     // L3 bytes: upper bound for what routes say; 0 = none
  uint32_t max_rx_fifo = 32u << 20;     // bytes; the window scale of passive opens covers it
  uint32_t max_gso_size = 65535;        // L3 bytes of one chain handed to the graph
  uint32_t initial_cwnd = 10;           // segments (RFC 6928)
  uint32_t max_connections = 1u << 20;  // a worker; half that many half-open ones and TIME-WAITs
  bool pacing = true;                   // honour CcState::pacing_rate
  bool gso = true;                      // false: one chain a segment
  bool csum_offload = true;             // false: checksums are computed here
  bool timestamps = true;               // offered and accepted (RFC 7323)
  bool sack = true;                     // RFC 2018
  bool window_scaling = true;           // RFC 7323
  TimeNs min_rto = 200 * kMillisecond;
  TimeNs max_delack = 40 * kMillisecond;
  TimeNs timewait_time = 60 * kSecond;   // 2 MSL
  TimeNs closewait_time = 0;             // CLOSE-WAIT until the application closes; 0 = no limit
  TimeNs finwait1_time = 600 * kSecond;  // without progress, after the application closed
  TimeNs finwait2_time = 60 * kSecond;   // after the application closed both directions
  TimeNs keepidle = 7200 * kSecond;      // RFC 9293 section 3.8.4
  TimeNs keepintvl = 75 * kSecond;
  uint32_t keepcnt = 9;
  uint32_t max_retransmits = 15;     // R2 of RFC 9293 section 3.8.3
  uint32_t max_syn_retransmits = 6;  // R2 for SYN: 127 s, more than its 3 minutes' spirit needs
};

// Control thread, before workers start. context: the Config.
Result<void> apply_config(void* context, const ConfigNode& stanza);
extern const char kConfigHelp[];

}  // namespace loom::tcp
