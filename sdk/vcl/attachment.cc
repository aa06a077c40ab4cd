#include "vcl/attachment.h"

#include <sys/un.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "vcl/sys.h"

namespace loom::vcl {
namespace {

using svm::AttachOp;
using svm::AttachReply;
using svm::AttachRequest;

constexpr time_t kReplyTimeout =
    10;  // seconds; the daemon's control thread answers in microseconds
constexpr uint64_t kMaxQueueSlots = 1u << 20;

Error os_error(const std::string& what) {
  const int code = errno;
  const Status status = code == ECONNREFUSED || code == ENOENT ? Status::kRefused
                        : code == EACCES || code == EPERM      ? Status::kPermission
                                                               : Status::kIo;
  return error(status, what + ": " + std::strerror(code));
}

void limit_waits(int socket) noexcept {
  const timeval timeout{kReplyTimeout, 0};
  sys::setsockopt(socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  sys::setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
}

void copy_name(char (&to)[64], const std::string& from) noexcept {
  std::memcpy(to, from.data(), std::min(from.size(), sizeof to - 1));
}

AttachRequest new_request(AttachOp op) noexcept {
  AttachRequest r{};
  r.version = svm::kProtocolVersion;
  r.op = op;
  return r;
}

// One reply with its descriptors, all internal. kIo when the daemon is gone or silent.
Result<AttachReply> receive_reply(int socket, std::vector<int>& fds, std::string* more) {
  AttachReply reply;
  if (more) more->resize(svm::kMaxPropertyBytes);
  iovec iov[2] = {{&reply, sizeof reply}, {more ? more->data() : nullptr, more ? more->size() : 0}};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * svm::kMaxReplyFds)];
  msghdr m{};
  m.msg_iov = iov;
  m.msg_iovlen = 2;
  m.msg_control = control;
  m.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = sys::recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return os_error("no reply on the attach socket");
  for (cmsghdr* c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.push_back(sys::make_internal(fd));
    }
  }
  if (n == 0) return error(Status::kIo, "the daemon closed the attach socket");
  if (more && n >= static_cast<ssize_t>(sizeof reply)) {
    more->resize(static_cast<size_t>(n) - sizeof reply);
    n = sizeof reply;
  }
  if (n != sizeof reply || reply.version != svm::kProtocolVersion || (m.msg_flags & MSG_CTRUNC) ||
      reply.n_segments > std::size(reply.segments) ||
      reply.n_daemon_workers > svm::kMaxDaemonWorkers ||
      std::find(fds.begin(), fds.end(), -1) != fds.end())
    return error(Status::kMalformed,
                 "the reply on the attach socket is malformed or of another "
                 "version, or there are no descriptors left");
  reply.message[sizeof reply.message - 1] = '\0';
  return reply;
}

}  // namespace

WorkerEnds::WorkerEnds() {
  std::fill(std::begin(daemon_event_fds), std::end(daemon_event_fds), -1);
}
WorkerEnds::WorkerEnds(WorkerEnds&& o) noexcept : WorkerEnds() { *this = std::move(o); }
WorkerEnds& WorkerEnds::operator=(WorkerEnds&& o) noexcept {
  std::swap(reply, o.reply);
  std::swap(socket, o.socket);
  std::swap(event_fd, o.event_fd);
  std::swap(daemon_event_fds, o.daemon_event_fds);
  std::swap(segment_fds, o.segment_fds);
  return *this;
}
void WorkerEnds::close_all() noexcept {
  const auto drop = [](int& fd) { sys::close_internal(std::exchange(fd, -1)); };
  drop(socket);
  drop(event_fd);
  for (int& fd : daemon_event_fds) drop(fd);
  for (int& fd : segment_fds) drop(fd);
}

Attachment::Attachment() {
  std::fill(std::begin(daemon_event_fds_), std::end(daemon_event_fds_), -1);
  table_.set_loader(
      [](void* self, uint32_t id) { return static_cast<Attachment*>(self)->load_segment(id); },
      this);
}

Attachment::~Attachment() {
  abandon();
  // The segment closes its descriptor through libc: it must not be a protected one by then.
  for (const auto& s : segments_) sys::hooks.internal_fd(s->fd(), false);
}

void Attachment::abandon() noexcept {
  set_dead();
  sys::close_internal(std::exchange(socket_, -1));
  sys::close_internal(std::exchange(event_fd_, -1));
  for (int& fd : daemon_event_fds_) sys::close_internal(std::exchange(fd, -1));
}

