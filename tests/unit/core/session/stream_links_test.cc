// Streams that have one interface alone (SocketOptions::interface): connect() and bind() to
// link-local addresses.
#include <map>

#include "tests/unit/core/session/namespaces_bed.h"

namespace loom::test {
namespace {

struct StreamLinks : NamespacesTest {
  StreamLinks() {
    wire = add_wire();
    EXPECT_TRUE(bed.net->add_address(wire, prefix("fe80::7", 64)));
    EXPECT_TRUE(bed.net->add_address(here, prefix("fe80::1", 64)));
    EXPECT_TRUE(bed.net->set_admin(wire, true));
    add({.id = "one", .interface = here});
  }
  Status connect_by(TestApp& app, IfIndex link, const char* to, uint16_t port,
                    const char* from = "::") {
    svm::ConnectEvent e{};
    e.remote = end(to, port);
    e.local = end(from, 0);
    e.options.interface = static_cast<uint16_t>(link + 1);
    app.push(svm::ToDaemon::kConnect, e);
    connected = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    return static_cast<Status>(connected.status);
  }
  Status listen_on(TestApp& app, IfIndex link, const char* at, uint16_t port, bool shares = false) {
    svm::ListenEvent e{};
    e.local = end(at, port);
    e.backlog = 16;
    e.options.interface = static_cast<uint16_t>(link + 1);
    e.options.reuseport = shares;
    app.push(svm::ToDaemon::kListen, e);
    bound = app.expect<svm::BoundEvent>(svm::ToApp::kBound);
    if (bound.status == 0) app.listener = app.table.resolve_as<svm::ListenerShared>(bound.listener);
    return static_cast<Status>(bound.status);
  }
  static uint32_t accepted_by(TestApp& app) {
    svm::AcceptedSession a;
    svm::AcceptConsumer queue(*app.listener, app.listener->capacity);
    EXPECT_TRUE(queue.pop(a));
    return a.interface;
  }
  IfIndex wire = kNoIndex;
};

TEST_F(StreamLinks, AConnectionHasTheInterfaceThatItNamesIfItIsTheApplications) {
  TestApp app(bed), one(bed, request("one"));
  EXPECT_EQ(connect_by(app, wire, "fe80::9", 1000), Status::kRefused);  // nobody listens
  EXPECT_EQ(PipeTransport::self->last_options.interface, wire);
  EXPECT_EQ(connect_by(app, wire, "fe80::9", 1000, "fe80::7"), Status::kRefused);
  EXPECT_EQ(connect_by(app, wire, "fe80::9", 1000, "fe80::1"), Status::kNotFound);
  EXPECT_EQ(connect_by(app, there, "fe80::9", 1000), Status::kUnreachable);  // another table's
  EXPECT_EQ(connect_by(app, 77, "fe80::9", 1000), Status::kUnreachable);
  EXPECT_EQ(connect_by(app, 0xfffe, "fe80::9", 1000), Status::kUnreachable);
  EXPECT_EQ(connect_by(one, wire, "fe80::9", 1000), Status::kUnreachable);
}

TEST_F(StreamLinks, AListenerHasAnAddressOfItsInterface) {
  TestApp app(bed), one(bed, request("one"));
  EXPECT_EQ(listen_on(app, wire, "fe80::7", 80), Status::kOk);
  EXPECT_EQ(listen_on(app, wire, "::", 81), Status::kOk);
  EXPECT_EQ(listen_on(app, wire, "fe80::1", 82), Status::kNotFound);
  EXPECT_EQ(listen_on(app, there, "fe80::7", 83), Status::kUnreachable);
  EXPECT_EQ(listen_on(app, 77, "fe80::7", 84), Status::kUnreachable);
  EXPECT_EQ(listen_on(one, wire, "fe80::7", 85), Status::kUnreachable);
  EXPECT_EQ(listen_on(one, here, "fe80::1", 86), Status::kOk);
}

TEST_F(StreamLinks, BetweenApplicationsTheLinkIsThatOfTheAddress) {
  TestApp server(bed), client(bed);
  ASSERT_EQ(listen_on(server, here, "fe80::1", 90), Status::kOk);
  ASSERT_EQ(connect_by(client, here, "fe80::1", 90), Status::kOk);
  EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);
  EXPECT_EQ(accepted_by(server), here + 1);
  // On another link that address is somebody else's; what the transport says of a connection that
  // it has accepted is told.
  PipeTransport::self->interface = wire;
  ASSERT_EQ(connect_by(client, wire, "fe80::1", 90), Status::kOk);
  EXPECT_EQ(connected.cut_through, svm::CutThrough::kNo);
  EXPECT_EQ(accepted_by(server), wire + 1);
  // Who has named no interface finds no listener of one.
  ASSERT_EQ(connect_by(client, kNoIndex, "fe80::1", 90), Status::kOk);
  EXPECT_EQ(connected.cut_through, svm::CutThrough::kNo);
}

TEST_F(StreamLinks, ListenersOfDifferentLinksShareAPort) {
  EXPECT_TRUE(bed.net->add_address(wire, prefix("fe80::1", 64)));
  TestApp by_here(bed), by_wire(bed), any(bed), client(bed);
  ASSERT_EQ(listen_on(by_here, here, "fe80::1", 90, true), Status::kOk);
  const uint32_t first = static_cast<uint32_t>(bound.handle);
  ASSERT_EQ(listen_on(by_wire, wire, "fe80::1", 90, true), Status::kOk);
  const uint32_t second = static_cast<uint32_t>(bound.handle);
  EXPECT_EQ(listen_on(any, wire, "fe80::1", 90), Status::kInUse);
  EXPECT_EQ(listen_on(any, kNoIndex, "::", 90), Status::kInUse)
      << "who hears all links has to agree";
  ASSERT_EQ(listen_on(any, kNoIndex, "::", 90, true), Status::kOk);
  const uint32_t third = static_cast<uint32_t>(bound.handle);
  for (uint32_t turn = 0; turn < 20; ++turn) {  // whichever chance names first
    ASSERT_EQ(connect_by(client, here, "fe80::1", 90), Status::kOk);
    EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);
    EXPECT_EQ(accepted_by(by_here), here + 1);
    ASSERT_EQ(connect_by(client, wire, "fe80::1", 90), Status::kOk);
    EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);
    EXPECT_EQ(accepted_by(by_wire), wire + 1);
  }
  // What the transport is told. It knows each by a number of its own.
  std::map<uint32_t, ConnId> kept;
  for (const uint32_t l : {first, second, third})
    kept[l] = std::exchange(layer().listener(l)->conn[0], 1000 + l);
  Worker& w = bed.engine->worker(0);
  for (uint16_t port = 1; port < 50; ++port) {
    Endpoints e;
    e.local = IpAddress::parse("fe80::1").value();
    e.remote = IpAddress::parse("fe80::9").value();
    e.local_port = 90;
    e.remote_port = port;
    const auto ask = [&](uint32_t found, IfIndex by) {
      return w.sessions->listener_on(w, e, PipeTransport::kIpProtocol, found, by);
    };
    EXPECT_EQ(ask(first, wire), 1000 + second);
    EXPECT_EQ(ask(second, here), 1000 + first);
    EXPECT_EQ(ask(second, there), 1000 + third);
    EXPECT_EQ(ask(first, there), 1000 + third);
    e.local = IpAddress::parse("2001:db8::1").value();
    EXPECT_EQ(ask(third, there), kNoConn) << "not the one that was found";
    e.local_port = 91;
    EXPECT_EQ(ask(first, wire), kNoConn);
  }
  for (const auto& [l, conn] : kept) layer().listener(l)->conn[0] = conn;
}

