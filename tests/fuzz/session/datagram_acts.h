// What hostile applications do with datagram sessions and their links, and the way of datagrams
// from one session to the other in the fuzz target of sessions.
#pragma once
#include "svm/datagram_links.h"
#include "tests/fuzz/session/honest.h"
#include "tests/fuzz/session/hostile_app.h"

namespace loom::test {

// What has been sent since the last call arrives, on the worker of whoever is there.
inline void deliver(SessionBed& bed, DatagramTransport& t) {
  for (const auto& sent : std::exchange(t.sent, {})) {
    const uint16_t from = t.connections[sent.conn].ends.local_port;
    const uint16_t to = sent.d.flags & kDatagramRemote ? sent.d.ends.remote_port : sent.peer;
    const auto at = std::ranges::find_if(t.connections, [&](const auto& c) {
      return c.open && c.ends.local_port == to &&
             (c.ends.remote_port == 0 || c.ends.remote_port == from);
    });
    if (at == t.connections.end()) continue;
    Datagram d;
    d.ends.local = d.ends.remote = Ip4Address{{10, 0, 0, 0}};
    d.ends.local_port = to;
    d.ends.remote_port = from;
    Worker& w = bed.engine->worker(at->worker);
    Buffer* first = w.alloc();
    Buffer* last = first;
    for (std::size_t done = 0; done < sent.payload.size();) {
      const auto n = static_cast<uint32_t>(std::min<std::size_t>(sent.payload.size() - done, 1500));
      if (last->len != 0) {
        last->next = w.alloc();
        last = last->next;
        first->rest_len += n;
      }
      std::memcpy(last->append(n), sent.payload.data() + done, n);
      done += n;
    }
    (void)w.sessions->rx_datagram(w, at->session, d, *first, 0,
                                  static_cast<uint32_t>(sent.payload.size()));
    w.free(first);
  }
}

class DatagramActs {
 public:
  static constexpr uint8_t kActs = 4;
  // `session`: one of its, or nullptr; `lie`: a number that means something, or any.
  static void act(uint8_t which, HostileApp& app, HostileApp::Session* session, uint64_t lie,
                  Bytes& in) {
    if (which % kActs == 0) return open(app, in);
    if (!session) return;
    if (which % kActs == 1) return put(app, *session, in);
    if (which % kActs == 2) return set_peer(app, *session, in);
    links(app, *session, static_cast<uint32_t>(lie), in);
  }

 private:
  static svm::Endpoint some_end(Bytes& in) {
    constexpr uint16_t kPorts[] = {0, kHostilePort, kHostilePort + 1, kHonestDatagrams, 9};
    svm::Endpoint e = TestApp::end(kPorts[in.take() % std::size(kPorts)]);
    if (e.port == 0) e.ip[0] = 0;
    return e;
  }
  template <class T>
  static void push(HostileApp& app, svm::ToDaemon type, const T& payload) {
    app.push(static_cast<uint32_t>(type), &payload, sizeof payload);
  }

  static void open(HostileApp& app, Bytes& in) {
    const svm::Endpoint local = some_end(in);
    push(app, svm::ToDaemon::kConnect, datagram_request(local, some_end(in)));
  }
  // A datagram, or nearly one.
  static void put(HostileApp& app, HostileApp::Session& s, Bytes& in) {
    svm::DatagramHeader h{};
    const uint8_t how = in.take();
    std::vector<std::byte> bytes(sizeof h + 16u * in.take());
    h.length = static_cast<uint32_t>(bytes.size() - sizeof h) + (how & 1 ? in.take() : 0);
    h.flags = how & 2 ? in.take() : 0;
    h.is_ip4 = !(how & 4);
    h.gso_size = how & 8 ? in.take() : 0;
    const svm::Endpoint to = some_end(in);
    h.remote_port = to.port;
    if (to.port != 0) h.flags |= kDatagramRemote;
    std::memcpy(h.remote_ip, to.ip, sizeof h.remote_ip);
    if (how & 16) in.take(h.local_ip, 4);
    std::memcpy(bytes.data(), &h, sizeof h);
    svm::AppFifoProducer fifo(*s.tx, *s.arena, s.tx_size);
    (void)fifo.enqueue(svm::ByteView(bytes));
    push(app, svm::ToDaemon::kTx, svm::SessionEvent{s.handle, 0});
  }
  static void set_peer(HostileApp& app, HostileApp::Session& s, Bytes& in) {
    svm::PeerEvent e{};
    e.handle = s.handle;
    e.remote = some_end(in);
    if (in.take() % 4) return push(app, svm::ToDaemon::kSetPeer, e);
    const svm::PathEvent p{s.handle, 0, 0, e.remote, some_end(in)};
    push(app, svm::ToDaemon::kGetPath, p);
  }
  static void links(HostileApp& app, HostileApp::Session& s, uint32_t lie, Bytes& in) {
    const svm::Ref ref = s.line ? s.line->block : 0;
    auto* table = app.table.resolve_as<svm::DatagramLinks>(ref);
    if (!table) return;
    const uint32_t n = std::min(table->capacity, svm::kMaxDatagramLinks);
    if (n == 0 || !app.table.resolve(ref, sizeof *table + n * sizeof(svm::DatagramLinkSlot)))
      return;
    const uint32_t i = in.take() % n;
    svm::DatagramLinkSlot& slot = svm::link_slots(*table)[i];
    const svm::LinkEvent e{s.handle, i, slot.word.load()};
    switch (in.take() % 8) {
      case 0:
        return push(app, svm::ToDaemon::kLinkDone, e);
      case 1:
        return push(app, svm::ToDaemon::kLinkRing, e);
      case 2:
        return push(app, svm::ToDaemon::kLinkDone, svm::LinkEvent{s.handle, lie, e.word});
      case 3:
        return push(app, svm::ToDaemon::kLinkRing, svm::LinkEvent{s.handle, i, lie});
      case 4:  // the next request for segments is for those that it lies in
        app.pair_wanted = svm::ref_segment(slot.block);
        app.pair_block = slot.block;
        app.pair_end = slot.end;
        return;
      case 5:
        return slot.word.store(lie);
      case 6:
        slot.let_go.store(lie);
        table->let_go_version.fetch_add(1);
        return;
      default:
        slot.block = slot.bell = lie;
        slot.bell_bit = slot.end = lie;
        table->version.store(lie);
        return;
    }
  }
};

}  // namespace loom::test
