// Fuzz target: applications that keep to no rule, beside one that does, over the session layer with
// all around it in one process and virtual time (tests/unit/core/session/test_app.h).
//   input   what the hostile ones do, one action after the other (`act` below): attach, or send
//           rubbish; requests, well formed or not, about their own sessions and others'; any bytes
//           anywhere in the memory that they share with the daemon or with each other; die
// Beside crashes, sanitizer reports and calls that never return these are findings: a byte of the
// honest application's stream that is lost or another, a datagram of its that is another or comes
// twice, a session of its that ends; and, when the hostile ones are gone, a session, application,
// descriptor or buffer that is not, and a datagram that does not arrive.
#include "fuzz.h"
#include "tests/fuzz/session/datagram_acts.h"
#include "tests/fuzz/session/honest.h"
#include "tests/fuzz/session/hostile_app.h"
#include "tests/unit/core/session/wire_transport.h"

namespace loom::test {
namespace {

// Of each one more than there are, and 0, which is none.
constexpr uint32_t kAttachOps = static_cast<uint32_t>(svm::AttachOp::kUseSettings) + 2;
constexpr uint32_t kRequests = static_cast<uint32_t>(svm::ToDaemon::kResize) + 2;

constexpr uint8_t kBefore = 24, kActs = kBefore + DatagramActs::kActs;

constexpr std::size_t kMostApps = 3;
constexpr int kMostActions = 400;
// The first byte of an input.
enum Kind : uint8_t { kWithNetwork = 1, kTwoWorkers = 2 };

struct Fuzz {
  DatagramTransport datagrams;
  std::unique_ptr<WireTransport> wire;  // of two workers, which this one thread steps in turn
  SessionBed bed;
  Honest honest;
  std::optional<HonestDatagrams> honest_datagrams;
  std::size_t descriptors, sessions;
  std::vector<std::unique_ptr<HostileApp>> apps;
  std::vector<int> visitors;  // sockets that have not attached

  explicit Fuzz(uint8_t kind)
      : bed({}, SessionBed::Network::kNone, kind & kTwoWorkers ? 2 : 1, transport_of(kind)),
        honest(start(kind)) {
    if (kind & kWithNetwork) honest_datagrams.emplace(honest);
    go_on(100);
    descriptors = open_descriptors();
    sessions = n_sessions();
  }
  ~Fuzz() {
    for (const int fd : visitors) ::close(fd);
  }
  // None: the bed's own, which is for one worker.
  std::function<void(SessionBed&)> transport_of(uint8_t kind) {
    if (!(kind & kTwoWorkers)) return {};
    return [this](SessionBed& b) {
      wire = std::make_unique<WireTransport>(*b.engine);
      wire->resets_when_full = true;
      wire->id = b.transports.add(wire->ops()).value();
    };
  }
  SessionBed& start(uint8_t kind) {
    check(static_cast<bool>(bed.transports.add(datagrams.ops())), "the transport of datagrams");
    for (uint32_t i = 0; kind & kWithNetwork && i < bed.engine->n_workers(); ++i)
      bed.engine->worker(i).net = &kDatagramNet;
    return bed;
  }
  void go_on(std::size_t n) {
    honest.go_on(n);
    if (honest_datagrams) honest_datagrams->send();
    deliver(bed, datagrams);
    bed.pump(0);
    if (honest_datagrams) honest_datagrams->read();
  }
  // By now nobody disturbs.
  void finish() {
    honest.finish();
    if (!honest_datagrams) return;
    for (int i = 0; i < 3; ++i) go_on(0);
    check(honest_datagrams->has_all(), "the last of the honest datagrams is lost");
  }
  std::size_t n_sessions() {
    std::size_t n = 0;
    for (const uint32_t s : bed.layer->stats().per_worker) n += s;
    return n;
  }

  void attach(Bytes& in) {
    if (apps.size() == kMostApps) return;
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kAttach;
    std::strcpy(r.app_name, "hostile");
    const auto how = in.take();
    r.segment_size_mb = 1 + how % 4;
    r.add_segment_size_mb = 1 + how / 4 % 4;
    r.rx_fifo_size = r.tx_fifo_size = 4096u << how / 16 % 8;
    r.event_queue_size = 64;
    r.flags = in.take() % 3;
    const int fd = connect_to(bed.layer->default_socket_path());
    check(fd >= 0, "nobody can connect any more");
    send_raw(fd, &r, sizeof r);
    bed.pump(0);
    svm::AttachReply reply;
    std::vector<int> fds;
    auto app = std::make_unique<HostileApp>();
    if (!receive_reply(fd, reply, fds)) {
      ::close(fd);
    } else if (app->take_over(fd, reply, fds)) {
      apps.push_back(std::move(app));
    }
  }