void Attachment::reset_locks() noexcept { new (&socket_mutex_) std::mutex; }

Result<std::shared_ptr<Attachment>> Attachment::open(const Config& config, const std::string& app) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  constexpr std::string_view kAbstract = "abstract:";
  std::string path = config.app_socket;
  if (path.starts_with(kAbstract)) path = "@" + path.substr(kAbstract.size());
  const bool is_abstract = path.starts_with('@');
  if (path.size() >= sizeof address.sun_path)
    return error(Status::kInvalid, config.app_socket + ": longer than a Unix socket path may be");
  std::memcpy(address.sun_path, path.data(), path.size());
  if (is_abstract) address.sun_path[0] = '\0';
  const auto address_size =
      static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + !is_abstract);

  WorkerEnds ends;
  ends.socket = sys::make_internal(sys::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (ends.socket < 0) return os_error("attach socket");
  limit_waits(ends.socket);
  if (sys::connect(ends.socket, &address, address_size) != 0)
    return os_error("attach to " + config.app_socket);

  AttachRequest r = new_request(AttachOp::kAttach);
  copy_name(r.app_name, app);
  copy_name(r.namespace_id, config.namespace_id);
  r.namespace_secret = config.namespace_secret;
  r.segment_size_mb = static_cast<uint32_t>(config.segment_size >> 20);
  r.add_segment_size_mb = static_cast<uint32_t>(config.add_segment_size >> 20);
  r.rx_fifo_size = config.rx_fifo_size;
  r.tx_fifo_size = config.tx_fifo_size;
  r.event_queue_size = config.event_queue_size ? std::bit_ceil(config.event_queue_size) : 0;
  if (config.scope_local != config.scope_global)
    r.flags = config.scope_local ? svm::kScopeLocalOnly : svm::kScopeGlobalOnly;

  std::shared_ptr<Attachment> a(new Attachment);
  a->socket_ = std::exchange(ends.socket, -1);
  auto got = a->request(r);
  if (!got)
    return error(got.error().code, "attach to " + config.app_socket + ": " + got.error().message);
  got->socket = std::exchange(a->socket_, -1);
  if (auto done = a->take_over(*got); !done)
    return error(done.error().code, "attach to " + config.app_socket + ": " + done.error().message);
  return a;
}

Result<std::shared_ptr<Attachment>> Attachment::from(WorkerEnds ends) {
  std::shared_ptr<Attachment> a(new Attachment);
  if (auto done = a->take_over(ends); !done) return done.error();
  return a;
}

Result<void> Attachment::become(WorkerEnds ends) {
  abandon();
  if (auto done = take_over(ends); !done) return done;
  dead_.store(false, std::memory_order_release);
  return {};
}

