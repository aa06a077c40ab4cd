// The application beside the hostile ones of the fuzz target of sessions: whatever those do, its
// streams and datagrams get on.
#pragma once
#include <cstdio>
#include <cstdlib>

#include "svm/datagram.h"
#include "tests/unit/core/session/datagram_transport.h"
#include "tests/unit/core/session/own_net.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {

constexpr uint16_t kHonestPort = 80, kHonestDatagrams = 70, kHostilePort = 90;

[[noreturn]] inline void finding(const char* what) {
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}
inline void check(bool holds, const char* what) {
  if (!holds) finding(what);
}

// The honest application: one stream to itself, through the transport.
struct Honest {
  SessionBed& bed;
  TestApp app;
  std::unique_ptr<TestApp::Connection> from, to;
  uint64_t written = 0, read = 0;

  explicit Honest(SessionBed& b) : bed(b), app(b, over_the_network()) {
    check(app.listen(kHonestPort).status == 0, "listen");
    from = app.connect(kHonestPort);
    to = app.accept();
    check(from && to, "the honest session");
  }
  static char byte_at(uint64_t pos) { return static_cast<char>(pos * 2654435761u >> 13); }

  // Writes `n` bytes and reads all that is there. Connections by the hostile ones are accepted and
  // closed.
  void go_on(std::size_t n) {
    std::string piece(n, 0);
    for (std::size_t i = 0; i < n; ++i) piece[i] = byte_at(written + i);
    written += from->tx.enqueue(svm::bytes_of(piece.data(), piece.size()));
    if (from->tx.should_notify()) say(svm::ToDaemon::kTx, *from);
    bed.pump(0);
    std::string got(to->rx.refresh(), 0);
    got.resize(to->rx.dequeue(std::as_writable_bytes(std::span(got))));
    for (const char c : got) check(c == byte_at(read++), "a byte of the honest stream is another");
    if (to->rx.should_notify()) say(svm::ToDaemon::kRxSpace, *to);
    svm::AcceptedSession a;
    svm::AcceptConsumer queue(*app.listener, app.listener->capacity);
    while (queue.pop(a))
      say(svm::ToDaemon::kClose, a.handle, *app.table.resolve_as<svm::SessionLine>(a.session));
    svm::MqEvent e;
    while (app.events.pop(e)) {}
  }
  void finish() {
    for (int i = 0; i < 100 && read != written; ++i) go_on(0);
    check(read == written, "bytes of the honest stream are lost");
    go_on(1000);
    go_on(0);
    check(read == written, "the honest stream stands still");
    check(!from->rx.reset() && !to->rx.reset() && !to->rx.eof(), "the honest session has ended");
  }
  // To the worker where the session lives by now.
  void say(svm::ToDaemon type, uint64_t handle, const svm::SessionLine& line) {
    app.ask_worker(line.worker.load(), type, svm::SessionEvent{handle, 0});
    bed.pump(0);
  }
  void say(svm::ToDaemon type, const TestApp::Connection& c) { say(type, c.handle, *c.shared); }
};

// Its datagrams: one session that is bound, one that has that as its peer.
class HonestDatagrams {
 public:
  explicit HonestDatagrams(Honest& h) : honest_(h) {
    svm::Endpoint any{};
    any.is_ip4 = 1;
    svm::Endpoint at = any;
    at.port = Be16(kHonestDatagrams).raw();
    bound_ = open(at, any);
    connected_ = open(any, TestApp::end(kHonestDatagrams));
  }
  void send() {
    svm::DatagramHeader h{};
    const std::string payload = kMark + std::to_string(sent_ + 1);
    h.length = static_cast<uint32_t>(payload.size());
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += payload;
    if (connected_->tx.refresh() < bytes.size()) return;
    ++sent_;
    check(connected_->tx.enqueue(svm::bytes_of(bytes.data(), bytes.size())) == bytes.size(),
          "there was room for a datagram");
    if (connected_->tx.should_notify()) honest_.say(svm::ToDaemon::kTx, *connected_);
    honest_.bed.pump(0);
  }
  // What has come, others' too, is whole; its own in order, if it came at all.
  void read() {
    while (const uint32_t ready = bound_->rx.refresh()) {
      svm::DatagramHeader h;
      check(ready >= sizeof h, "half a header");
      bound_->rx.dequeue(std::as_writable_bytes(std::span(&h, 1)));
      check(h.length <= ready - sizeof h, "half a datagram");
      std::string payload(h.length, 0);
      bound_->rx.dequeue(std::as_writable_bytes(std::span(payload)));
      if (h.flags & svm::kDatagramError || !payload.starts_with(kMark)) continue;
      const uint64_t n = std::strtoull(payload.c_str() + kMark.size(), nullptr, 10);
      check(n > got_ && n <= sent_, "a datagram that was not sent, or came twice");
      got_ = n;
    }
    if (bound_->rx.should_notify()) honest_.say(svm::ToDaemon::kRxSpace, *bound_);
  }
  bool has_all() const { return got_ == sent_; }

 private:
  static inline const std::string kMark = "honest ";

  std::unique_ptr<TestApp::Connection> open(const svm::Endpoint& local,
                                            const svm::Endpoint& remote) {
    honest_.app.push(svm::ToDaemon::kConnect, datagram_request(local, remote));
    const auto c = honest_.app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    check(c.status == 0, "the honest datagram session");
    return honest_.app.connection(c.handle, c.session);
  }

  Honest& honest_;
  std::unique_ptr<TestApp::Connection> bound_, connected_;
  uint64_t sent_ = 0, got_ = 0;
};

}  // namespace loom::test
