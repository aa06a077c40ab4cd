// Attach: applications and their workers come, fork and go.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <iterator>
#include <new>

#include "../send_fds.h"
#include "fake_daemon_impl.h"

namespace loom::test {
namespace {

constexpr uint64_t kSegmentSize = 256ull << 20;

}  // namespace

std::unique_ptr<FakeDaemon::Worker> FakeDaemon::new_worker(App& app, int socket) {
  auto w = std::make_unique<Worker>();
  w->app = &app;
  w->index = static_cast<uint32_t>(app.workers.size());
  w->socket = socket;
  w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const auto queue = [&](Ref& ref) {
    const auto object = app.arena.alloc_object(mq_bytes(app.queue_size));
    auto* q = new (object.ptr) MqShared{};
    init_mq(*q, app.queue_size);
    ref = object.ref;
    return q;
  };
  w->to_app = MqProducer(*queue(w->to_app_ref), app.queue_size);
  w->from_app = MqConsumer(*queue(w->from_app_ref), app.queue_size);
  return w;
}

void FakeDaemon::accept_worker() {
  const int fd = accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return;
  auto app = std::make_unique<App>();
  app->index = static_cast<uint32_t>(apps_.size());
  auto& a = *app;
  apps_.push_back(std::move(app));
  auto w = std::make_unique<Worker>();
  w->app = &a;
  w->socket = fd;
  a.workers.push_back(std::move(w));
}

void FakeDaemon::reply_attach(Worker& to, Worker& about, bool with_socket) {
  App& app = *about.app;
  AttachReply r{};
  r.version = kProtocolVersion;
  r.app_index = app.index;
  r.worker_index = about.index;
  r.n_daemon_workers = 1;
  r.rx_fifo_size = app.rx_size;
  r.tx_fifo_size = app.tx_size;
  r.ip4_table = kIp4Table;
  r.ip6_table = kIp6Table;
  const auto& d = app.arena.segment(0);
  const auto& s = *app.app_segments[0];
  r.n_segments = 2;
  r.segments[0] = {d.id(), d.kind(), d.size()};
  r.segments[1] = {s.id(), s.kind(), s.size()};
  r.app_mq = about.to_app_ref;
  r.daemon_mq[0] = about.from_app_ref;
  std::vector<int> fds;
  int mine = -1, theirs = -1;
  if (with_socket) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0) std::abort();
    mine = pair[0];
    theirs = pair[1];
    about.socket = mine;
    fds.push_back(theirs);
  }
  fds.insert(fds.end(), {about.event_fd, wake_fd_, d.fd(), s.fd()});
  if (!send_fds(to.socket, std::as_bytes(std::span(&r, 1)), fds)) std::abort();
  if (theirs >= 0) close(theirs);
}

void FakeDaemon::serve_socket(Worker& w) {
  AttachRequest r;
  char text[4096];  // settings behind it; what is more goes
  iovec parts[] = {{&r, sizeof r}, {text, sizeof text}};
  msghdr message{};
  message.msg_iov = parts;
  message.msg_iovlen = std::size(parts);
  const ssize_t n = recvmsg(w.socket, &message, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n < static_cast<ssize_t>(sizeof r)) {
    drop_worker(w);
    return;
  }
  App& app = *w.app;
  if (r.op == AttachOp::kAttach) {
    app.name = r.app_name;
    app.rx_size = r.rx_fifo_size ? r.rx_fifo_size : 1u << 20;
    app.tx_size = r.tx_fifo_size ? r.tx_fifo_size : 1u << 20;
    app.queue_size = r.event_queue_size ? r.event_queue_size : 2048;
    app.arena.add_segment(
        std::move(*svm::Segment::create(kSegmentSize, SegmentKind::kDaemonArena)));
    app.app_segments.push_back(
        std::move(*svm::Segment::create(kSegmentSize, SegmentKind::kAppArena)));
    app.table.add(*app.app_segments[0]);
    const int fd = w.socket;
    w.socket = -1;
    app.workers.clear();
    app.workers.push_back(new_worker(app, fd));
    reply_attach(*app.workers[0], *app.workers[0], false);
  } else if (r.op == AttachOp::kAddWorker) {
    ++workers_added_;
    app.workers.push_back(new_worker(app, -1));
    reply_attach(w, *app.workers.back(), true);
  } else if (r.op == AttachOp::kAddSettings || r.op == AttachOp::kUseSettings) {
    serve_settings(w, r, {text, static_cast<std::size_t>(n) - sizeof r});
  } else if (r.op == AttachOp::kFindInterface) {
    serve_interface(w, r);
  } else {
    serve_pair(w, r);
  }
}

void FakeDaemon::serve_interface(Worker& w, const AttachRequest& r) {
  AttachReply reply{};
  reply.version = kProtocolVersion;
  const bool is_own = std::memcmp(r.ip4, kOwnIp4, sizeof kOwnIp4) == 0;
  reply.interface = r.interface != 0 ? r.interface : is_own ? kOwnInterface : 0;
  if (r.interface == 0 && std::strncmp(r.app_name, "wire", 4) == 0)
    reply.interface = static_cast<uint32_t>(std::atoi(r.app_name + 4));
  if (reply.interface == 0 || reply.interface > kInterfaces)
    reply.status = static_cast<int32_t>(Status::kNotFound);
  std::snprintf(reply.message, sizeof reply.message, "wire%u", reply.interface);
  if (::send(w.socket, &reply, sizeof reply, MSG_NOSIGNAL) < 0) std::abort();
}

void FakeDaemon::serve_settings(Worker& w, const AttachRequest& r, std::string_view text) {
  {
    const std::lock_guard lock(mutex_);
    settings_ = text;
  }
  AttachReply reply{};
  reply.version = kProtocolVersion;
  if (r.op == AttachOp::kAddSettings)
    reply.settings = static_cast<uint32_t>(++settings_given_);
  else
    ++settings_used_;
  if (::send(w.socket, &reply, sizeof reply, MSG_NOSIGNAL) < 0) std::abort();
}

void FakeDaemon::drop_worker(Worker& w) {
  MqEvent e;
  while (w.attached() && w.from_app.pop(e)) handle(w, e);  // its last words
  close(w.socket);
  w.socket = -1;
  const uint64_t bit = 1ull << w.index;
  for (auto& s : sessions_) {
    if (s->app != w.app || s->closed || !s->shared) continue;
    if ((s->shared->holders.fetch_and(~bit) & bit)) after_holders(*s);
  }
  std::erase_if(listeners_, [&](const auto& l) {
    return l->app == w.app && (l->shared->holders.fetch_and(~bit) & ~bit) == 0;
  });
}

void FakeDaemon::after_holders(Session& s) {
  if (s.shared->holders.load() != 0) return;
  s.closed = true;
  s.shut = true;
}

}  // namespace loom::test
