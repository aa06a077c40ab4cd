// Whom the applications of a namespace meet: cut-through, routing tables, interfaces.
#include <hostloom/net.h>

#include "tests/unit/core/session/namespaces_bed.h"

namespace loom::test {
namespace {

TEST_F(NamespacesTest, TwoOfThemListenOnOnePortAndMeetNobodyElse) {
  add({.id = "blue"});
  add({.id = "red"});
  TestApp blue(bed, request("blue", 0, svm::kScopeLocalOnly)),
      blue_too(bed, request("blue", 0, svm::kScopeLocalOnly)),
      red(bed, request("red", 0, svm::kScopeLocalOnly)),
      outside(bed, request("", 0, svm::kScopeLocalOnly));
  EXPECT_EQ(listen(blue, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listen(red, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listen(blue_too, "0.0.0.0", 80), Status::kInUse);
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), nullptr) << "no packet reaches them";

  EXPECT_EQ(connect(outside, "10.0.0.1", 80), Status::kUnreachable);
  EXPECT_EQ(connect(blue_too, "10.0.0.1", 80), Status::kOk);
  EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);
  const uint64_t handle = connected.handle;
  EXPECT_EQ(connect(red, "10.0.0.1", 80), Status::kOk);
  EXPECT_EQ(app_of(blue)->n_sessions, 1u);
  EXPECT_EQ(app_of(red)->n_sessions, 2u) << "both ends of its own";
  // A handle that somebody guesses is nobody's.
  const uint64_t stale = bed.counter("stale-handle");
  red.push(svm::ToDaemon::kReset, handle);
  EXPECT_EQ(bed.counter("stale-handle"), stale + 1);
  EXPECT_EQ(app_of(blue_too)->n_sessions, 1u);
  // Nor is memory of a pair.
  svm::AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = svm::AttachOp::kGetSegment;
  r.pair = r.segment_id = layer().pairs[0]->arena.segment(0).id();
  EXPECT_EQ(static_cast<Status>(outside.ask(r).status), Status::kNotFound);
}

// IP_MULTICAST_IF and IPV6_MULTICAST_IF name one of the application's.
TEST_F(NamespacesTest, InterfacesAreFoundByIndexAndAddressWhereTheApplicationIs) {
  const IfIndex near = add_wire();
  EXPECT_TRUE(bed.net->add_address(near, prefix("10.0.7.1", 24)));
  add({.id = "far", .ip4_table = 5, .ip6_table = 5});
  add({.id = "one", .interface = near});
  TestApp anywhere(bed), far(bed, request("far")), one(bed, request("one"));
  constexpr uint32_t kNowhere = 99;  // no answer
  const auto find = [&](TestApp& a, IfIndex index, const char* ip4, bool is_ip4 = true) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kFindInterface;
    r.interface = index + 1;
    r.is_ip4 = is_ip4;
    std::memcpy(r.ip4, IpAddress::parse(ip4).value().bits.bytes.data(), 4);
    const auto answer = a.ask(r);
    if (answer.status != 0) {
      EXPECT_EQ(static_cast<Status>(answer.status), Status::kNotFound);
      EXPECT_NE(answer.message[0], 0);
      return kNowhere;
    }
    return answer.interface;
  };
  for (const bool is_ip4 : {true, false}) {
    EXPECT_EQ(find(anywhere, near, "0.0.0.0", is_ip4), near + 1);
    EXPECT_EQ(find(one, near, "0.0.0.0", is_ip4), near + 1);
    EXPECT_EQ(find(far, there, "0.0.0.0", is_ip4), there + 1);
    EXPECT_EQ(find(anywhere, there, "0.0.0.0", is_ip4), kNowhere);
    EXPECT_EQ(find(one, here, "0.0.0.0", is_ip4), kNowhere);
    EXPECT_EQ(find(far, near, "0.0.0.0", is_ip4), kNowhere);
    EXPECT_EQ(find(anywhere, 77, "10.0.7.1", is_ip4), kNowhere);
    EXPECT_EQ(find(anywhere, 0xfffffffe, "10.0.7.1", is_ip4), kNowhere);
  }
  EXPECT_EQ(find(anywhere, kNoIndex, "10.0.7.1"), near + 1);
  EXPECT_EQ(find(one, kNoIndex, "10.0.7.1"), near + 1);
  EXPECT_EQ(find(far, kNoIndex, "10.0.7.1"), kNowhere);
  // A loopback interface's says none, and is this host's.
  EXPECT_EQ(find(anywhere, kNoIndex, "10.0.0.1"), 0u);
  EXPECT_EQ(find(far, kNoIndex, "10.0.0.1"), 0u);
  EXPECT_EQ(find(one, kNoIndex, "10.0.0.1"), kNowhere);
  EXPECT_EQ(find(anywhere, kNoIndex, "10.0.0.2"), kNowhere);
  EXPECT_EQ(find(anywhere, kNoIndex, "0.0.0.0"), kNowhere);
}

