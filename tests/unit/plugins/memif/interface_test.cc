// Interfaces: two ends in one daemon, peers that fail while packets flow, sleep and wake-up,
// commands and messages.
#include "bed.h"
#include "memif.api.h"
#include "system_calls.h"

namespace loom::memif {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct Interfaces : ::testing::Test {
  Bed bed;
  uint64_t counter(const std::string& name) { return bed.h.counter("memif-input/" + name); }
};

// A socket there that does not listen yet.
UniqueFd bound_at(const std::string& path) {
  UniqueFd fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path.data(), path.size());
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&a), sizeof a), 0) << strerror(errno);
  return fd;
}

TEST_F(Interfaces, TwoEndsFindEachOtherAndPacketsCross) {
  Device& master = bed.master();
  Device& slave = bed.slave();
  ASSERT_TRUE(bed.is_up(master));
  ASSERT_TRUE(bed.is_up(slave));
  EXPECT_EQ(slave.peer_interface, "memif1/0");
  EXPECT_EQ(master.peer_interface, "memif2/0");
  EXPECT_EQ(slave.peer_name, "Hostloom");
  const auto before = bed.received(master), before_slave = bed.received(slave);
  EXPECT_EQ(bed.send(slave, {packet(60), packet(1514), packet(9000)}), 3u);
  EXPECT_EQ(bed.send(master, {packet(61)}), 1u);
  EXPECT_EQ(bed.received(master).packets - before.packets, 3u);
  EXPECT_EQ(bed.received(master).bytes - before.bytes, 60u + 1514 + 9000);
  EXPECT_EQ(bed.received(slave).packets - before_slave.packets, 1u);
  EXPECT_GE(counter("received"), 4u);
}

TEST_F(Interfaces, AQueueThatIsPolledAsksTheKernelForNothing) {
  Device& master = bed.master();
  Device& slave = bed.slave();
  ASSERT_TRUE(bed.is_up(master));
  Worker& w = bed.h.worker();
  NodeRuntime& rt = w.node_runtime(bed.h.engine->find_node("memif-input"));
  const auto empty_rounds = [&] {
    return count_system_calls([&] {
      for (int i = 0; i < 100; ++i) rx(w, rt, &master, 0);
    });
  };
  EXPECT_GE(empty_rounds(), 3);  // every 32nd takes wake-ups back
  must(bed.h.net->set_rx_mode(master.index, RxMode::kPolling));
  EXPECT_EQ(empty_rounds(), 0);
  const uint64_t received = bed.received(master).packets;
  EXPECT_EQ(bed.send(slave, {packet(60)}), 1u);
  EXPECT_EQ(bed.received(master).packets, received + 1);
  EXPECT_EQ(empty_rounds(), 0);
  for (const auto& ring : master.owned_link->rx) EXPECT_TRUE(ring->is_masked);  // nor need the peer
  must(bed.h.net->set_rx_mode(master.index, RxMode::kAdaptive));
  bed.h.settle();
  for (const auto& ring : master.owned_link->rx) EXPECT_FALSE(ring->is_masked);
  EXPECT_EQ(bed.send(slave, {packet(61)}), 1u);
  EXPECT_EQ(bed.received(master).packets, received + 2);
}

TEST_F(Interfaces, ThePeerGoesAndComes) {
  Device& master = bed.master();
  Device& slave = bed.slave();
  for (int i = 0; i < 3; ++i) {
    bed.up("memif1/0", false);
    EXPECT_FALSE(bed.is_up(slave));
    EXPECT_EQ(slave.last_reason, "the peer says: interface is down");
    const uint64_t lost = slave.tx_counters.no_peer;
    EXPECT_EQ(bed.send(slave, {packet(60)}), 1u);
    EXPECT_EQ(slave.tx_counters.no_peer, lost + 1);
    bed.up("memif1/0");
    bed.ticks(16);
    EXPECT_TRUE(bed.is_up(slave));
    EXPECT_TRUE(bed.is_up(master));
    const uint64_t received = bed.received(master).packets;
    EXPECT_EQ(bed.send(slave, {packet(60)}), 1u);
    EXPECT_EQ(bed.received(master).packets, received + 1);
  }
  EXPECT_EQ(slave.n_connected, 4u);
  bed.h.ok("delete interface memif memif1/0");
  bed.h.settle();
  EXPECT_FALSE(bed.is_up(slave));
  EXPECT_EQ(slave.last_reason, "the peer says: interface deleted");
}

