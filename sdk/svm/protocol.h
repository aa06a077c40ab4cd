// What daemon and application say to each other: messages on the attach socket, events in the
// message queues.
//
// Attach socket: Unix SOCK_SEQPACKET, one connection per application worker (a process, or one of
// its threads). One request, one reply, in order. The connection's end is the worker's end: the
// daemon then drops the worker's bit from every session, and closes those that nobody holds any
// more.
//
// Life of a worker: kAttach (first) or kAddWorker (on an attached connection: allocates another
// worker of the same application and returns ITS end of a new socket pair with all it needs; done
// before fork(), the child keeps it).
//
// Message queues: one per application worker (daemon -> worker), one per application worker and
// daemon worker (the other way). State lives in SessionShared and ListenerShared; events say where
// to look. Requests carry `context`, which the answer repeats.
#pragma once
#include <cstdint>

#include "svm/layout.h"

namespace loom::svm {

constexpr uint32_t kProtocolVersion = 11;
constexpr uint32_t kMaxAppWorkers = 64;  // bits of SessionShared::holders
constexpr uint32_t kMaxDaemonWorkers = 16;
constexpr uint32_t kMostQueueSlots = 1u << 14;  // of a message queue; who asks for more gets these
constexpr uint32_t kMaxPropertyBytes = 16 << 10;
constexpr uint32_t kMaxReplyFds = 3 + kMaxDaemonWorkers + 8;

// --- Attach socket
// -------------------------------------------------------------------------------------------------

enum class AttachOp : uint32_t {
  kAttach = 1,
  kAddWorker = 2,  // reply: as kAttach, fds with the new worker's socket first
  // Reply: the fd of `segment_id`. Only one of the application's own; or, with `pair`, only one of
  // that cut-through pair's: what the other end made an application ask for is never its own
  // memory. For the pair's first segment: that, and its first app arena.
  kGetSegment = 3,
  kAddAppArena = 4,  // reply: a new app-arena segment, of the application or of `pair`
  // By what worker `worker` at end `end` of `pair` is woken by the other end: a socket pair of
  // datagrams, the same one as long as the pair lives. Reply to its own end: the end to be read. To
  // the other, with kToRing: the end to be written.
  kGetDoorbell = 5,
  // Settings for endpoints (hostloom/endpoint_settings.h), whose bytes follow the request in the
  // same message; with kOnce, for one listen or connect. Reply: their number.
  kAddSettings = 6,
  kDelSettings = 7,  // of `settings`; endpoints that have them stay as they are
  // What the transport of session `handle` says of it by `property` (loom::SessionProperty). Reply:
  // the value's bytes follow it in the same message.
  kGetProperty = 8,
  // Listener `handle` has `settings` from now on, for connections that come.
  kUseSettings = 9,
  // The interface of the application's namespace that is meant by `interface`, or, if that is 0, by
  // its name, in `app_name`, or, without one, by its address `ip4`. Reply: its index, and its name
  // in `message`; or 0 where an address of this host's names none, as a loopback interface's.
  // kNotFound: there is none.
  kFindInterface = 10,
};

// AttachRequest::flags. Neither: sessions within the host by cut-through, all others by transports.
enum AttachFlags : uint32_t {
  kScopeLocalOnly = 1u << 0,   // no network: only applications of this daemon
  kScopeGlobalOnly = 1u << 1,  // no cut-through
  kToRing = 1u << 2,           // kGetDoorbell: to wake, not to be woken
  kOnce = 1u << 3,             // kAddSettings
};

struct AttachRequest {
  uint32_t version;
  AttachOp op;
  char app_name[64];
  char namespace_id[64];
  uint64_t namespace_secret;
  uint32_t segment_size_mb, add_segment_size_mb;  // 0 = daemon's default
  uint32_t rx_fifo_size, tx_fifo_size;            // bytes, rounded up to 4 KB; 0 = daemon's default
  uint32_t event_queue_size;  // slots, rounded up to a power of two; 0 = default
  uint32_t flags;
  uint32_t segment_id;  // kGetSegment
  uint32_t pair;        // id of a cut-through pair's first segment; 0: of the application itself
  uint16_t worker;      // kGetDoorbell
  uint16_t end;         // kGetDoorbell
  uint32_t settings;    // kDelSettings, kUseSettings
  uint64_t handle;      // kGetProperty, kUseSettings
  uint32_t property;    // kGetProperty
  uint32_t interface;   // kFindInterface: index as programs see it, as in SocketOptions
  uint8_t ip4[4];       // kFindInterface, wire order
  uint8_t is_ip4;       // kFindInterface: the family whose routing table counts
  uint8_t reserved[3];
};
static_assert(sizeof(AttachRequest) == 208);

struct SegmentInfo {
  uint32_t id;
  SegmentKind kind;
  uint64_t size;
};

// fds, in this order: [kAddWorker: the worker's socket], what wakes the worker (the end to be read
// of a socket pair of datagrams), one eventfd per daemon worker, which wakes that, one memfd per
// segment in `segments`.
struct AttachReply {
  uint32_t version;
  int32_t status;  // loom::Status
  uint32_t app_index;
  uint32_t worker_index;  // bit in SessionShared::holders
  uint32_t n_daemon_workers;
  uint32_t rx_fifo_size, tx_fifo_size;  // in force
  uint32_t ip4_table, ip6_table;        // the namespace's, by the operator's numbers, now
  uint32_t n_segments;
  SegmentInfo segments[4];
  uint32_t settings;                 // kAddSettings: the number, above 0
  uint32_t interface;                // kFindInterface
  Ref app_mq;                        // MqShared, daemon -> this worker
  Ref daemon_mq[kMaxDaemonWorkers];  // MqShared, this worker -> daemon worker i
  char message[128];  // for people, when status is not kOk; of kFindInterface the name
};

// --- Events, application -> daemon worker
// ---------------------------------------------------------------------------

struct Endpoint {
  uint8_t is_ip4;
  uint8_t reserved;
  uint16_t port;   // network order
  uint8_t ip[16];  // wire order; IPv4 in the first four bytes
};
static_assert(sizeof(Endpoint) == 20);

enum class ToDaemon : uint32_t {
  kConnect = 1,  // ConnectEvent        -> kConnected
  kListen,       // ListenEvent         -> kBound
  kUnlisten,     // SessionEvent (listener's handle, or what stands for a bound end)
  // SessionEvent: this worker took the session from an accept queue; or its owner is another one
  // now, who is told to look (kRx).
  kClaim,
  // SessionEvent: bytes in the tx fifo (sent only while tx.consumer.armed). Cut-through: the other
  // end is to look, and its doorbell cannot be had.
  kTx,
  kRxSpace,   // SessionEvent: the rx fifo was drained while kFifoWantSpace was set
  kShutdown,  // SessionEvent: half close; what is in the tx fifo is still sent, then FIN
  // SessionEvent: the last holder closed; unread data turns it into a reset (RFC 2525
  // section 2.17). The application touches neither fifo again: what is left in both, chunks of the
  // tx fifo included, is the daemon's to send and to free.
  kClose,
  kReset,      // SessionEvent: abort with RST
  kSetOption,  // OptionEvent
  kGetInfo,    // SessionEvent        -> kInfo
  // SessionEvent (listener's handle): this worker was perhaps chosen for a session that it has left
  // in the accept queue, and waits no longer: another one is to be told.
  kAcceptPass,
  // PeerEvent: connect() of an open datagram session  -> kConnected
  kSetPeer,
  kLinkDone,  // LinkEvent: the application does not touch that link any more
  kLinkRing,  // LinkEvent: the other end is to look, and its doorbell cannot be had
  kGetPath,   // PathEvent: as kGetInfo, `pmtu` and `path_bits` those of that path (datagrams)  ->
              // kInfo
  // GroupEvent: membership of a group (datagrams)  -> kInfo, with `status` alone; of kReadFilter
  // it is a FilterEvent
  kGroup,
  kResize,  // ResizeEvent: other limits of the fifos (datagrams)  -> kInfo, with `status` alone
};

struct SessionEvent {
  uint64_t handle;
  uint32_t context;
};

// Options a stream socket may set before or after it is connected. Times in milliseconds, 0 =
// transport's default.
struct SocketOptions {
  uint8_t nodelay;    // TCP_NODELAY
  uint8_t keepalive;  // SO_KEEPALIVE
  uint8_t cork;       // TCP_CORK
  uint8_t dscp_tos;   // IP_TOS, of what leaves by IPv4
  uint8_t v6only;
  uint8_t reuseport;
  uint16_t user_mss;  // TCP_MAXSEG, 0 = from the route
  uint32_t keepidle_ms, keepintvl_ms;
  uint8_t keepcnt;                 // 0 = default
  uint8_t ip6_class;               // IPV6_TCLASS, of what leaves by IPv6
  uint8_t ip4_ttl, ip6_hop_limit;  // IP_TTL, IPV6_UNICAST_HOPS of streams; 0 = default
  uint32_t user_timeout_ms;
  int32_t linger_s;     // -1 = off
  char congestion[16];  // TCP_CONGESTION, empty = default
  // Of datagrams.
  uint8_t reuseaddr;           // SO_REUSEADDR
  uint8_t broadcast;           // SO_BROADCAST
  uint8_t dont_fragment6 : 1;  // IPV6_DONTFRAG: the application says it with each datagram
  uint8_t ip4_errors : 1;      // IP_RECVERR
  uint8_t ip6_errors : 1;      // IPV6_RECVERR
  uint8_t gro : 1;             // UDP_GRO
  uint8_t no_check6_rx : 1;    // UDP_NO_CHECK6_RX
  uint8_t arrival : 1;         // SO_TIMESTAMP and the like, SO_RXQ_OVFL: DatagramHeader's fields
  uint8_t answers_from : 1;    // IP_PKTINFO: DatagramHeader::local_ip has both addresses
  // IP_MTU_DISCOVER and IPV6_MTU_DISCOVER as 1 + Linux's number; 0 = default
  uint8_t ip4_path_mtu, ip6_path_mtu;
  uint8_t group_off;  // GroupOff
  // Index of an interface as programs see it (one more than Hostloom's). `interface`: the only one
  // that the socket hears and sends by, of streams when it is opened; 0 = any. Of groups: 0 = by
  // route.
  uint16_t interface;
  uint16_t ip4_group_if, ip6_group_if;
  uint8_t ip4_group_source[4];  // IP_MULTICAST_IF by address, wire order; zero: by route
  uint32_t settings;  // number of what AttachOp::kAddSettings has taken; 0: none. At open only
};
static_assert(sizeof(SocketOptions) == 64);

// SocketOptions::group_off: what is on by default, and was switched off.
enum GroupOff : uint8_t {
  kIp4GroupLoopOff = 1u << 0,  // IP_MULTICAST_LOOP
  kIp6GroupLoopOff = 1u << 1,
  kIp4GroupAllOff = 1u << 2,  // IP_MULTICAST_ALL
  kIp6GroupAllOff = 1u << 3,
};

// Of datagram transports remote port 0 is allowed: the session is bound and has no peer, and the
// remote address is not looked at.
struct ConnectEvent {
  uint32_t context;
  uint8_t proto;  // VPPCOM_PROTO_*
  uint8_t reserved[3];
  Endpoint remote;
  Endpoint local;  // port 0 = ephemeral, zero address = by route
  uint32_t rx_fifo_size, tx_fifo_size;
  SocketOptions options;
};
static_assert(sizeof(ConnectEvent) <= sizeof(MqSlot::payload));

struct PeerEvent {
  uint64_t handle;
  uint32_t context;
  uint32_t reserved;
  Endpoint remote;  // port 0: no peer any more
};
static_assert(sizeof(PeerEvent) <= sizeof(MqSlot::payload));

// How a datagram would go to `remote`: kNotFound, there is no such interface; kInvalid, the source
// is not this host's; kUnreachable, there is no route.
struct PathEvent {
  uint64_t handle;
  uint32_t context;
  uint32_t interface;  // as in SocketOptions
  Endpoint remote;
  Endpoint source;  // zero: none is named. The ports of both mean nothing
};
static_assert(sizeof(PathEvent) <= sizeof(MqSlot::payload));

struct GroupEvent {
  uint64_t handle;
  uint32_t context;
  uint8_t op;  // loom::GroupOp
  uint8_t number;
  uint8_t reserved[2];
  uint32_t interface;      // as in SocketOptions
  Endpoint group, source;  // ports mean nothing
  Endpoint address;        // of the interface, if its index is 0; zero = by route
};
static_assert(sizeof(GroupEvent) <= sizeof(MqSlot::payload));

// 0: as it is. The daemon writes what they are now into the session's line before it answers.
struct ResizeEvent {
  uint64_t handle;
  uint32_t context;
  uint32_t rx_fifo_size, tx_fifo_size;
};

// A link of a datagram session (datagram_links.h).
struct LinkEvent {
  uint64_t handle;
  uint32_t slot, word;  // the slot's word, as the application has seen it
};

struct ListenEvent {
  uint32_t context;
  uint8_t proto;
  // Takes the end alone, or a port for it, until kUnlisten with what the answer has for a handle:
  // a number below 2^32, 0 if there is nothing to let go of. No packet comes by it.
  uint8_t only_binds;
  uint8_t reserved[2];
  uint32_t bound;  // such a number, that the own end is not in the way; 0: none
  Endpoint local;
  uint32_t backlog;
  uint32_t rx_fifo_size, tx_fifo_size;  // of accepted sessions
  SocketOptions options;                // accepted sessions inherit them
};
static_assert(sizeof(ListenEvent) <= sizeof(MqSlot::payload));

struct OptionEvent {
  uint64_t handle;
  SocketOptions options;  // all of them, as they should be now
  // SessionLine::n_options with these: while a session moves to another worker, an event may be
  // overtaken by a later one, and is of no use then.
  uint32_t number;
};
static_assert(sizeof(OptionEvent) <= sizeof(MqSlot::payload));

// --- Events, daemon -> application worker
// ---------------------------------------------------------------------------

enum class ToApp : uint32_t {
  kConnected = 1,   // ConnectedEvent
  kBound,           // BoundEvent
  kAcceptReady,     // SessionEvent: the listener's accept queue is not empty
  kRx,              // SessionEvent: bytes, end of file or reset, see rx.producer
  kTxSpace,         // SessionEvent: the tx fifo has room again
  kInfo,            // InfoEvent
  kListenerClosed,  // SessionEvent
};

struct ConnectedEvent {
  uint32_t context;
  int32_t status;  // loom::Status
  uint64_t handle;
  Ref session;  // SessionShared; cut-through: SessionLine; when status is kOk
  Endpoint local, remote;
  CutThrough cut_through;
  // Of datagrams that name no source and no interface, as long as DaemonLine::n_unreachable is 0:
  // there is a default route for them. By family: 1 << Endpoint::is_ip4.
  uint8_t everywhere;
};
static_assert(sizeof(ConnectedEvent) <= sizeof(MqSlot::payload));

struct BoundEvent {
  uint32_t context;
  int32_t status;
  uint64_t handle;
  Ref listener;    // ListenerShared
  Endpoint local;  // with the port that was chosen
};

// For TCP_INFO and `getsockopt`. Times in microseconds, sizes in bytes, windows unscaled.
struct InfoEvent {
  uint32_t context;
  int32_t status;
  uint8_t state;    // Linux's TCP_ESTABLISHED = 1, ...
  uint8_t options;  // TCPI_OPT_*
  uint8_t snd_wscale, rcv_wscale;
  uint32_t rto, ato, snd_mss, rcv_mss;
  uint32_t unacked, sacked, lost, retrans;  // segments
  uint32_t rtt, rttvar, min_rtt;
  uint32_t snd_cwnd, snd_ssthresh;  // segments, as Linux
  uint32_t pmtu, rcv_space, snd_wnd, total_retrans;
  uint64_t bytes_acked, bytes_received;
  uint32_t segs_out, segs_in;
  // kGetPath: to what begins with so many bits of `remote` there is a route as well. Of some of it
  // there may be none: then the next datagram to there adds to DaemonLine::n_unreachable.
  uint32_t path_bits;
};
static_assert(sizeof(InfoEvent) <= sizeof(MqSlot::payload));

// In place of an InfoEvent, as which it begins.
struct FilterEvent {
  uint32_t context;
  int32_t status;
  uint32_t is_exclude, n_sources;
  Endpoint source;
};
static_assert(sizeof(FilterEvent) <= sizeof(InfoEvent));

}  // namespace loom::svm
