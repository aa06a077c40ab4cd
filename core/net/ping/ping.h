// The requests of one ping and what came back: worker 0 notes what it sends, workers mark what is
// answered. Nobody waits.
#pragma once
#include <array>
#include <atomic>
#include <vector>

#include <hostloom/address.h>
#include <hostloom/types.h>
#include <hostloom/worker.h>

#include "net/net.h"

namespace loom {

// An echo reply, as a worker found it.
struct EchoReply {
  TimeNs now = 0;
  IpAddress from;
  uint16_t id = 0, sequence = 0;
  uint32_t bytes = 0;
  uint8_t ttl = 0;
};

class PingBoard {
 public:
  static constexpr uint32_t kMaxRequests = Net::kMaxPingRequests;

  PingBoard() = default;
  PingBoard(const PingBoard&) = delete;

  // Worker 0, when request `sequence` (from 0) of the ping goes out.
  void sent(uint32_t sequence, TimeNs now) noexcept {
    sent_[sequence].store(now, std::memory_order_release);
  }
  // Any worker: an echo reply came. True when it is the first answer to a request of the ping.
  bool answered(const EchoReply& reply) noexcept;

  // Control. begin: from now on replies with this id, from this address, count.
  void begin(const IpAddress& from, uint16_t id, uint32_t count);
  void end() noexcept { id_.store(0, std::memory_order_release); }
  uint32_t n_answered() const noexcept { return n_answered_.load(std::memory_order_acquire); }
  std::vector<PingReply> replies() const;

 private:
  struct Answer {
    std::atomic<TimeNs> rtt{-1};  // -1: none yet, -2: being written
    uint32_t bytes = 0;
    uint8_t ttl = 0;
  };
  // 0: nobody waits, else 0x10000 | identifier. Release: what follows is as begin() left it.
  std::atomic<uint32_t> id_{0};
  std::array<std::atomic<uint64_t>, 2> from_{};
  std::atomic<bool> from_ip4_{true};
  std::atomic<uint32_t> count_{0};
  std::atomic<uint32_t> n_answered_{0};
  std::array<std::atomic<TimeNs>, kMaxRequests> sent_{};
  std::array<Answer, kMaxRequests> answers_{};
};

// Worker 0: sends echo request `sequence` and marks it on the board. kUnreachable: no way.
Status send_echo(Worker& w, PingBoard& board, const IpAddress& to, uint32_t fib_index, uint16_t id,
                 uint16_t sequence);

}  // namespace loom
