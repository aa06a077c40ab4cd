// The words and messages that configure the simulator.
#include "nsim.api.h"
#include "nsim_host.h"

namespace loom::nsim {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(NsimCommands, TakesUnitsInTheWordOrBehindIt) {
  NsimHost n;
  const auto delay_and_bandwidth = [&](const std::string& words) {
    n.set(words);
    return std::pair(n.nsim.config()->delay, n.nsim.config()->bandwidth);
  };
  EXPECT_EQ(delay_and_bandwidth("delay 40.0 ms bandwidth 10 gbit poll-main-thread"),
            std::pair(40 * kMillisecond, uint64_t{10'000'000'000}));
  EXPECT_EQ(delay_and_bandwidth("bandwidth 1.5mbit delay 250us"),
            std::pair(250 * kMicrosecond, uint64_t{1'500'000}));
  EXPECT_EQ(delay_and_bandwidth("delay 1 sec bandwidth 64000"),
            std::pair(kSecond, uint64_t{64'000}));
  EXPECT_EQ(delay_and_bandwidth("delay 2 s bandwidth 1 mbyte"),
            std::pair(2 * kSecond, uint64_t{8'000'000}));
}

TEST(NsimCommands, RefusesWithPositionAndReason) {
  NsimHost n;
  EXPECT_THAT(n.h.refusal("set nsim delay 20 bandwidth 1 gbit"),
              HasSubstr("'20' at position 4: a time like 20 ms"));
  for (const char* bad : {"-1ms", "nanms", "infs", "ms", "20xs", "1e3ms", ".", "0x10ms"})
    EXPECT_THAT(n.h.refusal(std::string("set nsim delay ") + bad + " bandwidth 1"),
                HasSubstr("'" + std::string(bad) + "' at position 4: a time"))
        << bad;
  EXPECT_THAT(n.h.refusal("set nsim delay 61 s bandwidth 1 gbit"), HasSubstr("to 60 s"));
  EXPECT_THAT(n.h.refusal("set nsim delay 99999999999999999999 s bandwidth 1"),
              HasSubstr("to 60 s"));
  EXPECT_THAT(n.h.refusal("set nsim delay 1 ms bandwidth 1 foobit"), HasSubstr("'foobit'"));
  EXPECT_THAT(n.h.refusal("set nsim delay 1 ms bandwidth 1001 gbit"), HasSubstr("1001000000000"));
  EXPECT_THAT(n.h.refusal("set nsim delay 1 ms"), HasSubstr("bandwidth"));
  EXPECT_THAT(n.h.refusal("set nsim bandwidth 1"), HasSubstr("delay"));
  EXPECT_THAT(n.h.refusal("set nsim delay"), HasSubstr("incomplete command: a time"));
  EXPECT_THAT(n.h.refusal("set nsim delay 1 ms bandwidth 1 packet-size 63"), HasSubstr("63"));
  EXPECT_THAT(n.h.refusal("set nsim delay 1 ms bandwidth 1 packets-per-drop 0"),
              HasSubstr("'0' at position 9"));
  for (const char* bad : {"1.1", "-0.1", "0.5ms", "nan"})
    EXPECT_THAT(n.h.refusal(std::string("set nsim delay 1 ms bandwidth 1 drop-fraction ") + bad),
                HasSubstr("at position 9: a number from 0 to 1"))
        << bad;
  EXPECT_THAT(n.h.refusal("set nsim delay 60 s bandwidth 1000 gbit"),
              HasSubstr("more than 1048576"));
  EXPECT_FALSE(n.nsim.config());
}

TEST(NsimCommands, EnablesNothingBeforeItIsConfigured) {
  NsimHost n;
  EXPECT_THAT(n.h.refusal("nsim output-feature enable-disable fake0"), HasSubstr("set nsim"));
  EXPECT_THAT(n.h.ok("show nsim"), HasSubstr("not configured"));
  n.set("delay 1 ms bandwidth 1 gbit");
  for (const auto& [line, says] : {std::pair("nope", "there is no interface 'nope'"),
                                   {"fake0 perhaps", "'perhaps' at position 5"},
                                   {"sw_if_index 77", "no interface 77"},
                                   {"", "missing name"}})
    EXPECT_THAT(n.h.refusal(std::string("nsim output-feature enable-disable ") + line),
                HasSubstr(says));
}

TEST(NsimCommands, ShowsSettingsAndCounters) {
  NsimHost n;
  n.set("delay 20 ms bandwidth 1 gbit drop-fraction 0.001 seed 42");
  n.h.ok("nsim output-feature enable-disable sw_if_index 0");
  n.send(0, 3);
  EXPECT_THAT(n.h.ok("show nsim"),
              AllOf(HasSubstr("20 ms"), HasSubstr("1000000000 bit/s"), HasSubstr("0.001"),
                    HasSubstr("42"), HasSubstr("sw_if_index 0")));
  EXPECT_THAT(n.h.ok("json show nsim"), HasSubstr("\"waiting\": 3"));
}

TEST(NsimCommands, ShowsAnInterfaceThatHasAnotherNameNow) {
  NsimHost n;
  n.set("delay 20 ms bandwidth 1 gbit");
  n.enable();
  EXPECT_THAT(n.h.ok("show nsim"), HasSubstr("fake0"));
  must(n.h.net->rename_interface(n.device->index, "uplink"));
  EXPECT_THAT(n.h.ok("show nsim"), AllOf(HasSubstr("sw_if_index 0"), Not(HasSubstr("fake0"))));
  n.send(0, 2);
  EXPECT_EQ(n.counter("delayed"), 2u);
  n.h.ok("nsim output-feature enable-disable uplink disable");
  EXPECT_THAT(n.h.ok("show nsim"), HasSubstr("none"));
}

TEST(NsimMessages, ConfigureAndEnable) {
  NsimHost n;
  const auto configure = [&](uint32_t usec, uint32_t size, uint64_t bandwidth) {
    return n.h
        .call<api::NsimConfigure2Reply>(
            api::NsimConfigure2{.delay_in_usec = usec,
                                .average_packet_size = size,
                                .bandwidth_in_bits_per_second = bandwidth,
                                .packets_per_drop = 1})
        .retval;
  };
  const auto enable = [&](uint32_t index, bool on) {
    return n.h
        .call<api::NsimOutputFeatureEnableDisableReply>(
            api::NsimOutputFeatureEnableDisable{.enable_disable = on, .sw_if_index = index})
        .retval;
  };
  for (const uint32_t index : {0u, 99u, ~0u})  // whatever else is wrong with it
    for (const bool on : {true, false}) EXPECT_EQ(enable(index, on), -100) << index;
  EXPECT_EQ(configure(0, 1500, 1'000'000), -7);
  EXPECT_EQ(configure(1000, 1500, 0), -8);
  EXPECT_EQ(configure(1000, 63, 1'000'000), -150);
  EXPECT_EQ(configure(60'000'000, 64, 1'000'000'000'000), -7);
  EXPECT_THAT(n.h.log, HasSubstr("nsim: nsim_configure2: a delay of 0"));
  EXPECT_EQ(configure(1000, 1500, 1'000'000), 0);
  EXPECT_EQ(enable(99, true), -2);
  EXPECT_EQ(enable(~0u, true), -2);
  EXPECT_EQ(enable(0, true), 0);
  n.send(0, 2);
  EXPECT_EQ(n.counter("dropped"), 2u);
  EXPECT_EQ(enable(0, false), 0);
  n.send(0, 2);
  EXPECT_EQ(n.left().size(), 2u);
}

}  // namespace
}  // namespace loom::nsim
