// One TLS connection: an application's session above, a session of ours below, OpenSSL between.
//
//   upper   fifos of plain bytes, by SessionOps: the transport's side of a session
//   lower   fifos of records, by AppSession: the application's side of one of another transport
//
// It lives from the lower session's beginning until that says `closed`; the upper one may come
// later (server) and go earlier. All of it on the worker where both sessions live.
#pragma once
#include <openssl/ssl.h>

#include <memory>
#include <vector>

#include "common.h"
#include "crypto_share.h"
#include "resume.h"
#include "slice.h"
#include "turns.h"

namespace loom::tls {

struct Listener;
struct TlsWorker;
struct HandshakeJob;  // handover.cc

// Plain bytes of a record, at most (RFC 8446 section 5.1), and what a record may have besides.
constexpr uint32_t kMaxPlain = 16'384, kMaxRecord = kMaxPlain + 512;
constexpr TimeNs kLinger = 5 * kSecond;        // for the peer to do what is left to do
constexpr uint32_t kMostDiscarded = 64 << 10;  // bytes that come when nobody reads any more
constexpr uint32_t kMostLingering = 1024;      // of a worker: handshakes that have failed
constexpr uint32_t kMostPerCall = 128 * 1024;  // bytes of early data
// Under one key, before there is another: AES-GCM's takes 2^24.5 (RFC 8446 section 5.5).
constexpr uint32_t kMostRecords = 1u << 24;
// The first early data comes before there is a fifo for it; the smallest one takes so much.
constexpr uint32_t kFirstEarly = 4096;

struct Connection : Held {
  enum class State : uint8_t {
    kConnecting,  // client: the lower session is on its way
    kHandshake,
    kOpen,
    kEnding,  // nobody is above any more; what we have said is on its way to the peer
  };

  TlsWorker* at = nullptr;
  SSL* ssl = nullptr;
  // What `ssl` refers to: goes after it, and is the control thread's to free (retired.h).
  std::shared_ptr<const void> context, wanted;
  SessionId upper = kNoSession, lower = kNoSession;
  ConnId self = kNoConn;
  State state = State::kConnecting;
  bool is_server = false;
  bool shut = false;             // the application writes no more: close_notify after what is left
  bool closed = false;           // it does not read either
  bool said_close = false;       // close_notify is sent
  bool heard_close = false;      // and has come
  bool was_open = false;         // its handshake was done once
  bool lingers = false;          // counted in TlsWorker::lingering
  bool blocked = false;          // nothing is sent before a message of the peer's is complete
  bool receiving = false;        // receive() runs
  bool again = false;            // and is to begin anew
  bool gone = false;             // the lower session was reset: what is written goes nowhere
  bool reads_early = false;      // server: what comes may be early data (early.cc)
  Turns::Turn turn, turn_out;    // of receiving, and of sending
  uint32_t taken = 0;            // bytes that OpenSSL took from the lower session, wraps
  uint32_t discarded = 0;        // bytes of the peer's that nobody wants any more
  uint32_t n_records = 0;        // that were sent under the keys of now, at least
  Listener* listener = nullptr;  // server, until the handshake is done
  // Records that the lower session had no room for. While there are any, none is made, and nothing
  // is read that may be answered: so these are few.
  std::vector<std::byte> unsent;
  // In the list of those that have OpenSSL's buffers of records (buffers.cc).
  Connection *more_idle = nullptr, *less_idle = nullptr;
  TimeNs active_at = 0;
  bool buffered = false;
  // A step of its handshake by a thread of the pool: it has `ssl` and what that refers to, and
  // there is none here. Only in state kHandshake.
  HandshakeJob* job = nullptr;
  std::string resume_key;  // client: what its sessions are kept under (resume.h)
  Timer timer;  // handshake: gives up. Ending: lets go. Open: memory was short, tries again

  AppSession below() const noexcept;
};

enum Stat : uint16_t {
  kServerHandshakes,
  kClientHandshakes,
  kResumed,
  kEarlyAccepted,
  kEarlyRefused,
  kHandshakesFailed,
  kHandshakesTimedOut,
  kRefused,
  kAlertsReceived,
  kVerifyFailed,
  kTruncated,
  kBadRecords,
  kBytesIn,
  kBytesOut,
  kEarlyBytes,
  kCryptoSteps,
  kCryptoHeld,
  kCryptoTakenBack,
  kCryptoUnderWay,
  kUnderWay,
  kConnections,
  kStatCount
};
extern const StatInfo kStats[kStatCount];

struct TlsWorker : ConnectionTable<Connection, kConnections> {
  using ConnectionTable::ConnectionTable;
  void forget(Connection&) noexcept;

