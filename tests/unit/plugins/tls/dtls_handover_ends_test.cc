// A connection of DTLS ends, for whichever reason, while a thread of the pool is in the middle of a
// step of its handshake, or before that has begun: of a server's and of a client's, in each step.
#include "dtls_pool_bed.h"
#include "session/control.h"

namespace loom::tls::dtls {
namespace {

enum class How : uint8_t { kTimeOut, kListener, kAppDies, kResetBelow, kNewer, kDisabled, kStop };
const char* name_of(How h) {
  constexpr const char* kNames[] = {"time out",    "listener",      "application dies",
                                    "reset below", "a newer hello", "disabled",
                                    "stop"};
  return kNames[static_cast<int>(h)];
}

struct Case : DtlsPoolBed {
  explicit Case(ConnId lower) : below(lower) { EXPECT_EQ(bed.listen(), 0); }

  void end(How how) {
    switch (how) {
      case How::kTimeOut:
        return pump(11 * kSecond);
      case How::kListener:
        bed.tls.app->listener->holders.store(0);
        return bed.tls.app->push(svm::ToDaemon::kUnlisten, bed.tls.bound.handle);
      case How::kAppDies:
        bed.tls.app->die();
        return pump();
      case How::kResetBelow: {
        const auto handle = bed.worker().sessions->handle(
            bed.worker(), bed.transport.connections.at(below).session);
        EXPECT_EQ(session::reset_session(bed.tls.bed.layer->impl(), handle), Status::kOk);
        return pump();
      }
      case How::kNewer: {
        DtlsPeer other(true);
        bed.carry(other, 1);
        other.step();
        carry_out(other);
        return;
      }
      case How::kDisabled:
        EXPECT_TRUE(bed.tls.bed.layer->set_enabled(false));
        return pump();
      case How::kStop: {
        std::thread opens([&] { open(); });
        tls::stop(bed.tls.host);
        return opens.join();
      }
    }
  }
  void open() {
    if (gate) gate->open();
    if (!blocked) return;
    for (Blocked& b : *blocked) b.may_end.count_down();
  }
  // Ends it while its step is out, and lets the step come back.
  void end_in_step(How how, bool has_begun) {
    if (has_begun) gate->wait();
    EXPECT_EQ(stat(kCryptoUnderWay), 1u);
    const std::string junk("\x16\xfe\xfd\0\0\0\0\0\0\0\x7f\0\1\1", 14);
    if (below == 0) bed.deliver(junk);  // is kept, and goes with it
    EXPECT_EQ(worker().kept != 0, below == 0);
    end(how);
    if (how == How::kStop) return;
    const bool is_another = how == How::kNewer;
    EXPECT_EQ(stat(kUnderWay), is_another ? 1u : 0u);
    EXPECT_EQ(stat(kCryptoTakenBack), has_begun ? 0u : 1u);
    EXPECT_EQ(worker().kept, 0u);
    open();
    settle();
    EXPECT_EQ(stat(kServerHandshakes) + stat(kClientHandshakes), 0u);
    if (is_another) pump(11 * kSecond);
    until([&] { return stat(kConnections) == 0; });
    EXPECT_EQ(tls::retired().size(), 0u);
  }

  const ConnId below;
  std::optional<Gate> gate;
};

// `step` 0: the ClientHello with a cookie; 1: the client's last flight.
void server_ends(How how, int step, bool has_begun) {
  SCOPED_TRACE(std::string(name_of(how)) + (has_begun ? " during step " : " before step ") +
               std::to_string(step));
  Case c(0);
  if (has_begun) c.gate.emplace(Case::server());
  DtlsPeer peer(true);
  step == 0 ? c.greet(peer) : c.come_to_last_flight(peer);
  has_begun ? c.gate->shut() : c.block();
  c.carry_out(peer);
  c.end_in_step(how, has_begun);
}

TEST(DtlsHandoverEnds, OfAServerInEachStep) {
  for (const How how : {How::kTimeOut, How::kListener, How::kAppDies, How::kResetBelow, How::kNewer,
                        How::kDisabled, How::kStop})
    for (const int step : {0, 1})
      for (const bool has_begun : {true, false}) server_ends(how, step, has_begun);
}

// `step` 0: the server asks for a cookie; 1: it shows its certificate.
void client_ends(How how, int step, bool has_begun) {
  SCOPED_TRACE(std::string(name_of(how)) + (has_begun ? " during step " : " before step ") +
               std::to_string(step));
  Case c(1);
  if (has_begun) c.gate.emplace(shared().clients.usual.get());
  const Pem own = make_certificate({.names = "IP:192.0.2.3", .issuer = &c.bed.tls.authority});
  DtlsPeer peer(false, [&](SSL_CTX* context) {
    SSL_CTX_use_certificate(context, own.x509.get());
    SSL_CTX_use_PrivateKey(context, own.pkey.get());
    SSL_CTX_set_options(context, SSL_OP_COOKIE_EXCHANGE);
    SSL_CTX_set_cookie_generate_cb(context, [](SSL*, unsigned char* cookie, unsigned* n) {
      *cookie = 7;
      *n = 1;
      return 1;
    });
    SSL_CTX_set_cookie_verify_cb(context, [](SSL*, const unsigned char* cookie, unsigned n) {
      return n == 1 && *cookie == 7 ? 1 : 0;
    });
  });
  c.bed.start_connect();
  for (int i = 0; i < step; ++i) {
    c.carry_in(peer, 443, 1);
    peer.step();
    c.carry_out(peer, 1000, 443, 1);
    c.settle();
  }
  c.carry_in(peer, 443, 1);
  peer.step();
  ASSERT_FALSE(peer.out.empty());
  has_begun ? c.gate->shut() : c.block();
  c.carry_out(peer, 1000, 443, 1);
  c.end_in_step(how, has_begun);
}

TEST(DtlsHandoverEnds, OfAClientInEachStep) {
  for (const How how : {How::kTimeOut, How::kAppDies, How::kResetBelow, How::kDisabled, How::kStop})
    for (const int step : {0, 1})
      for (const bool has_begun : {true, false}) client_ends(how, step, has_begun);
}

// What the step refers to is there until it is done, and freed by the control thread.
TEST(DtlsHandoverKeys, ReloadMeansTheNextHandshakeAndTheLastUserMayBeAStep) {
  for (const bool is_reset : {false, true}) {
    Case c(0);
    DtlsPeer peer(true);
    c.greet(peer);
    c.gate.emplace(Case::server());
    c.gate->shut();
    c.carry_out(peer);
    c.gate->wait();
    const std::weak_ptr<const ServerContext> before = shared().listeners.begin()->second->context;
    ASSERT_EQ(c.bed.tls.run("tls reload").text, "");
    EXPECT_FALSE(before.expired());
    if (is_reset) c.end(How::kResetBelow);
    EXPECT_FALSE(before.expired());
    c.gate->open();
    c.settle();
    if (!is_reset) {
      c.exchange(peer);
      EXPECT_TRUE(peer.is_open());
      EXPECT_FALSE(before.expired());
      c.end(How::kResetBelow);
    }
    EXPECT_TRUE(before.expired());
    EXPECT_EQ(tls::retired().size(), 0u);
  }
}

}  // namespace
}  // namespace loom::tls::dtls