TEST_F(Interfaces, AllQueuesAreUsedAlsoWhenThePeerHasMoreOrFewer) {
  bed.h.ok("create interface memif socket-id 1 id 9 master rx-queues 5");  // greets for all
  Device& master = bed.master("rx-queues 2 tx-queues 3");
  Device& slave = bed.slave("rx-queues 1 tx-queues 5");
  ASSERT_TRUE(bed.is_up(slave));
  EXPECT_EQ(master.link.load()->rx.size(), 5u);
  EXPECT_EQ(master.link.load()->tx.size(), 1u);
  const uint64_t before = bed.received(master).packets, back = bed.received(slave).packets;
  for (uint16_t q = 0; q < 5; ++q) EXPECT_EQ(bed.send(slave, {packet(60, q)}, q), 1u);
  for (uint16_t q = 0; q < 3; ++q) EXPECT_EQ(bed.send(master, {packet(60, q)}, q), 1u);
  EXPECT_EQ(bed.received(master).packets - before, 5u);
  EXPECT_EQ(bed.received(slave).packets - back, 3u);
}

TEST_F(Interfaces, FaultsEndTheLinkWithAReasonAndACounter) {
  Device& master = bed.master();
  struct Case {
    const char *counter, *reason;
    void (*spoil)(PlayedSlave&);
  };
  const Case cases[] = {
      {"bad-cursor", "Ring cursor is beyond the ring", [](PlayedSlave& p) { p.s2m().head = 17; }},
      {"bad-chain", "Packet chain has no end",
       [](PlayedSlave& p) {
         p.s2m().descriptors[0].flags = kDescriptorNext;
         p.s2m().head = 1;
       }},
      {"bad-region", "Descriptor of an unknown region",
       [](PlayedSlave& p) {
         p.s2m().descriptors[0].region = 1;
         p.s2m().head = 1;
       }},
      {"bad-range", "Descriptor leads out of its region",
       [](PlayedSlave& p) {
         p.s2m().descriptors[0].offset = PlayedSlave::kSize;
         p.s2m().head = 1;
       }},
  };
  for (const Case& c : cases) {
    PlayedSlave peer(bed);
    ASSERT_TRUE(peer.say_all()) << c.counter;
    c.spoil(peer);
    peer.wake();
    EXPECT_EQ(peer.goodbye(), c.reason);
    EXPECT_FALSE(bed.is_up(master));
    EXPECT_EQ(master.last_reason, c.reason);
    EXPECT_EQ(counter(c.counter), 1u) << c.counter;
  }
  for (const int fault : {1, 3, 4, 5}) {
    PlayedSlave peer(bed);
    ASSERT_TRUE(peer.say_all()) << fault;
    peer.m2s().head = fault == 1 ? 17 : 16;
    Descriptor& d = peer.m2s().descriptors[0];
    if (fault == 3) d.region = 1;
    if (fault == 4) d.offset = PlayedSlave::kSize;
    if (fault == 5) d.length = 0;
    EXPECT_EQ(bed.send(master, {packet(60)}), 0u);
    EXPECT_EQ(peer.goodbye(), fault_reason(static_cast<Fault>(fault)));
    EXPECT_EQ(master.tx_counters.faults[fault], 1u);
  }
  PlayedSlave good(bed);
  EXPECT_TRUE(good.say_all());
}

TEST_F(Interfaces, WhatIsNoPacketIsCounted) {
  Device& master = bed.master();
  PlayedSlave peer(bed);
  ASSERT_TRUE(peer.say_all());
  peer.s2m().descriptors[0].length = 13;
  peer.s2m().head = 1;
  peer.wake();
  EXPECT_EQ(counter("runt"), 1u);
  EXPECT_EQ(bed.received(master).errors, 1u);
  EXPECT_EQ(peer.s2m().tail, 1);
  EXPECT_TRUE(bed.is_up(master));
}

// --- Sleep

