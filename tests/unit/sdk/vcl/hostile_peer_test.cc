// Sessions whose other end, an application too, or whose daemon lies. This application gets an
// error or garbage by that session; it does not crash, leave its memory or wait in a loop, and its
// other sessions go on.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <random>
#include <thread>

#include "fake_pair.h"
#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

using svm::FifoShared;
using test::FakeDaemon;

// Called where a thread is about to sleep in the kernel.
std::function<void()> before_sleep;

class HostilePeer : public testing::Test {
 protected:
  void SetUp() override {
    ::alarm(100);  // a call that never returns ends the test
    Config config;
    config.app_socket = "/tmp/vcl-hostile-" + std::to_string(getpid()) + ".sock";
    config.rx_fifo_size = config.tx_fifo_size = 64 << 10;
    daemon_ = std::make_unique<FakeDaemon>(config.app_socket);
    worker_ = new AppWorker(config, "hostile-test");
    plain_ = sys::hooks;
    sys::hooks.epoll_pwait = [](int epfd, epoll_event* events, int n, int timeout,
                                const sigset_t* mask) {
      if (const auto f = before_sleep) f();  // a copy: it may replace itself
      return ::epoll_pwait(epfd, events, n, timeout, mask);
    };
  }
  void TearDown() override {
    before_sleep = nullptr;
    for (Session* s : sessions_) s->unref();
    worker_->leave();
    delete worker_;
    sys::hooks = plain_;
    ::alarm(0);
  }
  Session& connect(uint16_t port) {
    Session* s = worker_->new_session(0, true, false);
    svm::Endpoint e{.is_ip4 = 1, .reserved = 0, .port = htons(port), .ip = {10, 0, 0, 1}};
    EXPECT_EQ(s->connect(e), 0);
    sessions_.push_back(s);
    return *s;
  }
  Session& peer_session() { return connect(FakeDaemon::kPeer); }
  static std::string receive(Session& s, size_t n = 1000) {
    std::string text(n, 0);
    const ssize_t got = s.receive(text.data(), n, MSG_DONTWAIT);
    text.resize(got > 0 ? static_cast<size_t>(got) : 0);
    return text;
  }

  std::unique_ptr<FakeDaemon> daemon_;
  AppWorker* worker_ = nullptr;
  std::vector<Session*> sessions_;
  sys::Hooks plain_{};
};

TEST_F(HostilePeer, AnHonestOneIsHeardAndHears) {
  Session& s = peer_session();
  ASSERT_TRUE(s.is_cut_through());
  auto& pair = daemon_->pair(0);
  before_sleep = [&] {
    before_sleep = nullptr;
    pair.send("hello");  // to one that is about to sleep: by the doorbell
  };
  char text[5];
  EXPECT_EQ(s.receive(text, sizeof text, 0), 5);
  EXPECT_EQ(std::memcmp(text, "hello", 5), 0);
  EXPECT_EQ(s.send("back", 4, 0), 4);
  svm::AppFifoConsumer fifo(pair.from_app(), pair.table, pair.kFifo);
  std::byte got[10];
  EXPECT_EQ(fifo.dequeue(got), 4u);
}

TEST_F(HostilePeer, AContradictionEndsAReadWithoutCopy) {
  Session& s = peer_session();
  auto& pair = daemon_->pair(0);
  pair.to_app().producer.tail.store(pair.kFifo + 1000);  // more than there can be
  svm::ByteView views[4];
  uint32_t n = 0;
  EXPECT_EQ(s.read_views(views, 1000, n), -EIO);
  EXPECT_EQ(n, 0u);
  EXPECT_EQ(s.state(), Session::State::kFailed);
}

TEST_F(HostilePeer, AContradictionIsNoEndOfFile) {
  Session& s = peer_session();
  auto& pair = daemon_->pair(0);
  pair.send("hello");
  EXPECT_EQ(receive(s, 1), "h");
  pair.to_app().consumer.chunk = 0;
  char c;
  EXPECT_EQ(s.receive(&c, 1, MSG_DONTWAIT), -EIO);
}

// As TCP takes the first bytes for a peer that has gone, and says so afterwards.
TEST_F(HostilePeer, TheFirstWriteAfterThePeersCloseIsTakenAlsoInPlace) {
  Session& s = peer_session();
  auto& pair = daemon_->pair(0);
  pair.line->peer_end.store(svm::kPeerClosed);
  size_t room = 0;
  const auto put = [&](std::span<svm::MutableByteView> views) -> ssize_t {
    room = 0;
    for (auto& v : views) {
      std::memset(v.data(), 'v', v.size());
      room += v.size();
    }
    return static_cast<ssize_t>(room);
  };
  EXPECT_EQ(s.fill(100, MSG_DONTWAIT, [](auto) -> ssize_t { return 0; }), 0);  // nothing was put
  EXPECT_EQ(s.fill(100, MSG_DONTWAIT, put), 100);
  EXPECT_EQ(s.fill(100, MSG_DONTWAIT, put), -EPIPE);
  EXPECT_EQ(s.send("x", 1, 0), -EPIPE);
  EXPECT_EQ(pair.from_app().producer.tail.load(), 0u);
}

