// What the daemon says of a datagram session beside its datagrams: what ways there are
// (ToDaemon::kGetPath).
#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

using session::Session;

struct DatagramPaths : DatagramTest {
  svm::InfoEvent ask(const TestApp::Connection& c, const svm::Endpoint& to,
                     const svm::Endpoint& from = {}) {
    app.push(svm::ToDaemon::kGetPath, svm::PathEvent{c.handle, 9, 0, to, from});
    const auto info = app.expect<svm::InfoEvent>(svm::ToApp::kInfo);
    EXPECT_EQ(info.context, 9u);
    return info;
  }
  static svm::Endpoint at(uint8_t a, uint8_t b, uint8_t c, uint8_t d) {
    return {.is_ip4 = 1, .reserved = 0, .port = 0, .ip = {a, b, c, d}};
  }
  static Status status(const svm::InfoEvent& e) { return static_cast<Status>(e.status); }
};

TEST_F(DatagramPaths, HoldForAllWithADefaultRouteElseForWhatIsNear) {
  auto c = open();
  auto info = ask(*c, at(192, 0, 2, 9));
  EXPECT_EQ(status(info), Status::kOk);
  EXPECT_EQ(info.pmtu, 1400u);
  EXPECT_EQ(info.path_bits, 0u);
  NetOps no_default = kDatagramNet;
  no_default.route = [](Worker&, const IpAddress& to, uint32_t, RouteInfo*) noexcept {
    return to.is_zero() ? Status::kUnreachable : Status::kOk;
  };
  worker().net = &no_default;
  EXPECT_EQ(ask(*c, at(192, 0, 2, 9)).path_bits, 24u);
  EXPECT_EQ(ask(*c, at(239, 0, 0, 1)).path_bits, 128u);  // groups go by ways of their own
  worker().net = &kDatagramNet;
}

TEST_F(DatagramPaths, SayWhyThereIsNone) {
  auto c = open();
  svm::Endpoint ip6{};
  ip6.ip[0] = 0xfd;
  EXPECT_EQ(status(ask(*c, ip6)), Status::kUnreachable);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), at(10, 0, 0, 1))), Status::kOk);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), at(11, 0, 0, 1))), Status::kInvalid);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), ip6)), Status::kInvalid) << "of the other family";
  EXPECT_EQ(bed.counter("bad-request"), 0u);
  ip6.is_ip4 = 2;
  EXPECT_EQ(status(ask(*c, ip6)), Status::kInvalid);
  EXPECT_EQ(status(ask(*c, at(192, 0, 2, 9), ip6)), Status::kInvalid);
  EXPECT_EQ(bed.counter("bad-request"), 2u);
}

TEST_F(DatagramPaths, WhatIsDroppedForWantOfOneIsCountedWhereTheApplicationLooks) {
  auto c = open();
  Session& s = bed.layer->impl().workers[0]->pool.at(transport.connections[0].session);
  const auto& n = s.fifos().daemon.n_unreachable;
  EXPECT_EQ(n.load(), 0u);
  worker().sessions->unreachable(worker(), s.id);
  EXPECT_EQ(n.load(), 1u);
  DatagramHeader h = header(0);  // the source is no longer this host's
  h.flags |= kDatagramLocal;
  h.local_ip[0] = 11;
  put(*c, h, "");
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
  EXPECT_EQ(n.load(), 2u);
}

TEST_F(DatagramPaths, ADatagramOfIp6AloneMayBeWhole) {  // IPV6_DONTFRAG
  auto c = open();
  DatagramHeader h = header(0);
  h.flags |= kDatagramWhole;
  put(*c, h, "");
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
  h.is_ip4 = 0;
  put(*c, h, "");
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_TRUE(transport.sent[0].d.flags & kDatagramWhole);
}

}  // namespace
}  // namespace loom::test