TEST_F(Interfaces, WhoFindsNothingAsksToBeWokenAndWhoPollsDoesNot) {
  bed.master();
  PlayedSlave peer(bed);
  ASSERT_TRUE(peer.say_all());
  EXPECT_EQ(peer.s2m().flags, 0) << "there is nothing yet";
  const int fd = bed.device("memif1/0").queues[0]->ear.fd();
  EXPECT_FALSE(is_readable(fd));
  for (uint16_t i = 1; i < 100; ++i) {
    peer.s2m().descriptors[(i - 1) % PlayedSlave::kSlots].length = 60;
    __atomic_store_n(&peer.s2m().head, i, __ATOMIC_RELEASE);
    ASSERT_EQ(eventfd_write(peer.events[0].get(), 1), 0);
    EXPECT_TRUE(is_readable(fd));
    for (int round = 0; peer.s2m().tail != i && round < 3; ++round) bed.h.engine->step(0);
    ASSERT_EQ(peer.s2m().tail, i);
    EXPECT_EQ(peer.s2m().flags, kRingMaskInterrupt) << "it polls";
    bed.h.settle();
    EXPECT_EQ(peer.s2m().flags, 0);
    EXPECT_FALSE(is_readable(fd));
  }
}

TEST_F(Interfaces, APeerThatSleepsIsWoken) {
  Device& master = bed.master();
  PlayedSlave peer(bed);
  ASSERT_TRUE(peer.say_all());
  peer.m2s().head = 16;
  peer.m2s().flags = kRingMaskInterrupt;
  bed.send(master, {packet(60)});
  EXPECT_FALSE(is_readable(peer.events[1].get()));
  peer.m2s().flags = 0;
  bed.send(master, {packet(60), packet(60)});
  eventfd_t n = 0;
  ASSERT_EQ(eventfd_read(peer.events[1].get(), &n), 0);
  EXPECT_EQ(n, 1u) << "once for all that is sent at once";
}

// --- Commands and messages

TEST_F(Interfaces, CommandsRefuseWhatCannotBe) {
  bed.master();
  for (const auto& [line, says] : {
           std::pair("create interface memif socket-id 7 id 0 master", "no memif socket 7"),
           {"create interface memif socket-id 1 id 0 slave", "it exists already"},
           {"create interface memif socket-id 1 id 1 ring-size 1000", "not a power of two"},
           {"create interface memif socket-id 1 id 1 ring-size 32768", "from 1 to 16384"},
           {"create interface memif socket-id 1 id 1 rx-queues 65", "from 1 to 64"},
           {"create interface memif socket-id 1 id 1 buffer-size 0", "from 1 to 65535"},
           {"create interface memif socket-id 1 id 1 mode punt", "'ethernet' or 'ip'"},
           {"create interface memif socket-id 1 id 1 secret abcdefghijklmnopqrstuvwxy",
            "more than 24 characters"},
           {"create interface memif socket-id 1 id 1 hw-addr 01:02:03:04:05:06", "unicast"},
           {"create interface memif socket-id 1 id 1 buffer-size 65535 ring-size 16384 slave "
            "rx-queues 8",
            "more than 1073741824"},
           {"create interface memif socket-id 1 id 1 what", "'what'"},
           {"create memif socket id 1 filename /else", "already"},
           {"create memif socket id 3 filename x", "neither an absolute path"},
           {"create memif socket id 3", "neither an absolute path"},
           {"delete memif socket id 1", "has 1 interfaces"},
           {"delete memif socket id 9", "no memif socket 9"},
           {"delete memif socket id 0", "stays"},
           {"delete interface memif tap0", "no memif interface 'tap0'"},
           {"delete interface memif sw_if_index 77", "not a memif interface"},
           {"show memif tap0", "no memif interface"},
       })
    EXPECT_THAT(bed.h.refusal(line), HasSubstr(says)) << line;
}

