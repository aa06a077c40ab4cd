// What a transport gives the session layer: a table of functions, called on the connection's
// worker.
#pragma once
#include <string>

#include <hostloom/datagram.h>
#include <hostloom/session.h>

namespace loom {

// TransportOps::proto: below this, the numbers that vppcom.h gives names; from here on, transports
// from outside the tree. libvppcom treats theirs as streams.
constexpr uint8_t kFirstPrivateProto = 128;

// How the session layer takes bytes from the tx fifo for this transport.
enum class TxKind : uint8_t {
  kPeek,      // stream; bytes stay in the fifo until tx_drop (TCP)
  kDequeue,   // stream; bytes leave the fifo when they are sent
  kDatagram,  // one header with addresses and length before each datagram
  kInternal,  // the transport is itself an application and moves the bytes (TLS, QUIC)
};

// What a connection may send now.
struct SendWindow {
  uint32_t budget =
      0;  // bytes, from `offset`; 0 = nothing: tx_schedule will be called when that changes
  uint32_t segment =
      0;  // payload bytes per buffer chain: the MSS, or a multiple of it where the output segments
  uint32_t offset = 0;  // of the first unsent byte in the tx fifo (kPeek: snd_nxt - snd_una)
};

// Figures for TCP_INFO and listings; fields that a transport does not have stay 0.
struct ConnectionInfo {
  Endpoints endpoints;
  uint8_t state = 0;  // Linux's numbering: 1 ESTABLISHED, 2 SYN_SENT, ... 11 CLOSING
  uint8_t tcpi_options = 0, snd_wscale = 0, rcv_wscale = 0;
  uint32_t snd_mss = 0, rcv_mss = 0, cwnd = 0, ssthresh = 0;                   // bytes
  uint32_t snd_wnd = 0, rcv_wnd = 0, in_flight = 0, pmtu = 0;                  // bytes
  uint32_t unacked = 0, sacked = 0, lost = 0, retrans = 0, total_retrans = 0;  // segments
  uint32_t segs_out = 0, segs_in = 0;
  uint64_t bytes_acked = 0, bytes_received = 0;
  TimeNs rto = 0, ato = 0, srtt = 0, rttvar = 0, min_rtt = 0;
  char congestion[16] = {};
  // The only one that it comes and goes by; kNoIndex: any. Since ABI 1.1.
  IfIndex interface = kNoIndex;
};

struct TransportOps {
  uint32_t struct_size =
      sizeof(TransportOps);    // as the plugin was built; new entries go at the end
  const char* name = nullptr;  // "tcp"
  uint8_t proto = 0;           // VPPCOM_PROTO_*, or kFirstPrivateProto and above
  uint8_t ip_protocol = 0;     // IPPROTO_*, 0 when it runs over another transport
  TxKind tx_kind = TxKind::kPeek;

  // --- Opening
  // -----------------------------------------------------------------------------------------------------
  // Returns at once; SessionOps::connected reports the outcome, also a failure. Fills in the chosen
  // local end and the connection. A status other than kOk means that nothing was started, and no
  // report follows.
  Status (*connect)(Worker&, SessionId, Endpoints&, const SocketOptionsView&,
                    ConnId* out) noexcept = nullptr;
  // Called on every worker with the same listener session id. The session layer owns the lookup
  // entry.
  Status (*listen)(Worker&, SessionId, const Endpoints&, const SocketOptionsView&,
                   ConnId* out) noexcept = nullptr;
  void (*unlisten)(Worker&, ConnId) noexcept = nullptr;  // half-open children are reset

  // --- Sending (hot)
  // -----------------------------------------------------------------------------------------------
  // `queued`: bytes in the tx fifo (the transport decides here what Nagle, cork, windows and pacing
  // allow).
  SendWindow (*send_window)(Worker&, ConnId, uint32_t queued) noexcept = nullptr;
  // Takes ownership of payload-filled chains, consecutive in the stream from send_window's offset,
  // each of at most `segment` bytes, with kHeadroom bytes in front of an empty first segment. Sends
  // them.
  void (*push_headers)(Worker&, ConnId, std::span<Buffer* const>) noexcept = nullptr;

  // --- Receiving
  // ---------------------------------------------------------------------------------------------------
  // The application has read: offer a larger window if that is worth a segment (RFC 9293
  // section 3.8.6.2.2).
  void (*rx_drained)(Worker&, ConnId) noexcept = nullptr;

  // --- Closing
  // -----------------------------------------------------------------------------------------------------
  // No byte will be added to the tx fifo: send what is there, then FIN. Receiving goes on.
  void (*shutdown)(Worker&, ConnId) noexcept = nullptr;
  // The application is done in both directions. What is in the tx fifo is still sent; data that
  // arrives from now on is answered by RST (RFC 1122 section 4.2.2.13). `unread`: received data was
  // never read: abort instead (RFC 2525). SessionOps::closed or reset ends the session; a closed
  // connection lives on until its timers end.
  void (*close)(Worker&, ConnId, bool unread) noexcept = nullptr;
  void (*abort)(Worker&, ConnId) noexcept =
      nullptr;  // RST now, forget the session at once: no report follows

  // --- Properties
  // --------------------------------------------------------------------------------------------------
  Status (*set_options)(Worker&, ConnId, const SocketOptionsView&) noexcept = nullptr;
  void (*info)(Worker&, ConnId, ConnectionInfo&) noexcept = nullptr;
  // Several lines for `show session verbose 2`. Appends. Allocates: control use, on the worker.
  void (*describe)(Worker&, ConnId, std::string&) noexcept = nullptr;

