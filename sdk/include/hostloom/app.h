// In-process applications: a plugin that listens, connects, reads and writes like a program with
// sockets, but by functions called on the session's worker, with fifos in the daemon's own memory.
//
//   control thread   Host::add_application, app_listen, app_unlisten, remove_application
//   session's worker AppOps (the host calls), AppSession (the application calls)
//
// Callbacks never nest: the host makes them one after the other, before and after a round's
// packets, never from inside a call of the application's or of a transport's. So a callback may do
// anything, closing its own session and others included; what it causes is told by later callbacks.
//
// A session belongs to the application from `accepted` (which returned true) or AppSession::connect
// (which returned kOk) until `closed`, which comes exactly once and is the last call with its id
// and its context.
//
// An application ends by remove_application, on the control thread: a callback that wants it goes
// there by Worker::post_to_control. When the session layer is disabled or the daemon goes down,
// applications end without their doing: listeners go, each session hears `closed`, and all that is
// left to do with the application is to remove it. `enabled_again` says when another may come.
#pragma once
#include <algorithm>
#include <span>
#include <string>
#include <string_view>

#include <hostloom/session.h>
#include <hostloom/transport.h>

namespace loom {

class Application;  // a registered one: the host's handle

// Called on the session's worker. `context`: the session's.
struct AppOps {
  uint32_t struct_size = sizeof(AppOps);
  const char* name = nullptr;  // in `show app`; no other in-process application has it
  // A connection was accepted. `context` comes as the listener's and is the session's from then on.
  // False resets the connection, and nothing more is said about it. Null refuses all.
  bool (*accepted)(Worker&, SessionId listener, SessionId, void** context) noexcept = nullptr;
  // Outcome of connect. Unless kOk, `closed` follows at once.
  void (*connected)(Worker&, SessionId, Status, void* context) noexcept = nullptr;
  // Bytes or the end of the stream have come since the last call. Not repeated for what is left
  // unread: want_readable(true) asks for another call.
  void (*readable)(Worker&, SessionId, void* context) noexcept = nullptr;
  // Once after each want_writable: there is as much space as was asked for.
  void (*writable)(Worker&, SessionId, void* context) noexcept = nullptr;
  // The connection is gone, unsent bytes with it; what was received can still be read, in this
  // call. `closed` follows at once.
  void (*reset)(Worker&, SessionId, ResetReason, void* context) noexcept = nullptr;
  // The last call: after close, abort, reset, a failed connect, or because the application is
  // removed or the daemon goes down. What was written before close is still sent.
  void (*closed)(Worker&, SessionId, void* context) noexcept = nullptr;
  // The session lives on this worker now and has this id; the old ones are nobody's. Null: sessions
  // of the application stay where they are. Since ABI 1.1.
  void (*moved)(Worker&, SessionId, void* context) noexcept = nullptr;
  // The session layer is enabled again, with which the application had ended: the time to remove it
  // and to add another. Control thread. Since ABI 1.1.
  void (*enabled_again)() noexcept = nullptr;
  // The daemon drains, or does not any more. Listeners of app_listen are hidden meanwhile without
  // the application's doing. A session of datagrams that it has for those who come (open_at) is one
  // that draining waits for: it is to be closed with the last that goes by it, and nobody new is to
  // be let in. Control thread. Since ABI 1.1.
  void (*draining)(bool begins) noexcept = nullptr;
};

struct AppConfig {
  uint32_t struct_size = sizeof(AppConfig);
  uint32_t rx_fifo_size = 0,
           tx_fifo_size = 0;  // bytes a session buffers at most; 0: host's default
};

// Where to listen, or whom to connect to, and how.
struct AppEndpoint {
  uint32_t struct_size = sizeof(AppEndpoint);
  char transport[16] = "tcp";  // name in the registry of transports; "": by `proto`
  uint8_t proto = 0;           // VPPCOM_PROTO_*, as TransportOps::proto
  IpAddress address;
  uint16_t port = 0;  // host order
  uint32_t fib_index = 0;
  uint32_t rx_fifo_size = 0, tx_fifo_size = 0;  // 0: the application's
  SocketOptionsView options;                    // backlog 0: the largest. Stays the last member
};

// "tcp://10.0.0.1/80", "tcp://fd00::1/80": transport, address, port.
inline Result<AppEndpoint> parse_app_uri(std::string_view text) {
  const auto fail = [&] {
    return error(Status::kInvalid, "'" + std::string(text) +
                                       "' is not TRANSPORT://ADDRESS/PORT, like tcp://10.0.0.1/80");
  };
  AppEndpoint e;
  const auto scheme = text.find("://");
  if (scheme == text.npos || scheme == 0 || scheme >= sizeof e.transport) return fail();
  const auto slash = text.rfind('/');
  if (slash < scheme + 3 || text.size() - slash - 1 > 5) return fail();
  const auto address = IpAddress::parse(text.substr(scheme + 3, slash - scheme - 3));
  uint32_t port = 0;
  for (const char c : text.substr(slash + 1)) {
    if (c < '0' || c > '9') return fail();
    port = port * 10 + static_cast<uint32_t>(c - '0');
  }
  if (!address || port == 0 || port > 65535) return fail();
  std::fill(std::begin(e.transport), std::end(e.transport), '\0');
  text.copy(e.transport, scheme);
  e.address = *address;
  e.port = static_cast<uint16_t>(port);
  return e;
}

// The host's side, found in SessionOps::apps; AppSession below wraps it. Ids of sessions that are
// not the caller's any more, or are closed, are answered by nothing: 0 bytes, kNotConnected.
struct AppCalls {
  uint32_t struct_size;
  Status (*connect)(Worker&, Application&, const AppEndpoint& remote, void* context,
                    SessionId* out) noexcept;
  uint32_t (*unread)(Worker&, SessionId) noexcept;
  uint32_t (*peek)(Worker&, SessionId, std::span<std::span<const std::byte>> out) noexcept;
  void (*consume)(Worker&, SessionId, uint32_t n) noexcept;
  bool (*ended)(Worker&, SessionId) noexcept;
  void (*want_readable)(Worker&, SessionId, bool) noexcept;
  uint32_t (*space)(Worker&, SessionId) noexcept;
  uint32_t (*write)(Worker&, SessionId, std::span<const std::byte>) noexcept;
  uint32_t (*reserve)(Worker&, SessionId, uint32_t n, std::span<std::span<std::byte>> out) noexcept;
  void (*commit)(Worker&, SessionId, uint32_t n) noexcept;
  void (*want_writable)(Worker&, SessionId, uint32_t bytes) noexcept;
  void (*shutdown)(Worker&, SessionId) noexcept;
  void (*close)(Worker&, SessionId) noexcept;
  void (*abort)(Worker&, SessionId) noexcept;
  // `size`: of the structure as the caller knows it; fields behind that are not touched.
  Status (*info)(Worker&, SessionId, ConnectionInfo&, uint32_t size) noexcept;
  Status (*set_options)(Worker&, SessionId, const SocketOptionsView&, uint32_t size) noexcept;
  // See AppSession::connect_for. Since ABI 1.1.
  Status (*connect_for)(Worker&, Application&, SessionId upper, const AppEndpoint& how,
                        const Endpoints& ends, void* context, SessionId* out) noexcept;
  // For a transport that is an application: whose session `upper` is. Another number for each
  // application, and none has that of one that has gone. Since ABI 1.1.
  uint64_t (*owner)(Worker&, SessionId upper) noexcept;
  // Datagrams: see AppSession::open_at, send_datagram, receive_datagram. Since ABI 1.1.
  Status (*open_at)(Worker&, Application&, SessionId listener, const AppEndpoint& how,
                    void* context, SessionId* out) noexcept;
  Status (*send_datagram)(Worker&, SessionId, const Datagram&, std::span<const std::byte>) noexcept;
  Status (*receive_datagram)(Worker&, SessionId, Datagram& from, std::span<std::byte> to,
                             uint32_t* length) noexcept;
  uint32_t (*path_mtu)(Worker&, SessionId, const IpAddress& to) noexcept;
};

// One session, on its worker. A pair of words: made where it is needed, never kept.
class AppSession {
 public:
  AppSession(Worker& w, SessionId id) noexcept : w_(w), id_(id) {}

