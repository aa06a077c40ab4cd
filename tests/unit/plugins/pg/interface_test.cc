// Interfaces of the packet generator, and their captures.
#include <sys/stat.h>

#include "pg_test_host.h"

namespace loom::pg {
namespace {

using testing::HasSubstr;

TEST(Interfaces, AreMadeAndRemoved) {
  PgHost p;
  EXPECT_EQ(p.h.ok("create packet-generator interface pg7"), "pg7\n");
  EXPECT_NE(p.h.host().find_interface("pg7"), kNoIndex);
  EXPECT_THAT(p.h.refusal("create packet-generator interface pg7"), HasSubstr("pg7"));
  for (const char* bad : {"pg", "pg07", "pg-1", "pgx", "tap0", "pg65536", "pg0x1"})
    EXPECT_THAT(p.h.refusal(std::string("create packet-generator interface ") + bad),
                HasSubstr("'" + std::string(bad) + "' at position 4: a name from pg0"))
        << bad;
  EXPECT_THAT(p.h.refusal("create packet-generator interface"), HasSubstr("a name from pg0"));
  p.h.ok("delete packet-generator interface pg7");
  EXPECT_EQ(p.h.host().find_interface("pg7"), kNoIndex);
  EXPECT_THAT(p.h.refusal("delete packet-generator interface pg7"), HasSubstr("'pg7'"));
}

TEST(Interfaces, AreMadeOnceUnderWhateverName) {
  PgHost p;
  must(p.h.net->rename_interface(p.index, "foo"));
  EXPECT_THAT(p.h.refusal("create packet-generator interface pg0"),
              HasSubstr("pg0 exists already, as sw_if_index " + std::to_string(p.index)));
  EXPECT_EQ(p.h.host().find_interface("pg0"), kNoIndex);
  p.h.ok("delete packet-generator interface foo");
  p.h.ok("create packet-generator interface pg0");
}

TEST(Interfaces, StayWhileStreamsUseThem) {
  PgHost p;
  p.stream("rate 10 interface pg0 data { UDP: 10.0.0.9 -> 10.0.0.1 UDP: 1 -> 2 }");
  EXPECT_THAT(p.h.refusal("delete packet-generator interface pg0"),
              HasSubstr("stream 's' uses pg0"));
  p.h.ok("packet-generator delete s");
  p.h.ok("delete packet-generator interface pg0");
}

TEST(Interfaces, StayWhileAStreamUsesThemUnderAFormerName) {
  PgHost p;
  must(p.h.net->rename_interface(p.index, "foo"));
  p.stream("rate 1e3 interface foo data { UDP: 10.0.0.9 -> 10.0.0.1 UDP: 1 -> 2 }");
  EXPECT_THAT(p.h.refusal("delete packet-generator interface pg0"), HasSubstr("'pg0'"));
  EXPECT_THAT(p.h.refusal("delete packet-generator interface foo"),
              HasSubstr("stream 's' uses foo"));
  must(p.h.net->rename_interface(p.index, "bar"));  // while the stream knows it as foo
  EXPECT_THAT(p.h.refusal("delete packet-generator interface bar"),
              HasSubstr("stream 's' uses bar"));
  p.h.pass(10 * kMillisecond);
  EXPECT_EQ(p.h.host().rx_counters(p.index, 0)->packets, p.sent());
  p.h.ok("packet-generator disable-stream s");
  p.h.ok("delete packet-generator interface bar");
  EXPECT_EQ(p.h.host().find_interface("bar"), kNoIndex);
}

TEST(Interfaces, GoByTheNameThatTheyHaveNow) {
  PgHost p;
  must(p.h.net->rename_interface(p.index, "foo"));
  EXPECT_THAT(p.h.refusal("packet-generator capture pg0 disable"), HasSubstr("'pg0'"));
  EXPECT_THAT(p.h.refusal("packet-generator capture foo disable"), HasSubstr("nothing of foo"));
  EXPECT_THAT(p.h.ok("show packet-generator"), HasSubstr("sw_if_index " + std::to_string(p.index)));
  const IfIndex other = p.h.add_device({"10.0.1.1/24"}).index;
  must(p.h.net->rename_interface(other, "pg0"));  // somebody else's
  EXPECT_THAT(p.h.refusal("delete packet-generator interface pg0"), HasSubstr("'pg0'"));
  p.h.ok("delete packet-generator interface foo");
  EXPECT_EQ(p.h.host().find_interface("pg0"), other);
}

TEST(Interfaces, AStreamWhoseInterfaceIsGoneIsNotEnabled) {
  PgHost p;
  p.h.add_device({"10.0.1.1/24"});
  p.stream("limit 1 interface fake0 data { UDP: 10.0.1.9 -> 10.0.1.1 UDP: 1 -> 2 }");
  EXPECT_EQ(p.h.counter("ip4-input/ok"), 1u);
  (void)p.h.net->remove_interface(p.h.devices[0]->index);
  EXPECT_THAT(p.h.refusal("packet-generator enable-stream s"), HasSubstr("no interface 'fake0'"));
}

TEST(Captures, EndAtTheCountOrWhenTheyAreTold) {
  PgHost p;
  const std::string file = p.file("out");
  const auto send = [&](uint32_t n) {
    p.h.ok("packet-generator new { name s limit " + std::to_string(n) +
           " tx-interface pg0 data { incrementing 60 } }");
    p.h.ok("packet-generator enable-stream s");
    p.h.ok("packet-generator delete s");
  };
  p.h.ok("packet-generator capture pg0 pcap " + file);
  EXPECT_THAT(p.h.refusal("packet-generator capture pg0 pcap " + file), HasSubstr("is running"));
  send(300);
  EXPECT_THAT(p.h.ok("show packet-generator"), HasSubstr("300"));
  EXPECT_EQ(p.h.ok("packet-generator capture pg0 disable"), "300 packets written\n");
  EXPECT_EQ(read_bytes(file).size(), 24u + 300 * 76);
  struct stat st {};
  ASSERT_EQ(stat(file.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  p.h.ok("packet-generator capture pg0 pcap " + file + " count 2");
  send(5);
  EXPECT_EQ(read_bytes(file).size(), 24u + 2 * 76);
  EXPECT_THAT(p.h.refusal("packet-generator capture pg0 disable"), HasSubstr("nothing of pg0"));
  p.h.ok("packet-generator capture pg0 pcap " + file);
  send(1);
  p.h.ok("delete packet-generator interface pg0");  // what is there is written
  EXPECT_EQ(read_bytes(file).size(), 24u + 76);
}

TEST(Captures, ThatDoNotFitSayWhatIsMissing) {
  PgHost p;
  const std::string file = p.file("big");
  p.h.ok("packet-generator capture pg0 pcap " + file);
  p.stream("limit 600 tx-interface pg0 data { incrementing 65535 }");  // 39 MB
  p.h.run();
  const uint64_t room = (32u << 20) / (65'535 + 16);
  EXPECT_THAT(p.h.ok("packet-generator capture pg0 disable"),
              HasSubstr(std::to_string(room) + " packets"));
}

TEST(Captures, TogetherHaveABound) {
  PgHost p;
  const auto begin = [](int i, const std::string& file, const std::string& words = "") {
    return "packet-generator capture pg" + std::to_string(i) + " pcap " + file + words;
  };
  for (int i = 1; i < 18; ++i) p.h.ok("create packet-generator interface pg" + std::to_string(i));
  for (int i = 0; i < 15; ++i) p.h.ok(begin(i, p.file(std::to_string(i))));
  p.h.ok(begin(15, p.file("15"), " count 100"));  // takes what 100 packets can take
  const std::string file = p.file("16");
  EXPECT_THAT(p.h.refusal(begin(16, file)), HasSubstr("more than 536870912 bytes"));
  EXPECT_NE(access(file.c_str(), F_OK), 0);
  p.h.ok(begin(17, p.file("17"), " count 100"));
  p.h.ok("packet-generator capture pg3 disable");
  p.h.ok(begin(16, file));
}

TEST(Captures, AreRefusedWithAReason) {
  PgHost p;
  const std::string begin = "packet-generator capture ";
  for (const auto& [line, says] : {std::pair("pg9 pcap /tmp/x", "'pg9'"),
                                   {"pg0", "`pcap FILE` or `disable`"},
                                   {"pg0 file x", "'file' at position 4"},
                                   {"pg0 pcap", "missing file"},
                                   {"pg0 pcap /nowhere/x", "No such file"},
                                   {"pg0 pcap /tmp/x count 0", "'0' at position 7"},
                                   {"pg0 pcap /dev/null", "not a plain file"},
                                   {"pg0 disable now", "'now' at position 5"},
                                   {"", "missing name"}})
    EXPECT_THAT(p.h.refusal(begin + line), HasSubstr(says)) << line;
  const std::string link = p.file("link"), target = p.file("target");
  ASSERT_EQ(symlink(target.c_str(), link.c_str()), 0);
  p.h.refusal(begin + "pg0 pcap " + link);
  EXPECT_NE(access(target.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace loom::pg
