// The plugin's messages, and switching the congestion controller of a connection, over connections
// of packet scripts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "tcp.api.h"
#include "tcp/api.h"
#include "tcp_script.h"
#include "tests/unit/core/api/direct_client.h"

namespace loom::script {
namespace {

// A registry as the daemon has one, in front of the script's plugin.
class TcpApi {
 public:
  explicit TcpApi(TcpScript& s) : ops_(*s.host().host.ops) {
    self_ = this;
    ops_.add_api_module = [](Host&, const ApiModule* m, std::string*) {
      return self_->registry_.add_module(*m) ? Status::kOk : Status::kExists;
    };
    ops_.add_api_handler = [](Host&, const ApiHandler* h, std::string*) {
      return self_->registry_.add_handler(*h) ? Status::kOk : Status::kExists;
    };
    host_.ops = &ops_;
    host_.impl = s.host().host.impl;
    EXPECT_TRUE(tcp::add_api(host_));
  }
  std::vector<api::TcpConnectionDetails> connections(api::TcpConnectionDump request = {}) {
    return client.dump<api::TcpConnectionDetails>(request);
  }

 private:
  static inline TcpApi* self_ = nullptr;
  HostOps ops_;
  Host host_;
  ApiRegistry registry_;

 public:
  test::DirectClient client{registry_};
};

TEST(TcpApi, AConnectionWithItsFigures) {
  TcpScript s = TcpScript::established({.sack = true, .wscale = 3});
  TcpApi tcp(s);
  s.at(0ms).app_writes(2000).expect(segs(1, 2001));
  auto all = tcp.connections();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].state, api::TcpState::kTcpApiStateEstablished);
  EXPECT_EQ(all[0].session_handle, uint64_t{7} << 40 | s.session().id);
  EXPECT_EQ(all[0].local_port, s.conn().ends.local_port);
  EXPECT_EQ(all[0].remote.un.raw, s.conn().ends.remote.bits.bytes);
  EXPECT_EQ(all[0].congestion, "newreno");
  EXPECT_EQ(all[0].snd_mss, 1000u);
  EXPECT_EQ(all[0].cwnd, s.conn().cc->cwnd);
  EXPECT_EQ(all[0].ssthresh, kNoSsthresh);
  EXPECT_EQ(all[0].in_flight, 2000u);
  EXPECT_EQ(all[0].srtt, 20'000u);
  EXPECT_EQ(all[0].rto, s.conn().rtt.rto() / kMicrosecond);
  EXPECT_EQ(all[0].snd_wscale, 3);
  EXPECT_EQ(all[0].snd_wnd, s.conn().snd_wnd);
  EXPECT_EQ(static_cast<int>(all[0].options),
            static_cast<int>(api::kTcpApiOptionSack | api::kTcpApiOptionWindowScale));
  s.at(20ms).inject(ack(2001)).expect_silence();
  all = tcp.connections();
  EXPECT_EQ(all[0].in_flight, 0u);
  EXPECT_EQ(all[0].bytes_acked, 2000u);
}

TEST(TcpApi, HandshakesAndTimeWaitsAreListedToo) {
  TcpScript s = TcpScript::listening();
  TcpApi tcp(s);
  s.at(0ms).inject(syn());
  (void)s.take_sent();
  const auto all = tcp.connections();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].state, api::TcpState::kTcpApiStateSynReceived);
  EXPECT_EQ(all[0].session_handle, ~uint64_t{0});
  EXPECT_EQ(all[0].remote_port, 5000);
}

TEST(TcpApi, EveryFilterFilters) {
  TcpScript s = TcpScript::established();
  TcpApi tcp(s);
  const auto& ends = s.conn().ends;
  EXPECT_EQ(tcp.connections({.state = api::TcpState::kTcpApiStateEstablished}).size(), 1u);
  EXPECT_EQ(tcp.connections({.state = api::TcpState::kTcpApiStateTimeWait}).size(), 0u);
  EXPECT_EQ(tcp.connections({.state = static_cast<api::TcpState>(200)}).size(), 0u);
  EXPECT_EQ(tcp.connections({.local_port = ends.local_port}).size(), 1u);
  EXPECT_EQ(tcp.connections({.local_port = 1}).size(), 0u);
  EXPECT_EQ(tcp.connections({.remote_port = ends.remote_port}).size(), 1u);
  EXPECT_EQ(tcp.connections({.remote_port = 1}).size(), 0u);
}