  // Starts a connection on this worker; `connected` reports the outcome. An error: nothing was
  // started, and no report follows.
  static Result<SessionId> connect(Worker& w, Application& app, const AppEndpoint& remote,
                                   void* context) {
    SessionId id = kNoSession;
    const Status s = w.sessions->apps->connect(w, app, remote, context, &id);
    if (s != Status::kOk) return error(s, status_name(s));
    return id;
  }

  // The same for a transport that is an application (TxKind::kInternal), in TransportOps::connect:
  // the lower connection of session `upper`, in whose namespace it is and whose rules hold for it.
  // `how`: of it transport, fifo sizes and options count.
  static Status connect_for(Worker& w, Application& app, SessionId upper, const AppEndpoint& how,
                            const Endpoints& ends, void* context, SessionId* out) noexcept {
    return w.sessions->apps->connect_for(w, app, upper, how, ends, context, out);
  }

  // For a transport that is an application, over one of datagrams: a session where its listener
  // `upper` is to be found, which takes what comes there and nobody else is there for. While the
  // listener is opened (TransportOps::open_listener); of `how` transport, fifo sizes and options
  // count. A port is chosen when the listener has none. It is open at once; `connected` is called
  // all the same. Rules for connects do not look at what it sends: these are answers.
  static Status open_at(Worker& w, Application& app, SessionId upper, const AppEndpoint& how,
                        void* context, SessionId* out) noexcept {
    return w.sessions->apps->open_at(w, app, upper, how, context, out);
  }
  // A datagram session's bytes are moved by these two alone. `d`: flags and ends say where to.
  // kAgain: there is no room; kInvalid: too long. All of it goes, or nothing.
  Status send_datagram(const Datagram& d, std::span<const std::byte> data) noexcept {
    return calls().send_datagram(w_, id_, d, data);
  }
  // The oldest one, as far as it fits; `length` is all of it. kAgain: there is none. Otherwise an
  // error of what was sent, which is taken as well: kRefused; kInvalid, too long for
  // the path; kUnreachable.
  Status receive_datagram(Datagram& from, std::span<std::byte> to, uint32_t* length) noexcept {
    return calls().receive_datagram(w_, id_, from, to, length);
  }

