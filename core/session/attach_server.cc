// The attach socket: how applications come, fork, get memory and go. Control thread; nothing here
// stops a worker.
//
// The connection is the worker's life line: the kernel closes it when the process dies, however it
// dies, and then everything that only this process held is released as if it had closed it.
#include <fcntl.h>
#include <linux/sockios.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>

#include <hostloom/endpoint_settings.h>

#include "graph/placement.h"
#include "session/attach.h"
#include "session/fds.h"
#include "session/listeners.h"

namespace loom::session {

namespace {

// Replies on their way hold descriptors, of segments that may have gone. Applications wait for each
// before they ask again; who has so many bytes of them unread (with what the kernel adds) does not.
constexpr int kMostUnread = 32 << 10;

}  // namespace

void send_reply(int socket, const Reply& r) {
  iovec iov[2] = {{const_cast<svm::AttachReply*>(&r.body), sizeof r.body},
                  {const_cast<char*>(r.more.data()), r.more.size()}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * svm::kMaxReplyFds)];
  msghdr m{};
  m.msg_iov = iov;
  m.msg_iovlen = 2;
  if (!r.fds.empty()) put_fds(m, control, r.fds);
  // A client that does not read its replies has a full socket. Another one would not wait for ever
  // for a reply that is lost.
  if (::sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) ::shutdown(socket, SHUT_RDWR);
}

namespace {

// The application may have read it before us, and made it one whose reads wait. Who writes alone
// writes the number of his core and one more; the sum of several is taken for one, and only
// misleads the worker.
void drain_eventfd(Worker& w, int fd, void*) noexcept {
  eventfd_t count;
  const iovec to{&count, sizeof count};
  if (::preadv2(fd, &to, 1, -1, RWF_NOWAIT) == sizeof count && count <= INT_MAX)
    note_waker(w, static_cast<int>(count) - 1);
}

svm::Segment* find_segment(App& app, uint32_t id) {
  for (uint32_t i = 0; i < app.arena.n_segments(); ++i)
    if (app.arena.segment(i).id() == id) return &app.arena.segment(i);
  for (auto& s : app.app_arenas)
    if (s->id() == id) return s.get();
  return nullptr;
}

}  // namespace

Result<App*> make_app(Impl& layer, const svm::AttachRequest& r,
                      const std::shared_ptr<Namespace>& ns) {
  if (const uint32_t most = ns->quota.applications; most && n_applications(layer, *ns) >= most) {
    ++ns->refused_applications;
    return error(Status::kNoMemory, "namespace '" + ns->id + "' has the " + std::to_string(most) +
                                        " applications that it may have");
  }
  const auto index = free_app_index(layer);
  if (!index) return index.error();
  const SessionConfig& c = layer.config;
  auto app = std::make_unique<App>(kExternalOwner);
  app->index = *index;
  app->serial = ++layer.last_serial;
  app->ns = ns;
  app->memory.begin(ns);
  app->descriptors.begin(layer.shares.descriptors);
  app->address_space.begin(layer.shares.address_space);
  app->listeners.begin(layer.shares.listeners);
  app->memberships.begin(layer.shares.memberships);
  app->name = r.app_name;
  app->scope.local = !(r.flags & svm::kScopeGlobalOnly);
  app->scope.global = !(r.flags & svm::kScopeLocalOnly);
  app->wanted_links.resize(layer.workers.size());
  const auto megabytes = [](uint32_t asked, uint64_t otherwise) {
    return asked ? std::clamp<uint64_t>(asked, 1, 64u << 10) << 20 : otherwise;
  };
  const uint64_t segment_size = megabytes(r.segment_size_mb, c.segment_size);
  app->add_segment_size = megabytes(r.add_segment_size_mb, c.add_segment_size);
  app->rx_fifo_size = fifo_size(r.rx_fifo_size, c.rx_fifo_size);
  app->tx_fifo_size = fifo_size(r.tx_fifo_size, c.tx_fifo_size);
  app->event_queue_length = std::bit_ceil(std::clamp(
      r.event_queue_size ? r.event_queue_size : c.event_queue_length, 64u, svm::kMostQueueSlots));
  if (auto s = add_daemon_segment(*app, segment_size); !s) return s.error();
  if (auto s = add_app_arena(*app, app->add_segment_size); !s) return s.error();
  layer.apps[*index] = std::move(app);
  return layer.apps[*index].get();
}

namespace {

Result<svm::Ref> make_queue(App& app, svm::MqShared*& queue) {
  const auto object = app.arena.alloc_object(svm::mq_bytes(app.event_queue_length));
  if (!object.ptr)
    return error(Status::kNoMemory, "segment-size is too small for the message queues");
  queue = reinterpret_cast<svm::MqShared*>(object.ptr);
  svm::init_mq(*queue, app.event_queue_length);
  return object.ref;
}

void on_request(Impl&, AppWorker&);

}  // namespace

