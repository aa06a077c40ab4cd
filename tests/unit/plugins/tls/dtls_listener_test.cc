// Listeners of DTLS over their life: while the daemon drains, when the session below was reset, and
// what their open peers have of a round.
#include "listing.h"
#include "session/control.h"
#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {
namespace {

using Texts = std::vector<std::string>;

struct DtlsListener : testing::Test {
  DtlsBed bed;
  DtlsPeer peer{true};
  DtlsBed::Link link;

  session::Impl& layer() { return bed.tls.bed.layer->impl(); }
  void pump(TimeNs time = 2 * kMillisecond) { bed.tls.bed.pump(time); }
  void drain(bool begins) {
    session::set_drain(layer(), begins, 0);
    pump();
  }
  DrainState drained() { return session::drain_status(layer()).state; }
  void listen() { ASSERT_EQ(bed.listen(), 0); }
  void open() {
    listen();
    bed.exchange(peer);
    link = bed.accept();
    ASSERT_TRUE(link);
  }
  void unlisten() {
    bed.tls.app->listener->holders.store(0);
    bed.tls.app->push(svm::ToDaemon::kUnlisten, bed.tls.bound.handle);
  }
  test::DatagramTransport::Connection& below(std::size_t i) {
    return bed.transport.connections.at(i);
  }
  void reset_below(std::size_t i = 0) {
    ASSERT_EQ(session::reset_session(layer(),
                                     bed.worker().sessions->handle(bed.worker(), below(i).session)),
              Status::kOk);
    pump(0);
  }
  // Whether somebody new is greeted by the lower session of that number.
  bool greets(ConnId conn, uint16_t port) {
    DtlsPeer other(true);
    other.step();
    bed.deliver(other.out.front(), port, conn);
    return !bed.sent(port, conn).empty();
  }
};

// Whatever its application asks of its own socket.
TEST_F(DtlsListener, HearsWithChecksumsAlone) {
  svm::ListenEvent e{};
  e.proto = dtls::kProto;
  e.options.no_check6_rx = 1;
  e.local = test::TestApp::end(443);
  e.backlog = 16;
  bed.tls.app->push(svm::ToDaemon::kListen, e);
  ASSERT_EQ(bed.tls.next<svm::BoundEvent>(svm::ToApp::kBound).status, 0);
  EXPECT_FALSE(below(0).options.no_check6_rx);
}

// --- Draining

TEST_F(DtlsListener, IsNothingThatDrainingWaitsFor) {
  listen();
  drain(true);
  EXPECT_EQ(drained(), DrainState::kDrained);
  EXPECT_FALSE(below(0).open);
  EXPECT_EQ(session::drain_status(layer()).resets, 0u);
}

TEST_F(DtlsListener, GreetsNobodyWhileItsLastConnectionsGoOn) {
  open();
  drain(true);
  EXPECT_EQ(drained(), DrainState::kDraining);
  EXPECT_FALSE(greets(0, 8));
  EXPECT_EQ(bed.stat(dtls::kHellosDropped), 1u);
  peer.write("still");
  bed.exchange(peer);
  EXPECT_EQ(bed.read(*link), (Texts{"still"}));
  bed.tls.app->close(*link);
  bed.exchange(peer);
  EXPECT_FALSE(below(0).open);
  EXPECT_EQ(drained(), DrainState::kDrained);
}

TEST_F(DtlsListener, LetsAHandshakeEndThatWasUnderWay) {
  listen();
  bed.carry(peer, 2);
  ASSERT_EQ(bed.stat(dtls::kUnderWay), 1u);
  drain(true);
  EXPECT_EQ(drained(), DrainState::kDraining);
  bed.exchange(peer);
  EXPECT_TRUE(peer.is_open());
  link = bed.accept();
  ASSERT_TRUE(link);
  bed.tls.app->close(*link);
  bed.exchange(peer);
  EXPECT_EQ(drained(), DrainState::kDrained);
}

TEST_F(DtlsListener, HearsAgainWhenDrainingIsOver) {
  listen();
  drain(true);
  drain(false);
  EXPECT_EQ(bed.stat(dtls::kBoundAgain), 1u);
  ASSERT_EQ(bed.transport.connections.size(), 2u);
  EXPECT_EQ(below(1).ends.local_port, 443);
  bed.exchange(peer, 7, 1);
  EXPECT_TRUE(peer.is_open());
  EXPECT_TRUE(bed.accept());
}

TEST_F(DtlsListener, HearsAgainWhenItsLastConnectionHasNotLeftYet) {
  open();
  drain(true);
  drain(false);
  EXPECT_TRUE(greets(0, 8));  // it is the same one below
  EXPECT_EQ(bed.transport.connections.size(), 1u);
}

TEST_F(DtlsListener, ThatComesWhileTheDaemonDrainsWaitsForItsEnd) {
  ASSERT_EQ(bed.tls.listen(444, test::PipeTransport::kProto), 0);
  auto other = bed.tls.connect(444, test::PipeTransport::kProto);  // somebody is there still
  listen();
  session::set_drain(layer(), true, 0);
  svm::ListenEvent e{};
  e.proto = dtls::kProto;
  e.local = test::TestApp::end(445);
  e.backlog = 16;
  bed.tls.app->push(svm::ToDaemon::kListen, e);
  EXPECT_EQ(bed.tls.next<svm::BoundEvent>(svm::ToApp::kBound).status, 0);
  pump();
  ASSERT_EQ(bed.transport.connections.size(), 2u);
  EXPECT_FALSE(below(1).open);
  drain(false);
  ASSERT_EQ(bed.transport.connections.size(), 4u);
  EXPECT_TRUE(below(2).open && below(3).open);
}

TEST_F(DtlsListener, IsResetWithTheRestByTheTimeOutAndHearsAgainAfterwards) {
  open();
  session::set_drain(layer(), true, 1);
  for (int i = 0; i < 30 && drained() != DrainState::kDrained; ++i) pump(100 * kMillisecond);
  ASSERT_EQ(drained(), DrainState::kDrained);
  pump();
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  EXPECT_EQ(bed.stat(dtls::kBindsFailed), 0u);
  drain(false);
  EXPECT_TRUE(greets(1, 8));
}

// --- The session below is reset

TEST_F(DtlsListener, HearsAgainAfterItsSessionBelowWasReset) {
  open();
  reset_below();
  (void)bed.read(*link);
  EXPECT_TRUE(link->rx.reset());
  EXPECT_EQ(bed.stat(dtls::kConnections), 0u);
  EXPECT_EQ(bed.stat(dtls::kBoundAgain), 1u);
  ASSERT_EQ(bed.transport.connections.size(), 2u);
  EXPECT_EQ(below(1).ends.local_port, 443);
  DtlsPeer again(true);
  bed.exchange(again, 9, 1);
  EXPECT_TRUE(again.is_open());
  EXPECT_TRUE(bed.accept());
  // It is shown with the session that it has now.
  const auto shown = describe(*dtls::shared().listeners.begin()->second);
  EXPECT_EQ(shown.lower, bed.worker().sessions->handle(bed.worker(), below(1).session));
}

TEST_F(DtlsListener, TriesLessAndLessOftenUntilItCanHaveItsPort) {
  listen();
  DtlsBed::refuses = true;
  reset_below();
  EXPECT_EQ(bed.stat(dtls::kBindsFailed), 1u);
  EXPECT_NE(bed.tls.log.find("hears nobody"), std::string::npos);
  for (int i = 0; i < 600; ++i) pump(100 * kMillisecond);
  const auto failed = bed.stat(dtls::kBindsFailed);  // after 0.1, 0.2, 0.4 ... 10, 10 s
  EXPECT_GE(failed, 10u);
  EXPECT_LE(failed, 14u);
  EXPECT_EQ(bed.tls.log.find("hears nobody"),
            bed.tls.log.rfind("hears nobody"));  // it is said once
  DtlsBed::refuses = false;
  for (int i = 0; i < 110; ++i) pump(100 * kMillisecond);
  EXPECT_EQ(bed.stat(dtls::kBindsFailed), failed);
  EXPECT_EQ(bed.stat(dtls::kBoundAgain), 1u);
  EXPECT_NE(bed.tls.log.find("has its address and port again"), std::string::npos);
  EXPECT_TRUE(greets(1, 8));
}

TEST_F(DtlsListener, IsNotTriedForWhenNobodyListensAnyMore) {
  listen();
  DtlsBed::refuses = true;
  reset_below();
  unlisten();
  EXPECT_TRUE(dtls::shared().listeners.empty());
  DtlsBed::refuses = false;
  for (int i = 0; i < 110; ++i) pump(100 * kMillisecond);
  EXPECT_EQ(bed.stat(dtls::kBoundAgain), 0u);
  EXPECT_EQ(bed.transport.connections.size(), 1u);
}

// --- What a round has for handshakes, and for those that are open

// From now on TLS's handshakes have had all of this round.
void use_up(Worker& w) {
  auto& slice = tls_worker(w).slice;
  (void)slice.is_used_up(w.now);
  while (!slice.is_used_up(w.now)) slice.measure([] { return ERR_get_error(); });
}

struct DtlsRound : DtlsListener {
  static constexpr uint32_t kClients = 12;  // fewer than the backlog
  std::vector<std::unique_ptr<DtlsPeer>> clients;
  static uint16_t port(uint32_t i) { return static_cast<uint16_t>(1000 + i); }
  // Their ClientHellos with good cookies wait below.
  void bring_clients() {
    for (uint32_t i = 0; i < kClients; ++i) {
      DtlsPeer& c = *clients.emplace_back(std::make_unique<DtlsPeer>(true));
      bed.carry(c, 1, port(i));
      c.step();
    }
    for (uint32_t i = 0; i < kClients; ++i) bed.enqueue(clients[i]->out.front(), port(i));
    for (auto& c : clients) c->out.clear();
  }
};

TEST_F(DtlsRound, OpenPeersDoNotWaitBehindHandshakes) {
  open();
  bring_clients();
  peer.write("first come");
  bed.enqueue(peer.out.front());
  use_up(bed.worker());
  bed.tls.bed.engine->step(0);
  EXPECT_LE(bed.stat(dtls::kUnderWay), 1u);
  EXPECT_GE(bed.stat(dtls::kPutOff), kClients - 1);
  EXPECT_EQ(bed.read(*link), (Texts{"first come"}));
}

TEST_F(DtlsRound, WhatWasPutOffHasItsTurnInTheOrderItCame) {
  listen();
  bring_clients();
  use_up(bed.worker());
  bed.tls.bed.engine->step(0);
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 1u);  // one there is in any case
  for (uint32_t n = 1; n < kClients; ++n) {
    bed.tls.bed.now += kMillisecond;
    bed.worker().now = bed.tls.bed.now;
    use_up(bed.worker());
    bed.tls.bed.engine->step(0);
    EXPECT_GE(bed.stat(dtls::kUnderWay), n + 1);
  }
  EXPECT_EQ(bed.stat(dtls::kUnderWay), kClients);
  EXPECT_EQ(bed.stat(dtls::kPutOffDropped), 0u);
  for (uint32_t i = 0; i < kClients; ++i) {
    for (auto& d : bed.sent(port(i))) clients[i]->in.push_back(std::move(d));
    bed.exchange(*clients[i], port(i));
    EXPECT_TRUE(clients[i]->is_open()) << i;
  }
}