// A peer that does not read makes a write wait, asleep, however much there is room for.
TEST_F(HostilePeer, AWriteOfAllOrNothingSleepsUntilThereIsRoom) {
  Session& s = peer_session();
  auto& pair = daemon_->pair(0);
  const std::string half(pair.kFifo / 2, 'a'), more(pair.kFifo / 2 + 1, 'b');
  EXPECT_EQ(s.send(half.data(), half.size(), 0), static_cast<ssize_t>(half.size()));
  before_sleep = [&] {
    before_sleep = nullptr;
    svm::AppFifoConsumer fifo(pair.from_app(), pair.table, pair.kFifo);
    (void)fifo.refresh();
    fifo.drop(fifo.refresh());
    if (fifo.should_notify()) pair.ring();
  };
  const iovec v{const_cast<char*>(more.data()), more.size()};
  EXPECT_EQ(s.send_all_or_nothing({&v, 1}), static_cast<ssize_t>(more.size()));
}

// Where else in this process the memory at `p`, of a memfd, is mapped.
std::byte* other_mapping(const void* p) {
  struct Mapping {
    uintptr_t from, to;
    unsigned long offset, inode;
  };
  std::vector<Mapping> all;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    Mapping m{};
    if (std::sscanf(line.c_str(), "%lx-%lx %*s %lx %*s %lu", &m.from, &m.to, &m.offset, &m.inode) ==
        4)
      all.push_back(m);
  }
  const auto at = reinterpret_cast<uintptr_t>(p);
  for (const Mapping& one : all)
    for (const Mapping& other : all) {
      if (at < one.from || at >= one.to || one.inode == 0) continue;
      const uintptr_t offset = at - one.from + one.offset;
      if (other.inode == one.inode && other.from != one.from && offset >= other.offset &&
          offset - other.offset < other.to - other.from)
        return reinterpret_cast<std::byte*>(other.from + offset - other.offset);
    }
  return nullptr;
}

// Calls `then` after each store of this thread to the page at `at`, which it makes read-only: the
// store traps, is let through as a single step, and traps again behind it.
class AfterEachStore {
 public:
  AfterEachStore(std::byte* at, std::function<void()> then)
      : page_(reinterpret_cast<std::byte*>(reinterpret_cast<uintptr_t>(at) & ~uintptr_t{4095})),
        then_(std::move(then)) {
    active = this;
    struct sigaction a {};
    a.sa_flags = SA_SIGINFO;
    a.sa_sigaction = [](int, siginfo_t*, void* context) {
      active->open(true);
      flags(context) |= kSingleStep;
    };
    sigaction(SIGSEGV, &a, &plain_[0]);
    a.sa_sigaction = [](int, siginfo_t*, void* context) {
      flags(context) &= ~kSingleStep;
      ++active->stores;
      active->then_();
      active->open(false);
    };
    sigaction(SIGTRAP, &a, &plain_[1]);
    open(false);
  }
  ~AfterEachStore() {
    open(true);
    sigaction(SIGSEGV, &plain_[0], nullptr);
    sigaction(SIGTRAP, &plain_[1], nullptr);
  }
  int stores = 0;

 private:
  static constexpr greg_t kSingleStep = 0x100;
  static greg_t& flags(void* context) {
    return static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_EFL];
  }
  void open(bool writable) { mprotect(page_, 4096, writable ? PROT_READ | PROT_WRITE : PROT_READ); }

  static inline AfterEachStore* active = nullptr;
  std::byte* page_;
  std::function<void()> then_;
  struct sigaction plain_[2] = {};
};

// One that has written more whenever this side has asked to be told of more.
TEST_F(HostilePeer, WhoWritesAtEachLookDoesNotHoldUpAPoll) {
  Session& s = peer_session();
  auto& pair = daemon_->pair(0);
  s.rcv_lowat = pair.kFifo;  // so that it is not ready either
  std::byte* line = other_mapping(&pair.to_app().consumer);
  ASSERT_NE(line, nullptr);
  for (const bool edge : {false, true}) {
    AfterEachStore peer(line, [&] { pair.send("x"); });
    (void)s.poll(POLLIN, edge);
    EXPECT_GE(peer.stores, 2);  // it has looked more than once
    EXPECT_LT(peer.stores, 100);
  }
  EXPECT_EQ(s.state(), Session::State::kOpen);
  s.rcv_lowat = 1;
  EXPECT_NE(s.poll(POLLIN, false) & POLLIN, 0u);
  EXPECT_NE(receive(s), "");
}

