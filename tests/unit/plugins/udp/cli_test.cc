// show udp ports, show udp stats.
#include <cstdlib>
#include <new>

#include "udp_bed.h"

namespace {
thread_local bool counts_allocations = false;
thread_local int n_allocations = 0;

void* counted(std::size_t n) noexcept {
  n_allocations += counts_allocations;
  return std::malloc(n);
}
}  // namespace

// NOLINTBEGIN: all of them, so that whoever replaces one (a sanitizer) replaces none.
void* operator new(std::size_t n) {
  void* p = counted(n);
  if (!p) throw std::bad_alloc();
  return p;
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return counted(n); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
// NOLINTEND

namespace loom::test {
namespace {

CliTable table_of(UdpBed& bed, const char* command) {
  const CliCommand& c = *bed.fake.commands.at(command);
  CliArgs none({}, 0);
  CliReply reply;
  EXPECT_TRUE(c.run(bed.fake.host, c.context, none, reply));
  const std::string_view word[] = {"loud"};
  CliArgs unknown(word, 0);
  CliReply nothing;
  EXPECT_FALSE(c.run(bed.fake.host, c.context, unknown, nothing));
  return std::get<CliTable>(reply.items().at(0));
}

TEST(UdpCli, PortsAreThoseOfSocketsWithoutAPeer) {
  UdpBed bed;
  const ConnId c = bed.bind(53);
  bed.connect(7);
  bed.options.reuseport = true;
  bed.bind(60);
  bed.bind(60);
  bed.receive({});
  bed.receive({});
  bed.send(c, "answer", bed.to(bed.remote(false), 9));
  bed.rx_answer = Status::kAgain;
  bed.receive({});
  using Row = std::vector<std::string>;
  const CliTable t = table_of(bed, "show udp ports");
  ASSERT_EQ(t.rows.size(), 2u);
  EXPECT_EQ(t.columns, (Row{"port", "sockets", "received", "sent", "rcvbuf-full"}));
  EXPECT_EQ(t.rows[0], (Row{"53", "1", "2", "1", "1"}));
  EXPECT_EQ(t.rows[1], (Row{"60", "2", "0", "0", "0"}));
}

// While a worker is visited, packets wait for it.
TEST(UdpCli, TheVisitToAWorkerAllocatesNothing) {
  HostOps ops;  // for the bed as long as it lives
  UdpBed bed;
  for (uint16_t port = 1000; port < 1200; ++port) bed.bind(port);
  static decltype(HostOps::run_on_worker) visit;
  ops = *bed.fake.host.ops;
  visit = ops.run_on_worker;
  ops.run_on_worker = [](Host& h, uint32_t i, void (*fn)(Worker&, void*), void* arg) {
    counts_allocations = true;
    visit(h, i, fn, arg);
    counts_allocations = false;
  };
  bed.fake.host.ops = &ops;
  n_allocations = 0;
  EXPECT_EQ(table_of(bed, "show udp ports").rows.size(), 200u);
  EXPECT_EQ(n_allocations, 0);
}

TEST(UdpCli, StatsCountWhatEachWorkerHas) {
  UdpBed bed;
  bed.bind(53);
  bed.bind(54);
  bed.connect(7);
  const IpAddress there = bed.remote(false);
  udp::udp_worker(bed.fake.worker)
      .destinations.get(there, 0, bed.fake.worker.now)
      .learn(1300, bed.fake.worker.now);
  const CliTable t = table_of(bed, "show udp stats");
  ASSERT_EQ(t.rows.size(), 4u);
  EXPECT_EQ(t.rows[0][1], "2");
  EXPECT_EQ(t.rows[1][1], "1");
  EXPECT_EQ(t.rows[2][1], "0");
  EXPECT_EQ(t.rows[3][1], "1");
}

}  // namespace
}  // namespace loom::test
