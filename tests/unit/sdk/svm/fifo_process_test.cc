// Fifos between processes: the application maps what the daemon made, and its state survives fork.
#include <sys/wait.h>

#include "rig.h"

namespace loom::svm {
namespace {

// Runs `child` in another process; whether it returned true.
template <class F>
bool in_child(F&& child) {
  const pid_t pid = fork();
  if (pid == 0) _exit(child() ? 0 : 1);
  int status = 0;
  return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

struct Daemon {
  explicit Daemon(uint32_t size) {
    auto d = std::move(*Segment::create(64 << 20, SegmentKind::kDaemonArena));
    daemon_segment = d.get();
    arena.add_segment(std::move(d));
    app_segment = std::move(*Segment::create(64 << 20, SegmentKind::kAppArena));
    app_arenas.add(*app_segment);
    const auto o = arena.alloc_object(sizeof(SessionShared));
    session_ref = o.ref;
    session = reinterpret_cast<SessionShared*>(o.ptr);
    init_fifos(*session);
    rx.open(session->rx(), arena, size);
    tx.open(session->tx(), app_arenas, size);
  }
  Segment* daemon_segment;
  std::unique_ptr<Segment> app_segment;
  SegmentTable app_arenas;
  DaemonArena arena;
  Ref session_ref;
  SessionShared* session;
  OwnedFifoProducer rx;
  OwnedFifoConsumer tx;
  Event rx_data, rx_space, tx_data, tx_space;
};

// What an application builds from fds and SegmentInfo.
struct Application {
  explicit Application(Daemon& d, uint32_t size) : arena(table) {
    for (Segment* s : {d.daemon_segment, d.app_segment.get()}) {
      auto mapped = Segment::map(dup(s->fd()), s->id(), s->kind(), s->size());
      if (!mapped) _exit(2);
      table.add(**mapped);
      segments.push_back(std::move(*mapped));
    }
    arena.add_segment(*segments[1]);
    session = table.resolve_as<SessionShared>(d.session_ref);
    rx = AppFifoConsumer(session->rx(), table, size);
    tx = AppFifoProducer(session->tx(), arena, size);
  }
  std::vector<std::unique_ptr<Segment>> segments;
  SegmentTable table;
  AppArena arena;
  SessionShared* session;
  AppFifoConsumer rx;
  AppFifoProducer tx;
};

TEST(FifoProcesses, EchoServerInAnotherProcess) {
  constexpr uint32_t kSize = 256 << 10;
  constexpr uint64_t kTotal = 64 << 20;
  Daemon d(kSize);
  const Stream stream;
  const pid_t pid = fork();
  if (pid == 0) {
    Application app(d, kSize);
    Bytes buffer(50'000);
    while (!app.rx.eof()) {
      const uint32_t n = app.rx.dequeue(buffer);
      if (n == 0) {
        if (app.rx.arm() && !d.rx_data.wait()) _exit(3);
        continue;
      }
      if (app.rx.should_notify()) d.rx_space.signal();
      ByteView left = ByteView(buffer).first(n);
      while (!left.empty()) {
        const uint32_t put = app.tx.enqueue(left);
        left = left.subspan(put);
        if (put && app.tx.should_notify()) d.tx_data.signal();
        if (!put && app.tx.want_space(kSize / 3) && !d.tx_space.wait()) _exit(4);
      }
    }
    _exit(app.rx.violation() || app.tx.violation() ? 5 : 0);
  }
  uint64_t sent = 0, received = 0;
  ByteView views[16];
  while (received < kTotal) {
    bool busy = false;
    if (sent < kTotal) {
      const uint32_t n = d.rx.enqueue(stream.at(sent, std::min<uint64_t>(20'000, kTotal - sent)));
      sent += n;
      if (sent == kTotal) d.rx.set_eof();
      if (n && d.rx.should_notify()) d.rx_data.signal();
      busy |= n != 0;
    }
    const uint32_t k = d.tx.segments(0, 60'000, views);
    uint32_t got = 0;
    for (uint32_t i = 0; i < k; ++i) {
      ASSERT_TRUE(stream.matches(received + got, views[i]));
      got += static_cast<uint32_t>(views[i].size());
    }
    d.tx.drop(got);
    received += got;
    if (got && d.tx.should_notify()) d.tx_space.signal();
    busy |= got != 0;
    ASSERT_FALSE(d.rx.violation() || d.tx.violation());
    if (!busy && d.tx.arm()) {
      ASSERT_TRUE(d.tx_data.wait()) << "at " << received;
    }
  }
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_EQ(status, 0);
}

TEST(FifoProcesses, ForkedChildGoesOnWhereItsParentWas) {
  constexpr uint32_t kSize = 300'000;
  Daemon d(kSize);
  const Stream stream;
  Application app(d, kSize);
  uint64_t rx_pos = 0, tx_pos = 0;
  const auto use = [&] {  // 30 KB each way
    Bytes b(30'000);
    const bool ok = app.rx.dequeue(b) == b.size() && stream.matches(rx_pos, b) &&
                    app.tx.enqueue(stream.at(tx_pos, 30'000)) == 30'000;
    return ok;
  };
  for (int round = 0; round < 20; ++round) {
    ASSERT_EQ(d.rx.enqueue(stream.at(rx_pos, 30'000)), 30'000u);
    if (round % 2) {
      ASSERT_TRUE(in_child(use)) << round;
    } else {
      ASSERT_TRUE(use()) << round;
    }
    Bytes b(30'000);
    ASSERT_EQ(d.tx.dequeue(b), 30'000u);
    ASSERT_TRUE(stream.matches(tx_pos, b)) << round;
    rx_pos += 30'000;
    tx_pos += 30'000;
  }
  EXPECT_LT(app.arena.carved_bytes(), 1u << 20);  // chunks were reused across processes
}

}  // namespace
}  // namespace loom::svm
