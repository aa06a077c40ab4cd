// A connection ends, for whichever reason, while a thread of the pool is in the middle of a step of
// its handshake, or before that has begun: of a server's and of a client's, in each step.
#include "pool_bed.h"

namespace loom::tls {
namespace {

enum class How : uint8_t { kReset, kTimeOut, kListener, kAppDies, kDisabled, kStop };
constexpr How kAll[] = {How::kReset,   How::kTimeOut,  How::kListener,
                        How::kAppDies, How::kDisabled, How::kStop};
const char* name_of(How h) {
  constexpr const char* kNames[] = {"reset",          "time out", "listener", "application dies",
                                    "layer disabled", "stop"};
  return kNames[static_cast<int>(h)];
}

// One bed a case: some of the ends are the bed's, too.
struct Case : PoolBed {
  Case() : PoolBed(ask_clients) { EXPECT_EQ(bed.listen(443), 0); }

  void end(How how, uint64_t lower) {
    switch (how) {
      case How::kReset:
        return bed.app->push(svm::ToDaemon::kReset, lower);
      case How::kTimeOut:
        return bed.bed.pump(11 * kSecond);
      case How::kListener:
        bed.app->listener->holders.store(0);
        return bed.app->push(svm::ToDaemon::kUnlisten, bed.bound.handle);
      case How::kAppDies:
        bed.app->die();
        return bed.bed.pump();
      case How::kDisabled:
        EXPECT_TRUE(bed.bed.layer->set_enabled(false));
        return bed.bed.pump();
      case How::kStop: {
        std::thread opens([&] { open(); });
        stop(bed.host);
        return opens.join();
      }
    }
  }
  void open() {
    if (gate) gate->open();
    if (!blocked) return;
    for (Blocked& b : *blocked) b.may_end.count_down();
  }
  std::optional<Gate> gate;
};

// Ends it while its step is out, and lets the step come back. False: nothing is left to look at.
bool end_in_step(Case& c, How how, uint64_t handle, bool has_begun) {
  if (has_begun) c.gate->wait();
  EXPECT_EQ(c.bed.stat(kCryptoUnderWay), 1u);
  c.end(how, handle);
  if (how == How::kStop) return false;
  EXPECT_EQ(c.bed.stat(kUnderWay), 0u);
  EXPECT_EQ(c.bed.stat(kCryptoTakenBack), has_begun ? 0u : 1u);
  EXPECT_EQ(c.bed.stat(kCryptoUnderWay), has_begun ? 1u : 0u);
  c.open();
  c.settle();
  return true;
}

// `step` 0: ClientHello; 1: the client's last flight.
void server_ends(How how, int step, bool has_begun) {
  SCOPED_TRACE(std::string(name_of(how)) + (has_begun ? " during step " : " before step ") +
               std::to_string(step));
  Case c;
  if (has_begun) c.gate.emplace(Case::server());
  auto link = c.raw();
  Peer peer(Peer::Role::kClient);
  (void)peer.shake();
  if (step == 1) {
    c.bed.app->write(*link, peer.records());
    c.settle();
    peer.feed(c.bed.app->read(*link));
    ASSERT_TRUE(peer.shake());
  }
  if (has_begun)
    c.gate->shut();
  else
    c.block();
  c.bed.app->write(*link, peer.records());
  if (!end_in_step(c, how, link->handle, has_begun)) return;
  EXPECT_EQ(c.bed.stat(kServerHandshakes), 0u);
  if (how == How::kTimeOut) c.bed.app->push(svm::ToDaemon::kReset, link->handle);
  c.until([&] { return c.bed.stat(kConnections) == 0; });
}

TEST(TlsHandoverEnds, OfAServerInEachStep) {
  for (const How how : kAll)
    for (const int step : {0, 1})
      for (const bool has_begun : {true, false}) server_ends(how, step, has_begun);
}

// `step` 0: the client's first flight; 1: what the server has answered.
void client_ends(How how, int step, bool has_begun) {
  SCOPED_TRACE(std::string(name_of(how)) + (has_begun ? " during step " : " before step ") +
               std::to_string(step));
  Case c;
  if (has_begun) c.gate.emplace(shared().clients.usual.get());
  // A listener of plain connections, whose other end is a client of TLS.
  ASSERT_EQ(c.bed.listen(80, test::PipeTransport::kProto), 0);
  Peer peer(Peer::Role::kServer, {}, &c.bed.server);
  TlsBed::Link link;
  const auto hold = [&] { has_begun ? c.gate->shut() : c.block(); };
  if (step == 0) hold();
  c.bed.start_connect(80);
  link = c.accepted();
  if (step == 1) {
    c.settle();
    peer.feed(c.bed.app->read(*link));
    (void)peer.shake();
    hold();
    c.bed.app->write(*link, peer.records());
  }
  if (!end_in_step(c, how, link->handle, has_begun)) return;
  EXPECT_EQ(c.bed.stat(kClientHandshakes), 0u);
  if (how == How::kReset) {
    EXPECT_NE(c.bed.outcome().status, 0);
  }
  if (how == How::kTimeOut) c.bed.app->push(svm::ToDaemon::kReset, link->handle);
  c.until([&] { return c.bed.stat(kConnections) == 0; });
}

TEST(TlsHandoverEnds, OfAClientInEachStep) {
  for (const How how : kAll)
    for (const int step : {0, 1})
      if (how != How::kListener)
        for (const bool has_begun : {true, false}) client_ends(how, step, has_begun);
}

// Nobody is above any more, and `closed` has not come from below.
TEST(TlsHandoverEnds, AStepComesBackInTheRoundInWhichItsSessionWasReset) {
  PoolBed p([](Config& c) { c.crypto_threads = 1; });
  Gate gate(shared().clients.usual.get());
  ASSERT_EQ(p.bed.listen(80, test::PipeTransport::kProto), 0);
  start_threads();
  Peer peer(Peer::Role::kServer, {}, &p.bed.server);
  p.bed.start_connect(80);
  auto link = p.accepted();
  p.settle();
  peer.feed(p.bed.app->read(*link));
  (void)peer.shake();
  gate.shut();
  p.bed.app->write(*link, peer.records());
  gate.wait();
  // As a daemon's running worker finds them: both in one round, and the reset first.
  p.bed.bed.engine->post(0, [&](Worker&) {
    EXPECT_NE(session::reset_all_sessions(p.bed.bed.layer->impl(), true), 0u);
  });
  gate.open();
  Blocked behind;  // by the only thread: when it runs the step has been posted
  PoolBed::pool().submit(behind);
  behind.begun.wait();
  behind.may_end.count_down();
  p.until([&] { return behind.came_back && p.bed.stat(kConnections) == 0; });
  EXPECT_EQ(p.bed.stat(kClientHandshakes), 0u);
  EXPECT_EQ(p.bed.stat(kUnderWay), 0u);
}

struct TlsHandoverKeys : TlsPool {
  void SetUp() override { ASSERT_EQ(bed.listen(443), 0); }
  // A client's first flight, at which a thread is now.
  void begin(Gate& gate, Peer& peer, TlsBed::Link& link) {
    (void)peer.shake();
    gate.shut();
    bed.app->write(*link, peer.records());
    gate.wait();
  }
};

// What the step refers to is there until it is done, and freed by the control thread.
TEST_F(TlsHandoverKeys, ReloadMeansTheNextHandshake) {
  Gate gate(server());
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  begin(gate, peer, link);
  const Pem fresh = make_certificate({.issuer = &bed.authority, .serial = 7});
  bed.write("server.pem", fresh.certificate);
  bed.write("server.key", fresh.key);
  const std::weak_ptr<const ServerContext> before = shared().listeners.begin()->second->context;
  ASSERT_EQ(bed.run("tls reload").text, "");
  EXPECT_FALSE(before.expired());
  gate.open();
  settle();
  exchange(peer, link);
  ASSERT_TRUE(SSL_is_init_finished(peer.ssl()));
  EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(peer.ssl()), bed.server.x509.get()), 0);
  const auto far = accepted();
  bed.app->write(*far, "under the old one");
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "under the old one");
  bed.app->push(svm::ToDaemon::kReset, link->handle);
  bed.bed.pump();
  EXPECT_TRUE(before.expired());
  auto next = raw();
  Peer other(Peer::Role::kClient);
  exchange(other, next);
  EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(other.ssl()), fresh.x509.get()), 0);
}

