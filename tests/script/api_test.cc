// The plugin's messages, and switching the congestion controller of a connection, over connections
// of packet scripts.
#include <gtest/gtest.h>

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
  EXPECT_EQ(all[0].cwnd, s.conn().cc.cwnd);
  EXPECT_EQ(all[0].ssthresh, kNoSsthresh);
  EXPECT_EQ(all[0].in_flight, 2000u);
  EXPECT_EQ(all[0].srtt, 20'000u);
  EXPECT_EQ(all[0].rto, s.conn().rtt.rto / kMicrosecond);
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
  EXPECT_EQ(s.conn().cc.cwnd, 7000u);
  EXPECT_EQ(s.conn().cc.ssthresh, kNoSsthresh);
  EXPECT_TRUE(s.conn().has(tcp::kNodelay));  // other options stay as they are
  EXPECT_EQ(set(s.conn().id, "vegas"), Status::kNotFound);
  EXPECT_EQ(set(s.conn().id, ""), Status::kNotFound);
  EXPECT_STREQ(s.conn().cc_ops->name, "cubic");
  EXPECT_EQ(set(s.conn().id ^ 1u << 24, "newreno"), Status::kNotConnected);
  EXPECT_EQ(set(kNoConn, "newreno"), Status::kNotConnected);
  // The new one grows it: slow start, an acknowledgement of 1000 bytes.
  s.at(20ms).inject(ack(1001)).expect(segs(7001, 9001));
  EXPECT_EQ(s.conn().cc.cwnd, 8000u);
}

}  // namespace
}  // namespace loom::script
