// Fuzz target: DTLS sessions whose peer, and others beside it, send any datagrams at all.
//   input   one byte: who is under test and how far it has come (`Mode`); then datagrams, each
//   behind
//           a byte of `Fate` and two of its length
// Beside crashes and sanitizer reports it is a finding when a session that was open does not take
// its peer's datagrams any more, though nobody with its keys has sent another, and when a
// connection is left at the end.
#include <cstdio>
#include <cstdlib>

#include "dtls_bed.h"
#include "fuzz.h"

namespace loom::tls {
namespace {

enum Mode : uint8_t { kServer, kBegun, kOpenServer, kClient, kOpenClient, kModes };
// What becomes of a datagram: it is one of the input, or the oldest of the good peer's is changed
// by it, goes as it is, twice, or not at all.
enum Fate : uint8_t { kAsItIs, kOfAnotherPort, kChange, kGood, kTwice, kLost, kFates };
constexpr uint16_t kServerPort = 443, kClientPort = 7, kOtherPort = 8;

[[noreturn]] void finding(const char* what) {
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}

struct Bed : DtlsBed {
  Bed() : own(make_certificate({.names = "IP:192.0.2.3", .issuer = &tls.authority})) {
    if (listen() != 0) finding("nothing listens");
    listeners = dtls::shared().listeners;
  }
  // The session of the last connect, if it came about.
  Link connected() {
    Link link;
    svm::MqEvent e;
    while (tls.app->events.pop(e)) {
      if (static_cast<svm::ToApp>(e.type) != svm::ToApp::kConnected) continue;
      const auto c = e.as<svm::ConnectedEvent>();
      if (c.status == 0) link = tls.app->connection(c.handle, c.session);
    }
    return link;
  }
  void end(Link& link) {
    if (link) tls.app->push(svm::ToDaemon::kReset, link->handle);
    link = nullptr;
  }
  Pem own;
  // The plugin's table of them ends before leaks are looked for, the bed does not.
  std::map<ConnId, dtls::Listener*> listeners;
};

class Run {
 public:
  Run(Bed& bed, Mode mode)
      : bed_(bed),
        is_client_(mode == kClient || mode == kOpenClient),
        peer_(!is_client_, [&](SSL_CTX* c) {
          if (!is_client_) return;
          SSL_CTX_use_certificate(c, bed.own.x509.get());
          SSL_CTX_use_PrivateKey(c, bed.own.pkey.get());
        }) {
    if (is_client_) {
      bed_.start_connect();
      conn_ = static_cast<ConnId>(bed_.transport.connections.size() - 1);
    }
    if (mode == kOpenServer || mode == kOpenClient) {
      bed_.exchange(peer_, port(), conn_);
      if (!peer_.is_open()) finding("a good handshake has failed");
      link_ = is_client_ ? bed_.connected() : bed_.accept();
      if (!link_) finding("a good handshake has no session");
    } else if (mode == kBegun) {
      begin();
    }
  }
  void take(Fate fate, std::string_view bytes) {
    peer_.step();
    std::string good = peer_.out.empty() ? "" : peer_.out.front();
    if (fate >= kChange && !peer_.out.empty()) peer_.out.pop_front();
    switch (fate) {
      case kChange:
        for (std::size_t i = 0; i + 1 < bytes.size() && !good.empty(); i += 2)
          good[static_cast<uint8_t>(bytes[i]) % good.size()] ^= bytes[i + 1];
        return give(good, port());
      case kTwice:
        give(good, port());
        [[fallthrough]];
      case kGood:
        return give(good, port());
      case kLost:
        return;
      default:
        return give(bytes, fate == kOfAnotherPort ? kOtherPort : port());
    }
  }
  void finish() {
    if (link_) {
      (void)bed_.read(*link_);
      peer_.out.clear();
      peer_.write("still here");
      if (!peer_.out.empty()) bed_.deliver(peer_.out.front(), port(), conn_);
      const auto got = bed_.read(*link_);
      if (got.empty() || got.back() != "still here")
        finding("what has no keys has ended a session");
    }
    bed_.end(link_);
    for (auto far = bed_.accept(); far; far = bed_.accept()) bed_.end(far);
    auto client = bed_.connected();
    bed_.end(client);
    bed_.tls.bed.pump(20 * kSecond);
    bed_.tls.bed.pump();
    for (auto far = bed_.accept(); far; far = bed_.accept()) bed_.end(far);
    bed_.tls.bed.pump();
    bed_.transport.sent.clear();
    if (bed_.stat(dtls::kConnections) != 0 || bed_.stat(dtls::kUnderWay) != 0)
      finding("a connection is left");
  }