// SO_BINDTODEVICE names one, and getsockopt() wants the name.
TEST_F(NamespacesTest, InterfacesAreFoundByNameWhereTheApplicationIs) {
  const IfIndex near = add_wire();
  add({.id = "far", .ip4_table = 5, .ip6_table = 5});
  add({.id = "one", .interface = near});
  TestApp anywhere(bed), far(bed, request("far")), one(bed, request("one"));
  const std::string name = session::name_of(layer(), near);
  const std::string elsewhere = session::name_of(layer(), here);
  const auto ask = [&](TestApp& a, std::string_view wanted, IfIndex index = kNoIndex) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kFindInterface;
    r.interface = index + 1;
    r.is_ip4 = 1;
    std::memcpy(r.app_name, wanted.data(), wanted.size());
    return a.ask(r);
  };
  for (TestApp* a : {&anywhere, &one})
    for (const auto& answer : {ask(*a, name), ask(*a, "", near), ask(*a, "nowhere", near)}) {
      EXPECT_EQ(answer.status, 0);
      EXPECT_EQ(answer.interface, near + 1);
      EXPECT_EQ(std::string(answer.message), name);
    }
  EXPECT_NE(ask(far, name).status, 0);
  EXPECT_NE(ask(one, elsewhere).status, 0);
  EXPECT_EQ(ask(anywhere, elsewhere).interface, here + 1);
  EXPECT_NE(ask(anywhere, "nowhere").status, 0);
  EXPECT_NE(ask(anywhere, std::string(64, 'x')).status, 0);  // without an end
}

TEST_F(NamespacesTest, WithAGlobalScopeOneTableHasOnePort) {
  add({.id = "blue"});
  add({.id = "red"});
  add({.id = "far", .ip4_table = 5});
  TestApp blue(bed, request("blue")), red(bed, request("red")), far(bed, request("far"));
  EXPECT_EQ(listen(blue, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listen(red, "0.0.0.0", 80), Status::kInUse);
  // What it had taken for its own namespace it has given back.
  EXPECT_EQ(listen(red, "0.0.0.0", 81), Status::kOk);
  EXPECT_EQ(listen(far, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), app_of(blue));
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), app_of(far));
  far.push(svm::ToDaemon::kUnlisten, bound.handle);  // it holds it still
  TestApp red_too(bed, request("red", 0, svm::kScopeLocalOnly));
  EXPECT_EQ(listen(red_too, "0.0.0.0", 80), Status::kOk) << "blue's is not local to red";

  // Connects that find no local listener go by the transport, in the namespace's table.
  EXPECT_EQ(connect(red, "10.0.0.1", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(0).endpoints.fib_index, 0u);
  EXPECT_EQ(connect(far, "10.0.0.9", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(1).endpoints.fib_index, fib5);
}

TEST_F(NamespacesTest, APortIsChosenThatIsFreeInAllTables) {
  add({.id = "blue"});
  TestApp local(bed, request("blue", 0, svm::kScopeLocalOnly)),
      global(bed, request("", 0, svm::kScopeGlobalOnly)), both(bed, request("blue"));
  ASSERT_EQ(listen(local, "0.0.0.0", 65535), Status::kOk);
  ASSERT_EQ(listen(global, "0.0.0.0", 65534), Status::kOk);
  layer().config.min_src_port = 65533;
  layer().config.max_src_port = 65535;
  ASSERT_EQ(listen(both, "0.0.0.0", 0), Status::kOk);
  EXPECT_EQ(Be16::from_raw(bound.local.port), 65533);
  EXPECT_EQ(listener_at("10.0.0.1", 65533, 0), app_of(both));
}

TEST_F(NamespacesTest, AListenerOfBothFamiliesIsInBothTables) {
  add({.id = "mixed", .ip4_table = 5, .ip6_table = 0});
  TestApp app(bed, request("mixed"));
  EXPECT_EQ(app.reply.ip4_table, 5u);
  EXPECT_EQ(app.reply.ip6_table, 0u);
  ASSERT_EQ(listen(app, "::", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), nullptr);
  app.die();
  bed.pump();
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), nullptr);
}

