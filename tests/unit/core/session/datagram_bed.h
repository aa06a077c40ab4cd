// One application with datagram sessions, over a transport that keeps what it is given. For tests.
#pragma once
#include <algorithm>
#include <optional>

#include "tests/unit/core/session/datagram_transport.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {

struct DatagramTest : testing::Test {
  using Transport = DatagramTransport;
  using DatagramHeader = svm::DatagramHeader;

  DatagramTest() {
    EXPECT_TRUE(bed.transports.add(transport.ops()));
    worker().net = &kDatagramNet;
  }
  Worker& worker() { return bed.engine->worker(0); }

  svm::ConnectedEvent ask_open(TestApp& a, svm::Endpoint local, svm::Endpoint remote) {
    a.push(svm::ToDaemon::kConnect, datagram_request(local, remote));
    const auto c = a.expect<svm::ConnectedEvent>(svm::ToApp::kConnected);
    EXPECT_EQ(c.context, 5u);
    return c;
  }
  static svm::Endpoint any(uint16_t port) {
    svm::Endpoint e{};
    e.is_ip4 = 1;
    e.port = Be16(port).raw();
    return e;
  }
  std::unique_ptr<TestApp::Connection> open(uint16_t port = 53) {
    const auto c = ask_open(app, any(port), any(0));
    EXPECT_EQ(c.status, 0);
    bound = c.local;
    return app.connection(c.handle, c.session);
  }
  // What a well-behaved application does.
  static DatagramHeader header(uint32_t length, uint16_t port = 9000) {
    DatagramHeader h{};
    h.length = length;
    h.flags = kDatagramRemote;
    h.is_ip4 = 1;
    h.remote_port = Be16(port).raw();
    h.remote_ip[0] = 192;
    h.remote_ip[3] = 9;
    return h;
  }
  uint32_t put(TestApp::Connection& c, const DatagramHeader& h, std::string_view payload) {
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += payload;
    return app.write(c, bytes);
  }
  Status receive(std::string_view payload, uint16_t port = 7, ConnId conn = 0) {
    Datagram d;
    d.ends.local = Ip4Address{{10, 0, 0, 1}};
    d.ends.remote = Ip4Address{{192, 0, 2, 3}};
    d.ends.local_port = 53;
    d.ends.remote_port = port;
    d.tos = 0xb8;
    d.ttl = 61;
    d.interface = 4;
    Buffer* first = nullptr;
    Buffer* last = nullptr;
    std::size_t done = 0;
    do {  // the payload behind 8 bytes that are not its own
      Buffer* b = worker().alloc();
      const std::size_t skip = first ? 0 : 8;
      const std::size_t n = std::min<std::size_t>(payload.size() - done, 1500);
      std::memset(b->append(static_cast<uint32_t>(skip)), 0xee, skip);
      std::memcpy(b->append(static_cast<uint32_t>(n)), payload.data() + done, n);
      done += n;
      if (!first) {
        first = last = b;
      } else {
        last->next = b;
        last = b;
        first->rest_len += b->len;
      }
    } while (done < payload.size());
    const Status s =
        worker().sessions->rx_datagram(worker(), transport.connections.at(conn).session, d, *first,
                                       8, static_cast<uint32_t>(payload.size()));
    worker().free(first);
    bed.pump();
    return s;
  }
  struct Got {
    DatagramHeader h{};
    std::string payload;
  };
  std::optional<Got> take(TestApp::Connection& c) {
    Got g;
    const uint32_t ready = c.rx.refresh();
    if (ready == 0) return std::nullopt;
    EXPECT_GE(ready, sizeof g.h);
    c.rx.dequeue(std::as_writable_bytes(std::span(&g.h, 1)));
    EXPECT_LE(g.h.length, ready - sizeof g.h);
    g.payload.resize(g.h.length);
    c.rx.dequeue(std::as_writable_bytes(std::span(g.payload)));
    return g;
  }
  FlowMatch lookup(Ip4Address local, uint16_t port, Ip4Address remote, uint16_t remote_port) {
    FlowKey4 k{};
    k.local = local;
    k.remote = remote;
    k.local_port = port;
    k.remote_port = remote_port;
    k.protocol = Transport::kIpProtocol;
    FlowMatch m;
    worker().sessions->lookup4(worker(), {&k, 1}, &m);
    return m;
  }
  static std::string pattern(std::size_t n) {
    std::string s(n, 0);
    for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i * 13 + i / 253);
    return s;
  }

  Transport transport;
  SessionBed bed;
  TestApp app{bed, [] {
                svm::AttachRequest r{};
                r.rx_fifo_size = r.tx_fifo_size = 256 << 10;
                return r;
              }()};
  svm::Endpoint bound{};
};

}  // namespace loom::test
