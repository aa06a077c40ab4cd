// What TCP has on one worker: its pools, its counters, and the work that waits for the end of a
// frame. Only that worker touches it; the control thread looks through Host::run_on_worker.
#pragma once
#include <array>

#include <hostloom/stats.h>
#include <hostloom/worker.h>

#include "config.h"
#include "connection.h"
#include "next_senders.h"
#include "passive.h"
#include "tcp.h"

namespace loom::tcp {

// Events that no packet of a node stands for; `show tcp stats`, and /sys/tcp/... of the statistics
// segment, which is why the control thread may read them at any time.
struct Stats {
  StatCounter timeouts;           // retransmission timer fired
  StatCounter fast_recoveries;    // entered
  StatCounter reneged;            // scoreboards thrown away (RFC 2018 section 8)
  StatCounter persist_probes;     // zero-window probes
  StatCounter keepalive_drops;    // connections that answered no probe
  StatCounter timed_out;          // connections given up: R2 or user timeout
  StatCounter half_open_expired;  // SYN-ACKs never answered
  StatCounter time_wait_full;     // TIME-WAITs cut short: no entry was free
  StatCounter ignored_options;    // known kinds with a wrong length, or repeated in one segment
  StatCounter no_buffer;          // segments not made: the buffer pool was empty
  StatCounter opened_active, opened_passive;
};

struct TcpWorker {
  TcpWorker(Worker& worker, const Config& c)
      : w(worker),
        config(c),
        connections(c.max_connections),
        half_open(c.max_connections / 2),
        time_waits(c.max_connections / 2),
        listeners(65536),
        scoreboards(c.max_connections / 4),
        large_ccs(c.max_connections) {
    const auto use = [&](auto&... pools) { (pools.use(worker), ...); };
    use(connections, half_open, time_waits, listeners, scoreboards, large_ccs);
  }

  Worker& w;
  const Config& config;
  Pool<Connection, IdKind::kConnection> connections;
  Pool<HalfOpen, IdKind::kHalfOpen> half_open;
  Pool<TimeWait, IdKind::kTimeWait> time_waits;
  Pool<Listener, IdKind::kListener> listeners;
  Pool<Scoreboard, IdKind::kConnection> scoreboards;
  Pool<LargeCc, IdKind::kConnection> large_ccs;
  Stats stats;
  NextSenders next_senders;
  uint32_t next_source = 0;  // of SourceAddresses, in turn

  // With what it has from other pools.
  void free_connection(Connection&) noexcept;

  // Every way into TCP (a node's frame, a timer, a call of the session layer) opens a Scope. When
  // the outermost ends, each connection that earned an acknowledgement sends one, the connections
  // that ended are freed, and everything that was sent goes to the output nodes. So at most one
  // acknowledgement leaves per connection and frame, and a connection that an application closes
  // from within a callback stays addressable until nobody up the stack uses it.
  class Scope {
   public:
    explicit Scope(TcpWorker& t) noexcept : t_(t) { ++t_.depth_; }
    ~Scope() {
      if (t_.depth_ == 1) t_.finish_frame();
      --t_.depth_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    TcpWorker& t_;
  };

  // An acknowledgement leaves at the end of the frame.
  void want_ack(Connection& c) noexcept {
    c.set(kAckNow);
    queue(c);
  }
  // Freed at the end of the frame.
  void bury(Connection& c) noexcept {
    c.set(kDead);
    queue(c);
  }
  // Takes over a complete segment with its headers.
  void emit(Buffer& b, bool is_ip4) noexcept {
    Batch& batch = out_[is_ip4 ? 0 : 1];
    batch.packets[batch.n++] = &b;
    if (batch.n == kFrameSize) flush(batch, is_ip4);
  }

 private:
  struct Batch {
    uint32_t n = 0;
    std::array<Buffer*, kFrameSize> packets;
  };
  void queue(Connection& c) noexcept {
    if (c.has(kQueued)) return;
    c.set(kQueued);
    c.next_queued = queued_;
    queued_ = c.id;
  }
  void finish_frame() noexcept;
  void flush(Batch&, bool is_ip4) noexcept;

  uint32_t depth_ = 0;
  ConnId queued_ = kNoConn;
  std::array<Batch, 2> out_;  // IPv4, IPv6
};

inline TcpWorker& tcp_worker(Worker& w) noexcept {
  return *static_cast<TcpWorker*>(w.plugin_data[shared().worker_slot]);
}

}  // namespace loom::tcp
