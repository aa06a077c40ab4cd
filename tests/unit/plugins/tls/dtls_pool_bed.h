// DTLS whose handshakes are done by two threads of the pool. OpenSSL's clock stands still: peers
// send nothing again by themselves, and threads may look at it.
#pragma once
#include "pool_bed.h"
#include "tests/unit/plugins/tls/dtls_bed.h"

namespace loom::tls {

struct DtlsPoolBed : PoolThreads<DtlsPoolBed> {
  static constexpr TimeNs kStill = kSecond, kLater = 10 * kSecond;
  explicit DtlsPoolBed(const std::function<void(Config&)>& more = {})
      : bed([&](Config& c) {
          c.crypto_threads = 2;
          if (more) more(c);
        }) {
    openssl_now = &kStill;
  }

  void pump(TimeNs time = 0) { bed.tls.bed.pump(time); }
  uint64_t stat(dtls::Stat s) { return bed.stat(s); }
  static SSL_CTX* server() { return dtls::shared().listeners.begin()->second->context->ssl.get(); }
  static dtls::DtlsWorker& worker() { return *dtls::shared().workers[0]; }
  // No thread has anything of ours.
  void settle() {
    until([&] { return stat(dtls::kCryptoUnderWay) == 0; });
    pump();
  }
  // DtlsBed::exchange, when steps take their time.
  void exchange(DtlsPeer& p, uint16_t port = 7, ConnId conn = 0) {
    for (int quiet = 0; quiet < 3; ++quiet) {
      const uint64_t steps = stat(dtls::kCryptoSteps);
      bed.exchange(p, port, conn);
      settle();
      if (stat(dtls::kCryptoSteps) != steps) quiet = 0;
    }
  }
  DtlsBed::Link accepted() {
    DtlsBed::Link link;
    until([&] { return !!(link = bed.accept()); });
    return link;
  }
  // What the peer has to say goes to ours, at most so many datagrams.
  void carry_out(DtlsPeer& p, std::size_t most = 1000, uint16_t port = 7, ConnId conn = 0) {
    for (; !p.out.empty() && most > 0; p.out.pop_front(), --most)
      bed.deliver(p.out.front(), port, conn);
  }
  void carry_in(DtlsPeer& p, uint16_t port = 7, ConnId conn = 0) {
    for (auto& s : bed.sent(port, conn)) p.in.push_back(std::move(s));
  }
  // Up to where its next datagram is the ClientHello with a good cookie.
  void greet(DtlsPeer& p, uint16_t port = 7, ConnId conn = 0) {
    bed.carry(p, 1, port, conn);
    p.step();
  }
  // Up to where its next datagrams are its last flight.
  void come_to_last_flight(DtlsPeer& p, uint16_t port = 7, ConnId conn = 0) {
    if (p.out.empty()) greet(p, port, conn);
    carry_out(p, 1, port, conn);
    settle();
    carry_in(p, port, conn);
    p.step();
  }

  DtlsBed bed;
};
struct DtlsPool : testing::Test, DtlsPoolBed {
  using DtlsPoolBed::DtlsPoolBed;
};

}  // namespace loom::tls
