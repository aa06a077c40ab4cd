// Sessions: what the session layer (core/session/) offers transports. All of it runs on the
// session's worker. What it offers in-process applications is in hostloom/app.h.
//
// A session joins one transport connection with one application by two fifos. The transport
// produces into rx and consumes from tx; it never sees where they live.
#pragma once
#include <span>

#include <hostloom/address.h>
#include <hostloom/buffer.h>
#include <hostloom/status.h>
#include <hostloom/worker.h>

namespace loom {

struct SocketOptionsView;
struct AppCalls;
struct Datagram;       // datagram.h
struct DatagramError;  // datagram.h

// generation:24 | worker:8 | index:32. A stale handle is detected by its generation, not followed.
// Never 0.
using SessionHandle = uint64_t;
using SessionId = uint32_t;  // index on its worker
using ConnId = uint32_t;     // transport's index of the connection on its worker
constexpr SessionId kNoSession = ~0u;
constexpr ConnId kNoConn = ~0u;
using TransportId = uint8_t;  // index of the transport in its registry
constexpr TransportId kNoTransport = 0xff;

// A connection's two ends. Ports in host order. Zero address or port: not chosen yet (local) or any
// (listener).
struct Endpoints {
  IpAddress local;
  IpAddress remote;
  uint16_t local_port = 0;
  uint16_t remote_port = 0;
  uint32_t fib_index = 0;
};

// Keys of the lookup tables. Ports as on the wire. From the receiver's point of view: local is this
// host.
struct FlowKey4 {
  Ip4Address local;
  Ip4Address remote;
  Be16 local_port;
  Be16 remote_port;
  uint8_t protocol;  // IPPROTO_*
  uint8_t reserved = 0;
  uint16_t fib_index = 0;
};
static_assert(sizeof(FlowKey4) == 16);
struct FlowKey6 {
  Ip6Address local;
  Ip6Address remote;
  Be16 local_port;
  Be16 remote_port;
  uint8_t protocol;
  uint8_t reserved = 0;
  uint16_t fib_index = 0;
  uint64_t reserved2 = 0;
};
static_assert(sizeof(FlowKey6) == 48);

// kDenied, since ABI 1.1: a rule refuses the packet or its source. It is dropped without an answer,
// and counted; `conn` is kNoConn. kBound, since ABI 1.1: a connection that takes what comes to its
// local end from anybody (flow_bind).
enum class FlowKind : uint8_t { kNone, kEstablished, kHalfOpen, kListener, kDenied, kBound };

// What a lookup finds.
struct FlowMatch {
  ConnId conn = kNoConn;  // connection or listener of the transport, on `worker`
  // Listeners exist on every worker: `conn` is the asking one's, `worker` the one that the new
  // flow is to live on, and whose lookup says the same.
  uint8_t worker = 0;
  FlowKind kind = FlowKind::kNone;
};

// What a datagram that is bigger than the path takes becomes (man 7 ip, IP_MTU_DISCOVER). Since
// ABI 1.1.
enum class PathMtu : uint8_t {
  kDont,   // IPv4: in fragments, and routers may split it again
  kWant,   // in fragments
  kDo,     // refused
  kProbe,  // refused when it is bigger than the link's MTU; what routers have said is not looked at
  kInterface,  // the same, and routers may split it
  kOmit        // IPv4 as kDont; what routers have said is not looked at
};

// Whose a session is. Sockets of one namespace may agree to share a port; by reuseport those of one
// user alone.
struct SocketOwner {
  uint32_t ns = 0;   // its number
  uint32_t uid = 0;  // of the application's process
  friend constexpr bool operator==(const SocketOwner&, const SocketOwner&) = default;
};

// Options of a socket as the transport gets them, at open and whenever they change. Times 0 =
// transport's default.
struct SocketOptionsView {
  bool nodelay = false;
  bool keepalive = false;
  bool cork = false;
  bool v6only = false;
  bool reuseport = false;
  uint8_t tos = 0;
  uint16_t user_mss = 0;
  uint32_t backlog = 0;  // listeners
  TimeNs keepidle = 0, keepintvl = 0, user_timeout = 0;
  uint32_t keepcnt = 0;
  const char* congestion = "";  // controller's name, "" = default
  // Of datagrams. Since ABI 1.1.
  bool reuseaddr = false;
  PathMtu ip4_path_mtu = PathMtu::kWant, ip6_path_mtu = PathMtu::kWant;
  bool dont_fragment6 = false;                  // as kDatagramWhole with each datagram over IPv6
  bool ip4_errors = false, ip6_errors = false;  // IP_RECVERR, IPV6_RECVERR
  bool gro = false;                             // UDP_GRO: takes several at once
  bool broadcast = false;                       // SO_BROADCAST: may send to broadcast addresses
  // IP_MULTICAST_IF and IPV6_MULTICAST_IF: interface, kNoIndex = by route; _LOOP; _ALL.
  uint32_t ip4_group_if = kNoIndex, ip6_group_if = kNoIndex;
  bool ip4_group_loop = true, ip6_group_loop = true;
  bool ip4_group_all = true, ip6_group_all = true;
  // At open: number of what the application wants besides (endpoint_settings.h); 0: nothing. Since
  // ABI 1.1.
  uint32_t settings = 0;
  // Of datagrams. Since ABI 1.1.
  bool no_check6_rx = false;  // UDP_NO_CHECK6_RX (RFC 6935); _TX is said with each datagram
  // The only one that a socket hears and sends by, of streams as it was opened; kNoIndex: any.
  uint32_t interface = kNoIndex;
  Ip4Address ip4_group_source{};  // IP_MULTICAST_IF: connected to groups from there; zero: any
  bool arrival = false;           // the session layer's: tells when each came, and what was lost
  bool answers_from = false;  // the session layer's: tells from where what a group got is answered
  // What IPv6 has instead of `tos`; below 0: the same. Since ABI 1.1.
  int16_t ip6_class = -1;
  uint8_t tos_of(bool is_ip4) const noexcept {
    return is_ip4 || ip6_class < 0 ? tos : static_cast<uint8_t>(ip6_class);
  }
  // TTL and hop limit of streams; 0: the default. Since ABI 1.1.
  uint8_t ip4_ttl = 0, ip6_hop_limit = 0;
};

// Why a session ends early: what the application's next call returns.
enum class ResetReason : uint8_t {
  kPeerReset,
  kTimedOut,
  kRefused,
  kUnreachable,
  kAborted,
  kNoMemory,
  kMessageSize  // a datagram is too large for the path. Since ABI 1.1
};

// The session layer's side, found in Worker::sessions.
struct SessionOps {
  uint32_t struct_size;

