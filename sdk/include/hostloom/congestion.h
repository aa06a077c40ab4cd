// Congestion control as a plugin sees it: one table of functions, opaque bytes per connection.
// Called on the connection's worker. Windows are in bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <new>
#include <type_traits>

#include <hostloom/types.h>

namespace loom {

constexpr std::size_t kCcPrivateSize = 96;

// What transport and controller share. The transport reads cwnd, ssthresh and pacing_rate after
// each call.
struct CcState {
  uint32_t cwnd;
  uint32_t ssthresh;                          // kNoSsthresh until the first congestion event
  uint32_t mss;                               // SMSS: payload bytes per segment (RFC 5681)
  uint32_t initial_cwnd;                      // bytes, RFC 6928
  uint64_t pacing_rate;                       // bytes per second; 0 = not paced
  alignas(8) std::byte priv[kCcPrivateSize];  // controller's, zeroed when the connection opens

  template <class T>
  T& priv_as() noexcept {
    static_assert(sizeof(T) <= kCcPrivateSize && alignof(T) <= 8 &&
                  std::is_trivially_copyable_v<T>);
    return *std::launder(reinterpret_cast<T*>(priv));
  }
};
constexpr uint32_t kNoSsthresh = 0x7fffffff;

// One acknowledgement that says something new, cumulatively or selectively.
struct AckSample {
  TimeNs now;
  TimeNs srtt;  // RFC 6298; 0 = no sample yet
  TimeNs rtt;   // this acknowledgement's own sample; 0 = none
  TimeNs min_rtt;
  uint32_t bytes_acked;    // cumulatively (RFC 5681); 0 = it was selective or a duplicate
  uint32_t in_flight;      // before this acknowledgement
  uint64_t delivered;      // total bytes delivered so far, selectively acknowledged ones included
  uint64_t delivery_rate;  // bytes per second over the last flight; 0 = no sample
  bool cwnd_limited;       // the window, not the application, limited what was sent
  bool in_recovery;        // loss recovery is under way: cwnd belongs to it (PRR)
  bool ece;                // ECN echo on this acknowledgement
};

struct LossSample {
  TimeNs now;
  uint32_t in_flight;  // FlightSize when the loss was found
  bool is_timeout;     // RTO, not fast retransmit
};

struct CcOps {
  uint32_t struct_size = sizeof(CcOps);  // as the plugin was built; new entries go at the end
  const char* name = nullptr;            // as in TCP_CONGESTION
  const char* summary = nullptr;
  // The connection opens, or switches to this controller; cwnd, ssthresh and mss are set. May be
  // null.
  void (*init)(CcState&, TimeNs now) noexcept = nullptr;
  void (*on_ack)(CcState&, const AckSample&) noexcept = nullptr;
  // Once per congestion event: sets ssthresh, and cwnd for when recovery has ended (RTO: for now).
  void (*on_congestion)(CcState&, const LossSample&) noexcept = nullptr;
  // Recovery ended, cwnd is what recovery left. May be null: cwnd becomes ssthresh.
  void (*on_recovered)(CcState&, TimeNs now) noexcept = nullptr;
  // The event was spurious (D-SACK, Eifel, F-RTO): restore what on_congestion changed. May be null.
  void (*on_undo)(CcState&) noexcept = nullptr;
  // The connection was idle for `idle` (RFC 9293 section 3.8.3 restart). May be null.
  void (*on_idle)(CcState&, TimeNs idle) noexcept = nullptr;
  // Bytes of CcState::priv that the controller uses, from the first on; the rest may not be there.
  // 0: all kCcPrivateSize. Up to 56 a connection needs no memory beside its own for them.
  uint32_t private_size = 0;
};

// Slow start with appropriate byte counting, L = 2 SMSS (RFC 3465 section 2.2): the helper that
// every controller shares.
inline void slow_start(CcState& s, uint32_t bytes_acked) noexcept {
  const uint32_t most = 2 * s.mss;
  const uint32_t room = s.ssthresh - s.cwnd;  // do not shoot past ssthresh
  uint32_t growth = bytes_acked < most ? bytes_acked : most;
  if (s.ssthresh != kNoSsthresh && growth > room) growth = room;
  s.cwnd += growth;
}

}  // namespace loom
