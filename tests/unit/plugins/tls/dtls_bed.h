// DTLS on a session layer that the test steps, over a transport that keeps its datagrams; and peers
// that are OpenSSL alone. OpenSSL's clock, of both ends, is the test's (dtls_clock.cc).
#pragma once
#include <deque>

#include "dtls.h"
#include "svm/datagram.h"
#include "tests/unit/core/session/datagram_transport.h"
#include "tests/unit/plugins/tls/tls_bed.h"

namespace loom::tls {

extern const TimeNs* openssl_now;  // dtls_clock.cc

// One end of DTLS that the test holds in its hands: datagrams in, datagrams out.
class DtlsPeer {
 public:
  explicit DtlsPeer(bool is_client, const std::function<void(SSL_CTX*)>& more = {})
      : context_(SSL_CTX_new(is_client ? DTLS_client_method() : DTLS_server_method()),
                 SSL_CTX_free) {
    if (more) more(context_.get());
    ssl_.reset(SSL_new(context_.get()));
    BIO* const b = BIO_new(method());
    BIO_set_data(b, this);
    BIO_set_init(b, 1);
    SSL_set_bio(ssl_.get(), b, b);
    SSL_set_options(ssl_.get(), SSL_OP_NO_QUERY_MTU);
    SSL_set_mtu(ssl_.get(), 1400);
    is_client ? SSL_set_connect_state(ssl_.get()) : SSL_set_accept_state(ssl_.get());
  }
  SSL* ssl() { return ssl_.get(); }
  bool is_open() { return SSL_is_init_finished(ssl()); }
  // Looks at what has come, and at the clock.
  void step() {
    ERR_clear_error();
    if (!is_open()) {
      (void)DTLSv1_handle_timeout(ssl());
      (void)SSL_do_handshake(ssl());
    }
    char part[20'000];
    for (int n; is_open() && (n = SSL_read(ssl(), part, sizeof part)) > 0;)
      got.emplace_back(part, static_cast<std::size_t>(n));
  }
  void write(std::string_view text) {
    SSL_write(ssl(), text.data(), static_cast<int>(text.size()));
  }
  std::deque<std::string> in, out;
  std::vector<std::string> got;  // what was said to it

 private:
  static BIO_METHOD* method() {
    static BIO_METHOD* const m = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "datagrams");
      BIO_meth_set_write(made, [](BIO* b, const char* from, int n) {
        static_cast<DtlsPeer*>(BIO_get_data(b))->out.emplace_back(from, n);
        return n;
      });
      BIO_meth_set_read(made, [](BIO* b, char* to, int most) {
        auto& in = static_cast<DtlsPeer*>(BIO_get_data(b))->in;
        BIO_clear_retry_flags(b);
        if (in.empty()) {
          BIO_set_retry_read(b);
          return -1;
        }
        const auto n = std::min(in.front().size(), static_cast<std::size_t>(most));
        std::memcpy(to, in.front().data(), n);
        in.pop_front();
        return static_cast<int>(n);
      });
      BIO_meth_set_ctrl(
          made, [](BIO*, int command, long, void*) -> long { return command == BIO_CTRL_FLUSH; });
      return made;
    }();
    return m;
  }
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_{nullptr, SSL_free};
};

// The records of a datagram, one by one.
inline std::vector<std::string> records_of(std::string_view d) {
  std::vector<std::string> all;
  while (d.size() > 12) {
    const std::size_t n = 13 + (static_cast<uint8_t>(d[11]) << 8 | static_cast<uint8_t>(d[12]));
    all.emplace_back(d.substr(0, n));
    d.remove_prefix(std::min(n, d.size()));
  }
  return all;
}

class DtlsBed {
 public:
  using Link = TlsBed::Link;
  static inline uint32_t path_mtu = 1500;
  static inline bool refuses = false;  // to open lower sessions
  IpAddress peer_address = Ip4Address{{192, 0, 2, 3}};
  uint32_t on = 0;  // the worker that is meant

  explicit DtlsBed(const std::function<void(Config&)>& more = {}, uint32_t n_workers = 1)
      : tls(
            [&](Config& c) {
              c.datagram_transport = "datagrams";
              if (more) more(c);
            },
            "EC", n_workers) {
    path_mtu = 1500;
    TransportOps ops = transport.ops();
    ops.path_mtu = [](Worker&, ConnId, const IpAddress&, uint32_t) noexcept { return path_mtu; };
    refuses = false;
    ops.connect = [](Worker& w, SessionId s, Endpoints& e, const SocketOptionsView& o,
                     ConnId* out) noexcept {
      if (refuses) return Status::kInUse;
      return test::DatagramTransport::self->ops().connect(w, s, e, o, out);
    };
    ops.set_options = [](Worker&, ConnId, const SocketOptionsView&) noexcept {
      return Status::kOk;
    };
    EXPECT_TRUE(tls.bed.transports.add(ops));
    for (uint32_t i = 0; i < n_workers; ++i) tls.bed.engine->worker(i).net = &test::kDatagramNet;
    openssl_now = &tls.bed.now;
  }
  Worker& worker() { return tls.bed.engine->worker(on); }
  uint64_t stat(dtls::Stat s) { return dtls::shared().workers[on]->stats[s]; }
  int32_t listen(uint32_t settings = 0) { return tls.listen(443, dtls::kProto, settings); }

