// Early data (RFC 8446 section 2.3): off, or once, and before the handshake is done.
#include "tls_bed.h"

namespace loom::tls {
namespace {

struct Free {
  void operator()(SSL_SESSION* s) const { SSL_SESSION_free(s); }
};
using Ticket = std::unique_ptr<SSL_SESSION, Free>;

struct TlsEarly : testing::Test {
  explicit TlsEarly(uint32_t most = 16'384) : bed([=](Config& c) { c.early_data = most; }) {
    EXPECT_EQ(bed.listen(443), 0);
  }
  // What a client gets for its first handshake.
  Ticket ticket(const char* name = nullptr) {
    auto link = connect();
    Peer peer(Peer::Role::kClient);
    if (name) SSL_set_tlsext_host_name(peer.ssl(), name);
    peer.exchange(*bed.app, *link);
    auto far = bed.accept();
    EXPECT_TRUE(far);
    peer.feed(bed.app->read(*link));
    EXPECT_EQ(peer.read(), "");
    bed.app->close(*far);  // in order: that of a connection that is cut off is good no more
    Ticket t(SSL_get1_session(peer.ssl()));
    SSL_set_shutdown(peer.ssl(), SSL_SENT_SHUTDOWN);  // else it is good for nothing at its end
    EXPECT_TRUE(SSL_SESSION_is_resumable(t.get()));
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    return t;
  }
  TlsBed::Link connect() { return bed.connect(port, test::PipeTransport::kProto); }
  // The first flight of a client with that ticket.
  static std::string flight(Peer& peer, const Ticket& t, std::string_view text) {
    const Ticket copy(SSL_SESSION_dup(t.get()));
    EXPECT_EQ(SSL_set_session(peer.ssl(), copy.get()), 1);
    std::size_t n = 0;
    EXPECT_EQ(SSL_write_early_data(peer.ssl(), text.data(), text.size(), &n), 1);
    return peer.records();
  }
  std::string early(const TlsBed::Link& far) {
    const auto value = bed.property(*far, SessionProperty::kEarlyData);
    return value ? std::to_string(number_setting(*value)) : "none";
  }
  TlsBed bed;
  uint16_t port = 443;
};
struct TlsNoEarly : TlsEarly {
  TlsNoEarly() : TlsEarly(0) {}
};

TEST_F(TlsEarly, IsReadBeforeTheHandshakeIsDone) {
  const Ticket t = ticket();
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, "early"));
  EXPECT_EQ(bed.stat(kUnderWay), 1u);
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(bed.app->read(*far), "early");
  EXPECT_EQ(early(far), "1");
  EXPECT_EQ(bed.stat(kServerHandshakes), 1u);  // the first one
  // An answer waits for the end of the handshake.
  bed.app->write(*far, "answer");
  std::size_t n = 0;
  EXPECT_EQ(SSL_write_early_data(peer.ssl(), " and more", 9, &n), 1);
  bed.app->write(*link, peer.records());
  EXPECT_EQ(bed.app->read(*far), " and more");
  peer.exchange(*bed.app, *link);
  EXPECT_EQ(SSL_get_early_data_status(peer.ssl()), SSL_EARLY_DATA_ACCEPTED);
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "answer");
  EXPECT_EQ(early(far), "2");
  peer.write("late");
  bed.app->write(*link, peer.records());
  EXPECT_EQ(bed.app->read(*far), "late");
  EXPECT_EQ(bed.stat(kEarlyAccepted), 1u);
  EXPECT_EQ(bed.stat(kEarlyRefused), 0u);
  EXPECT_EQ(bed.stat(kEarlyBytes), 14u);
  EXPECT_EQ(bed.stat(kResumed), 1u);
  EXPECT_FALSE(bed.accept());  // it is one session
}