// Sends `r` and what follows it, and sorts the descriptors of the reply into their places.
Result<WorkerEnds> Attachment::request(const AttachRequest& r, std::string_view more,
                                       std::string* got) {
  const std::lock_guard lock(socket_mutex_);
  if (dead()) return error(Status::kClosed, "the daemon is gone");
  iovec iov[2] = {{const_cast<AttachRequest*>(&r), sizeof r},
                  {const_cast<char*>(more.data()), more.size()}};
  msghdr m{};
  m.msg_iov = iov;
  m.msg_iovlen = 2;
  ssize_t n;
  do {
    n = sys::sendmsg(socket_, &m, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(sizeof r + more.size()))
    return os_error("no request on the attach socket");

  std::vector<int> fds;
  auto reply = receive_reply(socket_, fds, got);
  WorkerEnds ends;
  size_t at = 0;
  const auto take = [&](int& place) {
    if (at == fds.size()) return false;
    place = std::exchange(fds[at++], -1);
    return true;
  };
  bool complete = false;
  if (reply && reply->status == static_cast<int32_t>(Status::kOk)) {
    const bool is_worker = r.op == AttachOp::kAttach || r.op == AttachOp::kAddWorker;
    complete = r.op != AttachOp::kAddWorker || take(ends.socket);
    const bool is_doorbell = r.op == AttachOp::kGetDoorbell;
    complete = complete && (!(is_worker || is_doorbell) || take(ends.event_fd));
    for (uint32_t i = 0; is_worker && complete && i < reply->n_daemon_workers; ++i)
      complete = take(ends.daemon_event_fds[i]);
    for (uint32_t i = 0; complete && i < reply->n_segments; ++i)
      complete = take(ends.segment_fds[i]);
  }
  for (const int fd : fds) sys::close_internal(fd);
  if (!reply) return reply.error();
  if (reply->status != static_cast<int32_t>(Status::kOk))
    return error(
        static_cast<Status>(reply->status),
        reply->message[0] ? reply->message : status_name(static_cast<Status>(reply->status)));
  if (!complete || at != fds.size())
    return error(Status::kMalformed, "the reply on the attach socket has the wrong descriptors");
  ends.reply = *reply;
  return ends;
}

Result<WorkerEnds> Attachment::add_worker() { return request(new_request(AttachOp::kAddWorker)); }

Result<void> Attachment::map_segment(int fd, const svm::SegmentInfo& info) {
  for (const auto& s : segments_) {
    if (s->id() != info.id) continue;
    sys::close_internal(fd);  // inherited by fork
    return {};
  }
  sys::hooks.internal_fd(fd, false);  // a segment that cannot be closes it, through libc
  auto segment = svm::Segment::map(fd, info.id, info.kind, info.size);
  if (!segment) return segment.error();
  sys::hooks.internal_fd(fd, true);
  segments_.push_back(std::move(*segment));
  const svm::Segment& s = *segments_.back();
  if (!table_.add(s)) return error(Status::kNoMemory, "too many segments");
  if (info.kind == svm::SegmentKind::kAppArena && !arena_.add_segment(s))
    return error(Status::kNoMemory, "too many app-arena segments");
  return {};
}

Result<void> Attachment::take_over(WorkerEnds& ends) {
  const AttachReply& r = ends.reply;
  for (uint32_t i = 0; i < r.n_segments; ++i)
    if (auto done = map_segment(std::exchange(ends.segment_fds[i], -1), r.segments[i]); !done)
      return done;
  if (r.worker_index >= svm::kMaxAppWorkers || r.n_daemon_workers == 0)
    return error(Status::kMalformed, "the attach reply's worker numbers are out of range");

  socket_ = std::exchange(ends.socket, -1);
  limit_waits(socket_);
  event_fd_ = std::exchange(ends.event_fd, -1);
  std::swap(daemon_event_fds_, ends.daemon_event_fds);
  worker_index_ = r.worker_index;
  app_index_ = r.app_index;
  n_daemon_workers_ = r.n_daemon_workers;
  rx_fifo_size_ = r.rx_fifo_size;
  tx_fifo_size_ = r.tx_fifo_size;
  ip4_table_ = r.ip4_table;
  ip6_table_ = r.ip6_table;

  const auto queue_at = [this](svm::Ref ref, uint32_t& capacity) -> svm::MqShared* {
    auto* q = table_.resolve_as<svm::MqShared>(ref);
    if (!q) return nullptr;
    capacity = q->capacity;
    const bool ok = std::has_single_bit(capacity) && capacity <= kMaxQueueSlots &&
                    table_.resolve(ref, svm::mq_bytes(capacity));
    return ok ? q : nullptr;
  };
  uint32_t capacity = 0;
  svm::MqShared* q = queue_at(r.app_mq, capacity);
  if (!q) return error(Status::kMalformed, "the attach reply's queue is not in a segment");
  queue_ = svm::MqConsumer(*q, capacity);
  for (uint32_t i = 0; i < n_daemon_workers_; ++i) {
    q = queue_at(r.daemon_mq[i], capacity);
    if (!q) return error(Status::kMalformed, "the attach reply's queues are not in a segment");
    to_daemon_[i] = svm::MqProducer(*q, capacity);
  }
  return {};
}

Result<WorkerEnds> Attachment::get_segment(uint32_t pair, uint32_t id) {
  AttachRequest r = new_request(AttachOp::kGetSegment);
  r.pair = pair;
  r.segment_id = id;
  return request(r);
}

Result<WorkerEnds> Attachment::add_arena(uint32_t pair) {
  AttachRequest r = new_request(AttachOp::kAddAppArena);
  r.pair = pair;
  return request(r);
}

int Attachment::doorbell(uint32_t pair, uint32_t end, uint32_t worker) {
  AttachRequest r = new_request(AttachOp::kGetDoorbell);
  r.pair = pair;
  r.end = static_cast<uint16_t>(end);
  r.worker = static_cast<uint16_t>(worker);
  auto got = request(r);
  return got ? std::exchange(got->event_fd, -1) : -1;
}

bool Attachment::bell_push(uint32_t pair, uint32_t end, uint32_t worker, int& push) {
  AttachRequest r = new_request(AttachOp::kGetDoorbell);
  r.pair = pair;
  r.end = static_cast<uint16_t>(end);
  r.worker = static_cast<uint16_t>(worker);
  r.flags = svm::kToRing;
  auto got = request(r);
  if (!got) return false;
  push = std::exchange(got->event_fd, -1);
  return true;
}

Result<uint32_t> Attachment::add_settings(std::string_view bytes, bool once) {
  AttachRequest r = new_request(AttachOp::kAddSettings);
  if (once) r.flags = svm::kOnce;
  const auto got = request(r, bytes);
  if (!got) return got.error();
  return got->reply.settings;
}

Result<void> Attachment::del_settings(uint32_t number) {
  AttachRequest r = new_request(AttachOp::kDelSettings);
  r.settings = number;
  const auto got = request(r);
  if (!got) return got.error();
  return {};
}

Result<void> Attachment::use_settings(uint64_t listener, uint32_t number) {
  AttachRequest r = new_request(AttachOp::kUseSettings);
  r.handle = listener;
  r.settings = number;
  const auto got = request(r);
  if (!got) return got.error();
  return {};
}

Result<uint32_t> Attachment::find_interface(bool is_ip4, uint32_t index, const uint8_t (&ip4)[4]) {
  AttachRequest r = new_request(AttachOp::kFindInterface);
  r.is_ip4 = is_ip4;
  r.interface = index;
  std::memcpy(r.ip4, ip4, sizeof r.ip4);
  const auto got = request(r);
  if (!got) return got.error();
  return got->reply.interface;
}

Result<uint32_t> Attachment::find_interface(bool is_ip4, std::string_view name) {
  AttachRequest r = new_request(AttachOp::kFindInterface);
  if (name.empty() || name.size() >= sizeof r.app_name)
    return error(Status::kNotFound, "no interface has that name");
  r.is_ip4 = is_ip4;
  copy_name(r.app_name, std::string(name));
  const auto got = request(r);
  if (!got) return got.error();
  return got->reply.interface;
}

Result<std::string> Attachment::interface_name(bool is_ip4, uint32_t index) {
  AttachRequest r = new_request(AttachOp::kFindInterface);
  r.is_ip4 = is_ip4;
  r.interface = index;
  const auto got = request(r);
  if (!got) return got.error();
  return std::string(got->reply.message);
}

Result<std::string> Attachment::property(uint64_t handle, SessionProperty which) {
  AttachRequest r = new_request(AttachOp::kGetProperty);
  r.handle = handle;
  r.property = static_cast<uint32_t>(which);
  std::string value;
  const auto got = request(r, {}, &value);
  if (!got) return got.error();
  return value;
}

// Called while a Ref is followed, by any thread.
bool Attachment::load_segment(uint32_t id) {
  auto got = get_segment(0, id);
  if (!got) return false;
  const std::lock_guard lock(socket_mutex_);
  bool found = false;
  for (uint32_t i = 0; i < got->reply.n_segments; ++i) {
    const auto done = map_segment(std::exchange(got->segment_fds[i], -1), got->reply.segments[i]);
    found = found || (done && got->reply.segments[i].id == id);
  }
  return found;
}

bool Attachment::add_app_arena() {
  auto got = request(new_request(AttachOp::kAddAppArena));
  if (!got || got->reply.n_segments == 0) return false;
  const std::lock_guard lock(socket_mutex_);
  for (uint32_t i = 0; i < got->reply.n_segments; ++i)
    if (!map_segment(std::exchange(got->segment_fds[i], -1), got->reply.segments[i])) return false;
  return true;
}

svm::MqProducer::Push Attachment::send(uint32_t daemon_worker, svm::ToDaemon type,
                                       const void* payload, uint32_t len) noexcept {
  if (daemon_worker >= n_daemon_workers_ || dead()) return svm::MqProducer::Push::kViolation;
  svm::MqProducer& q = to_daemon_[daemon_worker];
  const auto pushed = q.push(static_cast<uint32_t>(type), payload, len);
  if (q.needs_wake()) {
    const int core = ::sched_getcpu();  // a worker with little to do comes there
    constexpr uint64_t kUnknown = 1ull << 32;
    const uint64_t count = core < 0 ? kUnknown : 1 + static_cast<uint64_t>(core);
    (void)!sys::write(daemon_event_fds_[daemon_worker], &count, sizeof count);
  }
  return pushed;
}

}  // namespace loom::vcl