 private:
  uint16_t port() const { return is_client_ ? kServerPort : kClientPort; }
  // Up to the server's first flight.
  void begin() {
    for (int i = 0; i < 2; ++i) {
      peer_.step();
      for (; !peer_.out.empty(); peer_.out.pop_front()) give(peer_.out.front(), port());
    }
  }
  void give(std::string_view datagram, uint16_t from) {
    if (datagram.empty()) return;
    bed_.deliver(datagram, from, conn_);
    for (auto& d : bed_.sent(port(), conn_)) peer_.in.push_back(std::move(d));
  }

  Bed& bed_;
  const bool is_client_;
  DtlsPeer peer_;
  ConnId conn_ = 0;  // of the lower session: the listener's, or the client's own
  Bed::Link link_;
};

}  // namespace
}  // namespace loom::tls

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace loom::tls;
  static Bed& bed = *new Bed;  // never destroyed: the fuzzer ends the process
  constexpr std::size_t kMost = 32 << 10;
  if (size == 0 || size > kMost) return 0;
  Run run(bed, static_cast<Mode>(data[0] % kModes));
  for (std::size_t at = 1; at + 3 <= size;) {
    const auto fate = static_cast<Fate>(data[at] % kFates);
    const std::size_t wanted = std::size_t{data[at + 1]} << 8 | data[at + 2];
    at += 3;
    const std::size_t n = std::min(wanted, size - at);
    run.take(fate, {reinterpret_cast<const char*>(data) + at, n});
    at += n;
  }
  run.finish();
  return 0;
}

void fuzz_corpus(const std::function<void(std::string_view input)>& give) {
  using namespace loom::tls;
  const auto datagram = [](Fate fate, std::string_view bytes) {
    return std::string{static_cast<char>(fate), static_cast<char>(bytes.size() >> 8),
                       static_cast<char>(bytes.size())} +
           std::string(bytes);
  };
  const auto input = [&](Mode mode, const std::string& rest) {
    give(std::string(1, static_cast<char>(mode)) + rest);
  };
  DtlsPeer client(true);
  client.step();
  const std::string hello = client.out.front();
  const std::string good = datagram(kGood, ""), twice = datagram(kTwice, ""),
                    lost = datagram(kLost, "");
  input(kServer,
        datagram(kAsItIs, hello) + datagram(kOfAnotherPort, hello) + good + good + good + good);
  input(kServer, datagram(kAsItIs, "GET / HTTP/1.0\r\n\r\n"));
  for (const Mode mode : {kServer, kBegun, kClient}) {
    input(mode, good + good + good + good + good + good);
    input(mode, twice + twice + lost + twice + good + twice);
    input(mode, good + datagram(kChange, std::string("\x0d\x01\x20\xff", 4)) + good + good);
  }
  for (const Mode mode : {kBegun, kOpenServer, kOpenClient}) {
    const std::string start =
        mode == kBegun ? std::string("\xfe\xfd\x00\x00", 4) : std::string("\xfe\xfd\x00\x01", 4);
    const std::string number("\x00\x00\x00\x00\x00\x09", 6);
    input(mode, datagram(kAsItIs, "\x17" + start + number + std::string("\x00\x20", 2) +
                                      std::string(32, 'x')));
    input(mode, datagram(kAsItIs, "\x15" + start + number + std::string("\x00\x02\x02\x28", 4)));
    input(mode, datagram(kAsItIs, "\x16" + start + number + std::string("\xff\xff", 2)));
    input(mode, datagram(kAsItIs, "\x14" + start + number + std::string("\x00\x01\x01", 3)) +
                    datagram(kAsItIs, hello));
  }
  ERR_clear_error();
}
