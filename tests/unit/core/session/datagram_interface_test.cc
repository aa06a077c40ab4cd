// Datagrams of applications that name the interface they leave by (kDatagramInterface).
#include "tests/unit/core/session/datagram_transport.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

using svm::DatagramHeader;

struct DatagramInterface : testing::Test {
  DatagramInterface() {
    EXPECT_TRUE(bed.transports.add(transport.ops()));
    bed.engine->worker(0).net = &kDatagramNet;
    svm::ConnectEvent e{};
    e.context = 5;
    e.proto = DatagramTransport::kProto;
    e.local.is_ip4 = e.remote.is_ip4 = 1;
    e.local.port = Be16(53).raw();
    app.push(svm::ToDaemon::kConnect, e);
    const auto c = app.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(c.status, 0);
    connection = app.connection(c.handle, c.session);
  }
  void put(DatagramHeader h, uint8_t is_ip4 = 1) {
    h.is_ip4 = is_ip4;
    h.remote_port = Be16(9000).raw();
    h.remote_ip[0] = 192;
    app.write(*connection, std::string(reinterpret_cast<const char*>(&h), sizeof h));
  }

  DatagramTransport transport;
  SessionBed bed;
  TestApp app{bed, [] {
                svm::AttachRequest r{};
                r.rx_fifo_size = r.tx_fifo_size = 256 << 10;
                return r;
              }()};
  std::unique_ptr<TestApp::Connection> connection;
};

TEST_F(DatagramInterface, IsToldTheTransport) {
  DatagramHeader h{};
  h.flags = kDatagramRemote;
  h.interface = 7;  // means nothing without the flag
  put(h);
  h.flags |= kDatagramInterface;
  put(h);
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(transport.sent[0].d.interface, kNoIndex);
  EXPECT_EQ(transport.sent[1].d.interface, 7u);
  EXPECT_EQ(transport.sent[1].d.flags, kDatagramRemote | kDatagramInterface);
}

TEST_F(DatagramInterface, IsTheNamespacesIfThatHasOneAlone) {
  bed.layer->impl().namespaces.front()->interface.store(7);
  DatagramHeader h{};
  h.flags = kDatagramRemote | kDatagramInterface;
  h.interface = 8;
  put(h);
  EXPECT_TRUE(transport.sent.empty());
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
  h.interface = 7;
  put(h);
  EXPECT_EQ(transport.sent.size(), 1u);
}

TEST_F(DatagramInterface, MayBeNamedByItsAddressWhichMustBeThisHosts) {  // IP_MULTICAST_IF
  DatagramHeader h{};
  h.flags = kDatagramRemote | kDatagramLocalInterface;
  put(h);  // which one?
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
  h.flags |= kDatagramLocal;
  put(h);  // 0.0.0.0
  EXPECT_EQ(bed.counter("bad-datagram"), 2u);
  h.local_ip[0] = 10;
  put(h);
  ASSERT_EQ(transport.sent.size(), 1u);
  EXPECT_EQ(transport.sent[0].d.flags, h.flags);
  EXPECT_EQ(transport.sent[0].d.ends.local.str(), "10.0.0.0");
}

TEST_F(DatagramInterface, AChecksumIsLeftOutOfWhatSaysSo) {  // RFC 6935; UDP_NO_CHECK6_TX
  DatagramHeader h{};
  h.flags = kDatagramRemote | kDatagramNoChecksum;
  put(h, 0);
  h.flags = kDatagramRemote;
  put(h, 0);
  ASSERT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(transport.sent[0].d.flags, kDatagramRemote | kDatagramNoChecksum);
  EXPECT_EQ(transport.sent[1].d.flags, kDatagramRemote);
  h.flags = kDatagramRemote | kDatagramNoChecksum;
  put(h, 1);
  EXPECT_EQ(transport.sent.size(), 2u);
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
}

TEST_F(DatagramInterface, NeedsADestination) {
  DatagramHeader h{};
  h.flags = kDatagramInterface;
  put(h);
  EXPECT_TRUE(transport.sent.empty());
  EXPECT_EQ(bed.counter("bad-datagram"), 1u);
}

}  // namespace
}  // namespace loom::test