  // --- Lookup. Established, then half-open, then deny list and rules, then listener (exact
  // address, then any).
  // ------------------------------
  void (*lookup4)(Worker&, std::span<const FlowKey4>, FlowMatch* out) noexcept;
  void (*lookup6)(Worker&, std::span<const FlowKey6>, FlowMatch* out) noexcept;
  // Adds or removes a connection's 5-tuple. kExists when it is taken. `kind` is kHalfOpen or
  // kEstablished; adding as established replaces the half-open entry.
  Status (*flow_add)(Worker&, const Endpoints&, uint8_t protocol, FlowKind, ConnId) noexcept;
  void (*flow_del)(Worker&, const Endpoints&, uint8_t protocol) noexcept;
  // Chooses a source address by route (when zero) and an ephemeral port (when 0, RFC 6056 algorithm
  // 3), and adds the half-open entry. kUnreachable: no route. kInUse: no port is free, or the
  // wanted one is taken.
  Status (*flow_open)(Worker&, Endpoints&, uint8_t protocol, ConnId) noexcept;

  // --- Life of a session, called by the transport.
  // ----------------------------------------------------------------- May a listener take another
  // connection now? False when its accept queue (plus `half_open`) has reached the backlog.
  bool (*accept_allowed)(Worker&, SessionId listener, uint32_t half_open) noexcept;
  // The handshake of a passive open ended: makes a session with fifos. kAgain: the accept queue is
  // full; kNoMemory. The application learns of it before this returns or soon after.
  Status (*accepted)(Worker&, SessionId listener, TransportId, ConnId, const Endpoints&,
                     SessionId* out) noexcept;
  // Outcome of TransportOps::connect. After a failure the session is gone and the transport forgets
  // it.
  void (*connected)(Worker&, SessionId, Status, const Endpoints&) noexcept;
  // FIN received: no byte follows those already enqueued.
  void (*peer_closed)(Worker&, SessionId) noexcept;
  // Connection is gone, undelivered tx data lost. The session detaches from the connection at once.
  void (*reset)(Worker&, SessionId, ResetReason) noexcept;
  // The connection ended in order and will not touch the session again (TIME-WAIT included: its
  // timer is the transport's own business).
  void (*closed)(Worker&, SessionId) noexcept;