  // To port 443 of 192.0.2.3.
  void start_connect() {
    svm::ConnectEvent e{};
    e.proto = dtls::kProto;
    e.local.is_ip4 = 1;
    e.remote = test::TestApp::end(443);
    e.remote.ip[0] = 192;
    e.remote.ip[2] = 2;
    e.remote.ip[3] = 3;
    tls.app->push(svm::ToDaemon::kConnect, e);
  }
  // One datagram from that port of the peer's address (of a client; else from the server's) to the
  // lower session `conn`.
  void deliver(std::string_view text, uint16_t port = 7, ConnId conn = 0) {
    enqueue(text, port, conn);
    tls.bed.pump(0);
  }
  void enqueue(std::string_view text, uint16_t port = 7, ConnId conn = 0) {
    const auto& c = transport.connections.at(conn);
    if (!c.open) return;
    Datagram d;
    d.ends = c.ends;
    d.ends.remote = peer_address;
    d.ends.remote_port = port;
    Buffer b;
    std::string bytes(text);
    b.data = reinterpret_cast<std::byte*>(bytes.data());
    b.len = static_cast<uint32_t>(bytes.size());
    EXPECT_EQ(worker().sessions->rx_datagram(worker(), c.session, d, b, 0, b.len), Status::kOk);
  }
  // What was sent by that lower session to that port since the last call.
  std::vector<std::string> sent(uint16_t port = 7, ConnId conn = 0) {
    std::vector<std::string> mine;
    std::erase_if(transport.sent, [&](const auto& s) {
      const uint16_t to = s.d.flags & kDatagramRemote ? s.d.ends.remote_port : s.peer;
      if (s.conn != conn || to != port) return false;
      mine.push_back(s.payload);
      return true;
    });
    return mine;
  }
  // So many times: what the peer says, and what it is answered.
  void carry(DtlsPeer& p, int flights, uint16_t port = 7, ConnId conn = 0) {
    for (; flights > 0; --flights) {
      p.step();
      for (; !p.out.empty(); p.out.pop_front()) deliver(p.out.front(), port, conn);
      for (auto& s : sent(port, conn)) p.in.push_back(std::move(s));
    }
  }
  // Carries datagrams until nothing moves.
  void exchange(DtlsPeer& p, uint16_t port = 7, ConnId conn = 0) {
    for (bool moved = true; moved;) {
      p.step();
      tls.bed.pump();
      moved = false;
      for (; !p.out.empty(); p.out.pop_front(), moved = true) deliver(p.out.front(), port, conn);
      for (auto& s : sent(port, conn)) {
        p.in.push_back(std::move(s));
        moved = true;
      }
    }
  }
  // The application's datagrams, by what their headers say.
  uint32_t write(test::TestApp::Connection& c, std::string_view text) {
    svm::DatagramHeader h{};
    h.length = static_cast<uint32_t>(text.size());
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += text;
    if (on == 0) return tls.app->write(c, bytes);
    const uint32_t n = c.tx.enqueue(svm::bytes_of(bytes.data(), bytes.size()));
    ask(svm::ToDaemon::kTx, c);
    return n;
  }
  // Of that session's worker.
  void ask(svm::ToDaemon type, const test::TestApp::Connection& c) {
    const svm::SessionEvent event{c.handle, 0};
    tls.app->ask_worker(on, type, event);
    tls.bed.pump();
  }
  std::vector<std::string> read(test::TestApp::Connection& c, uint16_t* error = nullptr) {
    const std::string all = tls.app->read(c);
    std::vector<std::string> texts;
    for (std::size_t i = 0; i + sizeof(svm::DatagramHeader) <= all.size();) {
      svm::DatagramHeader h;
      std::memcpy(&h, all.data() + i, sizeof h);
      i += sizeof h;
      if (h.flags & svm::kDatagramError) {
        if (error) *error = h.error;
        continue;
      }
      texts.push_back(all.substr(i, h.length));
      i += h.length;
    }
    return texts;
  }
  Link accept() { return tls.accept(); }

  test::DatagramTransport transport;
  TlsBed tls;
};

}  // namespace loom::tls
