// A connection of a client: takes requests, one after the other, and sends their answers. On the
// session's worker.
#pragma once
#include <hostloom/app.h>

#include "answer.h"
#include "lookup.h"
#include "server.h"

namespace loom::http {

struct Connection {
  enum class Phase : uint8_t {
    kRequest,  // a head, or the rest of a body that is thrown away, is to come
    kLookup,   // the request, still in its fifo, waits for the control thread
    kAnswer,   // `out` and then bytes of `entry` are sent
    kLinger,   // shut down; what still comes is thrown away, so that the answer is not reset
    kOver
  };
  Server* server = nullptr;
  SessionId session = kNoSession;
  Phase phase = Phase::kRequest;
  bool keep_alive = true;
  bool was_looked_up = false;  // `entry` or `refusal` is for the request at hand
  uint16_t refusal = 0;
  uint64_t to_discard = 0;  // bytes of a body
  Entry* entry = nullptr;
  uint64_t at = 0, end = 0;  // of the file
  Lookup* lookup = nullptr;  // under way at the control thread
  TimeNs last_progress = 0;
  Timer timer;
  uint32_t out_at = 0;
  Answer out;
};

// The control thread has answered; `entry` belongs to the connection when it is taken.
void looked_up(Worker&, Connection&, uint16_t refusal, Entry* entry) noexcept;
void piece_read(Worker&, Connection&, bool is_good, std::span<const std::byte>) noexcept;

extern const AppOps kConnectionOps;  // but for the name

}  // namespace loom::http
