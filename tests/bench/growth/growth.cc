// How long a worker stands still while its pools grow: each of N objects is taken, one after the
// other, and every single step is timed. What is grown grows at the same step in every run, and
// what disturbs the machine does not, so a step's time is its shortest in --runs runs; printed is
// the longest step, and how much of that time the thread was on a processor: far less, and it was
// the machine that had something else to do. And what a look at one of them costs, in no order,
// once all are there; with small pages only, too, for comparison. Built with -DHOSTLOOM_BENCH=ON.
//
//     build/bin/bench_growth [objects [runs]]
#include <sys/prctl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <vector>

#include "session/flow_tables.h"
#include "session/impl.h"
#include "session/session.h"
#include "tcp/connection.h"

namespace loom {
namespace {

using Clock = std::chrono::steady_clock;

// Of this thread, on a processor.
int64_t cpu_ns() noexcept {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

struct Time {
  uint32_t ns = ~0u, cpu_ns = 0;
};
uint32_t in_word(int64_t ns) noexcept { return static_cast<uint32_t>(std::min<int64_t>(ns, ~0u)); }

struct Step {
  std::size_t at = 0;
  Time time{.ns = 0};
};

// `make()` gives a fresh subject, whose call operator does step i.
template <class Make>
void measure(const char* what, std::size_t n, int runs, Make make) {
  std::vector<Time> least(n);
  for (int run = 0; run < runs; ++run) {
    auto step = make();
    for (std::size_t i = 0; i < n; ++i) {
      const int64_t cpu_from = cpu_ns();
      const auto from = Clock::now();
      (*step)(i);
      const uint32_t ns = in_word(std::chrono::nanoseconds(Clock::now() - from).count());
      if (ns < least[i].ns) least[i] = {ns, in_word(cpu_ns() - cpu_from)};
    }
  }
  Step longest;
  uint64_t total = 0;
  for (std::size_t i = 0; i < n; ++i) {
    total += least[i].ns;
    if (least[i].ns > longest.time.ns) longest = {i, least[i]};
  }
  std::printf("%-28s %8.0f %12.1f %12.1f %12zu\n", what,
              static_cast<double>(total) / static_cast<double>(n), longest.time.ns / 1e3,
              longest.time.cpu_ns / 1e3, longest.at);
}

// Nanoseconds for a visit to one of n objects, the next one depending on it.
template <class Subject>
double visit(std::size_t n, int runs) {
  Subject all;
  for (std::size_t i = 0; i < n; ++i) all(i);
  constexpr std::size_t kVisits = 2'000'000;
  double least = 1e9;
  for (int run = 0; run < runs; ++run) {
    uint64_t at = 1;
    const auto from = Clock::now();
    for (std::size_t i = 0; i < kVisits; ++i)
      at = at * 6364136223846793005 + 1442695040888963407 +
           all.look(static_cast<uint32_t>((at >> 32) * n >> 32));
    const std::chrono::duration<double, std::nano> took = Clock::now() - from;
    if (at == 0) std::puts("");  // so that it is computed
    least = std::min(least, took.count() / kVisits);
  }
  return least;
}

template <class Subject>
void visits(const char* what, std::size_t n, int runs) {
  prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
  const double small = visit<Subject>(n, runs);
  prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0);
  const double huge = visit<Subject>(n, runs);
  std::printf("%-28s %8.1f %12.1f\n", what, huge, small);
}

struct Sessions {
  session::SessionPool pool;
  void operator()(std::size_t) { (void)pool.alloc(); }
  uint64_t look(uint32_t i) { return pool.at(i).generation; }
};

struct Connections {
  tcp::Pool<tcp::Connection, tcp::IdKind::kConnection> pool{~0u};
  void operator()(std::size_t) { (void)pool.alloc(); }
  uint64_t look(uint32_t i) { return pool.at(i)->snd_una.raw(); }
};

// As many buckets as the daemon has without a word in its configuration.
struct Flows {
  std::unique_ptr<session::FlowTables> tables;
  Flows() {
    auto made = session::FlowTables::create({});
    if (!made) std::abort();
    tables = std::move(*made);
  }
  void operator()(std::size_t i) {
    Endpoints e;
    e.local = *IpAddress::parse("10.0.0.1");
    e.local_port = 80;
    e.remote =
        IpAddress(Ip4Address::from_raw(byteswap(0x0a010000 + static_cast<uint32_t>(i >> 15))));
    e.remote_port = static_cast<uint16_t>(1024 + (i & 0x7fff));
    (void)tables->add(e, 6, FlowKind::kEstablished, 0, static_cast<ConnId>(i));
  }
};

// Of sessions whose fifos hold chunks.
struct Holding {
  decltype(session::SessionWorker::holding) list;
  void operator()(std::size_t i) { list.push_back(i); }
};

}  // namespace
}  // namespace loom

int main(int argc, char** argv) {
  using namespace loom;
  const std::size_t n = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 1'000'000;
  const int runs = argc > 2 ? std::atoi(argv[2]) : 5;
  if (n == 0 || runs <= 0) {
    std::fprintf(stderr, "usage: bench_growth [objects [runs]]\n");
    return 2;
  }
  std::printf("%-28s %8s %12s %12s %12s\n", "", "ns each", "longest, us", "on a CPU, us", "which");
  measure("sessions", n, runs, [] { return std::make_unique<Sessions>(); });
  measure("TCP connections", n, runs, [] { return std::make_unique<Connections>(); });
  measure("lookup table, established", n, runs, [] { return std::make_unique<Flows>(); });
  measure("sessions that hold chunks", n, runs, [] { return std::make_unique<Holding>(); });
  std::printf("\n%-28s %8s %12s\n", "a look at one of them", "ns", "small pages");
  visits<Sessions>("sessions", n, runs);
  visits<Connections>("TCP connections", n, runs);
}