// What a thread waits for, with a peer that rings whenever the thread has taken all rings and has
// not looked again: as one does that rings without end.
class Rung final : public Object {
 public:
  Rung(svm::BellRow& row, const bool& is_ready)
      : Object(Kind::kSession), row_(row), is_ready_(is_ready) {}
  uint32_t poll(uint32_t wanted, bool) override {
    if (++looks > 1000) return wanted;
    row_.bits[0].store(~uint64_t{0});
    row_.summary.store(1);
    return is_ready_ ? wanted : 0;
  }
  int looks = 0;

 private:
  void retire() override {}
  svm::BellRow& row_;
  const bool& is_ready_;
};

// Bits cost a peer nothing, and a look costs us more: at last it must make a system call for each.
TEST_F(HostilePeer, WhoRingsWithoutEndDoesNotKeepAThreadAwake) {
  (void)peer_session();
  auto& pair = daemon_->pair(0);
  bool is_ready = false;
  Rung rung(pair.row(), is_ready);
  int sleeps = 0;
  before_sleep = [&] {
    is_ready = ++sleeps == 3;
    (void)!::write(pair.doorbell[1], "", 1);
  };
  EXPECT_EQ(worker_->wait(rung, POLLIN, sys::kForever), 0);
  EXPECT_EQ(sleeps, 3);
  EXPECT_LT(rung.looks, 50);
}

// And what comes while it does is not missed.
TEST_F(HostilePeer, BytesOfOneThatRingsWithoutEndArrive) {
  Session& s = peer_session();
  auto& pair = daemon_->pair(0);
  std::atomic<bool> is_over{false};
  std::thread ringer([&] {
    auto& row = pair.row();
    while (!is_over) {
      row.bits[0].store(~uint64_t{0});
      row.summary.store(1);
    }
  });
  for (int i = 0; i < 200; ++i) {
    before_sleep = [&] {
      before_sleep = nullptr;
      pair.send("x");
    };
    char c;
    EXPECT_EQ(s.receive(&c, 1, 0), 1);
  }
  is_over = true;
  ringer.join();
}

// It says which of its workers is to be woken. One that there is not has no doorbell: the daemon is
// not asked for it at the peer's pace, but told to wake the session's owner.
TEST_F(HostilePeer, AnOwnerThatIsNobodyDoesNotCostARequestEach) {
  Session& s = peer_session();
  auto& pair = daemon_->pair(0);
  daemon_->refuse_doorbells();
  pair.shared->ends[1].owner.store(5);
  svm::AppFifoConsumer fifo(pair.from_app(), pair.table, pair.kFifo);
  for (int i = 0; i < 200; ++i) {
    (void)fifo.refresh();
    fifo.drop(fifo.refresh());
    (void)fifo.arm();
    pair.bell->rows[1][5].sleeping.store(1);
    ASSERT_EQ(s.send("x", 1, 0), 1);
    EXPECT_EQ(pair.bell->rows[1][5].sleeping.load(), 1u) << "it is still to be woken";
  }
  EXPECT_GE(daemon_->doorbells_asked(), 1u);
  EXPECT_LT(daemon_->doorbells_asked(), 100u);  // one a second
}

