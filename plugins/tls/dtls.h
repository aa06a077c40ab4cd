// DTLS 1.2 (RFC 6347) over datagrams, as a further transport beside TLS: certificates, settings and
// the stanza are the same.
//
//   client  one lower session with a peer for each connection
//   server  one bound lower session for each listener; connections by their peers' addresses
//
// One write of the application is one record is one datagram. All of a connection, and of a
// listener's lower session, is on one worker; what is made or ended on the control thread says so.
#pragma once
#include <openssl/ssl.h>
#include <sys/time.h>

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "common.h"
#include "context.h"
#include "crypto_share.h"
#include "put_off.h"
#include "settings.h"

namespace loom::tls {
struct Step;  // connection.h
}

namespace loom::tls::dtls {

constexpr uint8_t kProto = 5;                     // VPPCOM_PROTO_DTLS
constexpr uint32_t kMostPlain = 16'384;           // of a record (RFC 6347 section 4.1)
constexpr uint32_t kMostWire = kMostPlain + 512;  // with what a record has besides
constexpr uint32_t kLeastMtu = 576;
constexpr uint32_t kRoom = kMostWire + 128;  // that one takes in a fifo below
constexpr uint32_t kMostPerCall = 64;        // datagrams: then it is the others' turn
constexpr uint32_t kHelloBytes = 27;         // before a ClientHello's random
constexpr uint32_t kMostEarly = 8;           // records of the next epoch, in a handshake
// That come while a thread of the pool has the handshake: a flight with a certificate of 32 KB, of
// each, and of all of a worker. Bytes, with what keeping them takes.
constexpr std::size_t kMostKept = 40 << 10, kMostKeptOfAll = 512 << 10;
constexpr TimeNs kCookieLifetime = 60 * kSecond;  // at least; at most twice as long
// Between attempts to bind again: twice as long each time, up to the most.
constexpr uint32_t kLeastRetransmitUs = 1'000'000,
                   kMostRetransmitUs = 60'000'000;  // as above, 4.2.4.1
constexpr TimeNs kLeastWait = 100 * kMillisecond, kMostWait = 10 * kSecond;

// OpenSSL's end of a lower session: where its records go, and the datagram that it may read.
struct Wire {
  Worker* w = nullptr;
  SessionId lower = kNoSession;
  Datagram to;  // flags 0: the lower session has a peer
  std::span<const std::byte> in;
  bool peeks = false;  // what is read stays (DTLSv1_listen)
  // Of the flight that was sent last (RFC 6347 section 4.2.4), by the worker's clock: 0: it is
  // done.
  TimeNs retransmit_at = 0;
  uint32_t wait_us = 0;    // that the timer runs for
  timeval* due = nullptr;  // OpenSSL's own idea of when, by the time of day; null: not to be had
  // While a thread of the pool has it: what is written, until it is sent; null: it has the
  // worker's. Then the flight's time begins, too: retransmit_at is how long after that, if it was
  // set at all.
  std::vector<std::vector<std::byte>>* out = nullptr;
  bool was_set = false;
  uint32_t n_lost = 0;  // for want of memory
};
// False: no memory.
bool attach_wire(SSL*, Wire&) noexcept;  // dtls_bio.cc
void move_wire(SSL*, Wire&) noexcept;
// A datagram of ours; one that finds no room is lost, as it could be on its way. Worker.
void send_below(const Wire&, std::span<const std::byte>) noexcept;
// Its retransmit_at has come: sends the flight again. As DTLSv1_handle_timeout.
int retransmit(SSL*, Wire&) noexcept;

// Keys of cookies (RFC 6347 section 4.2.1): a client shows by one that it is where it says, before
// anything is kept for it. One worker.
class CookieKeys {
 public:
  using Cookie = std::array<unsigned char, 32>;
  CookieKeys() = default;
  ~CookieKeys();
  CookieKeys(const CookieKeys&) = delete;
  CookieKeys& operator=(const CookieKeys&) = delete;
  // For that peer of this end. False: no randomness.
  bool make(TimeNs now, const Endpoints& ends, Cookie& out) noexcept;
  bool check(TimeNs now, const Endpoints& ends, std::span<const unsigned char>) noexcept;