TEST(TcpApi, StatisticsOfOneWorkerAndOfAll) {
  TcpScript s = TcpScript::established();
  TcpApi tcp(s);
  const auto value = [&](uint32_t worker, const std::string& name) -> int64_t {
    const auto reply = tcp.client.call<api::TcpStatsGetReply>(api::TcpStatsGet{.worker = worker});
    EXPECT_EQ(reply.retval, 0);
    for (const auto& stat : reply.stats)
      if (stat.name == name) return static_cast<int64_t>(stat.value);
    return -1;
  };
  EXPECT_EQ(value(~0u, "active-opens"), 1);
  EXPECT_EQ(value(0, "active-opens"), 1);
  EXPECT_EQ(value(0, "connections"), 1);
  const auto none = tcp.client.call<api::TcpStatsGetReply>(api::TcpStatsGet{.worker = 1});
  EXPECT_EQ(none.retval, -89);
  EXPECT_TRUE(none.stats.empty());
}

TEST(Congestion, SwitchingKeepsTheWindowAndRefusesWhatIsNone) {
  TcpScript s = TcpScript::established({.cwnd = 7000});
  const auto set = [&](ConnId id, const char* name) {
    return s.transport().set_congestion(s.host().worker, id, name);
  };
  s.at(0ms).app_writes(20'000).expect(segs(1, 7001));
  EXPECT_EQ(set(s.conn().id, "cubic"), Status::kOk);
  EXPECT_STREQ(s.conn().cc_ops->name, "cubic");
  EXPECT_EQ(s.conn().cc->cwnd, 7000u);
  EXPECT_EQ(s.conn().cc->ssthresh, kNoSsthresh);
  EXPECT_TRUE(s.conn().has(tcp::kNodelay));  // other options stay as they are
  EXPECT_EQ(set(s.conn().id, "vegas"), Status::kNotFound);
  EXPECT_EQ(set(s.conn().id, ""), Status::kNotFound);
  EXPECT_STREQ(s.conn().cc_ops->name, "cubic");
  EXPECT_EQ(set(s.conn().id ^ 1u << 24, "newreno"), Status::kNotConnected);
  EXPECT_EQ(set(kNoConn, "newreno"), Status::kNotConnected);
  // The new one grows it: slow start, an acknowledgement of 1000 bytes.
  s.at(20ms).inject(ack(1001)).expect(segs(7001, 9001));
  EXPECT_EQ(s.conn().cc->cwnd, 8000u);
}

// Uses all the private bytes that there are, and shuts the window when they are not as it left
// them.
const CcOps kHungry{
    .name = "hungry",
    .init = [](CcState& s, TimeNs) noexcept { std::memset(s.priv, 1, sizeof s.priv); },
    .on_ack =
        [](CcState& s, const AckSample& a) noexcept {
          const bool as_left = std::all_of(std::begin(s.priv), std::end(s.priv),
                                           [&](std::byte b) { return b == s.priv[0]; });
          s.cwnd = as_left && s.priv[0] != std::byte{0} ? s.cwnd + a.bytes_acked : s.mss;
          std::memset(s.priv, std::to_integer<int>(s.priv[0]) + 1, sizeof s.priv);
        },
    .on_congestion = [](CcState&, const LossSample&) noexcept {},
};

TEST(Congestion, AControllerThatKeepsMuchGetsMemoryOfItsOwn) {
  TcpScript s = TcpScript::established({.cwnd = 7000});
  ASSERT_TRUE(s.host().host.add_congestion_control(kHungry).has_value());
  const auto set = [&](const char* name) {
    return s.transport().set_congestion(s.host().worker, s.conn().id, name);
  };
  s.at(0ms).app_writes(20'000).expect(segs(1, 7001));
  EXPECT_TRUE(s.conn().has_small_cc());
  EXPECT_EQ(set("hungry"), Status::kOk);
  EXPECT_FALSE(s.conn().has_small_cc());
  EXPECT_EQ(s.worker().large_ccs.size(), 1u);
  EXPECT_EQ(s.conn().cc->cwnd, 7000u);
  s.at(20ms).inject(ack(1001)).expect(segs(7001, 9001));
  s.at(21ms).inject(ack(2001)).expect(segs(9001, 11'001));
  EXPECT_EQ(s.conn().cc->cwnd, 9000u);
  EXPECT_EQ(set("newreno"), Status::kOk);
  EXPECT_TRUE(s.conn().has_small_cc());
  EXPECT_EQ(s.worker().large_ccs.size(), 0u);
  EXPECT_EQ(s.conn().cc->cwnd, 9000u);
  s.at(22ms).inject(ack(3001)).expect(segs(11'001, 13'001));
  EXPECT_EQ(set("hungry"), Status::kOk);
  s.at(23ms).inject(rst(1)).expect_silence();
  EXPECT_EQ(s.worker().connections.size(), 0u);
  EXPECT_EQ(s.worker().large_ccs.size(), 0u);  // gone with it
}

TEST(Congestion, WithoutMemoryForItTheControllerStays) {
  TcpScript s = TcpScript::established({.cwnd = 7000, .config = "max-connections 16"});
  ASSERT_TRUE(s.host().host.add_congestion_control(kHungry).has_value());
  std::vector<tcp::LargeCc*> taken;
  while (tcp::LargeCc* cc = s.worker().large_ccs.alloc()) taken.push_back(cc);
  const ConnId id = s.conn().id;
  EXPECT_EQ(s.transport().set_congestion(s.host().worker, id, "hungry"), Status::kNoMemory);
  EXPECT_STREQ(s.conn().cc_ops->name, "newreno");
  s.at(0ms).app_writes(20'000).expect(segs(1, 7001));
  s.at(20ms).inject(ack(1001)).expect(segs(7001, 9001));
  for (tcp::LargeCc* cc : taken) s.worker().large_ccs.free(*cc);
  EXPECT_EQ(s.transport().set_congestion(s.host().worker, id, "hungry"), Status::kOk);
}

// --- tcp_configure_src_addresses

// The local address of a new connection, which sends nothing and is given up at once.
IpAddress source_of_connection(TcpScript& s, const char* remote, IpAddress local = {}) {
  s.host().allocs_left = 0;
  FakeSessions::Session& session = s.sessions().add_session();
  Endpoints ends;
  ends.remote = *IpAddress::parse(remote);
  ends.remote_port = 80;
  ends.local = local;
  ends.local.is_ip4 = ends.remote.is_ip4;
  EXPECT_EQ(s.transport().connect(s.host().worker, session.id, ends, {}, &session.conn),
            Status::kOk);
  s.transport().abort(s.host().worker, session.conn);
  return ends.local;
}

int32_t configure(TcpApi& tcp, const char* first, const char* last, uint32_t table = 0) {
  const auto address = [](const char* text) {
    const IpAddress a = *IpAddress::parse(text);
    api::Address out{.af = a.is_ip4 ? api::AddressFamily::kAddressIp4
                                    : api::AddressFamily::kAddressIp6};
    out.un.raw = a.bits.bytes;
    return out;
  };
  return tcp.client
      .call<api::TcpConfigureSrcAddressesReply>(api::TcpConfigureSrcAddresses{
          .vrf_id = table, .first_address = address(first), .last_address = address(last)})
      .retval;
}

TEST(TcpSourceAddresses, AreTakenInTurn) {
  TcpScript s;
  TcpApi tcp(s);
  ASSERT_EQ(configure(tcp, "10.0.0.254", "10.0.1.0"), 0);
  ASSERT_EQ(configure(tcp, "fd00::ffff", "fd00::1:0"), 0);
  for (const char* expected : {"10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.0.254"})
    EXPECT_EQ(source_of_connection(s, "10.9.9.9"), *IpAddress::parse(expected));
  // Now it is the first one's turn of the other family, too: 4 connections, of 2 addresses.
  for (const char* expected : {"fd00::ffff", "fd00::1:0", "fd00::ffff"})
    EXPECT_EQ(source_of_connection(s, "fd00::9"), *IpAddress::parse(expected));
}

TEST(TcpSourceAddresses, AreLeftToWhoeverNamesOneAndToLinkLocalPeers) {
  TcpScript s;
  s.host().route.source = *IpAddress::parse("fe80::1");
  TcpApi tcp(s);
  ASSERT_EQ(configure(tcp, "10.0.0.1", "10.0.0.1"), 0);
  ASSERT_EQ(configure(tcp, "fd00::1", "fd00::1"), 0);
  const IpAddress own = *IpAddress::parse("10.0.0.7");
  EXPECT_EQ(source_of_connection(s, "10.9.9.9", own), own);
  EXPECT_EQ(source_of_connection(s, "fe80::9"), *IpAddress::parse("fe80::1"));
}

TEST(TcpSourceAddresses, OneThatIsTakenFromTheHostIsPassedOver) {
  TcpScript s;
  s.host().route.source = *IpAddress::parse("10.0.0.9");
  TcpApi tcp(s);
  ASSERT_EQ(configure(tcp, "10.0.0.1", "10.0.0.2"), 0);
  s.host().own.erase(*IpAddress::parse("10.0.0.1"));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(source_of_connection(s, "10.9.9.9"), *IpAddress::parse("10.0.0.2"));
  s.host().own = {*IpAddress::parse("10.0.0.9")};
  EXPECT_EQ(source_of_connection(s, "10.9.9.9"), *IpAddress::parse("10.0.0.9"));
}

TEST(TcpSourceAddresses, WhatIsNoneIsRefusedAndChangesNothing) {
  TcpScript s;
  TcpApi tcp(s);
  ASSERT_EQ(configure(tcp, "10.0.0.5", "10.0.0.5"), 0);
  EXPECT_EQ(configure(tcp, "10.0.0.2", "10.0.0.1"), -7);
  EXPECT_EQ(configure(tcp, "10.0.0.1", "fd00::1"), -7);
  EXPECT_EQ(configure(tcp, "224.0.0.1", "224.0.0.1"), -7);
  EXPECT_EQ(configure(tcp, "0.0.0.0", "10.0.0.1"), -7);
  EXPECT_EQ(configure(tcp, "10.0.0.1", "10.0.0.1", 5), -3);
  EXPECT_EQ(configure(tcp, "192.168.0.1", "192.168.0.1"), -54);
  EXPECT_EQ(configure(tcp, "10.0.0.0", "10.255.255.255"), -162);
  EXPECT_EQ(configure(tcp, "::1:0:0:0", "ffff::"), -162);
  ASSERT_EQ(tcp::shared().sources.sets().size(), 1u);
  EXPECT_THAT(tcp::shared().sources.sets()[0].addresses,
              testing::ElementsAre(*IpAddress::parse("10.0.0.5")));
}

TEST(TcpSourceAddresses, RangesAddUpWithoutRepetition) {
  TcpScript s;
  TcpApi tcp(s);
  ASSERT_EQ(configure(tcp, "10.0.0.1", "10.0.0.2"), 0);
  ASSERT_EQ(configure(tcp, "10.0.0.2", "10.0.0.3"), 0);
  EXPECT_EQ(tcp::shared().sources.sets()[0].addresses.size(), 3u);
  tcp::forget_source_addresses(s.host().host, 1);
  EXPECT_EQ(tcp::shared().sources.sets().size(), 1u);
  tcp::forget_source_addresses(s.host().host, 0);
  EXPECT_TRUE(tcp::shared().sources.sets().empty());
}

}  // namespace
}  // namespace loom::script