// With its queues, installed on every daemon worker.
Result<AppWorker*> make_worker(Impl& layer, App& app, UniqueFd socket) {
  uint32_t index = 0;
  while (index < svm::kMaxAppWorkers && app.workers[index]) ++index;
  if (index == svm::kMaxAppWorkers)
    return error(Status::kNoMemory, "application '" + app.name + "' has its " +
                                        std::to_string(svm::kMaxAppWorkers) + " workers");
  // The connection, what wakes it, and what wakes each daemon worker.
  const uint32_t n_descriptors = 3 + layer.engine.n_workers();
  if (!app.descriptors.take(n_descriptors)) return no_share("descriptors", app.descriptors.count());
  auto a = std::make_unique<AppWorker>();
  a->descriptors = TakenPart(app.descriptors, n_descriptors);
  a->app = &app;
  a->index = index;
  a->serial = ++layer.last_serial;
  a->socket = std::move(socket);
  a->wake = Waker::open();
  ucred cred{};
  socklen_t len = sizeof cred;
  if (::getsockopt(a->socket.get(), SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
    a->pid = cred.pid;
    if (app.live_mask() == 0) app.uid = cred.uid;
  }
  const auto undo = [&](Error e) {
    if (a->mq_ref) app.arena.free_object(a->mq_ref);
    for (auto& p : a->ports)
      if (p->mq_ref) app.arena.free_object(p->mq_ref);
    return e;
  };
  if (!a->wake) return error(Status::kIo, std::string("socketpair: ") + std::strerror(errno));
  svm::MqShared* q = nullptr;
  auto ref = make_queue(app, q);
  if (!ref) return ref.error();
  a->mq_ref = *ref;
  std::construct_at(&a->events, *q, app.event_queue_length);
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i) {
    auto p = std::make_unique<AppPort>();
    p->app_worker = a.get();
    p->wake_fd = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    auto port_ref = make_queue(app, q);
    if (!port_ref) return undo(port_ref.error());
    p->mq_ref = *port_ref;
    p->requests = svm::MqConsumer(*q, app.event_queue_length);
    a->ports.push_back(std::move(p));
    if (!a->ports.back()->wake_fd)
      return undo(error(Status::kIo, std::string("eventfd: ") + std::strerror(errno)));
  }
  AppWorker* const raw = a.get();
  // What can fail comes before anybody knows it.
  const auto forget = [&](uint32_t n_watched) {
    for (uint32_t i = 0; i < n_watched; ++i) layer.engine.unwatch_fd(i, a->ports[i]->wake_fd.get());
  };
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i)
    if (auto w = layer.engine.watch_fd(i, a->ports[i]->wake_fd.get(), drain_eventfd, nullptr); !w) {
      forget(i);
      return undo(w.error());
    }
  a->watch = layer.loop.watch_fd(a->socket.get(), [&layer, raw] { on_request(layer, *raw); });
  if (a->watch == 0) {
    forget(layer.engine.n_workers());
    return undo(error(Status::kIo, "the attach connection cannot be watched"));
  }
  app.workers[index] = std::move(a);
  app.live[index].store(raw, std::memory_order_release);
  note_application(layer, EventKind::kAttach, app, static_cast<uint64_t>(raw->pid));
  for (uint32_t i = 0; i < layer.engine.n_workers(); ++i) {
    AppPort* p = raw->ports[i].get();
    layer.engine.run_on_worker(i, [&](Worker&) { layer.workers[i]->ports.push_back(p); });
  }
  return raw;
}

void describe(const Impl& layer, const App& app, const AppWorker& a, Reply& r) {
  r.body.app_index = app.index;
  r.body.worker_index = a.index;
  r.body.n_daemon_workers = layer.engine.n_workers();
  r.body.rx_fifo_size = app.rx_fifo_size;
  r.body.tx_fifo_size = app.tx_fifo_size;
  r.body.ip4_table = app.ns->ip4_table;
  r.body.ip6_table = app.ns->ip6_table;
  r.body.app_mq = a.mq_ref;
  r.fds.push_back(a.wake.reader.get());
  for (std::size_t i = 0; i < a.ports.size(); ++i) {
    r.body.daemon_mq[i] = a.ports[i]->mq_ref;
    r.fds.push_back(a.ports[i]->wake_fd.get());
  }
  r.add_segment(app.arena.segment(0));
  r.add_segment(*app.app_arenas.front());
}