  // The largest IP packet that can go there in one piece, in bytes; 0: there is no way.
  uint32_t path_mtu(const IpAddress& to) const noexcept { return calls().path_mtu(w_, id_, to); }

  SessionId id() const noexcept { return id_; }

  // Bytes received and not consumed.
  uint32_t unread() const noexcept { return calls().unread(w_, id_); }
  // Borrows the oldest unread bytes, no copy: views filled in, fewer than out.size() when they are
  // all there is. Valid until the next consume, close or abort, or the end of the callback.
  uint32_t peek(std::span<std::span<const std::byte>> out) const noexcept {
    return calls().peek(w_, id_, out);
  }
  // Gives the oldest n bytes (at most unread()) back to the fifo.
  void consume(uint32_t n) noexcept { calls().consume(w_, id_, n); }
  // The peer has closed its direction and everything was consumed.
  bool eof() const noexcept { return ended() && unread() == 0; }
  // The peer has closed its direction: nothing will follow what is unread.
  bool ended() const noexcept { return calls().ended(w_, id_); }
  // False: no `readable` until true, which also asks for a call in the next round if there is
  // something unread, or the end of the stream to tell.
  void want_readable(bool wanted = true) noexcept { calls().want_readable(w_, id_, wanted); }

  // Bytes that a write would take. It may take fewer when memory is short; want_writable then comes
  // back when there may be some.
  uint32_t space() const noexcept { return calls().space(w_, id_); }
  // Copies as much of `data` as fits; bytes taken. 0 after shutdown, and when nothing can be sent.
  uint32_t write(std::span<const std::byte> data) noexcept { return calls().write(w_, id_, data); }
  // Zero-copy write: up to n bytes of fifo memory to fill, as views; commit sends the first n of
  // them. No other call for this session between the two.
  uint32_t reserve(uint32_t n, std::span<std::span<std::byte>> out) noexcept {
    return calls().reserve(w_, id_, n, out);
  }
  void commit(uint32_t n) noexcept { calls().commit(w_, id_, n); }
  // Asks for one `writable` once `bytes` (at least 1, at most the fifo's size) are free; soon, when
  // they are already.
  void want_writable(uint32_t bytes = 1) noexcept { calls().want_writable(w_, id_, bytes); }

  // Ends the sending direction: what was written is sent, then FIN. Receiving goes on.
  void shutdown() noexcept { calls().shutdown(w_, id_); }
  // Ends both directions: what was written is still sent; unread bytes make it a reset (RFC 2525
  // section 2.17). While connecting, gives up. `closed` follows, before the next round.
  void close() noexcept { calls().close(w_, id_); }
  // Resets. `closed` follows, before the next round.
  void abort() noexcept { calls().abort(w_, id_); }

  // Endpoints and figures; kNotConnected without a connection.
  Status info(ConnectionInfo& out) const noexcept { return calls().info(w_, id_, out, sizeof out); }
  Status set_options(const SocketOptionsView& o) noexcept {
    return calls().set_options(w_, id_, o, sizeof o);
  }

 private:
  const AppCalls& calls() const noexcept { return *w_.sessions->apps; }
  Worker& w_;
  SessionId id_;
};

// Moves up to `most` unread bytes of one session into another's tx fifo, or into its own; bytes
// moved. Fewer: `from` has no more, or `to` has no more room.
inline uint32_t move_bytes(AppSession from, AppSession to, uint32_t most) noexcept {
  uint32_t moved = 0;
  while (moved < most) {
    std::span<const std::byte> views[4];
    const uint32_t n = from.peek(views);
    uint32_t round = 0;
    bool is_full = n == 0;
    for (uint32_t i = 0; i < n && !is_full && moved + round < most; ++i) {
      const auto part =
          views[i].first(std::min<std::size_t>(views[i].size(), most - moved - round));
      const uint32_t taken = to.write(part);
      round += taken;
      is_full = taken < part.size();
    }
    from.consume(round);
    moved += round;
    if (is_full) break;
  }
  return moved;
}

}  // namespace loom