TEST_F(NamespacesTest, AnInterfaceIsAllThatItSees) {
  Namespace& blue = add({.id = "blue", .interface = there});
  EXPECT_EQ(blue.ip4_table, 5u);
  ASSERT_TRUE(bed.net->add_address(there, prefix("10.5.0.1", 24)));
  const IfIndex other = bed.net->create_loopback().value();
  ASSERT_TRUE(bed.net->set_table(other, 5, false));
  ASSERT_TRUE(bed.net->add_address(other, prefix("10.6.0.1", 24)));
  ASSERT_TRUE(bed.net->set_admin(other, true));
  TestApp app(bed, request("blue"));
  EXPECT_EQ(app.reply.ip4_table, 5u) << "the interface's";

  ASSERT_EQ(listen(app, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.0.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.5.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.6.0.1", 80, fib5), nullptr);
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), nullptr);
  EXPECT_EQ(listen(app, "10.6.0.1", 81), Status::kNotFound);
  EXPECT_EQ(listen(app, "10.5.0.1", 81), Status::kOk);

  // Addresses come and go under a listener.
  ASSERT_TRUE(bed.net->add_address(there, prefix("10.7.0.1", 24)));
  EXPECT_EQ(listener_at("10.7.0.1", 80, fib5), app_of(app));
  EXPECT_EQ(listener_at("10.7.0.1", 81, fib5), nullptr);
  ASSERT_TRUE(bed.net->del_address(there, prefix("10.5.0.1", 24)));
  EXPECT_EQ(listener_at("10.5.0.1", 80, fib5), nullptr);
  EXPECT_EQ(listener_at("10.5.0.1", 81, fib5), nullptr);
  EXPECT_EQ(listener_at("10.7.0.1", 80, fib5), app_of(app));

  // Connects come from it: by its own subnet, and by another's as well.
  EXPECT_EQ(connect(app, "10.7.0.9", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(0).endpoints.local.str(), "10.7.0.1");
  EXPECT_EQ(PipeTransport::end(0).endpoints.fib_index, fib5);
  EXPECT_EQ(connect(app, "10.6.0.9", 1000), Status::kRefused);
  EXPECT_EQ(PipeTransport::end(1).endpoints.local.str(), "10.0.0.1");
  EXPECT_EQ(connect(app, "10.6.0.9", 1000, "10.6.0.1"), Status::kNotFound);
  EXPECT_EQ(connect(app, "172.16.0.1", 1000), Status::kUnreachable);
  EXPECT_EQ(connect(app, "10.0.0.1", 80), Status::kOk);
  EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);

  // Another one that gets its number is not the same.
  ASSERT_EQ(bed.net->remove_interface(there), Status::kOk);
  bed.pump();
  EXPECT_EQ(bed.net->create_loopback().value(), there);
  ASSERT_TRUE(bed.net->add_address(there, prefix("10.9.0.1", 24)));
  EXPECT_EQ(listener_at("10.7.0.1", 80, fib5), nullptr);
  EXPECT_EQ(listener_at("10.9.0.1", 80, 0), nullptr);
  EXPECT_EQ(connect(app, "10.9.0.1", 80), Status::kUnreachable);
  EXPECT_EQ(session::interface_name(layer(), blue), "(gone)");
  // Its applications have to go before it gets another.
  EXPECT_EQ(add_namespace(layer(), {.id = "blue", .interface = there}).error().code,
            Status::kInUse);
  app.die();
  bed.pump();
  add({.id = "blue", .interface = there});
  TestApp again(bed, request("blue"));
  ASSERT_EQ(listen(again, "0.0.0.0", 80), Status::kOk);
  EXPECT_EQ(listener_at("10.9.0.1", 80, 0), app_of(again));
}

TEST_F(NamespacesTest, AnAddressThatSomebodyHasIsSaid) {
  add({.id = "blue", .interface = here});
  TestApp outside(bed), app(bed, request("blue"));
  ASSERT_EQ(listen(outside, "10.3.0.1", 80), Status::kOk);
  ASSERT_EQ(listen(app, "0.0.0.0", 80), Status::kOk);
  bed.log.clear();
  ASSERT_TRUE(bed.net->add_address(here, prefix("10.3.0.1", 24)));
  EXPECT_NE(bed.log.find("10.3.0.1 port 80"), std::string::npos) << bed.log;
  EXPECT_EQ(listener_at("10.3.0.1", 80, 0), app_of(outside));
  EXPECT_EQ(listener_at("10.0.0.1", 80, 0), app_of(app));
}

TEST_F(NamespacesTest, ATableStaysWhileANamespaceIsInIt) {
  ASSERT_TRUE(bed.net->add_table(7, false));
  EXPECT_EQ(add_namespace(layer(), {.id = "far", .ip6_table = 7}).error().code, Status::kNotFound);
  add({.id = "far", .ip4_table = 7});
  EXPECT_EQ(bed.net->del_table(7, false).error().code, Status::kInUse);
  ASSERT_TRUE(delete_namespace(layer(), "far"));
  EXPECT_TRUE(bed.net->del_table(7, false));
}

}  // namespace
}  // namespace loom::test