namespace {

// --- Requests
// ----------------------------------------------------------------------------------------------------------

void add_worker(Impl& layer, AppWorker& parent, Reply& r, UniqueFd& child_end) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return r.fail(Status::kIo, std::string("socketpair: ") + std::strerror(errno));
  child_end = UniqueFd(pair[1]);  // the application waits for replies, we never do
  ::fcntl(pair[0], F_SETFL, O_NONBLOCK);
  auto a = make_worker(layer, *parent.app, UniqueFd(pair[0]));
  if (!a) return r.fail(a.error().code, a.error().message);
  r.fds.push_back(child_end.get());
  describe(layer, *parent.app, **a, r);
}

void no_segment(uint32_t id, Reply& r) {
  r.fail(Status::kNotFound, "no segment " + std::to_string(id));
}

// The pair that the request names; nullptr: it has been refused.
CutThroughPair* named_pair(Impl& layer, const App& app, const svm::AttachRequest& q, Reply& r) {
  CutThroughPair* pair = find_pair(layer, app, q.pair);
  if (!pair) no_segment(q.pair, r);
  return pair;
}

void get_segment(Impl& layer, App& app, const svm::AttachRequest& q, Reply& r) {
  if (q.pair == 0) {
    const svm::Segment* s = find_segment(app, q.segment_id);
    return s ? r.add_segment(*s) : no_segment(q.segment_id, r);
  }
  const CutThroughPair* pair = named_pair(layer, app, q, r);
  if (!pair) return;
  if (q.segment_id == q.pair) {
    r.add_segment(pair->arena.segment(0));
    return r.add_segment(*pair->app_arenas.front());
  }
  for (const auto& s : pair->app_arenas)
    if (s->id() == q.segment_id) return r.add_segment(*s);
  no_segment(q.segment_id, r);
}

void add_arena(Impl& layer, App& app, const svm::AttachRequest& q, Reply& r) {
  CutThroughPair* pair = nullptr;
  if (q.pair != 0 && !(pair = named_pair(layer, app, q, r))) return;
  auto s =
      pair ? add_pair_arena(*pair, pair->end_of(app)) : add_app_arena(app, app.add_segment_size);
  if (s)
    r.add_segment(**s);
  else
    r.fail(s.error().code, s.error().message);
}

void get_doorbell(Impl& layer, const App& app, const svm::AttachRequest& q, Reply& r) {
  CutThroughPair* pair = named_pair(layer, app, q, r);
  if (!pair) return;
  const auto bell = doorbell(*pair, q.end, q.worker);
  if (!bell) return r.fail(bell.error().code, bell.error().message);
  if (q.flags & svm::kToRing) {
    if (pair->apps[1 - q.end] != &app) return r.fail(Status::kInvalid, "it is its own doorbell");
    r.fds = {(*bell)->writer.get()};
  } else {
    if (pair->apps[q.end] != &app) return r.fail(Status::kInvalid, "not its doorbell");
    r.fds = {(*bell)->reader.get()};
  }
}

void add_settings(Impl& layer, App& app, const svm::AttachRequest& q, SecretString bytes,
                  Reply& r) {
  const auto number = layer.settings.add(app, std::move(bytes), q.flags & svm::kOnce);
  if (!number) return r.fail(number.error().code, number.error().message);
  r.body.settings = *number;
}

void use_settings(Impl& layer, App& app, const svm::AttachRequest& q, Reply& r) {
  Listener* l = layer.listener(handle_index(q.handle));
  Result<void> used = error(Status::kNotFound, "there are no such settings, or no such listener");
  if (layer.settings.has(app, q.settings) && l && l->app == &app && l->handle() == q.handle)
    used = change_settings(layer, *l, q.settings);
  if (layer.settings.used(app, q.settings)) layer.settings.take_away_used();
  if (!used) r.fail(used.error().code, "the listener keeps its settings: " + used.error().message);
}

void find_interface(const Impl& layer, const App& app, const svm::AttachRequest& q, Reply& r) {
  Ip4Address address;
  std::memcpy(address.bytes.data(), q.ip4, sizeof q.ip4);
  const std::string_view name(q.app_name, strnlen(q.app_name, sizeof q.app_name));
  const auto found = q.interface == 0 && !name.empty()
                         ? find_interface(layer, *app.ns, q.is_ip4, name)
                         : find_interface(layer, *app.ns, q.is_ip4, q.interface - 1, address);
  if (!found) return r.fail(found.error().code, found.error().message);
  r.body.interface = *found + 1;  // kNoIndex: 0
  const std::string has = name_of(layer, *found);
  std::strncpy(r.body.message, has.c_str(), sizeof r.body.message - 1);
}