  // --- Sending, rare
  // -----------------------------------------------------------------------------------------------
  // MSG_MORE: of what is queued only the first `due` bytes ask to be sent now; a last segment
  // behind them that is not full may wait, as under a cork. Said before each send_window for as
  // long as it is so, and once, with ~0, when it is over.
  void (*tx_due)(Worker&, ConnId, uint32_t due) noexcept = nullptr;

  // --- Properties, one by one
  // ------------------------------------------------------------------------------------
  // Switches the connection to another congestion controller; its windows stay. kNotFound: there is
  // none of that name. Since ABI 1.1.
  Status (*set_congestion)(Worker&, ConnId, const char* name) noexcept = nullptr;

  // --- Moving a connection to another worker. All four or none. Since ABI 1.1.
  // -----------------------------------------------------------------------
  // The session of a connection that has one; kNoSession otherwise.
  SessionId (*session_of)(Worker&, ConnId) noexcept = nullptr;
  // It stands still from now on: no timer runs, no segment is handled or sent; what arrives for it
  // on this worker is handed to worker `to` (Worker::hand_off). The session layer has no segment
  // that refers to its fifo. Null: it cannot be moved in its state. The object is the transport's
  // and stays where it is until thaw.
  void* (*freeze)(Worker& from, ConnId, uint32_t to) noexcept = nullptr;
  // On its new worker: takes over what freeze returned, without changing it, and the flow
  // (SessionOps::flow_move). kNoConn: no room, nothing has changed.
  ConnId (*adopt)(Worker& to, const void* frozen, SessionId) noexcept = nullptr;
  // On the old worker again. Adopted: forgets it. Otherwise it goes on as before.
  void (*thaw)(Worker& from, ConnId, bool adopted) noexcept = nullptr;

  // --- Datagrams (TxKind::kDatagram). Since ABI 1.1.
  // What is different for such a transport: `connect` opens at once, kOk means that the connection
  // is open, and SessionOps::connected is not called. With remote port 0 it has no peer: it is
  // bound, takes datagrams from anybody, and each one to send names its destination. There is no
  // `listen`. send_window and push_headers are not called, nor is tx_drop to be. `close` is called
  // when everything that was written has been pushed.
  //
  // Takes ownership of the chains, of payload (perhaps none) with kHeadroom bytes in front of the
  // first segment, and sends or counts them; data[i] belongs to chains[i].
  void (*push_datagrams)(Worker&, ConnId, std::span<Buffer* const> chains,
                         const Datagram* data) noexcept = nullptr;
  // Gives an open connection another peer, or, with remote port 0, none. Of `ends` the remote end
  // is given; on kOk all of it is said. Otherwise nothing has changed.
  Status (*set_peer)(Worker&, ConnId, Endpoints& ends) noexcept = nullptr;
  // The largest IP packet that can go to `remote` in one piece, in bytes; 0: there is no way to it.
  uint32_t (*path_mtu)(Worker&, ConnId, const IpAddress& remote,
                       uint32_t fib_index) noexcept = nullptr;
  // kInUse: it is a member already; kNotFound: it is not, or there is no such interface;
  // kInvalid; kNoMemory.
  Status (*group)(Worker&, ConnId, const GroupRequest&) noexcept = nullptr;

  // --- Transports that are applications themselves (TxKind::kInternal). Since ABI 1.1.
  // Such a transport has sessions of its own, of another transport, by hostloom/app.h, and moves
  // the bytes between the two itself (docs/transports.md). What is different for it: `listen`,
  // `unlisten`, send_window and push_headers are not called. It is found in the network where its
  // lower sessions are: these it opens in the upper one's name (AppSession::connect_for,
  // Host::app_listen_for), so that namespaces and rules hold.
  //
  // Control thread, instead of `listen` on every worker. What it accepts below becomes a session by
  // SessionOps::accepted with this id.
  Status (*open_listener)(SessionId listener, const SocketOptionsView&,
                          ConnId* out) noexcept = nullptr;
  // Control thread. On return nothing is accepted for it any more, and what had begun is gone.
  void (*close_listener)(ConnId) noexcept = nullptr;
  // There are `queued` bytes in the tx fifo: takes some (SessionOps::tx_views, tx_drop), not many
  // in one call. Called in a round in which the application has written, after tx_schedule, and
  // again in the next one when some were taken and some are left. One that takes none waits.
  void (*tx_ready)(Worker&, ConnId, uint32_t queued) noexcept = nullptr;

  // --- Properties, one by one, for whoever asks (endpoint_settings.h: SessionProperty). Allocates:
  // rare, on the worker. kUnsupported: the transport has none of that number. Since ABI 1.1.
  Status (*property)(Worker&, ConnId, uint32_t which, std::string& out) noexcept = nullptr;

  // --- Settings of endpoints (endpoint_settings.h). Both or none. Since ABI 1.1.
  // An application has given some, to be read by Host::endpoint_settings: whatever takes long about
  // them is done now, so that connect finds it done. It may be for another transport. Control
  // thread; nobody can name the number before this returns.
  void (*settings_given)(uint32_t number) noexcept = nullptr;
  // Nobody can name the number any more; connections that did go on. Any thread.
  void (*settings_gone)(uint32_t number) noexcept = nullptr;
  // TxKind::kInternal. A listener of open_listener's has others from now on: who connects from now
  // on meets those, who is connected goes on. An error: nothing has changed. Control thread.
  Status (*use_settings)(ConnId listener, uint32_t number) noexcept = nullptr;
};

}  // namespace loom
