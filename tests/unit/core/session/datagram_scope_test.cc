// Datagram sessions that have one interface alone (SocketOptions::interface): connect() and bind()
// to link-local addresses. The network is one of IPv4, as which family it is makes no difference
// here.
#include "tests/unit/core/session/datagram_bed.h"

namespace loom::test {
namespace {

struct DatagramScope : DatagramTest {
  static constexpr IfIndex kThere = 4;  // and has 10.0.0.4
  DatagramScope() {
    net.route_group = [](Worker&, const GroupDestination& d, RouteInfo* out) noexcept {
      if (d.interface != kThere) return Status::kUnreachable;
      out->is_local = d.to.str() == "10.0.0.4";
      return Status::kOk;
    };
    worker().net = &net;
  }
  Status open_on(IfIndex interface, uint8_t local, uint16_t port, uint8_t peer = 0) {
    svm::Endpoint own = any(port), remote = any(peer ? 7 : 0);
    if (local != 0) {
      own.ip[0] = 10;
      own.ip[3] = local;
    }
    if (peer != 0) remote.ip[0] = 192;
    svm::ConnectEvent e = datagram_request(own, remote);
    e.options.interface = static_cast<uint16_t>(interface + 1);
    app.push(svm::ToDaemon::kConnect, e);
    return static_cast<Status>(app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status);
  }
  Status connect_to(const TestApp::Connection& c, uint8_t peer) {  // 0: nobody
    svm::PeerEvent e{};
    e.handle = c.handle;
    e.remote = any(peer ? 7 : 0);
    if (peer != 0) {
      e.remote.ip[0] = 192;
      e.remote.ip[3] = peer;
    }
    app.push(svm::ToDaemon::kSetPeer, e);
    return static_cast<Status>(app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected).status);
  }
  NetOps net = kDatagramNet;
};

TEST_F(DatagramScope, TheAddressMustBeThatInterfacesAndTheTransportIsTold) {
  EXPECT_EQ(open_on(kThere, 4, 53), Status::kOk);
  EXPECT_EQ(transport.connections.back().options.interface, kThere);
  EXPECT_EQ(open_on(kThere, 1, 54), Status::kNotFound);
  EXPECT_EQ(open_on(kThere, 4, 55, 1), Status::kOk);
  EXPECT_EQ(open_on(kThere, 0, 56, 1), Status::kOk);
  EXPECT_EQ(open_on(kThere, 0, 57), Status::kOk);
}

TEST_F(DatagramScope, AnInterfaceThatThereIsNotIsSaidSo) {
  EXPECT_EQ(open_on(5, 4, 53), Status::kUnreachable);
  EXPECT_EQ(open_on(5, 0, 54, 1), Status::kUnreachable);
  EXPECT_EQ(open_on(0xfffe, 4, 53), Status::kUnreachable);
}

TEST_F(DatagramScope, TheTransportIsToldWhomAGroupIsConnectedToFrom) {  // IP_MULTICAST_IF
  const auto c = open(53);
  svm::OptionEvent e{};
  e.handle = c->handle;
  e.number = 1;
  e.options.ip4_group_source[0] = 10;
  e.options.ip4_group_source[3] = 4;
  app.push(svm::ToDaemon::kSetOption, e);
  EXPECT_EQ(transport.connections[0].options.ip4_group_source.str(), "10.0.0.4");
}

TEST_F(DatagramScope, ANamespaceOfOneInterfaceHasNoOther) {
  const auto c = open(53);
  bed.layer->impl().namespaces.front()->interface.store(7);
  svm::OptionEvent e{};
  e.handle = c->handle;
  e.number = 1;
  e.options.interface = kThere + 1;
  app.push(svm::ToDaemon::kSetOption, e);
  EXPECT_EQ(transport.connections[0].options.interface, 7u);
  // It keeps what its namespace has, but nobody is to be reached where it wanted to be.
  EXPECT_EQ(connect_to(*c, 1), Status::kUnreachable);
  EXPECT_EQ(connect_to(*c, 0), Status::kOk);
  e.options.interface = 7 + 1;
  app.push(svm::ToDaemon::kSetOption, e);
  EXPECT_EQ(connect_to(*c, 1), Status::kOk);
  e.options.interface = kThere + 1;
  app.push(svm::ToDaemon::kSetOption, e);
  e.options.interface = 0;
  app.push(svm::ToDaemon::kSetOption, e);
  EXPECT_EQ(transport.connections[0].options.interface, kNoIndex);
  EXPECT_EQ(connect_to(*c, 2), Status::kOk);
}

}  // namespace
}  // namespace loom::test
