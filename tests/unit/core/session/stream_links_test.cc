// Streams that have one interface alone (SocketOptions::interface): connect() and bind() to
// link-local addresses.
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
  Status listen_on(TestApp& app, IfIndex link, const char* at, uint16_t port) {
    svm::ListenEvent e{};
    e.local = end(at, port);
    e.backlog = 16;
    e.options.interface = static_cast<uint16_t>(link + 1);
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
