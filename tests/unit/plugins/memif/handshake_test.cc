// The control socket, against slaves and masters that keep to no rule: each is told why it has to
// go, and whoever comes next is served.
#include "bed.h"

namespace loom::memif {
namespace {

using ::testing::HasSubstr;

struct Handshake : ::testing::Test {
  Bed bed;
  // Whatever has been before, a slave that does everything right is welcome.
  void expect_open() {
    PlayedSlave good(bed);
    EXPECT_TRUE(good.say_all());
    EXPECT_TRUE(bed.is_up(bed.device("memif1/0")));
  }
};

TEST_F(Handshake, MakesALink) {
  Device& d = bed.master();
  EXPECT_FALSE(bed.is_up(d));
  PlayedSlave slave(bed);
  ASSERT_TRUE(slave.say_all());
  EXPECT_TRUE(bed.is_up(d));
  EXPECT_EQ(d.peer_name, "played");
  EXPECT_EQ(d.peer_interface, "played0");
  slave.channel = Channel();
  bed.h.settle();
  EXPECT_FALSE(bed.is_up(d));
  EXPECT_EQ(d.last_reason, "the peer has gone");
}

TEST_F(Handshake, TheGreetingSaysWhatTheMastersOfTheSocketHave) {
  bed.master("rx-queues 3 ring-size 512");
  bed.h.ok("create interface memif socket-id 1 id 7 master tx-queues 2 ring-size 256");
  bed.h.ok("create interface memif socket-id 2 id 7 slave tx-queues 9 ring-size 4096");
  bed.h.ok("create memif socket id 4 filename " + bed.file + ".4");
  bed.h.ok("create interface memif socket-id 4 id 7 master rx-queues 9 ring-size 4096");
  Played slave(bed);
  slave.connect();
  const Message m = slave.next();
  ASSERT_TRUE(m.is(MessageType::kHello));
  const Hello h = m.hello;
  EXPECT_EQ(h.min_version, 0x200);
  EXPECT_EQ(h.max_version, 0x200);
  EXPECT_EQ(h.max_s2m_ring, 2);
  EXPECT_EQ(h.max_m2s_ring, 1);
  EXPECT_EQ(h.max_region, 255);
  EXPECT_EQ(h.max_log2_ring_size, 9);
}

TEST_F(Handshake, WhatTheGreetingSaysHolds) {
  bed.master("ring-size 16");
  for (const int i : {0, 1}) {
    PlayedSlave large(bed);
    ASSERT_TRUE(large.say_region());
    large.add_ring[i].add_ring.log2_ring_size = 5;
    large.send(large.add_ring[i], large.events[i].get());
    EXPECT_EQ(large.goodbye(), "Ring is too large");
    PlayedSlave many(bed);
    ASSERT_TRUE(many.say_rings());
    many.add_ring[i].add_ring.index = 1;
    many.send(many.add_ring[i], many.events[i].get());
    EXPECT_EQ(many.goodbye(), "Invalid ring index");
  }
  expect_open();
}

TEST_F(Handshake, SecretsAreComparedWhole) {
  bed.master("secret abcdefghijklmnopqrstuvwx");
  for (const char* wrong : {"", "a", "abcdefghijklmnopqrstuvw", "abcdefghijklmnopqrstuvwy"}) {
    PlayedSlave slave(bed);
    std::strncpy(slave.init.init.secret, wrong, kSecretSize);
    ASSERT_TRUE(slave.greet());
    slave.send(slave.init);
    EXPECT_EQ(slave.goodbye(), "Incorrect secret") << wrong;
  }
  PlayedSlave slave(bed);
  std::memcpy(slave.init.init.secret, "abcdefghijklmnopqrstuvwx", kSecretSize);
  EXPECT_TRUE(slave.say_all());
}

TEST_F(Handshake, AnInitThatIsWrongIsRefused) {
  bed.master();
  const std::pair<const char*, void (*)(Init&)> cases[] = {
      {"Incompatible version", [](Init& i) { i.version = 0x300; }},
      {"ID not found", [](Init& i) { i.id = 1; }},
      {"Mode mismatch", [](Init& i) { i.mode = 1; }},
      {"Mode mismatch", [](Init& i) { i.mode = 255; }},
  };
  for (const auto& [reason, spoil] : cases) {
    PlayedSlave slave(bed);
    spoil(slave.init.init);
    ASSERT_TRUE(slave.greet());
    slave.send(slave.init);
    EXPECT_EQ(slave.goodbye(), reason);
  }
  expect_open();
}

TEST_F(Handshake, OneSlaveAnInterface) {
  Device& d = bed.master();
  PlayedSlave first(bed), second(bed);
  ASSERT_TRUE(first.say_init());
  ASSERT_TRUE(second.greet());
  second.send(second.init);
  EXPECT_EQ(second.goodbye(), "Already connected");
  bed.up("memif1/0", false);
  EXPECT_EQ(first.goodbye(), "interface is down");
  PlayedSlave third(bed);
  ASSERT_TRUE(third.greet());
  third.send(third.init);
  EXPECT_EQ(third.goodbye(), "interface is down");
  bed.up("memif1/0");
  EXPECT_FALSE(bed.is_up(d));
  expect_open();
}

TEST_F(Handshake, ARegionThatIsWrongIsRefused) {
  bed.master();
  const auto refused = [&](auto spoil) {
    PlayedSlave slave(bed);
    UniqueFd other;
    int fd = slave.memory.get();
    spoil(slave.add_region.add_region, fd, other);
    EXPECT_TRUE(slave.say_init());
    slave.send(slave.add_region, fd);
    return slave.goodbye();
  };
  using R = AddRegion;
  EXPECT_EQ(refused([](R&, int& fd, UniqueFd&) { fd = -1; }), "Missing region descriptor");
  EXPECT_EQ(refused([](R& r, int&, UniqueFd&) { r.index = 1; }), "Invalid region index");
  EXPECT_EQ(refused([](R& r, int&, UniqueFd&) { r.index = 0xffff; }), "Invalid region index");
  EXPECT_THAT(refused([](R& r, int&, UniqueFd&) { r.size = PlayedSlave::kSize + 1; }),
              HasSubstr("its file is smaller"));
  EXPECT_THAT(refused([](R& r, int&, UniqueFd&) { r.size = 0; }), HasSubstr("is smaller"));
  EXPECT_EQ(refused([](R& r, int&, UniqueFd&) { r.size = (1u << 30) + 1; }),
            "Regions are too large");
  EXPECT_EQ(refused([](R& r, int&, UniqueFd&) { r.size = ~uint64_t{0}; }), "Regions are too large");
  EXPECT_THAT(refused([](R&, int& fd, UniqueFd& other) {
                other = UniqueFd(::memfd_create("x", MFD_ALLOW_SEALING));
                EXPECT_EQ(ftruncate(other.get(), PlayedSlave::kSize), 0);
                fd = other.get();
              }),
              HasSubstr("not sealed against shrinking"));
  EXPECT_THAT(refused([](R&, int& fd, UniqueFd& other) {
                other = UniqueFd(eventfd(0, 0));
                fd = other.get();
              }),
              HasSubstr("not a memfd"));
  EXPECT_THAT(refused([](R&, int& fd, UniqueFd& other) {
                other = UniqueFd(open("/proc/self/exe", O_RDONLY));
                fd = other.get();
              }),
              HasSubstr("Region refused"));
  expect_open();
}

TEST_F(Handshake, RegionsHaveALimitTogether) {
  bed.master();
  PlayedSlave slave(bed);
  ASSERT_TRUE(slave.say_region());
  UniqueFd large(::memfd_create("x", MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(large.get(), 1 << 30), 0);
  ASSERT_EQ(fcntl(large.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
  Message m(MessageType::kAddRegion);
  m.add_region.index = 1;
  m.add_region.size = (1 << 30) - PlayedSlave::kSize;
  slave.send(m, large.get());
  ASSERT_TRUE(slave.gets(MessageType::kAck));
  m.add_region.index = 2;
  m.add_region.size = 1;
  slave.send(m, large.get());
  EXPECT_EQ(slave.goodbye(), "Regions are too large");
}

TEST_F(Handshake, ARingThatIsWrongIsRefused) {
  bed.master();
  const auto refused = [&](int i, auto spoil) {
    PlayedSlave slave(bed);
    int fd = slave.events[i].get();
    spoil(slave.add_ring[i].add_ring, fd);
    EXPECT_TRUE(slave.say_region());
    slave.send(slave.add_ring[i], fd);
    return slave.goodbye();
  };
  using R = AddRing;
  for (const int i : {0, 1}) {
    EXPECT_EQ(refused(i, [](R&, int& fd) { fd = -1; }), "Missing interrupt descriptor");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.index = 1; }), "Invalid ring index");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.region = 1; }), "Ring in an unknown region");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.offset = 4; }), "Ring is not aligned");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.offset = PlayedSlave::kSize - 8; }),
              "Ring leads out of its region");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.offset = ~7u; }), "Ring leads out of its region");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.log2_ring_size = 10; }),
              "Ring leads out of its region");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.log2_ring_size = 11; }), "Ring is too large");
    EXPECT_EQ(refused(i, [](R& r, int&) { r.log2_ring_size = 255; }), "Ring is too large");
  }
  EXPECT_EQ(refused(1, [](R&, int& fd) { fd = 0; }), "Interrupt descriptor is no eventfd");
  expect_open();
}