  void visit(Bytes& in) {
    const int fd = connect_to(bed.layer->default_socket_path());
    check(fd >= 0, "nobody can connect any more");
    svm::AttachRequest r{};
    const uint8_t how = in.take();
    if (how & 1) {
      r.version = svm::kProtocolVersion;
      r.op = static_cast<svm::AttachOp>(in.take() % 8);
      in.take(r.app_name, 8);
    } else {
      in.take(&r, 16);
    }
    const std::size_t size = how & 2 ? sizeof r : in.take<uint16_t>() % (2 * sizeof r);
    std::vector<char> message(std::max(size, sizeof r));
    std::memcpy(message.data(), &r, sizeof r);
    send_raw(fd, message.data(), size, how >> 4);
    if (how & 4) bed.pump(0);
    if (how & 8 || visitors.size() == 8)
      ::close(fd);
    else
      visitors.push_back(fd);
  }

  // A request on the attach socket, and what it brings.
  void ask(HostileApp& app, Bytes& in) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    const uint8_t how = in.take();
    r.op = static_cast<svm::AttachOp>(in.take() % kAttachOps);
    r.pair = how & 8 ? app.pair_wanted : how & 16 ? in.take() : 0;
    r.segment_id = how & 32 ? r.pair : in.take();
    r.end = in.take() % 4;
    r.worker = in.take() % 66;
    r.flags = in.take();
    if (how & 1) {
      r.settings = in.take();
      r.handle = some_handle(app, in);
    }
    char message[sizeof r + 256] = {};
    std::memcpy(message, &r, sizeof r);
    std::size_t size = sizeof r;
    if (how & 2) {  // settings may follow
      const std::size_t n = in.take();
      in.take(message + size, n);
      size += n;
    }
    send_raw(app.socket, message, size, how >> 7);
    if (how & 64) return;  // does not read
    bed.pump(0);
    svm::AttachReply reply;
    std::vector<int> fds;
    while (receive_reply(app.socket, reply, fds)) {
      const bool is_segments =
          r.op == svm::AttachOp::kGetSegment || r.op == svm::AttachOp::kAddAppArena;
      if (is_segments && reply.n_segments == fds.size()) {
        app.take_segments(reply, fds, r.pair != 0);
      } else {
        for (const int fd : fds) ::close(fd);
      }
    }
  }