// Who has left it unread until then, waiting for edges, hears when it may be believed.
TEST_F(TlsEarly, TheEndOfTheHandshakeIsAnEvent) {
  const Ticket t = ticket();
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, "early"));
  auto far = bed.accept();
  ASSERT_TRUE(far);
  const auto n_events = [&] {
    int n = 0;
    for (svm::MqEvent e{}; bed.app->events.pop(e);)
      n += static_cast<svm::ToApp>(e.type) == svm::ToApp::kRx &&
           e.as<svm::SessionEvent>().handle == far->handle;
    return n;
  };
  (void)n_events();
  bed.bed.pump();
  EXPECT_EQ(n_events(), 0);
  peer.exchange(*bed.app, *link);
  EXPECT_EQ(early(far), "2");
  EXPECT_EQ(n_events(), 1);
  EXPECT_EQ(bed.app->read(*far), "early");
}

// RFC 8446 section 8.1.
TEST_F(TlsEarly, AFlightThatIsSentASecondTimeGivesNobodyAnything) {
  const Ticket t = ticket();
  auto link = connect(), again = connect();
  Peer peer(Peer::Role::kClient);
  const std::string recorded = flight(peer, t, "pay 100");
  bed.app->write(*link, recorded);
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(bed.app->read(*far), "pay 100");
  bed.app->write(*again, recorded);
  EXPECT_EQ(bed.stat(kUnderWay), 2u);
  EXPECT_FALSE(bed.accept());
  for (int i = 0; i < 3; ++i) bed.bed.pump(5 * kSecond);
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
  EXPECT_FALSE(bed.accept());
  EXPECT_EQ(bed.stat(kEarlyRefused), 1u);
  EXPECT_EQ(bed.stat(kEarlyBytes), 7u);
}

TEST_F(TlsEarly, AClientWithAUsedTicketSendsItsDataOnceMore) {
  const Ticket t = ticket();
  for (int i = 0; i < 2; ++i) {
    auto link = connect();
    Peer peer(Peer::Role::kClient);
    bed.app->write(*link, flight(peer, t, "early"));
    auto far = i == 0 ? bed.accept() : nullptr;
    peer.exchange(*bed.app, *link);
    if (i == 1) far = bed.accept();
    ASSERT_TRUE(far);
    EXPECT_EQ(SSL_get_early_data_status(peer.ssl()),
              i == 0 ? SSL_EARLY_DATA_ACCEPTED : SSL_EARLY_DATA_REJECTED);
    EXPECT_EQ(bed.app->read(*far), i == 0 ? "early" : "");
    EXPECT_EQ(early(far), i == 0 ? "2" : "0");
    peer.write("once more");
    bed.app->write(*link, peer.records());
    EXPECT_EQ(bed.app->read(*far), "once more");
  }
  EXPECT_EQ(bed.stat(kResumed), 1u);
  EXPECT_EQ(bed.stat(kEarlyRefused), 1u);
}

