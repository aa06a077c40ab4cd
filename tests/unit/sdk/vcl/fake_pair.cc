#include "fake_pair.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <cstring>
#include <utility>

namespace loom::test {

FakeDaemon::Pair& FakeDaemon::pair(size_t i) {
  Pair* p = nullptr;
  run([&] { p = pairs_.at(i).get(); });
  return *p;
}

void FakeDaemon::tell(size_t i, ToApp type) {
  run([&] { to_owner(*sessions_.at(i), type); });
}

void FakeDaemon::say(uint32_t type, const void* payload, uint32_t len) {
  run([&] {
    lies_ = true;
    Worker& w = *apps_.at(0)->workers.at(0);
    (void)w.to_app.push(type, payload, len);
    const uint64_t one = 1;
    if (w.to_app.needs_wake()) (void)!write(w.event_fd, &one, sizeof one);
  });
}

void FakeDaemon::connect_to_peer(Worker& w, const ConnectEvent& e) {
  const bool is_datagram = e.proto == 1;
  Session& near = new_session(*w.app, e.local, e.remote, is_datagram ? e.rx_fifo_size : 0,
                              is_datagram ? e.tx_fifo_size : 0);
  auto p = std::make_unique<Pair>();
  p->session = sessions_.size() - 1;
  p->blocks.add_segment(std::move(*svm::Segment::create(4 << 20, SegmentKind::kDaemonArena)));
  p->chunks = std::move(*svm::Segment::create(2 << 20, SegmentKind::kAppArena));
  p->table.add(*p->chunks);
  p->arena.add_segment(*p->chunks);
  const auto block = p->blocks.alloc_object(sizeof(CutThroughShared));
  p->shared = reinterpret_cast<CutThroughShared*>(block.ptr);
  init_fifo(p->from_app());
  init_fifo(p->to_app());
  p->shared->ends[0].owner.store(w.index);
  const auto bell = p->blocks.alloc_object(sizeof(BellShared));
  p->bell = reinterpret_cast<BellShared*>(bell.ptr);
  for (int* ends : {p->doorbell, p->own_doorbell})
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0) std::abort();
  p->line = near.shared;
  p->line->block = block.ref;
  p->line->bell = bell.ref;
  p->line->bell_bit = Pair::kBit;
  if (is_datagram) {
    const auto table =
        w.app->arena.alloc_object(sizeof(DatagramLinks) + 2 * sizeof(DatagramLinkSlot));
    p->links = reinterpret_cast<DatagramLinks*>(table.ptr);
    p->links->capacity = 2;
    DatagramLinkSlot& slot = p->slot();
    slot.end = 0;
    slot.block = block.ref;
    slot.bell = bell.ref;
    slot.bell_bit = Pair::kBit;
    slot.rx_size = slot.tx_size = Pair::kFifo;
    slot.local = e.local;
    slot.remote = e.remote;
    p->set_link(1, kLinkOpen);
    p->line->block = table.ref;
  } else {
    p->line->rx_size = p->line->tx_size = Pair::kFifo;
  }
  pairs_.push_back(std::move(p));
  ConnectedEvent answer{};
  answer.context = e.context;
  answer.handle = near.handle;
  answer.session = near.ref;
  answer.local = e.local;
  answer.remote = e.remote;
  if (!is_datagram) answer.cut_through = CutThrough::kEnd0;
  send(w, ToApp::kConnected, answer);
}

void FakeDaemon::serve_pair(Worker& w, const AttachRequest& r) {
  AttachReply reply{};
  reply.version = kProtocolVersion;
  std::vector<int> fds;
  Pair* pair = nullptr;
  for (const auto& p : pairs_)
    if (p->blocks.segment(0).id() == r.pair) pair = p.get();
  if (r.op == AttachOp::kGetDoorbell && (r.flags & kToRing)) {
    ++doorbells_asked_;
    if (refuses_doorbells_) pair = nullptr;
  } else if (r.op == AttachOp::kGetDoorbell && before_doorbell_) {
    std::exchange(before_doorbell_, nullptr)();
  }
  if (pair && r.op == AttachOp::kGetSegment && r.segment_id == r.pair) {
    reply.n_segments = 2;
    const auto& blocks = pair->blocks.segment(0);
    reply.segments[0] = {blocks.id(), blocks.kind(), blocks.size()};
    reply.segments[1] = {pair->chunks->id(), pair->chunks->kind(), pair->chunks->size()};
    fds = {blocks.fd(), pair->chunks->fd()};
  } else if (pair && r.op == AttachOp::kGetDoorbell) {
    if (r.flags & kToRing)
      fds = {pair->own_doorbell[1]};
    else
      fds = {pair->doorbell[0]};
  } else {
    reply.status = static_cast<int32_t>(Status::kNotFound);
  }
  iovec iov{&reply, sizeof reply};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 2)] = {};
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  if (!fds.empty()) {
    m.msg_control = control;
    m.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
  }
  if (sendmsg(w.socket, &m, MSG_NOSIGNAL) < 0) std::abort();
}

}  // namespace loom::test