TEST_F(DtlsRound, GreetingIsMeasured) {
  listen();
  const auto& slice = tls_worker(bed.worker()).slice;
  const TimeNs before = slice.spent();
  EXPECT_TRUE(greets(0, 8));
  EXPECT_EQ(bed.stat(dtls::kUnderWay), 0u);  // it was that alone
  EXPECT_GT(slice.spent(), before);
}

TEST_F(DtlsRound, WhatFindsNoRoomToWaitIsLostAndComesAgain) {
  listen();
  bring_clients();
  auto& l = *dtls::shared().listeners.begin()->second;
  Datagram from;
  while (l.put_off.push(from, std::vector<std::byte>(1))) {}
  use_up(bed.worker());
  bed.tls.bed.engine->step(0);
  EXPECT_GE(bed.stat(dtls::kPutOffDropped), kClients - 1);
  l.put_off.clear();
  pump();
  for (int i = 0; i < 30 && bed.stat(dtls::kServerHandshakes) < kClients; ++i) {
    pump(100 * kMillisecond);
    for (uint32_t k = 0; k < kClients; ++k) bed.carry(*clients[k], 1, port(k));
  }
  EXPECT_EQ(bed.stat(dtls::kServerHandshakes), kClients);
}

TEST(DtlsPutOff, GivesBackWhatItWasGivenHoweverOftenItIsFull) {
  dtls::PutOff p;
  std::vector<std::byte> to(dtls::kMostWire);
  uint32_t in = 0, out = 0;
  const auto size = [](uint32_t n) { return std::size_t{n * 7919 % 3000}; };
  const auto bytes = [&](uint32_t n) { return std::vector<std::byte>(size(n), std::byte(n)); };
  for (int full = 0; full < 5;) {
    Datagram from;
    from.ends.remote_port = static_cast<uint16_t>(in);
    if (p.push(from, bytes(in))) {
      ++in;
      continue;
    }
    ++full;
    for (uint32_t left = (in - out) / 2; left != 0; --left, ++out) {
      Datagram was;
      const std::size_t n = p.pop(was, to);
      ASSERT_EQ(n, size(out));
      ASSERT_EQ(was.ends.remote_port, out);
      ASSERT_EQ(std::vector(to.begin(), to.begin() + static_cast<std::ptrdiff_t>(n)), bytes(out));
    }
  }
  EXPECT_GT(in, 200u);
  EXPECT_FALSE(p.empty());
  p.clear();
  EXPECT_TRUE(p.empty());
}

}  // namespace
}  // namespace loom::tls