  uint64_t some_handle(HostileApp& app, Bytes& in) {
    const uint8_t which = in.take();
    switch (which % 8) {
      case 0:
        return honest.from->handle;
      case 1:
        return honest.to->handle;
      case 2:
        return honest.app.listener->handle;
      case 3:
        return in.take<uint64_t>();
      case 4:
        return app.listener_handles.empty() ? 0 : app.listener_handles.back();
      default:
        return app.sessions.empty() ? which : app.sessions[which / 8 % app.sessions.size()].handle;
    }
  }
  uint16_t some_port(Bytes& in) {
    constexpr uint16_t kPorts[] = {kHonestPort, kHostilePort,     kHostilePort + 1,
                                   1,           kHostilePort + 2, 0};
    return kPorts[in.take() % std::size(kPorts)];
  }
  void connect(HostileApp& app, Bytes& in) {
    svm::ConnectEvent e{};
    e.context = in.take();
    e.remote = TestApp::end(some_port(in));
    e.local.is_ip4 = 1;
    app.push(static_cast<uint32_t>(svm::ToDaemon::kConnect), &e, sizeof e);
  }
  void listen(HostileApp& app, Bytes& in) {
    svm::ListenEvent e{};
    e.context = in.take();
    e.local = TestApp::end(some_port(in));
    e.backlog = in.take();
    app.push(static_cast<uint32_t>(svm::ToDaemon::kListen), &e, sizeof e);
  }
  void request(HostileApp& app, Bytes& in) {
    const uint8_t how = in.take();
    std::byte payload[sizeof(svm::MqSlot::payload)] = {};
    if (how & 16) {
      in.take(payload, how & 32 ? sizeof payload : 24);
    } else {
      const svm::SessionEvent e{some_handle(app, in), how};
      std::memcpy(payload, &e, sizeof e);
    }
    app.push(how % kRequests, payload, sizeof payload);
  }
  void flood(HostileApp& app, Bytes& in) {
    const uint8_t how = in.take();
    const svm::SessionEvent e{some_handle(app, in), how};
    for (int i = 0; i < 4 * how; ++i) {
      app.push(how % kRequests, &e, sizeof e);
      if (i % 64 == 63) bed.engine->step();
    }
  }
  void take_events(HostileApp& app, Bytes& in) {
    svm::MqEvent e;
    for (int n = in.take() % 64; n > 0 && app.events.pop(e); --n) app.learn(e);
  }
  void accept(HostileApp& app, bool is_kept) {
    if (!app.listener) return;
    svm::AcceptedSession a;
    if (!svm::AcceptConsumer(*app.listener, app.listener_capacity).pop(a)) return;
    app.add_session(a.handle, a.session, a.cut_through);
    if (!is_kept) return;
    if (auto* line = app.sessions.back().line) line->holders.store(1ull << app.worker);
    const svm::SessionEvent e{a.handle, 0};
    app.push(static_cast<uint32_t>(svm::ToDaemon::kClaim), &e, sizeof e);
  }
  HostileApp::Session* some_session(HostileApp& app, Bytes& in) {
    if (app.sessions.empty()) return nullptr;
    auto& s = app.sessions[in.take() % app.sessions.size()];
    return s.rx ? &s : nullptr;
  }
  // As an application does, whatever state the fifo is in by now.
  void write(HostileApp& app, Bytes& in) {
    auto* s = some_session(app, in);
    if (!s) return;
    svm::AppFifoProducer fifo(*s->tx, *s->arena, s->tx_size);
    const std::vector<std::byte> data(64u * in.take());
    (void)fifo.enqueue(svm::ByteView(data));
    const svm::SessionEvent e{s->handle, 0};
    app.push(static_cast<uint32_t>(svm::ToDaemon::kTx), &e, sizeof e);
  }
  void read(HostileApp& app, Bytes& in) {
    auto* s = some_session(app, in);
    if (!s) return;
    svm::AppFifoConsumer fifo(*s->rx, *s->table, s->rx_size);
    std::vector<std::byte> data(64u * in.take());
    (void)fifo.dequeue(data);
    const svm::SessionEvent e{s->handle, 0};
    if (fifo.should_notify())
      app.push(static_cast<uint32_t>(svm::ToDaemon::kRxSpace), &e, sizeof e);
    (void)fifo.arm();
  }

  // A value that has a meaning somewhere, or any.
  uint64_t lie(HostileApp& app, Bytes& in) {
    const uint8_t what = in.take();
    const auto& segments =
        what & 128 && !app.pair_segments.empty() ? app.pair_segments : app.segments;
    const svm::Segment* s =
        segments.empty() ? nullptr : segments[what / 16 % segments.size()].get();
    switch (what % 10) {
      case 0:
        return in.take();
      case 1:
        return ~uint64_t{0} - in.take();
      case 2:
        return 0x7ffffff0u + in.take();
      case 3:
        return s ? svm::make_ref(s->id(), svm::kSegmentDataOffset + 64u * in.take()) : 0;
      case 4:
        return s ? svm::make_ref(s->id(), svm::kSegmentDataOffset + 4096u * in.take()) : 0;
      case 5:
        return s ? svm::make_ref(s->id(), s->size() - 64u * in.take()) : 0;
      case 6: {
        auto* t = some_session(app, in);
        return t ? t->tx->producer.tail.load() + in.take() - 128 : 0;
      }
      case 7:
        return some_handle(app, in);
      default:
        return in.take<uint64_t>();
    }
  }
  void scribble(HostileApp& app, Bytes& in) {
    if (app.regions.empty()) return;
    const auto& region = app.regions[in.take() % app.regions.size()];
    const std::size_t at = in.take<uint16_t>() * 4u % (region.size - 8);
    const uint64_t value = lie(app, in);
    std::memcpy(region.base + at, &value, in.take() % 2 ? 4 : 8);
  }
  // The words that decide most.
  void aim(HostileApp& app, Bytes& in) {
    auto* s = some_session(app, in);
    if (!s) return;
    const bool is_tx = in.take() % 2;
    svm::FifoProducerWords& producer = is_tx ? s->tx->producer : s->rx->producer;
    svm::FifoConsumerWords& consumer = is_tx ? s->tx->consumer : s->rx->consumer;
    svm::FifoProducerLine& own = s->tx->producer;
    const auto field = in.take();
    const uint64_t v = lie(app, in);
    const auto v32 = static_cast<uint32_t>(v);
    switch (field % 16) {
      case 0:
        return producer.tail.store(v32);
      case 1:
        return producer.flags.store(v32);
      case 2:
        return producer.base_gen.store(producer.base_gen.load() + 1);
      case 3:
        return producer.base_chunk.store(v);
      case 4:
        own.oldest_chunk = v;
        return;
      case 5:
        own.tail_chunk = v;
        return;
      case 6:
        own.tail_chunk_end = v32;
        return;
      case 7:
        return producer.space_at.store(v32);
      case 8:
        return producer.more_from.store(v32);
      case 9:
        return consumer.head.store(v32);
      case 10:
        return consumer.armed.store(1);
      case 11:
        if (s->line) s->line->holders.store(v);
        return;
      case 12:
        if (s->line) s->line->owner.store(v32 % 66);
        return;
      case 13:
        if (auto* c = s->table->resolve_as<svm::ChunkHeader>(own.tail_chunk)) c->next.store(v);
        return;
      case 14:
        if (auto* c = s->table->resolve_as<svm::ChunkHeader>(own.oldest_chunk)) {
          c->log2_size = v32 % 24;
          c->start = static_cast<uint32_t>(v >> 32);
        }
        return;
      default:
        if (app.listener) app.listener->head.store(v32);
        return;
    }
  }
  void queues(HostileApp& app, Bytes& in) {
    const uint8_t what = in.take();
    const auto v = static_cast<uint32_t>(lie(app, in));
    auto& q = what & 1 ? *app.requests[app.to_worker % app.requests.size()].shared()
                       : *app.events.shared();
    switch (what / 2 % 4) {
      case 0:
        return q.head.store(v);
      case 1:
        return q.sleeping.store(1);
      case 2:
        q.capacity = v;
        return;
      default:
        return svm::mq_slots(q)[v % app.capacity].seq.store(v);
    }
  }
  void make_wait(HostileApp& app) {
    ::fcntl(app.event_fd, F_SETFL, 0);
    for (const int fd : app.wake_fds) ::fcntl(fd, F_SETFL, 0);
    app.events.shared()->sleeping.store(1);
  }

