// Datagram sessions of applications that read nothing, or write what makes no sense.
#include <random>

#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

TEST_F(DatagramTest, ErrorsThatNobodyReadsAreOne) {
  auto c = open();
  const auto fail = [&] {
    worker().sessions->soft_error(worker(), transport.connections[0].session,
                                  ResetReason::kRefused);
  };
  for (int turn = 0; turn < 3; ++turn) {
    for (int i = 0; i < 1000; ++i) fail();
    EXPECT_EQ(receive("data"), Status::kOk);
    fail();
    EXPECT_EQ(take(*c)->h.error, ECONNREFUSED);
    EXPECT_EQ(take(*c)->payload, "data");
    EXPECT_FALSE(take(*c));
  }
}

TEST_F(DatagramTest, ErrorsForTheQueueAreBounded) {
  auto c = open();
  DatagramError e;
  e.ends.remote = Ip4Address{{192, 0, 2, 3}};
  e.ends.remote_port = 7;
  e.offender = Ip4Address{{10, 9, 9, 9}};
  e.error = EHOSTUNREACH;
  e.origin = 2;
  e.type = 11;
  e.info = 1300;
  e.to = Ip4Address{{10, 0, 0, 1}};
  e.interface = 3;
  e.tos = 0xc0;
  e.ttl = 61;
  Buffer* quote = worker().alloc();
  std::memset(quote->append(1000), 'q', 1000);
  const auto fail = [&] {
    const SessionId id = transport.connections[0].session;
    return worker().sessions->datagram_error(worker(), id, e, *quote, 100, 900);
  };
  for (int turn = 0; turn < 3; ++turn) {
    for (uint32_t i = 0; i < svm::kMaxQueuedErrors; ++i) EXPECT_EQ(fail(), Status::kOk);
    EXPECT_EQ(fail(), Status::kAgain);
    EXPECT_EQ(receive("data"), Status::kOk);
    for (uint32_t i = 0; i < svm::kMaxQueuedErrors; ++i) {
      const auto got = take(*c);
      ASSERT_TRUE(got);
      EXPECT_EQ(got->h.flags, svm::kDatagramError | svm::kDatagramQueued);
      EXPECT_EQ(got->h.error, EHOSTUNREACH);
      EXPECT_EQ(got->h.gso_size, 2);
      EXPECT_EQ(got->h.tos, 11);
      EXPECT_EQ(got->h.interface, 1300u);
      EXPECT_EQ(got->h.remote_port, Be16(7).raw());
      EXPECT_EQ(got->h.local_ip[1], 9);
      svm::ErrorPacket by;
      ASSERT_EQ(got->payload.size(), sizeof by + svm::kMaxQuoted);
      std::memcpy(&by, got->payload.data(), sizeof by);
      EXPECT_EQ(by.to[0], 10);
      EXPECT_EQ(by.interface, 4u);
      EXPECT_EQ(by.tos, 0xc0);
      EXPECT_EQ(by.ttl, 61);
      EXPECT_EQ(got->payload.substr(sizeof by), std::string(svm::kMaxQuoted, 'q'));
    }
    EXPECT_EQ(take(*c)->payload, "data");
  }
  worker().free(quote);
}

// A fifo of rubbish is not walked in one round.
TEST_F(DatagramTest, DatagramsThatMakeNoSenseHaveTheirTurnAsOthersHave) {
  auto c = open();
  DatagramHeader h = header(0);
  h.is_ip4 = 2;
  for (int i = 0; i < 1000; ++i) c->tx.enqueue(std::as_bytes(std::span(&h, 1)));
  ASSERT_EQ(app.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
            svm::MqProducer::Push::kOk);
  bed.engine->step();
  EXPECT_LE(bed.counter("bad-datagram"), 64u);
  bed.pump();
  EXPECT_EQ(bed.counter("bad-datagram"), 1000u);
}