TEST_F(Handshake, WhatWakesUsMustBeAnEventfd) {
  bed.master();
  PlayedSlave slave(bed);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  slave.events[0] = UniqueFd(ends[0]);
  const UniqueFd other(ends[1]);
  ASSERT_TRUE(slave.say_rings());
  slave.send(slave.done);
  EXPECT_EQ(slave.goodbye(), "Interrupt descriptor is no eventfd");
  EXPECT_FALSE(bed.is_up(bed.device("memif1/0")));
  expect_open();
}

TEST_F(Handshake, AConnectThatIsTooEarlyOrToNothingIsRefused) {
  bed.master();
  {
    PlayedSlave slave(bed);
    ASSERT_TRUE(slave.say_region());
    slave.send(slave.done);
    EXPECT_EQ(slave.goodbye(), "No rings both ways");
  }
  for (const int i : {0, 1}) {
    PlayedSlave slave(bed);
    slave.ring(i)->cookie = 1;
    ASSERT_TRUE(slave.say_rings());
    slave.send(slave.done);
    EXPECT_EQ(slave.goodbye(), "Wrong ring cookie");
  }
  expect_open();
}

TEST_F(Handshake, MessagesOutOfTurnEndIt) {
  bed.master();
  bool (PlayedSlave::*const states[])() = {&PlayedSlave::greet, &PlayedSlave::say_init,
                                           &PlayedSlave::say_rings, &PlayedSlave::say_all};
  for (int state = 0; state < 4; ++state)
    for (uint16_t type = 0; type < 12; ++type) {
      const auto t = static_cast<MessageType>(type);
      if (t == MessageType::kDisconnect || (state == 0 && t == MessageType::kInit)) continue;
      // Those are in turn, with something wrong in them.
      if ((state == 1 || state == 2) && t >= MessageType::kAddRegion && t <= MessageType::kConnect)
        continue;
      PlayedSlave slave(bed);
      ASSERT_TRUE((slave.*states[state])());
      slave.send(Message(t));
      EXPECT_EQ(slave.goodbye(), "Unexpected message") << state << " " << type;
    }
  expect_open();
}