  void act(Bytes& in) {
    const uint8_t what = in.take();
    if (apps.empty() || what % kActs == 0) return attach(in);
    if (what % kActs == 1) return visit(in);
    if (what % kActs == 2) return bed.pump(from_seconds(in.take() / 64.0));
    const uint8_t whom = in.take();
    const std::size_t who = whom % 64 % apps.size();
    HostileApp& app = *apps[who];
    app.to_worker = whom / 64;
    if (what % kActs >= kBefore) {
      auto* s = some_session(app, in);
      return DatagramActs::act(what % kActs - kBefore, app, s, lie(app, in), in);
    }
    switch (what % kActs) {
      case 3:
        return ask(app, in);
      case 4:
      case 5:
        return connect(app, in);
      case 6:
        return listen(app, in);
      case 7:
      case 8:
        return request(app, in);
      case 9:
        return flood(app, in);
      case 10:
      case 11:
        return take_events(app, in);
      case 12:
        return accept(app, in.take() % 4 != 0);
      case 13:
      case 14:
        return write(app, in);
      case 15:
        return read(app, in);
      case 16:
      case 17:
        return scribble(app, in);
      case 18:
      case 19:
        return aim(app, in);
      case 20:
        return queues(app, in);
      case 21:
        return make_wait(app);
      case 22:
        if (in.take() % 4) return bed.pump(0);
        apps.erase(apps.begin() + static_cast<std::ptrdiff_t>(who));  // dies
        return;
      default:
        return bed.pump(0);
    }
  }

  void end() {
    go_on(0);
    honest.finish();
    apps.clear();
    for (const int fd : std::exchange(visitors, {})) ::close(fd);
    for (int i = 0; i < 3; ++i) bed.pump(6 * kSecond);  // pairs are reaped when they were idle
    finish();
    check(n_sessions() == sessions, "a session of theirs is left");
    check(bed.layer->stats().applications == 1, "an application of theirs is left");
    check(bed.buffers_in_use() == 0, "buffers are lost");
    check(open_descriptors() == descriptors, "descriptors of theirs are left");
  }
};

}  // namespace
}  // namespace loom::test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace loom::test;
  Bytes in(data, size);
  Fuzz fuzz(in.take());
  for (int i = 0; i < kMostActions && !in.empty(); ++i) {
    fuzz.act(in);
    if (i % 4 == 0) fuzz.go_on(500);
  }
  fuzz.end();
  check(!testing::UnitTest::GetInstance()->ad_hoc_test_result().Failed(), "see above");
  return 0;
}