TEST_F(DatagramTest, FieldsThatMakeNoSenseDropThatDatagramAlone) {
  auto c = open();
  std::vector<DatagramHeader> bad(11, header(4));
  bad[0].flags |= svm::kDatagramError;
  bad[1].flags |= kDatagramNoChecksum;  // over IPv4
  bad[2].is_ip4 = 2;
  bad[3].remote_port = 0;
  std::memset(bad[4].remote_ip, 0, sizeof bad[4].remote_ip);
  bad[5].flags = kDatagramLocal;   // a source, and no destination
  bad[6].flags |= kDatagramLocal;  // a source that is not this host's
  bad[6].local_ip[0] = 11;
  bad[7].length = 200;  // more pieces than 128
  bad[7].gso_size = 1;
  bad[8].flags |= kDatagramLocal;        // the source is ::
  bad[9].flags |= kDatagramTtl;          // of zero
  bad[10].flags |= kDatagramNoChecksum;  // and in several
  bad[10].is_ip4 = 0;
  bad[10].gso_size = 2;
  for (const DatagramHeader& h : bad) put(*c, h, pattern(h.length));
  EXPECT_EQ(bed.counter("bad-datagram"), bad.size());
  EXPECT_TRUE(transport.sent.empty());
  DatagramHeader good = header(4);
  good.flags |= kDatagramLocal | kDatagramTos | kDatagramTtl;
  good.local_ip[0] = 10;
  good.tos = 1;
  good.ttl = 2;
  put(*c, good, "good");
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_EQ(transport.sent[0].payload, "good");
  EXPECT_EQ(transport.sent[0].d.ends.local.str(), "10.0.0.0");
  EXPECT_EQ(transport.sent[0].d.tos, 1);
  EXPECT_EQ(transport.sent[0].d.ttl, 2);
  EXPECT_EQ(bed.counter("app-violation"), 0u);
}

TEST_F(DatagramTest, FramingThatContradictsItselfEndsTheApplication) {
  for (int kind = 0; kind < 3; ++kind) {
    TestApp bad(bed);
    const auto event = ask_open(bad, any(static_cast<uint16_t>(100 + kind)), any(0));
    auto c = bad.connection(event.handle, event.session);
    DatagramHeader h = header(4);
    if (kind == 0) h.length = 5;                      // beyond what was published
    if (kind == 1) h.length = kMaxDatagramBytes + 1;  // no datagram is so long
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += "four";
    if (kind == 2) bytes.resize(20);  // not even a header
    c->tx.enqueue(svm::bytes_of(bytes.data(), bytes.size()));
    (void)c->tx.should_notify();
    ASSERT_EQ(bad.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0}),
              svm::MqProducer::Push::kOk);
    bed.pump();
    EXPECT_EQ(bed.counter("app-violation"), static_cast<uint64_t>(kind + 1));
  }
  EXPECT_TRUE(transport.sent.empty());
  auto c = open();
  EXPECT_EQ(receive("others are well"), Status::kOk);
  EXPECT_EQ(take(*c)->payload, "others are well");
}

TEST_F(DatagramTest, RandomHeadersNeverHurtAnybodyElse) {
  std::mt19937_64 rng(3);
  auto good = open();
  for (int i = 0; i < 200; ++i) {
    TestApp bad(bed);
    const auto event = ask_open(bad, any(0), any(0));
    auto c = bad.connection(event.handle, event.session);
    for (int k = 0; k < 8; ++k) {
      DatagramHeader h = header(static_cast<uint32_t>(rng() % 64));
      auto* raw = reinterpret_cast<unsigned char*>(&h);
      for (int n = 0; n < 3; ++n) raw[rng() % sizeof h] = static_cast<unsigned char>(rng());
      std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
      bytes += pattern(rng() % 64);
      c->tx.enqueue(svm::bytes_of(bytes.data(), bytes.size()));
    }
    (void)c->tx.should_notify();
    (void)bad.requests.push(svm::ToDaemon::kTx, svm::SessionEvent{c->handle, 0});
    bed.pump();
  }
  EXPECT_EQ(receive("still here"), Status::kOk);
  EXPECT_EQ(take(*good)->payload, "still here");
  EXPECT_EQ(bed.buffers_in_use(), 0u);
}

}  // namespace
}  // namespace loom::test
