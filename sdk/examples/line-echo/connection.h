// Connections of the line protocol, and what a worker and the whole plugin keep.
#pragma once
#include <deque>
#include <vector>

#include <hostloom/host.h>
#include <hostloom/session.h>

#include "wire.h"

namespace line_echo {

using namespace loom;

// Made when a connection is opened or accepted. On its worker only.
struct Connection {
  ConnId id = kNoConn;
  SessionId session = kNoSession;
  Endpoints ends;
  uint16_t most_text = 0;  // bytes in one packet, by the MTU of the route
  bool in_use = false;
  bool is_open = false;      // the handshake has ended
  bool app_closed = false;   // the application is done in both directions
  bool want_close = false;   // nothing will be added to the tx fifo
  bool close_acked = false;  // and the peer knows it
  bool peer_closed = false;
  // Sending. At most one packet is under way; the text of kData is the first `pending_text` bytes
  // of the tx fifo, which stay there until they are acknowledged (TxKind::kPeek).
  uint8_t next_sequence = 0;
  uint8_t pending = 0;  // its Kind, 0 = none
  uint32_t pending_text = 0;
  uint32_t tries = 0;
  Timer timer;  // sends it again
  // Receiving.
  uint8_t expected = 0;
  uint32_t stored = 0;  // bytes of the expected packet that are in the rx fifo already
  uint64_t bytes_acked = 0, bytes_received = 0;
};

struct Listener {
  SessionId session = kNoSession;  // kNoSession: free
};

struct Stats {
  uint64_t sent = 0, sent_again = 0, timed_out = 0, no_buffer = 0;
};

struct LineWorker {
  explicit LineWorker(Worker& worker) : w(worker) {}
  Worker& w;
  std::deque<Connection> connections;  // addresses stay good; by ConnId
  std::vector<ConnId> free;
  std::vector<Listener> listeners;
  Stats stats;

  Connection* open(const Endpoints&);  // kNoSession, sequence numbers 0
  void forget(Connection&) noexcept;
  Connection* find(ConnId id) noexcept {
    return id < connections.size() && connections[id].in_use ? &connections[id] : nullptr;
  }
};

// Written by init and by commands, while workers only read.
struct Shared {
  Host* host = nullptr;
  uint32_t worker_slot = 0;
  TransportId transport = kNoTransport;
  NodeId ip4_lookup = kNoNode;
  TimeNs retransmit = 200 * kMillisecond;
};
Shared& shared() noexcept;
inline LineWorker& line_worker(Worker& w) noexcept {
  return *static_cast<LineWorker*>(w.plugin_data[shared().worker_slot]);
}

// --- send.cc
// Sends a packet that nobody acknowledges: kAck, kBusy, kReset.
void send_answer(LineWorker&, const Endpoints&, Kind, uint8_t sequence) noexcept;
// Starts to send the connection's next numbered packet: kOpen or kClose, or kData from a chain that
// holds the text. Consumes the chain.
void send_numbered(LineWorker&, Connection&, Kind, Buffer* text) noexcept;
// Nothing is under way: what comes next?
void send_next(LineWorker&, Connection&) noexcept;
// The packet under way has been acknowledged.
void acknowledged(LineWorker&, Connection&) noexcept;
// The connection is over because of the peer or the network; tells the session.
void fail(LineWorker&, Connection&, ResetReason) noexcept;
// Both sides have closed, or ours has and nobody listens here any more: ends it in order.
void finish_if_done(LineWorker&, Connection&) noexcept;

extern const NodeInfo kInputNode;      // input.cc
extern const TransportOps kTransport;  // transport.cc

// --- Control thread. What commands and messages ask for is one function here (cli.cc), called by
// both.
Result<void> set_retransmit(Host&, uint64_t milliseconds);
Result<void> add_commands(Host&);  // cli.cc
Result<void> add_messages(Host&);  // api.cc

}  // namespace line_echo