TEST_F(Handshake, AMessageOfAnotherSizeEndsIt) {
  bed.master();
  for (const std::size_t n : {1, 127, 129, 4000}) {
    PlayedSlave slave(bed);
    ASSERT_TRUE(slave.say_init());
    const std::string bytes(n, 3);
    ASSERT_EQ(::send(slave.channel.fd(), bytes.data(), n, 0), static_cast<ssize_t>(n));
    bed.h.settle();
    EXPECT_EQ(slave.goodbye(), "Invalid message size");
  }
  expect_open();
}

TEST_F(Handshake, ADisconnectIsTakenAtItsWord) {
  Device& d = bed.master();
  PlayedSlave slave(bed);
  ASSERT_TRUE(slave.say_all());
  Message m(MessageType::kDisconnect);
  std::memset(m.disconnect.reason, '\n', sizeof m.disconnect.reason);  // no zero at the end
  slave.send(m);
  EXPECT_FALSE(bed.is_up(d));
  EXPECT_EQ(d.last_reason, "the peer says: " + std::string(96, '?'));
  expect_open();
}

TEST_F(Handshake, WhoSaysNothingIsLeftAfterAWhile) {
  bed.master();
  PlayedSlave mute(bed), slow(bed);
  ASSERT_TRUE(mute.greet());
  ASSERT_TRUE(slow.say_region());
  bed.ticks(20);
  EXPECT_FALSE(mute.gets(MessageType::kDisconnect));
  bed.ticks(1);
  EXPECT_EQ(mute.goodbye(), "Handshake takes too long");
  EXPECT_EQ(slow.goodbye(), "Handshake takes too long");
  expect_open();
}