TEST_F(HostilePeer, AnyBytes) {
  Session& good = connect(7);
  std::string data(8000, 'd');
  uint64_t failed = 0, bytes = 0;
  for (uint64_t life = 0; life < 300; ++life) {
    std::mt19937_64 rng(life);
    Session& s = peer_session();
    auto& pair = daemon_->pair(life);
    const auto number = pair.session;
    for (int i = 0; i < 60; ++i) {
      if (rng() % 2) pair.send(std::string(rng() % 5000, 'p'));
      FifoShared& f = rng() % 2 ? pair.from_app() : pair.to_app();
      const uint64_t values[] = {0,
                                 rng(),
                                 rng() % 70'000,
                                 f.producer.tail.load() + rng() % 9 - 4,
                                 f.consumer.head.load() + rng() % 9 - 4,
                                 svm::make_ref(pair.chunks->id(), (1 + rng() % 40) << 12),
                                 svm::make_ref(static_cast<uint32_t>(rng() % 200), 4096),
                                 f.producer.oldest_chunk};
      const uint64_t value = values[rng() % std::size(values)];
      void* where = nullptr;
      switch (rng() % 6) {
        case 0:
        case 1:
        case 2:
          where = reinterpret_cast<uint32_t*>(&f) + rng() % (sizeof f / 4 - 1);
          break;
        case 3:
          where = reinterpret_cast<uint32_t*>(pair.shared) + rng() % 32;  // the owners
          break;
        case 4:
          where = reinterpret_cast<uint32_t*>(&pair.row()) + rng() % 34;
          break;
        default:
          where = pair.chunks->base() + ((1 + rng() % 40) << 12) + 4 * (rng() % 5);
          break;
      }
      if (rng() % 3 == 0) std::memcpy(where, &value, rng() % 2 ? 4 : 8);
      ssize_t n = 0;
      switch (rng() % 6) {
        case 0:
          n = s.send(data.data(), rng() % data.size(), MSG_DONTWAIT);
          break;
        case 1:
          n = s.receive(data.data(), rng() % data.size(), MSG_DONTWAIT);
          bytes += n > 0 ? static_cast<uint64_t>(n) : 0;
          break;
        case 2: {
          s.set_nonblocking(true);
          svm::ByteView views[4];
          uint32_t k = 0;
          n = s.read_views(views, static_cast<uint32_t>(rng() % 9000), k);
          for (uint32_t v = 0; n > 0 && v < k; ++v) {
            ASSERT_FALSE(views[v].empty());
            bytes += static_cast<uint64_t>(views[v].front()) & 1;  // it can be read
            bytes += static_cast<uint64_t>(views[v].back()) & 1;
          }
          s.release(static_cast<uint32_t>(rng() % 9000));
          break;
        }
        case 3:
          n = s.receive(data.data(), 100, MSG_DONTWAIT | MSG_PEEK);
          break;
        case 4:
          (void)s.poll(POLLIN | POLLOUT, rng() % 2);
          worker_->process_events();
          break;
        default:
          n = s.fill(rng() % 9000, MSG_DONTWAIT, [](std::span<svm::MutableByteView> views) {
            ssize_t filled = 0;
            for (auto& v : views) {
              std::memset(v.data(), 'f', v.size());
              filled += static_cast<ssize_t>(v.size());
            }
            return filled;
          });
          break;
      }
      if (n < 0 && n != -EAGAIN) {
        ++failed;
        break;
      }
    }
    sessions_.pop_back();
    s.unref();
    ASSERT_EQ(good.send("still", 5, 0), 5);
    ASSERT_EQ(daemon_->sent(0), "still");
    ASSERT_EQ(daemon_->inject(0, "here"), 4u);
    ASSERT_EQ(receive(good), "here");
    ASSERT_TRUE(daemon_->closed(number));
  }
  EXPECT_GT(failed, 20u);
  EXPECT_GT(bytes, 100'000u);
}

// What a daemon says that has lost its mind.
TEST_F(HostilePeer, AnyEvent) {
  Session& good = connect(7);
  std::mt19937_64 rng(1);
  for (int round = 0; round < 300; ++round) {
    Session* s = worker_->new_session(0, true, true);
    svm::Endpoint e{.is_ip4 = 1, .reserved = 0, .port = htons(FakeDaemon::kSilent), .ip = {10}};
    EXPECT_EQ(s->connect(e), -EINPROGRESS);
    for (int i = 0; i < 8; ++i) {
      std::byte payload[sizeof(svm::MqSlot::payload)];
      for (auto& b : payload) b = static_cast<std::byte>(rng() % 4 ? 0 : rng());
      const uint32_t context = static_cast<uint32_t>(2 + round);  // that of this connect
      if (rng() % 2) std::memcpy(payload, &context, 4);
      const uint64_t handle = good.handle() + rng() % 3;
      // Into memory that there is not: what is its own it may break as it likes.
      const svm::Ref refs[] = {0, rng(),
                               svm::make_ref(static_cast<uint32_t>(rng() % 64), 1ull << 39)};
      if (rng() % 2) std::memcpy(payload + 8, &handle, 8);
      if (rng() % 2) std::memcpy(payload + 16, &refs[rng() % std::size(refs)], 8);
      // Not that its own session is another one's.
      const uint32_t type = rng() % 8;
      if (type == static_cast<uint32_t>(svm::ToApp::kListenerClosed)) continue;
      daemon_->say(type, payload, sizeof payload);
      worker_->process_events();
      (void)s->poll(POLLIN | POLLOUT, false);
      char c;
      (void)s->receive(&c, 1, MSG_DONTWAIT);
      (void)s->send("x", 1, MSG_DONTWAIT);
    }
    s->unref();
  }
}

}  // namespace
}  // namespace loom::vcl
