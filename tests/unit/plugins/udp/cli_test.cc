// show udp ports, show udp stats.
#include "udp_bed.h"

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