  // --- Receive.
  // ----------------------------------------------------------------------------------------------------
  // Copies up to `length` bytes from `offset` in the chain, in order, to the end of the rx fifo.
  // Returns how many bytes the readable end moved: with out-of-order data waiting it can be more
  // than was given; 0 when there is no memory.
  uint32_t (*rx_enqueue)(Worker&, SessionId, const Buffer&, uint32_t offset,
                         uint32_t length) noexcept;
  // The same for bytes that lie `ahead` > 0 bytes beyond the readable end. Returns false when they
  // were not kept.
  bool (*rx_enqueue_at)(Worker&, SessionId, uint32_t ahead, const Buffer&, uint32_t offset,
                        uint32_t length) noexcept;
  // Out-of-order ranges as [start, end) beyond the readable end, most recently changed first (RFC
  // 2018 section 4).
  uint32_t (*rx_ooo_ranges)(Worker&, SessionId, std::span<std::pair<uint32_t, uint32_t>>) noexcept;
  // Bytes that the rx fifo can still take behind the readable end (the window to offer), and its
  // limit.
  uint32_t (*rx_space)(Worker&, SessionId) noexcept;
  uint32_t (*rx_size)(Worker&, SessionId) noexcept;
  // Asks for TransportOps::rx_drained once the application has read until half of the fifo would be
  // free, if nothing came meanwhile; at once, when it is free now.
  void (*rx_want_space)(Worker&, SessionId) noexcept;

  // --- Send.
  // -------------------------------------------------------------------------------------------------------
  // Bytes in the tx fifo, from the oldest unacknowledged on.
  uint32_t (*tx_queued)(Worker&, SessionId) noexcept;
  // Appends `length` bytes from `offset` in the tx fifo to the chain, by reference. False: no
  // buffers, chain unchanged.
  bool (*tx_append)(Worker&, SessionId, uint32_t offset, uint32_t length, Buffer& first) noexcept;
  // Acknowledged: the oldest n bytes may be overwritten (later, when segments still refer to them).
  void (*tx_drop)(Worker&, SessionId, uint32_t n) noexcept;
  // The connection may send again (window opened, pacing timer fired): visit it in this or the next
  // round.
  void (*tx_schedule)(Worker&, SessionId) noexcept;

  // --- Looking. The handle of a session, as listings and the binary API know it. Since ABI 1.1.
  SessionHandle (*handle)(Worker&, SessionId) noexcept;

  // What in-process applications call (hostloom/app.h).
  const AppCalls* apps;

  // --- Moving (TransportOps::adopt). The connection's 5-tuple leads to `conn` of this worker from
  // now on. Since ABI 1.1.
  void (*flow_move)(Worker&, const Endpoints&, uint8_t protocol, ConnId conn) noexcept;

  // --- Datagrams (TxKind::kDatagram). Since ABI 1.1.
  // Packets to the local end that belong to no connection lead to `conn` from now on, wherever they
  // come from: an entry of FlowKind::kBound. Chooses a port when there is none. `dual_stack`: the
  // local address is ::, and IPv4's packets come here, too. kInUse: it is taken, or no port is
  // free.
  Status (*flow_bind)(Worker&, Endpoints&, uint8_t protocol, bool dual_stack, ConnId) noexcept;
  void (*flow_unbind)(Worker&, const Endpoints&, uint8_t protocol, bool dual_stack) noexcept;
  // A datagram has come: `length` bytes from `offset` in the chain, which stays the caller's. Whole
  // or not at all. kAgain: the application does not keep up, and its fifo is full; kNoMemory;
  // kClosed: it reads no more.
  Status (*rx_datagram)(Worker&, SessionId, const Datagram&, const Buffer& chain, uint32_t offset,
                        uint32_t length) noexcept;
  // Something is wrong with what was sent (ICMP says so): the application's next call fails with
  // it. The session goes on.
  void (*soft_error)(Worker&, SessionId, ResetReason) noexcept;

  // --- Since ABI 1.1.
  // Packets of these sessions are about to be handled: fetches what that takes into the cache, for
  // all of them at once. Changes nothing.
  void (*prefetch)(Worker&, std::span<const SessionId>) noexcept;

  // --- Local ends that several sockets have (SO_REUSEPORT, SO_REUSEADDR). Since ABI 1.1.
  // As flow_bind, of the connection of a session that shares its end with others of its namespace
  // which agree to it as well: all of them by reuseport and of one user, or all of them by
  // reuseaddr. By reuseport each flow leads to one of them, the same as long as that one is there;
  // by reuseaddr all flows lead to the latest. kInUse: not all agree. Ended by flow_unbind_shared.
  Status (*flow_bind_shared)(Worker&, Endpoints&, uint8_t protocol, bool dual_stack, ConnId,
                             SessionId, const SocketOptionsView&) noexcept;
  void (*flow_unbind_shared)(Worker&, const Endpoints&, uint8_t protocol, bool dual_stack,
                             ConnId) noexcept;