TEST_F(Handshake, DescriptorsThatNobodyAskedForAreClosed) {
  bed.master();
  for (const std::size_t n : {1, 2, 3, 4, 100, 253}) {
    PlayedSlave slave(bed);
    ASSERT_TRUE(slave.greet());
    const auto before = n_open();
    slave.send_with(slave.init, std::vector<int>(n, slave.memory.get()));
    EXPECT_TRUE(slave.gets(MessageType::kAck));
    EXPECT_EQ(n_open(), before) << n;
  }
}

TEST_F(Handshake, OfSeveralDescriptorsTheFirstCounts) {
  bed.master();
  PlayedSlave slave(bed);
  ASSERT_TRUE(slave.say_init());
  const auto before = n_open();
  slave.send_with(slave.add_region, {slave.memory.get(), slave.events[0].get()});
  EXPECT_TRUE(slave.gets(MessageType::kAck));
  EXPECT_EQ(n_open(), before);
}

// --- Masters

TEST_F(Handshake, ASlaveOffersWhatTheMasterAllows) {
  Played master(bed);
  master.listen();
  bed.slave("rx-queues 4 tx-queues 4 ring-size 1024");
  ASSERT_TRUE(master.accept());
  Message hello = hello_message("m");
  hello.hello.max_s2m_ring = 1;
  hello.hello.max_m2s_ring = 0;
  hello.hello.max_log2_ring_size = 3;
  master.send(hello);
  ASSERT_TRUE(master.gets(MessageType::kInit));
  master.send(Message(MessageType::kAck));
  ASSERT_TRUE(master.gets(MessageType::kAddRegion));
  EXPECT_TRUE(master.fd);
  for (const uint16_t flags : {kAddRingS2m, kAddRingS2m, uint16_t{0}}) {
    master.send(Message(MessageType::kAck));
    const Message m = master.next();
    ASSERT_TRUE(m.is(MessageType::kAddRing));
    EXPECT_EQ(uint16_t{m.add_ring.flags}, flags);
    EXPECT_EQ(m.add_ring.log2_ring_size, 3);
    EXPECT_TRUE(master.fd);
  }
  master.send(Message(MessageType::kAck));
  ASSERT_TRUE(master.gets(MessageType::kConnect));
  EXPECT_FALSE(bed.is_up(bed.device("memif2/0")));
  master.send(Message(MessageType::kConnected));
  EXPECT_TRUE(bed.is_up(bed.device("memif2/0")));
}

TEST_F(Handshake, AMasterThatIsWrongIsLeft) {
  Played master(bed);
  master.listen();
  bed.slave();
  const auto left = [&](const std::vector<Message>& says) {
    for (int i = 0; !master.accept() && i < 10; ++i) bed.ticks(1);
    for (std::size_t i = 0; i < says.size(); ++i) {
      if (i != 0) master.next();
      master.send(says[i]);
    }
    return master.goodbye();
  };
  Message old = hello_message("m"), young = old;
  old.hello.min_version = old.hello.max_version = 0x100;
  young.hello.min_version = young.hello.max_version = 0x300;
  EXPECT_EQ(left({old}), "Incompatible version");
  EXPECT_EQ(left({young}), "Incompatible version");
  EXPECT_EQ(left({Message(MessageType::kAck)}), "Unexpected message");
  EXPECT_EQ(left({hello_message("m"), hello_message("m")}), "Unexpected message");
  EXPECT_EQ(left({hello_message("m"), Message(MessageType::kConnected)}), "Unexpected CONNECTED");
  const Message ack(MessageType::kAck);
  EXPECT_EQ(left({hello_message("m"), ack, ack, ack, ack, ack}), "Unexpected ACK");
}

TEST_F(Handshake, ASlaveComesAgain) {
  Device& d = bed.slave();
  EXPECT_THAT(d.last_reason, HasSubstr("No such file"));
  Played master(bed);
  master.listen();
  bed.ticks(8);
  ASSERT_TRUE(master.accept());
  master.channel = Channel();  // goes at once
  bed.h.settle();
  bed.ticks(8);
  EXPECT_TRUE(master.accept());
  bed.up("memif2/0", false);
  EXPECT_EQ(master.goodbye(), "interface is down");
  bed.ticks(20);
  EXPECT_FALSE(master.accept());
  bed.up("memif2/0");
  EXPECT_TRUE(master.accept());
}

}  // namespace
}  // namespace loom::memif
