// Datagram sessions of in-process applications: where a listener is to be found, and in its name.
#include "tests/unit/core/session/datagram_transport.h"
#include "tests/unit/core/session/test_app.h"

#include <hostloom/app.h>

#include "session/rule_action.h"

namespace loom::test {
namespace {

constexpr AppOps kOps{.name = "inside"};

struct InProcessDatagrams : testing::Test {
  InProcessDatagrams() {
    EXPECT_TRUE(bed.transports.add(transport.ops()));
    worker().net = &kDatagramNet;
    app = bed.layer->add_application(kOps, {}).value();
    EXPECT_EQ(outside.listen(443).status, 0);
    AppEndpoint how;
    std::strcpy(how.transport, "datagrams");
    EXPECT_EQ(AppSession::open_at(worker(), *app, 0, how, nullptr, &id), Status::kOk);
    bed.pump();
  }
  ~InProcessDatagrams() {
    bed.layer->remove_application(*app);
    bed.pump();
  }
  Worker& worker() { return bed.engine->worker(0); }
  AppSession session() { return {worker(), id}; }
  Status receive(std::string_view text) {
    Datagram d;
    d.ends.local = Ip4Address{{10, 0, 0, 1}};
    d.ends.remote = Ip4Address{{192, 0, 2, 3}};
    d.ends.local_port = 443;
    d.ends.remote_port = 7;
    Buffer* const b = worker().alloc();
    const auto n = static_cast<uint32_t>(text.size());
    std::memcpy(b->append(n), text.data(), n);
    const Status s = worker().sessions->rx_datagram(worker(), id, d, *b, 0, n);
    worker().free(b);
    return s;
  }

  SessionBed bed;
  DatagramTransport transport;
  TestApp outside{bed};
  Application* app = nullptr;
  SessionId id = kNoSession;
};

TEST_F(InProcessDatagrams, AreBoundWhereTheListenerIs) {
  ASSERT_EQ(transport.connections.size(), 1u);
  EXPECT_EQ(transport.connections[0].ends.local_port, 443);
  EXPECT_EQ(transport.connections[0].ends.remote_port, 0);
}

TEST_F(InProcessDatagrams, ComeOneByOneAndSayFromWhom) {
  ASSERT_EQ(receive("first"), Status::kOk);
  ASSERT_EQ(receive("the second"), Status::kOk);
  Datagram from;
  std::byte to[6];
  uint32_t n = 0;
  ASSERT_EQ(session().receive_datagram(from, to, &n), Status::kOk);
  EXPECT_EQ(n, 5u);
  EXPECT_EQ(std::memcmp(to, "first", 5), 0);
  EXPECT_EQ(from.ends.remote, IpAddress(Ip4Address{{192, 0, 2, 3}}));
  EXPECT_EQ(from.ends.remote_port, 7);
  ASSERT_EQ(session().receive_datagram(from, to, &n), Status::kOk);
  EXPECT_EQ(n, 10u);  // all of it, though six bytes were taken
  EXPECT_EQ(session().receive_datagram(from, to, &n), Status::kAgain);
}

TEST_F(InProcessDatagrams, GoToWhomTheyName) {
  Datagram d;
  d.flags = kDatagramRemote | kDatagramLocal;
  d.ends.local = Ip4Address{{10, 0, 0, 1}};
  d.ends.remote = Ip4Address{{192, 0, 2, 3}};
  d.ends.remote_port = 7;
  const std::string text = "an answer";
  ASSERT_EQ(session().send_datagram(d, std::as_bytes(std::span(text))), Status::kOk);
  bed.pump();
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_EQ(transport.sent[0].payload, text);
  EXPECT_EQ(transport.sent[0].d.ends.remote_port, 7);
  EXPECT_EQ(transport.sent[0].d.ends.local, d.ends.local);
}

TEST_F(InProcessDatagrams, AreAnswersWhichRulesForConnectsDoNotLookAt) {
  session::RuleSpec rule;
  rule.transport = bed.transports.find_proto(DatagramTransport::kProto);
  rule.action = session::kActionDrop;
  rule.scope = session::RuleScope::kLocal;
  rule.match.local = *IpPrefix::parse("0.0.0.0/0");
  rule.match.remote = *IpPrefix::parse("192.0.2.0/24");
  ASSERT_TRUE(bed.layer->impl().filters->add(rule));
  Datagram d;
  d.flags = kDatagramRemote;
  d.ends.remote = Ip4Address{{192, 0, 2, 3}};
  d.ends.remote_port = 7;
  ASSERT_EQ(session().send_datagram(d, std::as_bytes(std::span("answer"))), Status::kOk);
  bed.pump();
  EXPECT_EQ(transport.sent.size(), 1u);
}

TEST_F(InProcessDatagrams, ErrorsOfWhatWasSentAreTold) {
  worker().sessions->soft_error(worker(), id, ResetReason::kMessageSize);
  Datagram from;
  std::byte to[1];
  uint32_t n = 0;
  EXPECT_EQ(session().receive_datagram(from, to, &n), Status::kInvalid);
  EXPECT_EQ(session().receive_datagram(from, to, &n), Status::kAgain);
}

}  // namespace
}  // namespace loom::test