TEST_F(Interfaces, AFileThatIsNoLeftOverSocketStays) {
  const std::string plain = bed.file + ".plain";
  close(open(plain.c_str(), O_CREAT | O_WRONLY, 0600));
  bed.h.ok("create memif socket id 5 filename " + plain);
  EXPECT_THAT(bed.h.refusal("create interface memif socket-id 5 id 0 master"),
              HasSubstr("Address already in use"));
  EXPECT_EQ(access(plain.c_str(), F_OK), 0);
  unlink(plain.c_str());
  bed.master();
  EXPECT_THAT(bed.h.refusal("create interface memif socket-id 2 id 7 master"),
              HasSubstr("Address already in use"))
      << "somebody listens";
  // One whose listener has died is replaced.
  const std::string left = bed.file + ".left";
  must(listen_at(left));
  bed.h.ok("create memif socket id 6 filename " + left);
  bed.h.ok("create interface memif socket-id 6 id 0 master");
  bed.h.ok("delete interface memif memif6/0");
  EXPECT_NE(access(left.c_str(), F_OK), 0);
}

// A socket of somebody else's has taken the place of ours, whether it listens already or not.
TEST_F(Interfaces, ASocketThatIsAnothersByNowStays) {
  for (const bool is_listening : {true, false}) {
    bed.master();
    unlink(bed.file.c_str());
    const UniqueFd other = is_listening ? must(listen_at(bed.file)) : bound_at(bed.file);
    bed.h.ok("delete interface memif memif1/0");
    EXPECT_EQ(access(bed.file.c_str(), F_OK), 0) << "listening: " << is_listening;
    EXPECT_EQ(static_cast<bool>(connect_to(bed.file)), is_listening);
    unlink(bed.file.c_str());
  }
  // Nor is anything else that is there by now, or what it leads to.
  bed.master();
  const std::string kept = bed.file + ".kept";
  std::filesystem::rename(bed.file, kept);
  std::filesystem::create_symlink(kept, bed.file);
  bed.h.ok("delete interface memif memif1/0");
  EXPECT_TRUE(std::filesystem::is_symlink(bed.file));
  unlink(bed.file.c_str());
  unlink(kept.c_str());
}

// Between its bind and its listen it refuses who connects as a socket without an owner does.
TEST_F(Interfaces, ASocketThatIsAboutToListenIsNotTakenForLeftOver) {
  const UniqueFd other = bound_at(bed.file);
  EXPECT_THAT(bed.h.refusal("create interface memif socket-id 1 id 0 master"),
              HasSubstr("Address already in use"));
  EXPECT_EQ(access(bed.file.c_str(), F_OK), 0);
  unlink(bed.file.c_str());
}

TEST(DefaultSocket, IsInTheDaemonsRuntimeDirectory) {
  PluginHost h;
  EXPECT_EQ(Memifs(h.host()).sockets().at(0).file, "") << "a host without one";
  h.set_runtime_dir(testing::TempDir());
  EXPECT_EQ(Memifs(h.host()).sockets().at(0).file, testing::TempDir() + "/memif.sock");
}

TEST_F(Interfaces, ShowSaysWhatThereIs) {
  bed.master("ring-size 256");
  bed.slave("secret xyz");
  const std::string all = bed.h.ok("show memif");
  for (const char* part : {"memif1/0", "memif2/0", "master", "slave", "256", "Hostloom"})
    EXPECT_THAT(all, HasSubstr(part));
  EXPECT_THAT(all, HasSubstr(bed.file));
  EXPECT_THAT(all, Not(HasSubstr("xyz")));
  EXPECT_THAT(bed.h.ok("show memif memif1/0"), Not(HasSubstr("slave")));
  std::string text;
  describe(&bed.device("memif1/0"), text);
  EXPECT_THAT(text, HasSubstr("connected to Hostloom (memif2/0), rings: rx 256 tx 256"));
  EXPECT_THAT(text, HasSubstr("ring-full 0"));
}

