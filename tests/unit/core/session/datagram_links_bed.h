// Datagram sessions of two applications, and the links between them as each end maps them.
#pragma once
#include "tests/unit/core/session/datagram_transport.h"
#include "tests/unit/core/session/pair_memory.h"

namespace loom::test::links {

using svm::DatagramHeader;
using Transport = DatagramTransport;

inline svm::AttachRequest named(const char* name, uint32_t flags = 0) {
  svm::AttachRequest r{};
  std::strcpy(r.app_name, name);
  r.rx_fifo_size = r.tx_fifo_size = 128 << 10;
  r.flags = flags;
  return r;
}

inline svm::Endpoint at(uint8_t host, uint16_t port) {
  svm::Endpoint e{};
  e.is_ip4 = 1;
  e.port = Be16(port).raw();
  if (host != 0) e.ip[0] = 10;
  e.ip[3] = host;
  return e;
}

// A session, and its application's way to its links.
struct Socket {
  TestApp* app = nullptr;
  uint64_t handle = 0;
  svm::Endpoint local{};
  std::unique_ptr<TestApp::Connection> own;

  svm::DatagramLinks* table() const {
    const svm::Ref ref = own->shared->block;
    return ref ? app->table.resolve_as<svm::DatagramLinks>(ref) : nullptr;
  }
  svm::DatagramLinkSlot& slot(uint32_t i = 0) const { return svm::link_slots(*table())[i]; }
  uint32_t count(svm::LinkState state) const {
    uint32_t n = 0;
    for (uint32_t i = 0; table() && i < table()->capacity; ++i)
      n += svm::link_state(slot(i).word.load()) == state;
    return n;
  }
};

// One end of a link.
struct Link : PairMemory {
  svm::AppFifoConsumer rx;
  svm::AppFifoProducer tx;

  void send(std::string_view text) {
    DatagramHeader h{};
    h.length = static_cast<uint32_t>(text.size());
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof h);
    bytes += text;
    EXPECT_EQ(tx.enqueue(svm::bytes_of(bytes.data(), bytes.size())), bytes.size());
  }
  std::string take() {
    DatagramHeader h;
    if (rx.refresh() < sizeof h) return "";
    rx.dequeue(std::as_writable_bytes(std::span(&h, 1)));
    std::string text(h.length, 0);
    rx.dequeue(std::as_writable_bytes(std::span(text)));
    return text;
  }
};

struct DatagramLinksTest : testing::Test {
  DatagramLinksTest() {
    EXPECT_TRUE(bed.transports.add(transport.ops()));
    bed.engine->worker(0).net = &kDatagramNet;
  }
  // Behind what is told about links.
  static svm::ConnectedEvent answer(TestApp& a) {
    svm::MqEvent event{};
    while (a.events.pop(event))
      if (static_cast<svm::ToApp>(event.type) == svm::ToApp::kConnected)
        return event.as<svm::ConnectedEvent>();
    ADD_FAILURE() << "no answer";
    return {};
  }
  svm::ConnectedEvent ask(TestApp& a, svm::Endpoint local, svm::Endpoint remote) {
    a.push(svm::ToDaemon::kConnect, datagram_request(local, remote));
    return answer(a);
  }
  Socket open(TestApp& a, svm::Endpoint local, svm::Endpoint remote) {
    const auto c = ask(a, local, remote);
    EXPECT_EQ(c.status, 0);
    EXPECT_EQ(c.cut_through, svm::CutThrough::kNo);
    return {&a, c.handle, c.local, a.connection(c.handle, c.session)};
  }
  Socket bind(TestApp& a, uint16_t port, uint8_t host = 0) {
    return open(a, at(host, port), at(0, 0));
  }
  Socket connect(TestApp& a, uint16_t port, uint8_t host = 1) {
    return open(a, at(0, 0), at(host, port));
  }
  Status set_peer(Socket& s, svm::Endpoint remote) {
    svm::PeerEvent e{};
    e.handle = s.handle;
    e.context = 6;
    e.remote = remote;
    s.app->push(svm::ToDaemon::kSetPeer, e);
    return static_cast<Status>(answer(*s.app).status);
  }
  // Its only one, from now on; kNoIndex: any.
  void set_interface(Socket& s, IfIndex interface) {
    svm::OptionEvent e{};
    e.handle = s.handle;
    e.number = ++n_options;
    e.options.interface = static_cast<uint16_t>(interface + 1);
    s.app->push(svm::ToDaemon::kSetOption, e);
  }
  Link map(const Socket& s, uint32_t slot = 0) {
    Link l;
    const svm::DatagramLinkSlot& shared = s.slot(slot);
    l.map(*s.app, shared.block);
    l.rx = svm::AppFifoConsumer(l.shared->fifos[1 - shared.end], *l.table, shared.rx_size);
    l.tx = svm::AppFifoProducer(l.shared->fifos[shared.end], *l.arena, shared.tx_size);
    return l;
  }
  void done(const Socket& s, uint32_t slot = 0) {
    const svm::LinkEvent e{s.handle, slot, s.slot(slot).word.load()};
    s.app->push(svm::ToDaemon::kLinkDone, e);
  }
  // Of packets to or from that port of 10.0.0.1; 0: any.
  session::RuleSpec rule(session::RuleScope scope, uint16_t local_port,
                         uint32_t action = session::kActionDrop) {
    session::RuleSpec r;
    r.scope = scope;
    r.transport = bed.transports.find_proto(Transport::kProto);
    r.action = action;
    r.match.local = *IpPrefix::parse("10.0.0.1/32");
    r.match.remote = *IpPrefix::parse("0.0.0.0/0");
    r.match.local_port = local_port;
    return r;
  }
  session::Filters& filters() { return *bed.layer->impl().filters; }
  static void forget_events(TestApp& a) {
    svm::MqEvent e;
    while (a.events.pop(e)) {}
  }
  std::size_t links() {
    auto& sw = *bed.layer->impl().workers[0];
    return sw.datagram_links.size() - sw.free_datagram_links.size();
  }
  // Everything that was there for links has gone, in time.
  void expect_nothing_left() {
    EXPECT_EQ(links(), 0u);
    EXPECT_TRUE(bed.layer->impl().workers[0]->linked.empty());
    for (int i = 0; i < 3; ++i) bed.pump(6 * kSecond);
    EXPECT_TRUE(bed.layer->impl().pairs.empty());
  }

  uint32_t n_options = 0;
  Transport transport;
  SessionBed bed;
  TestApp server{bed, named("server")}, client{bed, named("client")};
};

}  // namespace loom::test::links
