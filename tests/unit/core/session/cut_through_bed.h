// Two applications, and sessions between them with the pair's memory mapped. For tests.
#pragma once
#include "svm/bell.h"
#include "tests/unit/core/session/own_net.h"
#include "tests/unit/core/session/pair_memory.h"

namespace loom::test {

// One end of a session.
struct End : PairMemory {
  TestApp* app = nullptr;
  uint64_t handle = 0;
  uint32_t end = 0;
  svm::SessionLine* own = nullptr;
  svm::BellShared* bell = nullptr;
  svm::AppFifoConsumer rx;
  svm::AppFifoProducer tx;

  svm::SessionLine& line() { return *own; }
  uint32_t pair_segment() const { return segments[0]->id(); }

  // Rings as `write` and `read` of an application do. True: the other end would be woken.
  bool ring() {
    const uint32_t owner = shared->ends[1 - end].owner.load();
    return owner < svm::kMaxAppWorkers &&
           svm::bell::ring(bell->rows[1 - end][owner], line().bell_bit);
  }
  uint32_t write(std::string_view text) {
    const uint32_t n = tx.enqueue(svm::bytes_of(text.data(), text.size()));
    if (tx.should_notify()) ring();
    return n;
  }
  std::string read() {
    std::string text(rx.refresh(), 0);
    text.resize(rx.dequeue(std::as_writable_bytes(std::span(text))));
    return text;
  }
  std::vector<uint32_t> rung() {
    std::vector<uint32_t> bits;
    svm::bell::collect(bell->rows[end][app->reply.worker_index],
                       [&](uint32_t bit) { bits.push_back(bit); });
    return bits;
  }
  void close() {
    line().holders.fetch_and(~(1ull << app->reply.worker_index));
    app->push(svm::ToDaemon::kClose, handle);
  }
};

struct CutThroughTest : testing::Test {
  SessionBed bed;
  TestApp server{bed}, client{bed};

  CutThroughTest() { bed.engine->worker(0).net = &kOwnNet; }

  std::unique_ptr<End> open(TestApp& app, uint64_t handle, svm::Ref ref, svm::CutThrough which) {
    auto e = std::make_unique<End>();
    e->app = &app;
    e->handle = handle;
    EXPECT_NE(which, svm::CutThrough::kNo);
    e->end = which == svm::CutThrough::kEnd1;
    e->own = app.table.resolve_as<svm::SessionLine>(ref);
    EXPECT_NE(e->own, nullptr);
    e->map(app, e->own->block);
    e->bell = e->table->resolve_as<svm::BellShared>(e->line().bell);
    EXPECT_NE(e->bell, nullptr);
    e->rx = svm::AppFifoConsumer(e->shared->fifos[1 - e->end], *e->table, e->line().rx_size);
    e->tx = svm::AppFifoProducer(e->shared->fifos[e->end], *e->arena, e->line().tx_size);
    return e;
  }
  std::unique_ptr<End> connect(TestApp& from, uint16_t port = 80) {
    from.start_connect(port);
    const auto c = from.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(c.status, 0);
    return c.status == 0 ? open(from, c.handle, c.session, c.cut_through) : nullptr;
  }
  std::unique_ptr<End> accept(TestApp& at) {
    svm::AcceptedSession a;
    svm::AcceptConsumer queue(*at.listener, at.listener->capacity);
    if (!queue.pop(a)) return nullptr;
    auto e = open(at, a.handle, a.session, a.cut_through);
    e->line().holders.store(1ull << at.reply.worker_index);
    e->line().owner.store(at.reply.worker_index);
    e->shared->ends[e->end].owner.store(at.reply.worker_index);
    at.push(svm::ToDaemon::kClaim, a.handle);
    return e;
  }
  struct Two {
    std::unique_ptr<End> client, server;
  };
  Two both() {
    if (!server.listener) {
      EXPECT_EQ(server.listen(80).status, 0);
    }
    Two t;
    t.client = connect(client);
    t.server = accept(server);
    EXPECT_TRUE(t.client && t.server);
    return t;
  }
  uint32_t sessions() { return bed.layer->stats().per_worker[0]; }
};

}  // namespace loom::test