// Of a session that lives where it was opened.
void get_property(Impl& layer, const App& app, const svm::AttachRequest& q, Reply& r) {
  Status status = Status::kNotFound;
  if (const uint32_t worker = handle_worker(q.handle); worker < layer.engine.n_workers())
    layer.engine.run_on_worker(worker, [&](Worker& w) {
      SessionWorker& sw = of(w);
      const Session* s = find_session(sw, app, q.handle);
      if (!s) return;
      const TransportOps* ops = ops_of(sw, *s);
      status = !(s->flags & kTransportUp) ? Status::kNotConnected
               : ops->property            ? ops->property(w, s->conn, q.property, r.more)
                                          : Status::kUnsupported;
    });
  if (status == Status::kOk && r.more.size() > svm::kMaxPropertyBytes) status = Status::kNoMemory;
  if (status == Status::kOk) return;
  r.more.clear();
  r.fail(status, status_name(status));
}

void answer(Impl& layer, AppWorker& a, const svm::AttachRequest& request, SecretString more) {
  Reply r;
  UniqueFd child_end;
  switch (request.op) {
    case svm::AttachOp::kAddWorker:
      add_worker(layer, a, r, child_end);
      break;
    case svm::AttachOp::kGetSegment:
      get_segment(layer, *a.app, request, r);
      break;
    case svm::AttachOp::kAddAppArena:
      add_arena(layer, *a.app, request, r);
      break;
    case svm::AttachOp::kGetDoorbell:
      get_doorbell(layer, *a.app, request, r);
      break;
    case svm::AttachOp::kAddSettings:
      add_settings(layer, *a.app, request, std::move(more), r);
      break;
    case svm::AttachOp::kDelSettings:
      if (const Status s = layer.settings.remove(*a.app, request.settings); s != Status::kOk)
        r.fail(s, "no settings " + std::to_string(request.settings));
      break;
    case svm::AttachOp::kUseSettings:
      use_settings(layer, *a.app, request, r);
      break;
    case svm::AttachOp::kGetProperty:
      get_property(layer, *a.app, request, r);
      break;
    case svm::AttachOp::kFindInterface:
      find_interface(layer, *a.app, request, r);
      break;
    default:
      r.fail(Status::kUnsupported, "unknown request");
      break;
  }
  send_reply(a.socket.get(), r);
}

// False: its replies pile up.
bool reads_replies(int socket) {
  int unread = 0;
  return ::ioctl(socket, SIOCOUTQ, &unread) != 0 || unread <= kMostUnread;
}

}  // namespace

Received receive(int socket, svm::AttachRequest& r, SecretString* more) {
  if (more) {
    const ssize_t size = ::recv(socket, &r, sizeof r, MSG_DONTWAIT | MSG_TRUNC | MSG_PEEK);
    constexpr auto kLeast = static_cast<ssize_t>(sizeof r);
    if (size > kLeast + static_cast<ssize_t>(kMostSettingsBytes)) return Received::kEnd;
    if (size > kLeast && r.op == svm::AttachOp::kAddSettings)
      more->resize(static_cast<std::size_t>(size - kLeast));
  }
  iovec to[2] = {{&r, sizeof r}, {nullptr, 0}};
  if (more) to[1] = {more->data(), more->size()};
  msghdr m{};
  m.msg_iov = to;
  m.msg_iovlen = 2;
  // Descriptors that an application sends are not asked for: without room for them the kernel
  // closes them.
  const ssize_t n = ::recvmsg(socket, &m, MSG_DONTWAIT | MSG_TRUNC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Received::kNothing;
  if (n != static_cast<ssize_t>(sizeof r + (more ? more->size() : 0))) return Received::kEnd;
  r.app_name[sizeof r.app_name - 1] = 0;
  r.namespace_id[sizeof r.namespace_id - 1] = 0;
  return r.version == svm::kProtocolVersion ? Received::kRequest : Received::kOtherVersion;
}

namespace {

void on_request(Impl& layer, AppWorker& a) {
  svm::AttachRequest request;
  SecretString more;
  switch (receive(a.socket.get(), request, &more)) {
    case Received::kNothing:
      return;
    case Received::kEnd:
    case Received::kOtherVersion:
      remove_worker(layer, *a.app, a.index, false);
      return;
    case Received::kRequest:
      if (!reads_replies(a.socket.get()))
        return remove_worker(layer, *a.app, a.index, false, Process::kMayLive);
      answer(layer, a, request, std::move(more));
      return;
  }
}

}  // namespace

bool is_alive(const Impl& layer, const App* app, uint64_t serial) {
  for (const auto& a : layer.apps)
    if (a.get() == app && a->serial == serial) return !a->detached;
  return false;
}

bool note_come(const Impl& layer, App* app, uint64_t serial) {
  const bool alive = is_alive(layer, app, serial);
  if (alive) app->for_control.fetch_sub(1, std::memory_order_relaxed);
  return alive;
}

}  // namespace loom::session