 private:
  bool turn(TimeNs now) noexcept;
  std::array<unsigned char, 32> keys_[2]{};  // the one to write with, and the one before
  TimeNs since_ = 0;                         // 0: there is none
  bool has_previous_ = false;
};

struct Connection;
struct Listener;
struct DtlsWorker;
struct HandshakeJob;  // dtls_handover.cc

// What a lower session is for: its context.
struct Below {
  Connection* connection = nullptr;  // a client's
  Listener* listener = nullptr;
};

// One that has come, until the handshake is back.
struct KeptDatagram {
  Datagram from;
  std::vector<std::byte> bytes;
};

struct Connection : Held {
  enum class State : uint8_t { kConnecting, kHandshake, kOpen, kEnding };
  DtlsWorker* at = nullptr;
  SSL* ssl = nullptr;
  SessionId upper = kNoSession;
  ConnId self = kNoConn;
  State state = State::kConnecting;
  bool is_server = false;
  bool shut = false;          // the application writes no more
  bool closed = false;        // nor does it read
  bool said_close = false;    // close_notify is sent
  bool heard_close = false;   // and has come
  bool lower_closed = false;  // client: the lower session is on its way out
  bool counted = false;       // among the handshakes under way
  bool waits = false;         // for room below
  bool has_first = false;     // of the peer's messages: its records have version 1.2 from then on
  // Records that came before their epoch, which OpenSSL keeps; and right behind what begins it; and
  // data before the handshake's last message.
  uint8_t n_early = 0, n_begun = 0, n_data = 0;
  uint32_t mtu = 0;              // of the path, IP packets
  Listener* listener = nullptr;  // server
  // What `ssl` refers to: goes after it, and is the control thread's to free (retired.h).
  std::shared_ptr<const void> context, wanted;
  std::array<std::byte, 32> random{};  // server: of the ClientHello
  Below below_context;
  Wire wire;
  // A step of its handshake by a thread of the pool: it has `ssl` and what that refers to, and
  // there is none here. Only in state kHandshake.
  HandshakeJob* job = nullptr;
  std::vector<KeptDatagram> kept;  // what has come meanwhile, in order
  TimeNs deadline = 0;             // of the handshake
  Timer timer;  // what comes first: a retransmission, or the deadline. None: not running
  AppSession below() const noexcept { return {*wire.w, wire.lower}; }
};

// Whom a datagram to a listener is from, and to which of this host's addresses.
struct PeerKey {
  std::array<std::byte, 16> remote, local;
  uint16_t port;
  auto operator<=>(const PeerKey&) const = default;
};
PeerKey key_of(const Endpoints&) noexcept;
// `next`: whose handshake goes on while `current` is still good (RFC 6347 section 4.2.8).
struct Peer {
  ConnId current = kNoConn, next = kNoConn;
};

// Made on the control thread. It stays until its lower session has gone, which is with the last of
// its connections: these go on when nobody listens any more. Its worker's but for what says so.
struct Listener {
  SessionId upper = kNoSession;
  uint32_t worker = 0;
  ServerContextPtr context;  // changed only while the workers stand still, and `hello` with it
  Settings settings;         // control thread
  SessionHandle lower = 0;   // control thread: of the wire's
  Below below_context;
  Wire wire;             // of `hello`
  SSL* hello = nullptr;  // answers ClientHellos, and becomes a connection's
  CookieKeys cookies;
  std::map<PeerKey, Peer> peers;
  std::vector<ConnId> waiting;  // for room below; has room for all of its connections
  PutOff put_off;               // what handshakes have no time for in this round
  Timer next_round;             // that there is one, while something is put off
  uint32_t n_connections = 0;
  StatCounter under_way;  // handshakes
  bool closing = false;   // nobody listens any more
  bool rests = false;     // the daemon drains: nobody is greeted
  // Its lower session was reset: `again` goes to the control thread, which binds another.
  SocketOptionsView options;  // control thread: how to
  TimeNs wait = 0;            // control thread: before the next attempt; 0: the last was good
  ConnId self = kNoConn;      // control thread's number
  Timer again;
  ~Listener() { SSL_free(hello); }
};

enum Stat : uint16_t {
  kServerHandshakes,
  kClientHandshakes,
  kHandshakesFailed,
  kHandshakesTimedOut,
  kRefused,
  kHellos,
  kHellosDropped,
  kPutOff,
  kPutOffDropped,
  kBoundAgain,
  kBindsFailed,
  kRetransmissions,
  kRecordsDropped,
  kTooLong,
  kEmpty,
  kUnsent,
  kRcvbufFull,
  kAlertsReceived,
  kVerifyFailed,
  kCryptoSteps,
  kCryptoHeld,
  kCryptoTakenBack,
  kCryptoUnderWay,
  kUnderWay,
  kConnections,
  kStatCount
};
extern const StatInfo kStats[kStatCount];

struct DtlsWorker : ConnectionTable<Connection, kConnections> {
  using ConnectionTable::ConnectionTable;
  Connection* open() noexcept;  // null: no memory
  std::array<std::byte, kMaxDatagramBytes> wire, plain;
  std::size_t kept = 0;  // bytes that all connections keep
};

struct Shared : Transport<DtlsWorker> {
  std::map<ConnId, Listener*> listeners;  // control thread
  bool draining = false;                  // control thread
};
Shared& shared() noexcept;
inline DtlsWorker& dtls_worker(Worker& w) noexcept {
  return *static_cast<DtlsWorker*>(w.plugin_data[shared().worker_slot]);
}
AppEndpoint lower_endpoint(const SocketOptionsView&) noexcept;
Config datagram_config();  // control thread

extern const TransportOps kTransportOps;  // dtls_transport.cc
extern const AppOps kLowerOps;            // dtls_lower.cc

// --- dtls_listen.cc
// Control thread: TransportOps.
Status open_listener(SessionId, const SocketOptionsView&, ConnId*) noexcept;
void close_listener(ConnId) noexcept;
Status use_settings(ConnId, uint32_t number) noexcept;
// What a listener is opened with. Control thread.
Result<ServerContextPtr> make_context(const Settings&, X509_STORE*);
// While the workers stand still: it greets with that one; then `context` is the one of before.
void change(Listener&, ServerContextPtr& context) noexcept;
// The daemon drains, or does not any more: listeners end what they have below, once the last
// connection has left, or have it again. Control thread.
void drain(bool begins) noexcept;
// A datagram for a listener's end: a connection's, or a ClientHello. False: it is one for a
// handshake, and costs what `may_cost` does not allow.
bool take(Listener&, const Datagram& from, std::span<const std::byte>, bool may_cost) noexcept;
// The listener's lower session has gone, with all that went by it: the control thread gets another.
// The listener may be gone on return.
void lower_ended(Listener&) noexcept;
void wait_for_room(Connection&) noexcept;
void room_again(Listener&) noexcept;
// The listener's table leads to it no more, or to it alone.
void leave(Connection&) noexcept;
void settle_in(Connection&) noexcept;

// --- dtls_connection.cc. After each of them comes settle().
// Its handshake; of a server with the datagram in its wire, which is `from` there.
void begin(Connection&, const Datagram& from) noexcept;
void input(Connection&, const Datagram& from, std::span<const std::byte>) noexcept;
// The largest datagram that the application may send now, bytes.
uint32_t most_payload(Connection&) noexcept;
void start_deadline(Connection&) noexcept;  // of its handshake, which is under way
void send(Connection&) noexcept;
// It ends by our doing, or because of the network: whoever is above hears so, unless `upper` has
// been let go before.
void fail(Connection&, Status, ResetReason) noexcept;
// Says close_notify, and `closed` above.
void finish(Connection&) noexcept;
// The last to be called with a connection: it may be gone on return.
void settle(Connection&) noexcept;

// Goes on with the datagram in the wire, which is `from` there, or with what OpenSSL has already.
void look_at(Connection&, const Datagram& from) noexcept;
// What a step has come to, whoever has taken it, with the datagram that is `from` there.
void stepped(Connection&, const Step&, const Datagram& from) noexcept;

// --- dtls_handover.cc
// The step that is next, with what is in the wire, is a thread's of the pool, and `stepped`
// comes when it is done. False: it is the worker's own.
bool hand_over(Connection&, const Datagram& from) noexcept;
inline bool is_away(const Connection& c) noexcept { return !c.ssl || c.is_held(); }
// A datagram that comes while the handshake is with a thread, or waits for one: `input` gets it
// afterwards, or it is dropped and counted; an empty one is what OpenSSL has already. False: it may
// be looked at now.
bool keep_for_later(Connection&, const Datagram& from, std::span<const std::byte>) noexcept;
// Its handshake is over: nothing comes back to it.
void take_back(Connection&) noexcept;
void drop_kept(Connection&) noexcept;  // it ends

Result<void> init(Host&);
Result<void> start();
void stop();  // nobody is connected any more
void end();   // no thread has a step any more

}  // namespace loom::tls::dtls
