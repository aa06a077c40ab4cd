// Strangers at a control socket, who hold connections open or come again and again: whoever wants
// an interface gets it all the same.
#include "bed.h"

namespace loom::memif {
namespace {

// --- Whom it lets in, and who goes

TEST(Door, OfTheUidThatHasMostTheOldestGoes) {
  const auto who = [](std::vector<uid_t> strangers) { return Door::who_goes(strangers); };
  EXPECT_EQ(who({7, 7, 7}), 0u);
  EXPECT_EQ(who({1, 7, 7, 2}), 1u);
  EXPECT_EQ(who({1, 2, 7, 2, 7, 7, 1}), 2u);
  EXPECT_EQ(who({2, 7, 7, 2, 1}), 0u) << "of two that have as many, who has been there longest";
  EXPECT_EQ(who({1, 2, 3}), 0u);
}

TEST(Door, AUidHasAShareOfATick) {
  Door door;
  for (uint32_t i = 0; i < Door::kMostOfUid; ++i) EXPECT_TRUE(door.lets_in(7));
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(door.lets_in(7));
  EXPECT_TRUE(door.lets_in(8));
  EXPECT_FALSE(door.is_shut());
  EXPECT_EQ(door.n_let_in(), Door::kMostOfUid + 1);
  door.tick();
  EXPECT_TRUE(door.lets_in(7));
  EXPECT_EQ(door.n_let_in(), 1u);
}

TEST(Door, IsShutWhenMoreUidsThanOneHaveUsedUpATick) {
  Door door;
  for (uint32_t i = 0; i < Door::kMost; ++i) {
    EXPECT_FALSE(door.is_shut());
    EXPECT_TRUE(door.lets_in(i % 3));
  }
  EXPECT_TRUE(door.is_shut());
  door.tick();
  EXPECT_FALSE(door.is_shut());
}

// --- At the socket

struct AtTheDoor : ::testing::Test {
  void SetUp() override { master = &bed.master(); }
  // Connects, says nothing, and stays.
  Played& silent() {
    Played& p = *strangers.emplace_back(std::make_unique<Played>(bed));
    p.connect();
    return p;
  }
  // Connects and closes, so many times, faster than the daemon looks.
  void come_and_go(int n) {
    for (int i = 0; i < n; ++i) (void)connect_to(bed.file);
  }
  const Door& door() { return bed.memifs->sockets().at(1).door; }

  Bed bed;
  Device* master = nullptr;
  std::vector<std::unique_ptr<Played>> strangers;
};

TEST_F(AtTheDoor, AUidIsWhoseProcessHasConnected) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
  const Channel one{UniqueFd(ends[0])}, other{UniqueFd(ends[1])};
  EXPECT_EQ(one.peer_uid(), geteuid());
  EXPECT_EQ(Channel().peer_uid(), 65534u);
}

TEST_F(AtTheDoor, TheOldestStrangerGoesForWhoComes) {
  for (std::size_t i = 0; i < Door::kMostStrangers; ++i)
    EXPECT_TRUE(silent().gets(MessageType::kHello)) << i;
  for (std::size_t i = 0; i < 2 * Door::kMostStrangers; ++i) {
    EXPECT_TRUE(silent().gets(MessageType::kHello)) << i;
    EXPECT_EQ(strangers[i]->goodbye(), "Too many connections") << i;
    const Played& next = *strangers[i + 1];
    EXPECT_FALSE(is_readable(next.channel.fd())) << i << ": only one goes";
  }
}

TEST_F(AtTheDoor, WhoHasSaidWhomItWantsIsNoStranger) {
  PlayedSlave slave(bed);
  ASSERT_TRUE(slave.say_init());
  for (std::size_t i = 0; i < 2 * Door::kMostStrangers; ++i) silent();
  slave.send(slave.add_region, slave.memory.get());
  EXPECT_TRUE(slave.gets(MessageType::kAck));
}

TEST_F(AtTheDoor, StrangersOfAnotherSocketAreNotCounted) {
  bed.h.ok("create memif socket id 4 filename " + bed.file + ".4");
  bed.h.ok("create interface memif socket-id 4 id 0 master");
  std::vector<Channel> elsewhere;
  for (std::size_t i = 0; i < Door::kMostStrangers; ++i) {
    elsewhere.emplace_back(must(connect_to(bed.file + ".4")));
    bed.h.settle();
  }
  for (std::size_t i = 0; i < Door::kMostStrangers; ++i) silent();
  for (const Channel& c : elsewhere) {
    Message m;
    UniqueFd fd;
    EXPECT_EQ(c.receive(m, fd), Received::kMessage);
    EXPECT_EQ(c.receive(m, fd), Received::kNothing) << "none has to go";
  }
}

// They fill all places before each tick, and after it.
TEST_F(AtTheDoor, SilentStrangersKeepNobodyOut) {
  const auto fill = [&] {
    for (std::size_t i = 0; i < Door::kMostStrangers; ++i) silent();
  };
  fill();
  Device& slave = bed.slave();
  for (int i = 0; i < 2 && !bed.is_up(slave); ++i) {
    fill();
    bed.ticks(1);
  }
  EXPECT_TRUE(bed.is_up(slave)) << slave.last_reason;
  EXPECT_TRUE(bed.is_up(*master));
}

TEST_F(AtTheDoor, WhoComesAndGoesInALoopKeepsNobodyOut) {
  come_and_go(100);
  Device& slave = bed.slave();
  for (int i = 0; i < 2 && !bed.is_up(slave); ++i) {
    come_and_go(100);
    bed.ticks(1);
  }
  EXPECT_TRUE(bed.is_up(slave)) << slave.last_reason;
}

TEST_F(AtTheDoor, MoreThanAShareIsSentAway) {
  for (uint32_t i = 1; i <= Door::kMostOfUid; ++i) {
    Played comes(bed);
    comes.connect();
    EXPECT_TRUE(comes.gets(MessageType::kHello));
    EXPECT_EQ(door().n_let_in(), i);
  }
  EXPECT_EQ(silent().goodbye(), "Too many connections");
  EXPECT_FALSE(bed.rests()) << "others may come";
  bed.ticks(1);
  EXPECT_EQ(door().n_let_in(), 0u);
  EXPECT_TRUE(silent().gets(MessageType::kHello));
  EXPECT_EQ(door().n_let_in(), 1u);
}

TEST_F(AtTheDoor, TheListenerRestsWhenOthersHaveUsedUpTheTick) {
  for (uint32_t i = 0; i < Door::kMost; ++i)
    EXPECT_TRUE(const_cast<Door&>(door()).lets_in(geteuid() + 1 + i % 2));
  const Channel late(must(connect_to(bed.file)));
  bed.h.settle();  // ends: nobody looks at what stays readable
  EXPECT_TRUE(bed.rests());
  EXPECT_FALSE(is_readable(late.fd()));
  bed.ticks(1);
  EXPECT_FALSE(bed.rests());
  EXPECT_TRUE(is_readable(late.fd())) << "greeted";
}

}  // namespace
}  // namespace loom::memif
