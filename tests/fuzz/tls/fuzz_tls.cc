// Fuzz target: a TLS session whose peer sends anything at all, by way of the lower session's fifo.
//   input   one byte: who is under test and how far it has come (`Mode`); then what the peer sends,
//           or, for kChanged, places and values by which a good peer's records are changed; for
//           kTalk, what a good peer and the application do, a byte each
// Beside crashes and sanitizer reports it is a finding when a session is left at the end, or when
// what good ends have said to each other has not arrived.
#include <cstdio>
#include <cstdlib>

#include "fuzz.h"
#include "hello.h"
#include "tls_bed.h"

namespace loom::tls {
namespace {

enum Mode : uint8_t { kServer, kOpenServer, kClient, kChanged, kTalk, kModes };
constexpr uint16_t kTlsPort = 443, kPlainPort = 80;

[[noreturn]] void finding(const char* what) {
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}

struct Bed : TlsBed {
  Bed() {
    if (listen(kTlsPort) != 0) finding("nothing listens");
    secure = app->listener;
    if (listen(kPlainPort, test::PipeTransport::kProto) != 0) finding("nothing listens");
    plain = app->listener;
  }
  Link accept_at(svm::ListenerShared* l) {
    app->listener = l;
    return accept();
  }
  // The connection of the last connect, if it came about.
  Link connected() {
    Link link;
    svm::MqEvent e;
    while (app->events.pop(e)) {
      if (static_cast<svm::ToApp>(e.type) != svm::ToApp::kConnected) continue;
      const auto c = e.as<svm::ConnectedEvent>();
      if (c.status == 0) link = app->connection(c.handle, c.session);
    }
    return link;
  }
  void end(Link& link) {
    if (link) app->push(svm::ToDaemon::kReset, link->handle);
    link = nullptr;
  }
  svm::ListenerShared *secure, *plain;
};

// Records of a good client, one byte of them another: at a place, by a value.
void exchange_changed(Bed& bed, Peer& peer, TlsBed::Link& link, std::string_view changes) {
  std::size_t passed = 0;
  for (int i = 0; i < 6; ++i) {
    if (!SSL_is_init_finished(peer.ssl())) (void)peer.shake();
    if (SSL_is_init_finished(peer.ssl())) peer.write("some text");
    std::string records = peer.records();
    for (std::size_t at = 0; at + 3 <= changes.size(); at += 3) {
      const std::size_t place =
          static_cast<uint8_t>(changes[at]) << 4 | (static_cast<uint8_t>(changes[at + 1]) & 15);
      if (place >= passed && place - passed < records.size())
        records[place - passed] = static_cast<char>(records[place - passed] ^ changes[at + 2]);
    }
    passed += records.size();
    bed.app->write(*link, records);
    peer.feed(bed.app->read(*link));
  }
}

// A good peer, and an application that keeps to all rules, in any order: every byte arrives, and
// every end.
struct Talk {
  enum Does : uint8_t {
    kPeerWrites,
    kPeerAsksForKeys,
    kPeerChangesKeys,
    kPeerEnds,
    kWrites,
    kEnds,
    kReads,
    kPart,
    kCarry,
    kDoes
  };
  Bed& bed;
  Peer& peer;
  TlsBed::Link &link, &far;
  std::string on_its_way{}, from_peer{}, to_app{}, from_app{}, to_peer{};
  bool peer_ended = false, ended = false;