TEST_F(StreamLinks, OfAddressesThatMeanTheSameOnEveryLinkTheAcceptedIsToldNoInterface) {
  TestApp server(bed), client(bed);
  ASSERT_EQ(listen_on(server, kNoIndex, "0.0.0.0", 91), Status::kOk);
  ASSERT_EQ(connect_by(client, here, "10.0.0.1", 91, "0.0.0.0"), Status::kOk);
  EXPECT_NE(connected.cut_through, svm::CutThrough::kNo);
  EXPECT_EQ(accepted_by(server), 0u);
}

TEST_F(StreamLinks, TheTableIsNotAskedForTheWayOfANamespaceByItsInterface) {
  const IfIndex other = add_wire("other");
  EXPECT_TRUE(bed.net->add_address(other, prefix("fe80::8", 64)));
  EXPECT_TRUE(bed.net->set_admin(here, false));
  add({.id = "wire", .interface = wire});
  add({.id = "other", .interface = other});
  TestApp by_wire(bed, request("wire")), by_other(bed, request("other"));
  EXPECT_TRUE(bed.net->set_admin(other, true));
  EXPECT_TRUE(bed.net->set_admin(wire, false));
  EXPECT_EQ(connect_by(by_wire, wire, "fe80::9", 1000), Status::kUnreachable);
  EXPECT_EQ(connect_by(by_other, other, "fe80::9", 1000), Status::kRefused);  // nobody listens
  EXPECT_EQ(connect_by(by_other, wire, "fe80::9", 1000), Status::kUnreachable);
  EXPECT_TRUE(bed.net->set_admin(wire, true));
  EXPECT_TRUE(bed.net->set_admin(other, false));
  EXPECT_EQ(connect_by(by_other, other, "fe80::9", 1000), Status::kUnreachable);
  EXPECT_EQ(connect_by(by_wire, wire, "fe80::9", 1000), Status::kRefused);
}

}  // namespace
}  // namespace loom::test
