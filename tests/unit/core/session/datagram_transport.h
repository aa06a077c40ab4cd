// A transport of datagrams that keeps what it is given, and a network for it.
#pragma once
#include <hostloom/net.h>

#include <string>
#include <vector>

#include "session/impl.h"
#include "svm/datagram.h"

namespace loom::test {

// Every address 10.x is this host's; all others are reached from 10.0.0.7.
inline const NetOps kDatagramNet{
    .struct_size = sizeof(NetOps),
    .route =
        [](Worker&, const IpAddress& to, uint32_t, RouteInfo* out) noexcept {
          out->source = Ip4Address{{10, 0, 0, 7}};
          return to.is_ip4 ? Status::kOk : Status::kUnreachable;
        },
    .is_local = [](Worker&, const IpAddress& a,
                   uint32_t) noexcept { return a.is_ip4 && a.ip4().bytes[0] == 10; },
    .generation = nullptr,
    .route_group = nullptr,
    .listen_group = nullptr,
    .hears_group = nullptr};

struct DatagramTransport {
  static constexpr uint8_t kProto = 1, kIpProtocol = 254;
  static inline DatagramTransport* self = nullptr;
  struct Connection {
    SessionId session;
    Endpoints ends;
    bool open = true;
    uint32_t worker = 0;
    bool shares = false;  // its local end
    SocketOptionsView options{};
  };
  struct Sent {
    ConnId conn;
    std::string payload;
    Datagram d;
    uint16_t peer;  // whom the connection had then
  };
  std::vector<Connection> connections;
  std::vector<Sent> sent;
  std::vector<Buffer*> held;  // instead of being freed
  bool holds = false;
  uint32_t aborted = 0, closed = 0;

  DatagramTransport() { self = this; }
  ~DatagramTransport() { self = nullptr; }

  static void unbind(Worker& w, ConnId c) noexcept {
    const Connection& at = self->connections[c];
    if (at.shares)
      w.sessions->flow_unbind_shared(w, at.ends, kIpProtocol, false, c);
    else
      w.sessions->flow_unbind(w, at.ends, kIpProtocol, false);
  }

  TransportOps ops() const {
    TransportOps o;
    o.name = "datagrams";
    o.proto = kProto;
    o.ip_protocol = kIpProtocol;
    o.tx_kind = TxKind::kDatagram;
    o.connect = [](Worker& w, SessionId s, Endpoints& e, const SocketOptionsView& options,
                   ConnId* out) noexcept {
      bool shares = false;
      *out = static_cast<ConnId>(self->connections.size());
      Status status;
      if (e.remote_port != 0) {
        status = w.sessions->flow_open(w, e, kIpProtocol, *out);
        if (status == Status::kOk)
          status = w.sessions->flow_add(w, e, kIpProtocol, FlowKind::kEstablished, *out);
      } else if (options.reuseport) {
        shares = true;
        status = w.sessions->flow_bind_shared(w, e, kIpProtocol, false, *out, s, options);
      } else {
        status = w.sessions->flow_bind(w, e, kIpProtocol, false, *out);
      }
      if (status == Status::kOk)
        self->connections.push_back({s, e, true, w.index, shares, options});
      return status;
    };
    o.set_options = [](Worker&, ConnId c, const SocketOptionsView& options) noexcept {
      self->connections[c].options = options;
      return Status::kOk;
    };
    o.set_peer = [](Worker&, ConnId c, Endpoints& e) noexcept {
      if (e.remote_port == 9) return Status::kUnreachable;
      Endpoints& own = self->connections[c].ends;
      own.remote = e.remote;
      own.remote_port = e.remote_port;
      e = own;
      return Status::kOk;
    };
    o.push_datagrams = [](Worker& w, ConnId c, std::span<Buffer* const> chains,
                          const Datagram* data) noexcept {
      for (std::size_t i = 0; i < chains.size(); ++i) {
        std::string payload;
        for (const Buffer* b = chains[i]; b; b = b->next)
          payload.append(reinterpret_cast<const char*>(b->data), b->len);
        self->sent.push_back({c, payload, data[i], self->connections[c].ends.remote_port});
        if (self->holds)
          self->held.push_back(chains[i]);
        else
          w.free(chains[i]);
      }
    };
    o.close = [](Worker& w, ConnId c, bool) noexcept {
      ++self->closed;
      self->connections[c].open = false;
      unbind(w, c);
      w.sessions->closed(w, self->connections[c].session);
    };
    o.abort = [](Worker& w, ConnId c) noexcept {
      ++self->aborted;
      self->connections[c].open = false;
      unbind(w, c);
    };
    o.info = [](Worker&, ConnId c, ConnectionInfo& out) noexcept {
      out.endpoints = self->connections[c].ends;
    };
    o.session_of = [](Worker&, ConnId c) noexcept {
      return self->connections[c].open ? self->connections[c].session : kNoSession;
    };
    o.path_mtu = [](Worker&, ConnId, const IpAddress& to, uint32_t) noexcept -> uint32_t {
      return to.is_ip4 ? 1400 : 0;
    };
    return o;
  }
};

// Asks for a session of it.
inline svm::ConnectEvent datagram_request(const svm::Endpoint& local, const svm::Endpoint& remote) {
  svm::ConnectEvent e{};
  e.context = 5;
  e.proto = DatagramTransport::kProto;
  e.local = local;
  e.remote = remote;
  return e;
}

}  // namespace loom::test