  void carry(std::size_t most) {
    on_its_way += peer.records();
    if (!on_its_way.empty())  // as much as there is room for
      on_its_way.erase(0, bed.app->write(*link, on_its_way.substr(0, most)));
    peer.feed(bed.app->read(*link));
    to_peer += peer.read();
  }
  void act(uint8_t byte) {
    const std::string text = pattern(1 + byte * 5);
    switch (byte % kDoes) {
      case kPeerWrites:
        if (peer_ended) break;
        peer.write(text);
        from_peer += text;
        break;
      case kPeerAsksForKeys:
      case kPeerChangesKeys:
        if (peer_ended || SSL_version(peer.ssl()) < TLS1_3_VERSION) break;
        (void)SSL_key_update(peer.ssl(), byte % kDoes == kPeerAsksForKeys
                                             ? SSL_KEY_UPDATE_REQUESTED
                                             : SSL_KEY_UPDATE_NOT_REQUESTED);
        (void)peer.shake();
        break;
      case kPeerEnds:
        if (!peer_ended) SSL_shutdown(peer.ssl());
        peer_ended = true;
        break;
      case kWrites:
        if (!ended) from_app += text.substr(0, bed.app->write(*far, text));
        break;
      case kEnds:
        if (!ended) bed.app->push(svm::ToDaemon::kShutdown, far->handle);
        ended = true;
        break;
      case kReads:
        to_app += bed.app->read(*far);
        break;
      case kPart:
        carry(1 + byte);
        break;
      default:
        carry(std::string::npos);
    }
  }
  void finish() {
    for (int i = 0; i < 20; ++i) {
      bed.bed.pump();
      carry(std::string::npos);
      to_app += bed.app->read(*far);
    }
    if (to_app != from_peer) finding("the application has not all that the peer has said");
    if (to_peer != from_app) finding("the peer has not all that the application has said");
    if (peer_ended != far->rx.eof() || far->rx.reset()) finding("the peer's end is another");
    if (ended != ((SSL_get_shutdown(peer.ssl()) & SSL_RECEIVED_SHUTDOWN) != 0))
      finding("the application's end is another");
  }
};

void talk(Bed& bed, Peer& peer, TlsBed::Link& link, std::string_view acts) {
  constexpr std::size_t kMostActs = 64;
  TlsBed::Link far = bed.accept_at(bed.secure);
  if (!far) finding("nobody has come");
  shared().workers[0]->most_records = 3;
  Talk t{.bed = bed, .peer = peer, .link = link, .far = far};
  for (const char act : acts.substr(0, kMostActs)) t.act(static_cast<uint8_t>(act));
  t.finish();
  shared().workers[0]->most_records = kMostRecords;
  bed.end(far);
}

void run(Bed& bed, Mode mode, std::string_view bytes) {
  TlsBed::Link link, far;
  if (mode == kClient) {
    bed.start_connect(kPlainPort);
    link = bed.accept_at(bed.plain);
    if (!link) finding("the client did not come");
    bed.app->write(*link, bytes);
  } else {
    bed.start_connect(kTlsPort, test::PipeTransport::kProto);
    link = bed.connected();
    if (!link) finding("no connection");
    const int most = bytes.size() % 2 == 0 ? TLS1_3_VERSION : TLS1_2_VERSION;
    Peer peer(Peer::Role::kClient, [&](SSL_CTX* c) {
      if (mode == kTalk) SSL_CTX_set_max_proto_version(c, most);
    });
    if (mode == kOpenServer || mode == kTalk) peer.exchange(*bed.app, *link);
    if (mode == kTalk)
      talk(bed, peer, link, bytes);
    else if (mode == kChanged)
      exchange_changed(bed, peer, link, bytes);
    else
      bed.app->write(*link, bytes);
    far = bed.accept_at(bed.secure);
    if (far) (void)bed.app->read(*far);
  }
  ERR_clear_error();
  bed.end(link);
  bed.end(far);
  if (TlsBed::Link client = bed.connected()) bed.end(client);
  bed.bed.pump(6 * kSecond);
  bed.bed.pump();
  if (session::n_sessions(bed.bed.layer->impl()) != 0) finding("a session is left");
  if (bed.stat(kConnections) != 0 || bed.stat(kUnderWay) != 0) finding("a connection is left");
}

}  // namespace
}  // namespace loom::tls

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace loom::tls;
  static Bed& bed = *new Bed;  // never destroyed: the fuzzer ends the process
  constexpr std::size_t kMost = 32 << 10;
  if (size == 0 || size > kMost) return 0;
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  (void)resumes_quickly(bytes);
  (void)name_in(bytes);
  run(bed, static_cast<Mode>(data[0] % kModes),
      {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}

void fuzz_corpus(const std::function<void(std::string_view input)>& give) {
  using namespace loom::tls;
  const auto input = [&](Mode mode, const std::string& bytes) {
    give(std::string(1, static_cast<char>(mode)) + bytes);
  };
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Peer client(Peer::Role::kClient,
                [&](SSL_CTX* c) { SSL_CTX_set_max_proto_version(c, version); });
    (void)client.shake();
    const std::string hello = client.records();
    input(kServer, hello);
    input(kServer, hello + hello);
    const Pem pair = make_certificate({});
    Peer server(Peer::Role::kServer, {}, &pair);
    server.feed(hello);
    (void)server.shake();
    input(kClient, server.records());
  }
  input(kServer, "GET / HTTP/1.0\r\n\r\n");
  input(kOpenServer, std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x'));
  input(kOpenServer, std::string("\x15\x03\x03\x00\x02\x02\x28", 7));
  input(kOpenServer, std::string("\x16\x03\x03\x40\x00", 5));
  input(kChanged, "");
  input(kChanged, std::string("\x00\x05\x01", 3));
  input(kChanged, std::string("\x30\x02\x80\x08\x01\xff", 6));
  input(kTalk, "\x04\x04\x04\x05");  // the end comes with new keys
  // Each does something, for both versions; then the one goes on after the other's end.
  input(kTalk, std::string("\x00\x01\x02\x04\x06\x07\x08\x00\x03\x05", 10));
  input(kTalk, std::string("\x00\x00\x04\x04\x04\x04\x08\x06\x03\x08\x05", 11));
  input(kTalk, std::string("\x05\x08\x01\x00\x08\x01\x00\x08\x06\x03", 10));
  input(kTalk, std::string("\x03\x08\x04\x04\x04\x04\x04\x08\x04\x05", 10));
  ERR_clear_error();
}