TEST_F(TlsEarly, MoreThanIsAllowedIsTheEnd) {
  const Ticket t = ticket();
  SSL_SESSION_set_max_early_data(t.get(), 1u << 20);
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, pattern(16'000)));
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_TRUE(bed.app->read(*far) == pattern(16'000));
  std::size_t n = 0;
  EXPECT_EQ(SSL_write_early_data(peer.ssl(), pattern(1000).data(), 1000, &n), 1);
  bed.app->write(*link, peer.records());
  EXPECT_EQ(bed.app->read(*far), "");
  EXPECT_TRUE(far->rx.reset());
  bed.app->push(svm::ToDaemon::kReset, link->handle);
  EXPECT_EQ(bed.stat(kConnections), 0u);
}

// With a name that the certificate is for, or one that it is not for.
TEST_F(TlsEarly, UnderTheNameOfItsTicketItIsTaken) {
  for (const char* name : {"server.test", "a.example"}) {
    SCOPED_TRACE(name);
    const Ticket t = ticket(name);
    auto link = connect();
    Peer peer(Peer::Role::kClient);
    ASSERT_EQ(SSL_set_tlsext_host_name(peer.ssl(), name), 1);
    bed.app->write(*link, flight(peer, t, "early"));
    auto far = bed.accept();
    ASSERT_TRUE(far);
    EXPECT_EQ(bed.app->read(*far), "early");
    peer.exchange(*bed.app, *link);
    EXPECT_EQ(SSL_get_early_data_status(peer.ssl()), SSL_EARLY_DATA_ACCEPTED);
  }
}

struct TlsEarlyUnder : TlsEarly, testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(, TlsEarlyUnder, testing::Values(nullptr, "a.example", "b.exampl"),
                         [](const auto& p) {
                           return !p.param ? "NoName" : p.param[0] == 'a' ? "Another" : "Shorter";
                         });

// What does not count is skipped, and the handshake goes on.
TEST_P(TlsEarlyUnder, AnotherNameItIsDropped) {
  const Ticket t = ticket(GetParam());
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  ASSERT_EQ(SSL_set_tlsext_host_name(peer.ssl(), "b.example"), 1);
  bed.app->write(*link, flight(peer, t, "for a"));
  peer.exchange(*bed.app, *link);
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(SSL_get_early_data_status(peer.ssl()), SSL_EARLY_DATA_REJECTED);
  peer.write("for b");
  bed.app->write(*link, peer.records());
  EXPECT_EQ(bed.app->read(*far), "for b");
}

TEST_F(TlsEarly, ATicketThatPromisesMoreThanIsTakenNowCostsNoConnection) {
  const Ticket t = ticket();
  SSL_SESSION_set_max_early_data(t.get(), 1u << 20);
  for (const uint32_t now : {4096u, 0u}) {
    shared().config.early_data = now;
    ASSERT_TRUE(shared().reload.now());
    auto link = connect();
    Peer peer(Peer::Role::kClient);
    bed.app->write(*link, flight(peer, t, pattern(16'000)));
    std::size_t n = 0;
    EXPECT_EQ(SSL_write_early_data(peer.ssl(), pattern(16'000).data(), 16'000, &n), 1);
    bed.app->write(*link, peer.records());
    peer.exchange(*bed.app, *link);
    auto far = bed.accept();
    ASSERT_TRUE(far);
    EXPECT_EQ(SSL_get_early_data_status(peer.ssl()), SSL_EARLY_DATA_REJECTED);
    peer.write("late");
    bed.app->write(*link, peer.records());
    EXPECT_EQ(bed.app->read(*far), "late");
  }
}

TEST(TlsEarlyAsked, OfClientsThatAreAskedWhoTheyAreThereIsNone) {
  TlsBed bed([](Config& c) {
    c.early_data = 16'384;
    c.verify_client = Verify::kOptional;
  });
  ASSERT_EQ(bed.listen(443), 0);
  auto link = bed.connect(443, test::PipeTransport::kProto);
  Peer peer(Peer::Role::kClient);
  peer.exchange(*bed.app, *link);
  ASSERT_TRUE(bed.accept());
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "");
  const SSL_SESSION* session = SSL_get0_session(peer.ssl());
  ASSERT_TRUE(SSL_SESSION_is_resumable(session));
  EXPECT_EQ(SSL_SESSION_get_max_early_data(session), 0u);
}

TEST_F(TlsEarly, AReaderThatStopsStopsItWhereItIs) {
  shared().config.early_data = 1u << 20;
  ASSERT_TRUE(shared().reload.now());
  const Ticket t = ticket();
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  constexpr std::size_t kMuch = 150'000;  // the fifo has 64 KB
  std::string records;
  records = flight(peer, t, pattern(kMuch).substr(0, 16'000));
  for (std::size_t at = 16'000; at < kMuch; at += 16'000) {
    std::size_t n = 0;
    const std::string part = pattern(kMuch).substr(at, 16'000);
    ASSERT_EQ(SSL_write_early_data(peer.ssl(), part.data(), part.size(), &n), 1);
    records += peer.records();
  }
  std::string got;
  TlsBed::Link far;
  for (std::size_t at = 0; at < records.size() || got.size() < kMuch;) {
    const std::size_t before = at + got.size();
    at += bed.app->write(*link, std::string_view(records).substr(at));
    bed.bed.pump();
    if (!far) far = bed.accept();
    ASSERT_TRUE(far);
    got += bed.app->read(*far, 20'000);
    if (at + got.size() == before) break;
  }
  EXPECT_TRUE(got == pattern(kMuch)) << got.size();
  EXPECT_EQ(bed.stat(kUnderWay), 1u);
  peer.exchange(*bed.app, *link);
  EXPECT_EQ(bed.stat(kEarlyAccepted), 1u);
}

TEST_F(TlsEarly, AnApplicationMayEndBeforeTheHandshakeDoes) {
  for (const bool hard : {false, true}) {
    const Ticket t = ticket();
    auto link = connect();
    Peer peer(Peer::Role::kClient);
    bed.app->write(*link, flight(peer, t, "early"));
    auto far = bed.accept();
    ASSERT_TRUE(far);
    EXPECT_EQ(bed.app->read(*far), "early");
    if (hard) {
      bed.app->push(svm::ToDaemon::kReset, far->handle);
      EXPECT_EQ(bed.stat(kConnections), 0u);
      continue;
    }
    bed.app->write(*far, "the last");
    bed.app->close(*far);
    peer.exchange(*bed.app, *link);
    peer.feed(bed.app->read(*link));
    EXPECT_EQ(peer.read(), "the last");
    EXPECT_NE(SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN, 0);
    bed.app->push(svm::ToDaemon::kReset, link->handle);
    bed.bed.pump();
    EXPECT_EQ(bed.stat(kConnections), 0u);
  }
}

TEST_F(TlsEarly, NobodyListensAnyMoreAndWhoWasAcceptedGoesOn) {
  const Ticket t = ticket();
  auto link = connect(), other = connect();
  Peer peer(Peer::Role::kClient), late(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, "early"));
  (void)late.shake();
  bed.app->write(*other, late.records());
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(bed.stat(kUnderWay), 2u);
  bed.app->listener->holders.store(0);
  bed.app->push(svm::ToDaemon::kUnlisten, bed.bound.handle);
  EXPECT_TRUE(shared().listeners.empty());
  EXPECT_EQ(bed.stat(kUnderWay), 1u);  // who was nobody's yet has gone
  EXPECT_EQ(bed.app->read(*far), "early");
  bed.app->write(*far, "answer");
  peer.exchange(*bed.app, *link);
  peer.feed(bed.app->read(*link));
  EXPECT_EQ(peer.read(), "answer");
  EXPECT_EQ(early(far), "2");
  EXPECT_EQ(bed.stat(kEarlyAccepted), 1u);
  EXPECT_EQ(bed.stat(kUnderWay), 0u);
}

struct TlsEarlyLarge : TlsEarly {
  TlsEarlyLarge() : TlsEarly(kMostEarlyData) {
    svm::AttachRequest r{};
    r.rx_fifo_size = 4 * kMostPerCall;
    r.tx_fifo_size = 1u << 20;
    r.segment_size_mb = 32;
    bed.app.reset();
    bed.bed.pump();
    bed.app = std::make_unique<test::TestApp>(bed.bed, r);
    EXPECT_EQ(bed.listen(443), 0);
  }
};

TEST_F(TlsEarlyLarge, HasABoundInARound) {
  const Ticket t = ticket();
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  const std::string text = pattern(1'000'000);
  std::string records = flight(peer, t, text.substr(0, 16'000));
  for (std::size_t at = 16'000; at < text.size(); at += 16'000) {
    const std::string part = text.substr(at, 16'000);
    std::size_t n = 0;
    ASSERT_EQ(SSL_write_early_data(peer.ssl(), part.data(), part.size(), &n), 1);
    records += peer.records();
  }
  bed.app->write(*link, records);
  auto far = bed.accept();
  ASSERT_TRUE(far);
  for (int i = 0; i < 50; ++i) bed.bed.pump();
  // The fifo is full, and more waits below: when there is room, that comes in several rounds.
  std::string got(far->rx.refresh(), 0);
  ASSERT_GT(got.size(), 4 * kMostPerCall - kMaxPlain);
  (void)far->rx.dequeue(std::as_writable_bytes(std::span(got)));
  ASSERT_TRUE(far->rx.should_notify());
  const svm::SessionEvent drained{far->handle, 0};
  ASSERT_EQ(bed.app->requests.push(svm::ToDaemon::kRxSpace, drained), svm::MqProducer::Push::kOk);
  uint64_t most = 0, before = bed.stat(kEarlyBytes);
  for (int rounds = 0; rounds < 200; ++rounds) {
    bed.bed.engine->step(0);
    ++bed.bed.now;  // another round has another time
    most = std::max(most, bed.stat(kEarlyBytes) - std::exchange(before, bed.stat(kEarlyBytes)));
  }
  EXPECT_GT(most, 0u);
  EXPECT_LE(most, 2 * (kMostPerCall + kMaxPlain));  // by rx_drained, and by readable
  while (got.size() < text.size() && far->rx.refresh() != 0) got += bed.app->read(*far);
  EXPECT_TRUE(got == text);
}

// What a listener says of itself counts, whatever the configuration does.
TEST_F(TlsNoEarly, OrAListenerSaysSo) {
  std::string bytes;
  add_setting(bytes, Setting::kEarlyData, 16'384u);
  auto* const first = bed.app->listener;
  ASSERT_EQ(bed.listen(444, kProto, bed.add_settings(bytes)), 0);
  port = 444;
  const Ticket t = ticket();
  EXPECT_EQ(SSL_SESSION_get_max_early_data(t.get()), 16'384u);
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, "early"));
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(bed.app->read(*far), "early");
  // The other one has none still.
  port = 443;
  bed.app->listener = first;
  EXPECT_EQ(SSL_SESSION_get_max_early_data(ticket().get()), 0u);
}

TEST_F(TlsEarly, AListenerMayHaveNone) {
  std::string bytes;
  add_setting(bytes, Setting::kEarlyData, 0u);
  ASSERT_EQ(bed.listen(444, kProto, bed.add_settings(bytes)), 0);
  port = 444;
  EXPECT_EQ(SSL_SESSION_get_max_early_data(ticket().get()), 0u);
}

TEST_F(TlsEarly, MoreThanThereMayBeIsRefusedAndSoIsHalfANumber) {
  std::string bytes;
  add_setting(bytes, Setting::kEarlyData, kMostEarlyData + 1);
  EXPECT_EQ(bed.listen(444, kProto, bed.add_settings(bytes)),
            static_cast<int32_t>(Status::kInvalid));
  bytes.clear();
  add_setting(bytes, Setting::kEarlyData, std::string_view("\1\1", 2));
  EXPECT_EQ(bed.listen(444, kProto, bed.add_settings(bytes)),
            static_cast<int32_t>(Status::kInvalid));
}

TEST_F(TlsEarly, AHandshakeThatNeverEndsIsAResetForTheApplication) {
  const Ticket t = ticket();
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, "early"));
  auto far = bed.accept();
  ASSERT_TRUE(far);
  for (int i = 0; i < 4; ++i) bed.bed.pump(5 * kSecond);
  EXPECT_EQ(bed.app->read(*far), "early");
  EXPECT_TRUE(far->rx.reset());
  EXPECT_EQ(bed.stat(kHandshakesTimedOut), 1u);
}

TEST_F(TlsEarly, TicketsOfBeforeAReloadBringNone) {
  const Ticket t = ticket();
  ASSERT_TRUE(shared().reload.now());
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, "early"));
  EXPECT_FALSE(bed.accept());
  peer.exchange(*bed.app, *link);
  EXPECT_EQ(SSL_get_early_data_status(peer.ssl()), SSL_EARLY_DATA_REJECTED);
}

TEST_F(TlsNoEarly, UnlessItIsConfigured) {
  const Ticket t = ticket();
  EXPECT_EQ(SSL_SESSION_get_max_early_data(t.get()), 0u);
  SSL_SESSION_set_max_early_data(t.get(), 16'384);  // it tries all the same
  auto link = connect();
  Peer peer(Peer::Role::kClient);
  bed.app->write(*link, flight(peer, t, "early"));
  EXPECT_FALSE(bed.accept());
  peer.exchange(*bed.app, *link);
  EXPECT_EQ(SSL_get_early_data_status(peer.ssl()), SSL_EARLY_DATA_REJECTED);
  auto far = bed.accept();
  ASSERT_TRUE(far);
  EXPECT_EQ(bed.app->read(*far), "");
  EXPECT_EQ(bed.stat(kEarlyBytes), 0u);
  EXPECT_EQ(bed.stat(kResumed), 1u);
  EXPECT_EQ(early(far), "0");
}

}  // namespace
}  // namespace loom::tls