  SessionCache sessions;
  uint32_t lingering = 0;  // connections whose handshake has failed, and which are still there
  // Connections with buffers of records, the one that is idle for the longest time first.
  Connection *most_idle = nullptr, *least_idle = nullptr;
  uint32_t n_buffered = 0, most_buffered = 1024;
  Timer idle_timer;
  uint32_t most_records = kMostRecords;
  HandshakeSlice slice;
  Turns turns, turns_out;
  CryptoShare share{w, slice};  // DTLS's, too
};

inline AppSession Connection::below() const noexcept { return AppSession(at->w, lower); }

// --- bio.cc
// OpenSSL's connection with the lower session. False: no memory.
bool attach_bio(Connection&) noexcept;
// Sends what is unsent. False: the rest goes when there is room; `writable` calls again.
bool flush(Connection&) noexcept;
// Copies what has come and is unread, as far as there is room for it and it is at hand: bytes. It
// stays unread until it is consumed.
std::size_t copy_unread(const Connection&, std::span<std::byte> to) noexcept;
void consume(Connection&, std::size_t) noexcept;
// Takes all: what does not fit below waits in `unsent`, and nobody is to have what is made when the
// lower session has gone, or behind close_notify: an answer to a KeyUpdate, say, or an alert.
// False: no memory, and the stream has a hole.
bool send_below(Connection&, std::span<const std::byte>) noexcept;
bool append(std::vector<std::byte>& to, std::span<const std::byte>) noexcept;  // false: no memory

// --- buffers.cc
// It is about to receive or to send: OpenSSL's buffers stay until it has been idle for a while, or
// too many others have some.
void keep_buffers(Connection&) noexcept;
void forget_buffers(Connection&) noexcept;  // its SSL goes

// --- handshake.cc
// Goes on with it as far as what has come allows.
void handshake(Connection&) noexcept;
// What OpenSSL has against a call, by the thread that made it.
struct Complaints {
  uint32_t alerts = 0, mistrusted = 0;
};
// As far as it came by one call of OpenSSL.
struct Step {
  int done = 0;            // 1: to the end
  bool waits = false;      // for more from the peer
  bool wants_key = false;  // the rest is a thread's (key_is_next). None of these: it has failed
  Complaints complaints;
};
Step take_step(SSL*) noexcept;                 // any thread, which has it
Step outcome_of(SSL*, int returned) noexcept;  // likewise, by what the call has returned
void stepped(Connection&, const Step&) noexcept;
void begin_client(Connection&) noexcept;  // the lower session is connected
void start_timer(Connection&, TimeNs) noexcept;
// The connection ends by our doing: whoever is above hears `reason`, the peer the alert that
// OpenSSL has written.
void fail(Connection&, ResetReason reason) noexcept;
// The lower session has gone, or never came: whoever is above hears it.
void lost(Connection&, Status, ResetReason) noexcept;
// Nobody is above from now on. What is unsent is sent, then the lower session ended.
void end_below(Connection&) noexcept;

// Makes the session of a server's application. False: it is not to be had, and the connection at
// its end.
bool accept_above(Connection&) noexcept;

// --- handover.cc
// The step that is next is a thread's of the pool, and `stepped` comes when it is done; the
// connection may be at its end on return. False: it is the worker's own.
bool hand_over(Connection&) noexcept;
// Likewise, whatever the step is.
void hand_over_now(Connection&) noexcept;
// OpenSSL's callback, once a server has looked at a hello and resumes no session: -1 stops it where
// a thread is to go on.
int key_is_next(SSL*, void*) noexcept;
inline bool is_away(const Connection& c) noexcept { return !c.ssl || c.is_held(); }
// Its handshake is over: nothing comes back to it.
void take_back(Connection&) noexcept;

// --- early.cc
// kGoOn: there is no more, and the rest of the handshake follows. kLook: OpenSSL waits, or has an
// error. kWait: the application's fifo is full, and rx_drained calls again, or it was enough for
// this round. kOver: the connection is at its end.
enum class Early : uint8_t { kGoOn, kLook, kWait, kOver };
Early read_early(Connection&) noexcept;
// The first early data, when the step that it came with was not the worker's; goes on here.
void early_came(Connection&, std::span<const std::byte>) noexcept;

// --- receive.cc
// Whether OpenSSL gets a record to its end, or to where it sees that it is none: a part of one
// waits in the lower session, which has memory for what has come and no more.
bool has_record(const Connection&) noexcept;
// From the lower session into the upper one's rx fifo.
void receive(Connection&) noexcept;
// The lower session was reset: the same for all that had come before, as far as there is room. The
// last chance, as the lower session goes.
void receive_rest(Connection&) noexcept;
// kEnding: what comes is nobody's.
void discard(Connection&) noexcept;

// --- send.cc
// From the upper session's tx fifo into the lower session; close_notify behind the last byte.
void send(Connection&) noexcept;

// --- context.cc
// Takes what OpenSSL has against the last call, and empties its queue, which is the thread's.
Complaints take_complaints(const SSL*) noexcept;
void count(TlsWorker&, const Complaints&) noexcept;
inline void note_errors(TlsWorker& t, const SSL* ssl) noexcept { count(t, take_complaints(ssl)); }
// OpenSSL's callback: a client's server has sent a ticket. 1: the reference is ours now.
int keep_session(SSL*, SSL_SESSION*) noexcept;

}  // namespace loom::tls