TEST_F(Interfaces, MessagesDoWhatTheCommandsDo) {
  auto& h = bed.h;
  const std::string file = bed.file + ".api";
  auto added = h.call<api::MemifSocketFilenameAddDelV2Reply>(
      api::MemifSocketFilenameAddDelV2{.is_add = true, .socket_filename = file});
  EXPECT_EQ(added.retval, 0);
  EXPECT_EQ(added.socket_id, 3u);
  EXPECT_EQ(h.dump<api::MemifSocketFilenameDetails>(api::MemifSocketFilenameDump{}).size(), 4u);
  api::MemifCreateV2 create{.role = api::MemifRole::kMemifRoleApiMaster,
                            .mode = api::MemifMode::kMemifModeApiIp,
                            .id = 5,
                            .socket_id = 3,
                            .ring_size = 64,
                            .buffer_size = 512};
  const auto made = h.call<api::MemifCreateV2Reply>(create);
  ASSERT_EQ(made.retval, 0);
  EXPECT_EQ(h.call<api::MemifCreateV2Reply>(create).sw_if_index, ~0u);
  EXPECT_THAT(h.log, HasSubstr("memif_create_v2: memif3/5 refused: it exists already"));
  create.id = 6;
  create.ring_size = 63;
  EXPECT_NE(h.call<api::MemifCreateV2Reply>(create).retval, 0);
  create.ring_size = 0;
  create.role = static_cast<api::MemifRole>(2);
  EXPECT_NE(h.call<api::MemifCreateV2Reply>(create).retval, 0);
  bed.up("memif3/5");
  const auto all = h.dump<api::MemifDetails>(api::MemifDump{});
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].sw_if_index, made.sw_if_index);
  EXPECT_EQ(all[0].id, 5u);
  EXPECT_EQ(all[0].ring_size, 64u);
  EXPECT_EQ(all[0].buffer_size, 512u);
  EXPECT_EQ(all[0].mode, api::MemifMode::kMemifModeApiIp);
  EXPECT_EQ(all[0].flags, api::IfStatusFlags::kIfStatusApiFlagAdminUp);
  EXPECT_EQ(all[0].if_name, "memif3/5");
  api::MemifSocketFilenameAddDelV2 del{.is_add = false, .socket_id = 3};
  EXPECT_NE(h.call<api::MemifSocketFilenameAddDelV2Reply>(del).retval, 0) << "in use";
  EXPECT_EQ(h.call<api::MemifDeleteReply>(api::MemifDelete{.sw_if_index = made.sw_if_index}).retval,
            0);
  EXPECT_EQ(h.call<api::MemifDeleteReply>(api::MemifDelete{.sw_if_index = made.sw_if_index}).retval,
            -2);
  EXPECT_EQ(h.call<api::MemifSocketFilenameAddDelV2Reply>(del).retval, 0);
}

TEST_F(Interfaces, DetailsHaveTheAddressOfNowAndNoSecret) {
  auto& h = bed.h;
  const MacAddress given{{2, 0xfe, 0, 0, 0, 5}}, later{{2, 0xfe, 0, 0, 0, 6}};
  api::MemifCreateV2 create{.role = api::MemifRole::kMemifRoleApiSlave,
                            .mode = api::MemifMode::kMemifModeApiEthernet,
                            .id = 1,
                            .socket_id = 1,
                            .secret = "a-long-secret"};
  ASSERT_EQ(h.call<api::MemifCreateV2Reply>(create).retval, 0);
  create.id = 2;
  create.hw_addr = given.bytes;
  ASSERT_EQ(h.call<api::MemifCreateV2Reply>(create).retval, 0);
  create.id = 3;
  create.mode = api::MemifMode::kMemifModeApiIp;
  ASSERT_EQ(h.call<api::MemifCreateV2Reply>(create).retval, 0);
  const auto listed = [&] { return h.dump<api::MemifDetails>(api::MemifDump{}); };
  auto all = listed();
  ASSERT_EQ(all.size(), 3u);
  const MacAddress made_up{all[0].hw_addr};
  EXPECT_NE(made_up, MacAddress{});
  EXPECT_FALSE(made_up.is_multicast());
  EXPECT_EQ(made_up, must(h.net->interface(all[0].sw_if_index)).mac);
  EXPECT_EQ(MacAddress{all[1].hw_addr}, given);
  EXPECT_EQ(MacAddress{all[2].hw_addr}, MacAddress{});
  must(h.net->set_mac(all[0].sw_if_index, later));
  EXPECT_EQ(MacAddress{listed()[0].hw_addr}, later);
  for (const auto& details : all) {
    const auto bytes = h.bytes_of(details);
    EXPECT_EQ(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size())
                  .find(create.secret),
              std::string_view::npos);
  }
}

