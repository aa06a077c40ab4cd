// What peers can make the control thread do, and hold, is bounded however often they come.
#include <sys/resource.h>

#include <fstream>

#include "bed.h"

namespace loom::memif {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Burden : ::testing::Test {
  Bed bed;
  const Memifs::Socket& socket() { return bed.memifs->sockets().at(1); }
};

// Takes every descriptor that this process may have.
class Shortage {
 public:
  Shortage() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    rlimit few = before_;
    few.rlim_cur = 512;
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
    for (int fd; (fd = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) >= 0;) taken_.emplace_back(fd);
    EXPECT_EQ(errno, EMFILE);
  }
  ~Shortage() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
  std::vector<UniqueFd> taken_;
};

TEST_F(Burden, WithoutDescriptorsTheListenerRests) {
  bed.master();
  Played slave(bed);
  slave.channel = Channel(must(connect_to(bed.file)));
  {
    const Shortage none;
    bed.h.settle();  // ends: nobody looks at what stays readable
    EXPECT_EQ(socket().n_rests, 1u);
    bed.ticks(3);
    EXPECT_EQ(socket().n_rests, 4u);
  }
  EXPECT_THAT(bed.h.ok("show memif"), HasSubstr("4"));
  bed.ticks(1);
  EXPECT_TRUE(slave.gets(MessageType::kHello));
  const std::string says = "memif: socket 1 cannot accept: Too many open files\n";
  EXPECT_THAT(bed.h.log, HasSubstr(says));
  EXPECT_THAT(bed.h.log, Not(HasSubstr(says + says))) << "once";
}

TEST_F(Burden, AListenerThatRestsGoesWithItsInterface) {
  bed.master();
  const UniqueFd comes = must(connect_to(bed.file));
  {
    const Shortage none;
    bed.h.settle();
  }
  EXPECT_TRUE(bed.rests());
  bed.h.ok("delete interface memif memif1/0");
  bed.ticks(2);
  EXPECT_FALSE(socket().listener);
  bed.master();
  PlayedSlave good(bed);
  EXPECT_TRUE(good.say_all());
}

// Contexts of asynchronous reads, which the kernel maps into the process.
int n_contexts() {
  int n = 0;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) n += line.find("[aio]") != std::string::npos;
  return n;
}

struct ManyBells : PlayedSlave {
  using PlayedSlave::PlayedSlave;
  static constexpr uint16_t kRings = 64;
  // As many rings to send into, which may as well be one.
  bool say_many() {
    for (uint16_t i = 1; i < kRings; ++i) {
      add_ring[1].add_ring.index = i;
      send(add_ring[1], events[1].get());
      if (!gets(MessageType::kAck)) return false;
    }
    return true;
  }
};

TEST_F(Burden, WhoDoesNotConnectCostsNoContexts) {
  bed.master("tx-queues 64");
  const int before = n_contexts();
  for (int i = 0; i < 3; ++i) {
    ManyBells slave(bed);
    ASSERT_TRUE(slave.say_rings() && slave.say_many());
    EXPECT_EQ(n_contexts(), before);
  }
  bed.h.settle();
}

TEST_F(Burden, WhoComesAgainHasTheContextsOfTheTimeBefore) {
  Device& master = bed.master("tx-queues 64");
  int most = 0;
  for (int i = 0; i < 4; ++i) {
    {
      ManyBells slave(bed);
      ASSERT_TRUE(slave.say_rings() && slave.say_many());
      slave.send(slave.done);
      ASSERT_TRUE(slave.gets(MessageType::kConnected));
      if (i == 0) most = n_contexts();
      EXPECT_EQ(n_contexts(), most);
      EXPECT_GE(most, ManyBells::kRings);
      for (int n = 0; n < 5; ++n) {  // each time some are left in the context that is handed on
        slave.m2s().head = static_cast<uint16_t>(slave.m2s().tail + 16);
        bed.send(master, {packet(60)});
        eventfd_t rung = 0;
        ASSERT_EQ(eventfd_read(slave.events[1].get(), &rung), 0) << i << " " << n;
      }
    }
    bed.h.settle();
    EXPECT_EQ(n_contexts(), most) << "destroying one takes its time";
  }
}

// --- Descriptors that are closed

// A Host whose workers' barrier shows what is before it.
struct Barrier {
  explicit Barrier(Host& h) : host(h), before(h.ops), ops(*h.ops) {
    ops.run_on_worker = [](Host& of, uint32_t worker, void (*fn)(Worker&, void*), void* arg) {
      now->seen();
      now->before->run_on_worker(of, worker, fn, arg);
    };
    host.ops = &ops;
    now = this;
  }
  ~Barrier() { host.ops = before; }
  Host& host;
  const HostOps* before;
  HostOps ops;
  std::function<void()> seen;
  static inline Barrier* now = nullptr;
};

TEST_F(Burden, AWorkerHearsNothingOfADescriptorThatIsClosed) {
  Device& master = bed.master();
  auto slave = std::make_unique<PlayedSlave>(bed);
  ASSERT_TRUE(slave->say_all());
  RxQueue& q = *master.queues[0];
  const int fd = master.owned_link->rx[0]->event.get();
  Barrier barrier(bed.h.host());
  int n_seen = 0;
  barrier.seen = [&] {
    ++n_seen;
    EXPECT_EQ(master.link.load(), nullptr);
    EXPECT_GE(fcntl(fd, F_GETFD), 0) << "a worker may have it in its hand until the barrier";
    q.ear.consume();
    EXPECT_EQ(eventfd_write(slave->events[0].get(), 1), 0);
    EXPECT_FALSE(is_readable(q.ear.fd())) << "none learns of it any more";
  };
  slave->channel = Channel();
  bed.h.settle();
  EXPECT_EQ(n_seen, 1);
  EXPECT_LT(fcntl(fd, F_GETFD), 0);
}

TEST_F(Burden, NorOfOneWhoseLinkDidNotComeAbout) {
  Device& master = bed.master("rx-queues 2");
  PlayedSlave slave(bed);
  ASSERT_TRUE(slave.say_rings());
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  slave.add_ring[0].add_ring.index = 1;
  slave.send(slave.add_ring[0], pipe_ends[0]);
  ASSERT_TRUE(slave.gets(MessageType::kAck));
  Barrier barrier(bed.h.host());
  int n_seen = 0;
  barrier.seen = [&] {
    ++n_seen;
    master.queues[0]->ear.consume();
    EXPECT_EQ(eventfd_write(slave.events[0].get(), 1), 0);
    EXPECT_FALSE(is_readable(master.queues[0]->ear.fd()));
  };
  slave.send(slave.done);
  EXPECT_EQ(slave.goodbye(), "Interrupt descriptor is no eventfd");
  EXPECT_EQ(n_seen, 1);
  close(pipe_ends[0]);
  close(pipe_ends[1]);
}

}  // namespace
}  // namespace loom::memif
