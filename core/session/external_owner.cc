// Sessions of applications outside the process: what happens to them is told by accept queues,
// message queues and the fifos' flags, all in shared memory.
#include <arpa/inet.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "session/impl.h"

namespace loom::session {
namespace {

int reset_errno(ResetReason r) noexcept {
  switch (r) {
    case ResetReason::kTimedOut:
      return ETIMEDOUT;
    case ResetReason::kRefused:
      return ECONNREFUSED;
    case ResetReason::kUnreachable:
      return ENETUNREACH;  // no route: what ICMP says comes as an errno of its own
    case ResetReason::kAborted:
      return ECONNABORTED;
    case ResetReason::kNoMemory:
      return ENOMEM;
    case ResetReason::kMessageSize:
      return EMSGSIZE;
    case ResetReason::kPeerReset:
      break;
  }
  return ECONNRESET;
}

svm::CutThrough cut_through_end(const Session& s) noexcept {
  if (!s.is_cut_through()) return svm::CutThrough::kNo;
  return s.cut_conn & 1 ? svm::CutThrough::kEnd1 : svm::CutThrough::kEnd0;
}

Status accepted(SessionWorker& sw, Listener& l, Session& s, const Endpoints& e,
                IfIndex link) noexcept {
  svm::AcceptedSession a;
  a.handle = handle_of(sw, s);
  a.session = s.shared_ref;
  a.cut_through = cut_through_end(s);
  a.is_ip4 = e.remote.is_ip4;
  // Other addresses mean the same on every link, whatever the connection goes by.
  const bool is_of_link = is_link_local(e.local) || is_link_local(e.remote);
  a.interface = is_of_link ? static_cast<uint16_t>(link + 1) : uint16_t{0};  // kNoIndex: 0
  a.local_port = htons(e.local_port);
  a.remote_port = htons(e.remote_port);
  std::memcpy(a.local_ip, e.local.bits.bytes.data(), 16);
  std::memcpy(a.remote_ip, e.remote.bits.bytes.data(), 16);
  switch (l.accepts.push(a, s.accept_pos)) {
    case svm::AcceptProducer::Push::kOk:
      break;
    case svm::AcceptProducer::Push::kFull:
      ++sw.counters[kAcceptOverflow];
      return Status::kAgain;
    case svm::AcceptProducer::Push::kViolation:
      condemn(sw, *l.app);
      return Status::kNoMemory;
  }
  notify_accept(sw, l);
  return Status::kOk;
}

void connected(SessionWorker& sw, Session& s, Status status, const Endpoints& e) noexcept {
  AppWorker* a = s.app->live[s.creator].load(std::memory_order_acquire);
  svm::ConnectedEvent event{};
  event.context = std::exchange(s.context, 0);  // a datagram session has error_end there
  event.status = static_cast<int32_t>(status);
  event.local = endpoint_of(e.local, e.local_port);
  event.remote = endpoint_of(e.remote, e.remote_port);
  if (status == Status::kOk) {
    set_owner(sw, s, s.creator);
    s.shared->holders.store(1ull << s.creator, std::memory_order_relaxed);
    event.handle = handle_of(sw, s);
    event.session = s.shared_ref;
    event.cut_through = cut_through_end(s);
    event.everywhere = default_routes(sw, s);
  }
  if (a) push_event(sw, *a, svm::ToApp::kConnected, event);
  if (status != Status::kOk) {
    free_session(sw, s);
  } else if (!a) {  // its process died while we waited for the peer
    s.shared->holders.store(0, std::memory_order_relaxed);
    app_close(sw, s, true);
  }
}

void lost(SessionWorker& sw, Session& s, ResetReason reason) noexcept {
  if (!s.shared || s.state == State::kClosing) return;
  if (s.is_cut_through())
    return set_peer_end(sw, s, svm::kPeerReset | static_cast<uint32_t>(reset_errno(reason)));
  rx_of(s).set_reset(reset_errno(reason));
  notify(sw, s, kNotifyRx | kNotifyForce);
}

bool reclaim_tx(SessionWorker&, Session&) noexcept { return false; }  // the application's business
bool let_go(SessionWorker&, Session&) noexcept { return true; }

}  // namespace

const OwnerOps kExternalOwner{
    .make_segment = svm::Segment::create,
    .in_this_process = false,
    .end = end_external,
    .accepted = accepted,
    .connected = connected,
    .lost = lost,
    .tell = tell_by_event,
    .reclaim_tx = reclaim_tx,
    .let_go = let_go,
};

}  // namespace loom::session
