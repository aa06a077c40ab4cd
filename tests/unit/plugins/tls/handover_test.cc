// Handshakes whose steps are done by threads of the pool: as the worker would do them.
#include <filesystem>
#include <fstream>

#include "pool_bed.h"

namespace loom::tls {
namespace {

struct TlsHandover : TlsPool {
  using TlsPool::TlsPool;
  // So many connections at once, which say hello to each other and end.
  void greet_and_close(int n) {
    std::vector<TlsBed::Link> near, far;
    for (int i = 0; i < n; ++i) bed.start_connect(443);
    for (int i = 0; i < n; ++i) near.push_back(connected());
    for (int i = 0; i < n; ++i) far.push_back(accepted());
    for (auto& f : far) bed.app->write(*f, "hello");
    for (auto& c : near) EXPECT_EQ(bed.app->read(*c), "hello");
    for (auto& c : near) bed.app->close(*c);
    for (auto& f : far) bed.app->close(*f);
  }
};

// RFC 8446 section 5.1: a part of a message of the handshake.
std::string record(const std::string& part) {
  return std::string("\x16\x03\x01") + static_cast<char>(part.size() >> 8) +
         static_cast<char>(part.size()) + part;
}

// More than a worker's share of clients have said hello, and no thread has looked at one yet.
struct TlsHandoverShare : TlsHandover {
  static constexpr std::size_t kShare = 64, kMore = 6;
  void SetUp() override {
    // The backlog is 16: so these come by listeners of their own.
    for (uint16_t port = 1000; port < 1007; ++port) ASSERT_EQ(bed.listen(port), 0);
    block();
    for (std::size_t i = 0; i < kShare + kMore; ++i) {
      links.push_back(raw(static_cast<uint16_t>(1000 + i / 10)));
      ASSERT_TRUE(links.back());
      (void)peers.emplace_back(Peer::Role::kClient).shake();
      bed.app->write(*links.back(), peers.back().records());
    }
    ASSERT_EQ(bed.stat(kCryptoUnderWay), kShare);
    ASSERT_EQ(bed.stat(kCryptoHeld), kMore);
  }
  std::vector<TlsBed::Link> links;
  std::deque<Peer> peers;
};

struct TlsHandover12 : TlsHandover {
  TlsHandover12() : TlsHandover([](Config& c) { c.most_version = TLS1_2_VERSION; }) {}
};
struct TlsHandoverAsking : TlsHandover {
  TlsHandoverAsking() : TlsHandover(ask_clients) {}
};
struct TlsHandoverEarly : TlsHandover {
  TlsHandoverEarly() : TlsHandover([](Config& c) { c.early_data = 65'536; }) {}
};

TEST_F(TlsHandover, HandshakesAreDoneAndBytesGoBothWays) {
  ASSERT_EQ(bed.listen(443), 0);
  for (int round = 0; round < 3; ++round) greet_and_close(8);
  EXPECT_EQ(bed.stat(kServerHandshakes), 24u);
  EXPECT_EQ(bed.stat(kClientHandshakes), 24u);
  EXPECT_GE(bed.stat(kCryptoSteps), 2 * 24u);  // two of each client's
  EXPECT_EQ(bed.stat(kCryptoUnderWay), 0u);
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
  EXPECT_NE(bed.stat(kResumed), 0u);
  EXPECT_NE(bed.run("show tls").text.find("crypto-steps"), std::string::npos);
}

struct TlsThreads : TlsPool {
  static int n_threads() {
    int n = 0;
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::string name;
      std::getline(std::ifstream(task.path() / "comm"), name);
      n += name == "loom-crypto";
    }
    return n;
  }
  // One that was joined may be in /proc for a moment longer.
  void until_there_are(int n) {
    until([n] { return n_threads() == n; });
  }
};

TEST_F(TlsThreads, ComeWithTheFirstListenerOfTls) {
  ASSERT_EQ(bed.listen(80, test::PipeTransport::kProto), 0);
  EXPECT_TRUE(bed.connect(80, test::PipeTransport::kProto));
  EXPECT_FALSE(pool().is_running());
  until_there_are(0);
  ASSERT_EQ(bed.listen(443), 0);
  EXPECT_TRUE(pool().is_running());
  until_there_are(2);
  ASSERT_EQ(bed.listen(444), 0);
  until_there_are(2);
}

TEST_F(TlsThreads, ComeAfterTheFirstHandshakeOfAClient) {
  ASSERT_EQ(bed.listen(80, test::PipeTransport::kProto), 0);
  for (const std::size_t steps : {0, 1}) {
    EXPECT_EQ(pool().is_running(), steps != 0);
    bed.start_connect(80);
    const auto link = accepted();
    ASSERT_TRUE(link);
    settle();
    EXPECT_NE(bed.app->read(*link), "");  // its ClientHello
    EXPECT_EQ(bed.stat(kCryptoSteps), steps);
    until_there_are(2);
  }
}

// As in a container of one core, however many the machine has.
TEST(TlsThreadsAuto, AreNoneWhereTheWorkerHasTheOnlyCore) {
  cpu_set_t before, one;
  pthread_getaffinity_np(pthread_self(), sizeof before, &before);
  int first = 0;
  while (!CPU_ISSET(first, &before)) ++first;
  CPU_ZERO(&one);
  CPU_SET(first, &one);
  ASSERT_EQ(pthread_setaffinity_np(pthread_self(), sizeof one, &one), 0);
  {
    const TlsBed bed([](Config& c) { c.crypto_threads.reset(); });
    EXPECT_EQ(shared().crypto_threads, 0u);
    EXPECT_FALSE(shared().pool);
  }
  pthread_setaffinity_np(pthread_self(), sizeof before, &before);
}

TEST_F(TlsHandover12, ATicketThatComesInTheHandshakeIsKept) {
  ASSERT_EQ(bed.listen(443), 0);
  greet_and_close(1);
  EXPECT_EQ(bed.stat(kResumed), 0u);
  greet_and_close(1);
  EXPECT_EQ(bed.stat(kResumed), 2u);  // both ends count
  greet_and_close(1);                 // one is good once
  EXPECT_EQ(bed.stat(kResumed), 2u);
}

TEST_F(TlsHandover, TheWorkerGoesOnWhileAKeyIsAtWork) {
  ASSERT_EQ(bed.listen(443), 0);
  const auto tls = bed.app->listener;
  ASSERT_EQ(bed.listen(80, test::PipeTransport::kProto), 0);
  block();
  bed.start_connect(443);
  EXPECT_EQ(bed.stat(kUnderWay), 2u);
  const auto plain = bed.connect(80, test::PipeTransport::kProto);
  const auto served = bed.accept();
  ASSERT_TRUE(plain && served);
  bed.app->write(*plain, "not held up");
  EXPECT_EQ(bed.app->read(*served), "not held up");
  EXPECT_EQ(bed.stat(kUnderWay), 2u);
  release();
  const auto near = connected();
  bed.app->listener = tls;
  const auto far = accepted();
  ASSERT_TRUE(near && far);
  bed.app->write(*near, "at last");
  EXPECT_EQ(bed.app->read(*far), "at last");
}

TEST_F(TlsHandoverAsking, WhatComesMeanwhileKeepsItsOrder) {
  ASSERT_EQ(bed.listen(443), 0);
  Gate gate(server());
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  (void)peer.shake();
  // A hello in three records: each comes while the thread is at the one before.
  const std::string hello = peer.records().substr(5);
  gate.shut();
  bed.app->write(*link, record(hello.substr(0, 100)));
  gate.wait();
  bed.app->write(*link, record(hello.substr(100, 50)));
  bed.app->write(*link, record(hello.substr(150)));
  EXPECT_EQ(bed.stat(kCryptoSteps), 1u);
  gate.open();
  settle();
  EXPECT_GE(bed.stat(kCryptoSteps), 2u);
  peer.feed(bed.app->read(*link));
  ASSERT_TRUE(peer.shake());
  // Behind the last flight comes what the application has to say; half of it with the flight.
  const std::string last = peer.records(), text = pattern(40'000);
  peer.write(text);
  const std::string data = peer.records();
  gate.shut();
  bed.app->write(*link, last + data.substr(0, 20'000));
  gate.wait();
  bed.app->write(*link, data.substr(20'000));
  EXPECT_FALSE(bed.accept());
  gate.open();
  const auto far = accepted();
  EXPECT_TRUE(bed.app->read(*far) == text);
  // And what it says in turn comes behind the tickets.
  bed.app->write(*far, text);
  peer.feed(bed.app->read(*link));
  EXPECT_TRUE(peer.read() == text);
}

TEST_F(TlsHandoverShare, TheOthersWaitInOrder) {
  // First, middle and last of those that wait end; and so does one that has its turn in the queue.
  for (const std::size_t gone : {kShare, kShare + 2, kShare + kMore - 1, std::size_t{3}}) {
    bed.app->push(svm::ToDaemon::kReset, links[gone]->handle);
    links[gone].reset();
  }
  EXPECT_EQ(bed.stat(kCryptoTakenBack), 1u);
  EXPECT_EQ(bed.stat(kCryptoUnderWay), kShare);  // the first that waited has its place
  EXPECT_EQ(bed.stat(kUnderWay), kShare + kMore - 4);
  release();
  for (std::size_t i = 0; i < links.size(); ++i)
    if (links[i]) exchange(peers[i], links[i]);
  EXPECT_EQ(bed.stat(kServerHandshakes), kShare + kMore - 4);
  EXPECT_GE(bed.stat(kCryptoHeld), kMore);  // second steps wait, too, when the first take long
}

TEST_F(TlsHandoverShare, WhatComesBackAtOnceHasItsSliceOfARound) {
  std::array<Blocked, 2> behind;  // once these have begun all before them has been posted
  for (Blocked& b : behind) pool().submit(b);
  for (Blocked& b : *blocked) b.may_end.count_down();
  for (Blocked& b : behind) b.begun.wait();
  HandshakeSlice& slice = shared().workers[0]->slice;
  while (!slice.is_used_up(bed.bed.now)) use_up(slice);
  const std::size_t steps = bed.stat(kCryptoSteps);
  bed.bed.engine->step(0);
  EXPECT_EQ(bed.stat(kCryptoUnderWay), kShare);
  EXPECT_EQ(bed.stat(kCryptoSteps), steps);
  // One of each in a round: who is held has the place at once.
  for (std::size_t i = 1; i <= kMore; ++i) {
    bed.bed.engine->step(0);
    EXPECT_EQ(bed.stat(kCryptoUnderWay), kShare);
    EXPECT_EQ(bed.stat(kCryptoSteps), steps + i);
  }
  bed.bed.engine->step(0);
  EXPECT_EQ(bed.stat(kCryptoUnderWay), kShare - 1);
  // Those whose steps are done and wait for their turn may end meanwhile.
  for (const std::size_t gone : {kMore + 10, kShare - 1}) {
    bed.app->push(svm::ToDaemon::kReset, links[gone]->handle);
    links[gone].reset();
  }
  for (Blocked& b : behind) b.may_end.count_down();
  until([&] { return behind[0].came_back && behind[1].came_back; });
  for (std::size_t i = 0; i < links.size(); ++i)
    if (links[i]) exchange(peers[i], links[i]);
  EXPECT_EQ(bed.stat(kServerHandshakes), kShare + kMore - 2);
}

TEST_F(TlsHandoverShare, WhatHasComeBackAndWaitsGoesWithTheDaemon) {
  std::array<Blocked, 2> behind;
  for (Blocked& b : behind) pool().submit(b);
  for (Blocked& b : *blocked) b.may_end.count_down();
  for (Blocked& b : behind) b.begun.wait();
  HandshakeSlice& slice = shared().workers[0]->slice;
  while (!slice.is_used_up(bed.bed.now)) use_up(slice);
  for (int i = 0; i < 3; ++i) bed.bed.engine->step(0);
  EXPECT_TRUE(shared().workers[0]->share.has_back());
  for (Blocked& b : behind) b.may_end.count_down();
  stop(bed.host);  // which leaks nothing
}

// No job of a worker's is left to come back when all that had a place were taken back.
TEST_F(TlsHandover, WhoWaitsGoesOnWhenAllBeforeHaveEnded) {
  for (uint16_t port = 1000; port < 1007; ++port) ASSERT_EQ(bed.listen(port), 0);
  block();
  std::vector<TlsBed::Link> links;
  for (std::size_t i = 0; i < 65; ++i) {
    links.push_back(raw(static_cast<uint16_t>(1000 + i / 10)));
    Peer peer(Peer::Role::kClient);
    (void)peer.shake();
    bed.app->write(*links.back(), peer.records());
  }
  EXPECT_EQ(bed.stat(kCryptoHeld), 1u);
  for (std::size_t i = 0; i < 64; ++i) bed.app->push(svm::ToDaemon::kReset, links[i]->handle);
  EXPECT_EQ(bed.stat(kCryptoTakenBack), 64u);
  EXPECT_EQ(bed.stat(kCryptoUnderWay), 1u);
  release();
  settle();
  EXPECT_NE(bed.app->read(*links[64]), "");  // the server's flight
}

TEST_F(TlsHandover, ARefusedCertificateIsToldAndCounted) {
  const Pem own = make_certificate({});  // nobody signed it
  ASSERT_EQ(bed.listen(443, kProto, bed.add_settings(TlsBed::pair_settings(own))), 0);
  bed.start_connect(443);
  until([&] { return bed.stat(kVerifyFailed) == 1 && bed.stat(kAlertsReceived) == 1; });
  EXPECT_EQ(bed.stat(kHandshakesFailed), 2u);
}

TEST_F(TlsHandover, GarbageIsAnsweredByAnAlertAndAStreamThatEndsIsTheEnd) {
  ASSERT_EQ(bed.listen(443), 0);
  auto link = raw();
  // RFC 8446 section 5.1: a record of a handshake, whose message has a type that there is not.
  bed.app->write(*link, std::string("\x16\x03\x01\x00\x05\x63\x00\x00\x01\x00", 10));
  settle();
  EXPECT_EQ(bed.app->read(*link).substr(0, 1), "\x15");
  EXPECT_EQ(bed.stat(kHandshakesFailed), 1u);
  // The end of the stream comes while a thread is at what was before it.
  Gate gate(server());
  auto half = raw();
  Peer peer(Peer::Role::kClient);
  (void)peer.shake();
  gate.shut();
  bed.app->write(*half, record(peer.records().substr(5, 200)));
  gate.wait();
  bed.app->push(svm::ToDaemon::kShutdown, half->handle);
  gate.open();
  until([&] { return bed.stat(kHandshakesFailed) == 2; });
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
}

// A thread has what there is to do, not what there is to wait for.
TEST_F(TlsHandover12, ARecordInPiecesIsOneStep) {
  ASSERT_EQ(bed.listen(443), 0);
  auto link = raw();
  Peer peer(Peer::Role::kClient);
  for (std::size_t steps = 1; steps <= 2; ++steps) {
    (void)peer.shake();
    std::string flight = peer.records();
    // The last one has three records, of which the first is what takes long.
    const std::size_t first =
        5 + static_cast<unsigned char>(flight[3]) * 256u + static_cast<unsigned char>(flight[4]);
    for (const char c : flight.substr(0, first)) {
      EXPECT_EQ(bed.stat(kCryptoSteps), steps - 1);
      bed.app->write(*link, std::string_view(&c, 1));
    }
    EXPECT_EQ(bed.stat(kCryptoSteps), steps);
    settle();
    bed.app->write(*link, flight.substr(first));
    settle();
    peer.feed(bed.app->read(*link));
  }
  EXPECT_TRUE(peer.shake());
  EXPECT_TRUE(accepted());
}

// With a whole one OpenSSL takes what there is of the next: so much is missing in the fifo.
TEST_F(TlsHandover12, OneThatBeginsBehindAWholeOneIsReadToItsEnd) {
  ASSERT_EQ(bed.listen(443), 0);
  for (const std::size_t more : {1, 4, 5}) {
    auto link = raw();
    Peer peer(Peer::Role::kClient);
    (void)peer.shake();
    bed.app->write(*link, peer.records());
    settle();
    peer.feed(bed.app->read(*link));
    (void)peer.shake();
    const std::string flight = peer.records();
    const auto first = 5u + static_cast<unsigned char>(flight[4]);
    bed.app->write(*link, flight.substr(0, first + more));
    settle();
    bed.app->write(*link, flight.substr(first + more));
    settle();
    peer.feed(bed.app->read(*link));
    EXPECT_TRUE(peer.shake()) << more;
    EXPECT_TRUE(bed.accept());
  }
}

// What OpenSSL refuses by its first bytes does not wait for as many as it seems to announce.
TEST_F(TlsHandover, WhatIsNoRecordIsTheEndAtOnce) {
  ASSERT_EQ(bed.listen(443), 0);
  std::size_t n_failed = 0;
  for (const std::string& bytes :
       {std::string("GET / HTTP/1.0\r\n\r\n"), std::string("\x16\x03\x01\x42\x81", 5),
        std::string("\x16\x02\x00\x01\x00", 5), std::string("\x80\x2e\x02\x03\x01", 5),
        std::string("\0\0\0\0\0", 5)}) {
    SCOPED_TRACE(n_failed);
    auto link = raw();
    bed.app->write(*link, bytes);
    settle();
    EXPECT_EQ(bed.stat(kHandshakesFailed), ++n_failed);
    (void)bed.app->read(*link);
    EXPECT_TRUE(link->rx.eof() || link->rx.reset());
  }
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
}

// Hellos of before there were records (RFC 5246 appendix E.2).
TEST_F(TlsHandover12, AHelloAsOfSsl2InPiecesIsOneStepToo) {
  ASSERT_EQ(bed.listen(443), 0);
  auto link = raw();
  // Version, then the sizes of one cipher, of no session id, and of the challenge.
  std::string hello("\x01\x03\x03\0\x03\0\0\0\x10", 9);
  hello += std::string("\0\xc0\x2b", 3) + std::string(16, 'c');
  hello = std::string("\x80") + static_cast<char>(hello.size()) + hello;
  for (const char c : hello) {
    EXPECT_EQ(bed.stat(kCryptoSteps), 0u);
    bed.app->write(*link, std::string_view(&c, 1));
  }
  EXPECT_EQ(bed.stat(kCryptoSteps), 1u);
  settle();
  // It was read to its end: without extensions there is no signature that a server would make.
  constexpr char kHandshakeFailure = 40;
  EXPECT_EQ(bed.app->read(*link).substr(5), std::string(1, 2) + kHandshakeFailure);
}

// Half a hello, and no more.
TEST_F(TlsHandover, AStreamThatEndsInARecordIsTheEnd) {
  ASSERT_EQ(bed.listen(443), 0);
  for (const std::size_t n : {3, 200}) {
    auto link = raw();
    Peer peer(Peer::Role::kClient);
    (void)peer.shake();
    bed.app->write(*link, peer.records().substr(0, n));
    EXPECT_EQ(bed.stat(kUnderWay), 1u);
    bed.app->push(svm::ToDaemon::kShutdown, link->handle);
    until([&] { return bed.stat(kUnderWay) == 0; });
  }
  EXPECT_EQ(bed.stat(kHandshakesFailed), 2u);
}

TEST_F(TlsHandover, ASessionIsShownWhileAThreadHasItsHandshake) {
  ASSERT_EQ(bed.listen(443), 0);
  block();
  bed.start_connect(443);
  TlsWorker& t = *shared().workers[0];
  int n_away = 0;
  for (const auto& c : t.connections) {
    if (!c || !is_away(*c)) continue;
    ++n_away;
    std::string text, value;
    kTransportOps.describe(t.w, c->self, text);
    EXPECT_EQ(text, "  tls: handshake\n");
    const auto which = static_cast<uint32_t>(SessionProperty::kVersion);
    EXPECT_EQ(kTransportOps.property(t.w, c->self, which, value), Status::kNotConnected);
  }
  EXPECT_EQ(n_away, 1);
  EXPECT_NE(bed.run("show tls connections").text.find("handshake"), std::string::npos);
  release();
  (void)connected();
}

// RFC 8446 section 2.3. What is read with the first step, and what comes behind it.
TEST_F(TlsHandoverEarly, EarlyDataComesInOrder) {
  ASSERT_EQ(bed.listen(443), 0);
  Gate gate(server());
  auto first = raw();
  // Key shares of many bits: such a hello is a thread's.
  const auto slow = [](SSL_CTX* c) { SSL_CTX_set1_groups_list(c, "P-384"); };
  Peer one(Peer::Role::kClient, slow);
  exchange(one, first);
  const auto closing = accepted();
  one.feed(bed.app->read(*first));
  EXPECT_EQ(one.read(), "");
  const std::unique_ptr<SSL_SESSION, void (*)(SSL_SESSION*)> ticket(SSL_get1_session(one.ssl()),
                                                                    SSL_SESSION_free);
  ASSERT_TRUE(SSL_SESSION_is_resumable(ticket.get()));

  auto link = raw();
  Peer peer(Peer::Role::kClient, slow);
  ASSERT_EQ(SSL_set_session(peer.ssl(), ticket.get()), 1);
  const std::string text = pattern(30'000);
  std::size_t n = 0;
  ASSERT_EQ(SSL_write_early_data(peer.ssl(), text.data(), 16'000, &n), 1);
  std::string flight = peer.records();
  ASSERT_EQ(SSL_write_early_data(peer.ssl(), text.data() + 16'000, 14'000, &n), 1);
  flight += peer.records();
  gate.shut();
  bed.app->write(*link, flight.substr(0, 18'000));
  gate.wait();
  bed.app->write(*link, flight.substr(18'000));
  EXPECT_FALSE(bed.accept());
  gate.open();
  const auto far = accepted();
  EXPECT_TRUE(bed.app->read(*far) == text);
  EXPECT_EQ(bed.stat(kEarlyBytes), text.size());
  bed.app->write(*far, "answer");
  exchange(peer, link);
  EXPECT_EQ(SSL_get_early_data_status(peer.ssl()), SSL_EARLY_DATA_ACCEPTED);
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "answer");
  EXPECT_EQ(bed.stat(kEarlyAccepted), 1u);
  EXPECT_EQ(bed.stat(kServerHandshakes), 2u);
}

}  // namespace
}  // namespace loom::tls