TEST_F(TlsHandoverKeys, ItsLastUserMayBeAStepWhoseConnectionHasEnded) {
  Gate gate(server());
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  begin(gate, peer, link);
  const std::weak_ptr<const ServerContext> before = shared().listeners.begin()->second->context;
  ASSERT_EQ(bed.run("tls reload").text, "");
  bed.app->push(svm::ToDaemon::kReset, link->handle);
  EXPECT_EQ(bed.stat(kConnections), 0u);
  EXPECT_FALSE(before.expired());
  gate.open();
  settle();
  EXPECT_TRUE(before.expired());
  EXPECT_EQ(retired().size(), 0u);
}

TEST_F(TlsHandoverKeys, AnApplicationMayReplaceItsCertificatesMeanwhile) {
  Gate gate(server());
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  begin(gate, peer, link);
  const Pem own = make_certificate({.serial = 9});
  const uint32_t settings = bed.add_settings(TlsBed::pair_settings(own));
  ASSERT_EQ(use_settings(shared().listeners.begin()->first, settings), Status::kOk);
  gate.open();
  settle();
  exchange(peer, link);
  EXPECT_EQ(X509_cmp(SSL_get0_peer_certificate(peer.ssl()), bed.server.x509.get()), 0);
  EXPECT_TRUE(accepted());
}

}  // namespace
}  // namespace loom::tls