TEST_F(Interfaces, MessagesSayWhoThePeerIsAndWhatWasCounted) {
  auto& h = bed.h;
  Device& master = bed.master();
  const auto links = [&](IfIndex i = kNoIndex) {
    return h.dump<api::MemifLinkDetails>(api::MemifLinkDump{.sw_if_index = i});
  };
  const auto counters = [&](IfIndex i) {
    return h.call<api::MemifCountersGetReply>(api::MemifCountersGet{.sw_if_index = i});
  };
  ASSERT_EQ(links().size(), 1u);
  EXPECT_FALSE(links()[0].is_connected);
  EXPECT_EQ(links()[0].num_connected, 0u);
  EXPECT_EQ(bed.send(master, {packet(60)}), 1u);
  EXPECT_EQ(counters(master.index).no_peer, 1u);

  Device& slave = bed.slave("ring-size 4 rx-queues 2");
  ASSERT_TRUE(bed.is_up(slave));
  ASSERT_EQ(links().size(), 2u);
  ASSERT_EQ(links(master.index).size(), 1u);
  const auto up = links(master.index)[0];
  EXPECT_EQ(up.sw_if_index, master.index);
  EXPECT_TRUE(up.is_connected);
  EXPECT_EQ(up.num_connected, 1u);
  EXPECT_EQ(up.peer, "Hostloom");
  EXPECT_EQ(up.peer_interface, "memif2/0");
  EXPECT_EQ(up.num_rx_rings, 1u);
  EXPECT_EQ(up.num_tx_rings, 1u);  // the master has one, and says so
  EXPECT_EQ(up.reason, "");
  EXPECT_EQ(links(77).size(), 0u);

  const auto before = counters(master.index);
  EXPECT_EQ(bed.send(slave, std::vector<Bytes>(3, packet(60))), 3u);
  const auto after = counters(master.index);
  EXPECT_EQ(after.retval, 0);
  EXPECT_EQ(after.rx_packets - before.rx_packets, 3u);
  EXPECT_EQ(after.rx_bytes - before.rx_bytes, 3 * packet(60).size());
  EXPECT_EQ(counters(77).retval, -2);

  bed.up("memif2/0", false);
  const auto down = links(master.index)[0];
  EXPECT_FALSE(down.is_connected);
  EXPECT_EQ(down.num_connected, 1u);
  EXPECT_EQ(down.peer, "");
  EXPECT_EQ(down.num_rx_rings, 0u);
  EXPECT_THAT(down.reason, HasSubstr("interface is down"));
}

// Each of them under its own name.
TEST_F(Interfaces, CountersOfMessagesAreThoseThatAreShown) {
  Device& d = bed.master();
  TxCounters& t = d.tx_counters;
  uint64_t n = 100;
  for (auto* c :
       {&t.held, &t.ring_full, &t.too_long, &t.bad_headers, &t.no_peer, &t.no_memory, &t.stopped})
    *c = ++n;
  for (int f = 1; f < static_cast<int>(Fault::kCount); ++f) t.faults[f] = ++n;
  std::string text;
  describe(&d, text);
  const auto c =
      bed.h.call<api::MemifCountersGetReply>(api::MemifCountersGet{.sw_if_index = d.index});
  std::string said = "\ntx:";
  for (const auto& [name, value] :
       std::initializer_list<std::pair<const char*, uint64_t>>{{"held", c.held},
                                                               {"ring-full", c.ring_full},
                                                               {"too-long", c.too_long},
                                                               {"bad-headers", c.bad_headers},
                                                               {"no-peer", c.no_peer},
                                                               {"no-memory", c.no_memory},
                                                               {"stopped", c.stopped},
                                                               {"bad-cursor", c.bad_cursor},
                                                               {"bad-chain", c.bad_chain},
                                                               {"bad-region", c.bad_region},
                                                               {"bad-range", c.bad_range},
                                                               {"bad-length", c.bad_length}})
    said += std::string(" ") + name + " " + std::to_string(value);
  EXPECT_THAT(text, HasSubstr(said));
  EXPECT_EQ(c.bad_length, n);
}

}  // namespace
}  // namespace loom::memif