  // An error with all that is known of it, for an application that wants that (ip4_errors,
  // ip6_errors): its next call fails, and MSG_ERRQUEUE has the rest, with what the error quotes of
  // the payload, `length` bytes from `offset` in the chain. kAgain: too many wait already.
  Status (*datagram_error)(Worker&, SessionId, const DatagramError&, const Buffer& chain,
                           uint32_t offset, uint32_t length) noexcept;

  // --- Bytes of sessions of TxKind::kInternal. Since ABI 1.1.
  // Borrows the oldest bytes of the tx fifo, no copy: views filled in. What they say the
  // application may change under the reader's eyes. Valid until tx_drop or the end of the session.
  uint32_t (*tx_views)(Worker&, SessionId, std::span<std::span<const std::byte>> out) noexcept;
  // Up to n bytes of memory behind the end of the rx fifo, as views to fill; 0: it is full
  // (rx_want_space), nobody reads any more, or there is no memory now (kNoMemory counts it; ask
  // again). rx_commit publishes the first n of them. No other call for this session between the
  // two.
  uint32_t (*rx_reserve)(Worker&, SessionId, uint32_t n,
                         std::span<std::span<std::byte>> out) noexcept;
  void (*rx_commit)(Worker&, SessionId, uint32_t n) noexcept;

  // --- Datagrams of sessions of TxKind::kInternal, whose applications put the header of a datagram
  // session before each (datagram.h). What is received goes to rx_datagram. Since ABI 1.1.
  // Takes the oldest one from the tx fifo, as far as it fits; `length` is all of it. Of `how` are
  // filled in kDatagramTos and kDatagramTtl, and what these stand for: nothing else that an
  // application may have written there is looked at. kAgain: there is none; kClosed: the
  // application broke the framing, and ends.
  Status (*tx_datagram)(Worker&, SessionId, Datagram& how, std::span<std::byte> to,
                        uint32_t* length) noexcept;

  // Tells the application, as if a byte had come: what it knows of the session has changed, and
  // what it has left unread may mean more now. Since ABI 1.1.
  void (*rx_tell)(Worker&, SessionId) noexcept;

  // --- Memberships of groups. Since ABI 1.1.
  // The session becomes a member of one more, and of n fewer. False: its application has as many as
  // leave others enough; it must not become one.
  bool (*take_membership)(Worker&, SessionId) noexcept;
  void (*give_back_memberships)(Worker&, SessionId, uint32_t n) noexcept;

  // The ports that flow_open and flow_bind choose from, `last` one of them. Since ABI 1.1.
  void (*chosen_ports)(Worker&, uint16_t* first, uint16_t* last) noexcept;

  // As rx_want_space, for `bytes` (at most rx_size). The place up to which is to be read is fixed
  // now: what comes meanwhile takes of the space, so there may be less when rx_drained is called,
  // and who wants more has to ask again. False: there is as much already, or nobody reads any more,
  // and no call follows. Since ABI 1.1.
  bool (*rx_await)(Worker&, SessionId, uint32_t bytes) noexcept;

  // Of a session that the transport has been given, also before its connect() has returned. Since
  // ABI 1.1.
  SocketOwner (*owner)(Worker&, SessionId) noexcept;

  // Listeners of one interface (SocketOptionsView::interface). What opens a flow has come `by` a
  // link that the listener does not hear which lookup() has found: another one of the port that
  // does, by the rules of lookup(). kNoConn: there is none. Takes no lock. Since ABI 1.1.
  ConnId (*listener_on)(Worker&, const Endpoints&, uint8_t protocol, SessionId found,
                        uint32_t by) noexcept;

  // A datagram that named its destination was not sent: there is no route. What the application
  // believes of its routes it asks anew. Since ABI 1.1.
  void (*unreachable)(Worker&, SessionId) noexcept;

  // As flow_add of an established connection that has a port, of one which shares its local end
  // with others (flow_bind_shared): they may have the same peer, and what comes leads to the latest
  // of them; when that one ends, to the one before. kInUse: somebody has the end and does not
  // agree, or the flow is another's that does not share. Ended by flow_unshare. Since ABI 1.1.
  Status (*flow_share)(Worker&, const Endpoints&, uint8_t protocol, ConnId, SessionId,
                       const SocketOptionsView&) noexcept;
  void (*flow_unshare)(Worker&, const Endpoints&, uint8_t protocol, ConnId) noexcept;
  // As soft_error, with that errno. Since ABI 1.1.
  void (*call_fails)(Worker&, SessionId, uint16_t error) noexcept;
};

}  // namespace loom
