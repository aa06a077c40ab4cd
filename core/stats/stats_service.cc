#include "stats/stats_service.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "api/unix_listener.h"
#include "graph/engine.h"

namespace loom {
namespace {

constexpr int kAcceptsAtOnce = 64;

// One message of no bytes with the descriptor, as VPP sends it. A new connection has room for it.
bool send_fd(int socket, int fd) {
  iovec iov{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr m{};
  m.msg_iov = &iov;
  m.msg_iovlen = 1;
  m.msg_control = control;
  m.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(c), &fd, sizeof fd);
  return ::sendmsg(socket, &m, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0;
}

}  // namespace

StatsService::StatsService(const StatsConfig& config, const Parts& parts)
    : config_(config), parts_(parts) {
  const uint32_t n_workers = parts.engine.n_workers();
  publishers_.push_back(publish_system(parts.engine));
  publishers_.push_back(publish_interfaces(parts.net, n_workers));
  publishers_.push_back(publish_errors(parts.engine));
  if (config.per_node_counters) publishers_.push_back(publish_nodes(parts.engine));
  publishers_.push_back(publish_memory(parts.engine));
  publishers_.push_back(publish_sessions(parts.sessions));
  publishers_.push_back(publish_plugins(parts.registry, n_workers));
}

StatsService::~StatsService() { stop(); }

Result<void> StatsService::open() {
  auto segment = StatsSegment::create(config_.size);
  if (!segment) return segment.error();
  for (const auto& p : publishers_)
    if (auto ok = p->open(**segment); !ok) return ok;
  segment_ = std::move(*segment);
  update();
  return {};
}

Result<void> StatsService::start(ControlLoop loop, const std::string& socket_path,
                                 std::optional<uint32_t> gid) {
  loop_ = std::move(loop);
  auto fd = open_unix_listener(socket_path, gid, SOCK_SEQPACKET);
  if (!fd) return fd.error();
  listen_fd_ = *fd;
  socket_path_ = socket_path;
  listen_watch_ = loop_.watch_fd(listen_fd_, [this] { accept_readers(); });
  is_running_ = std::make_shared<bool>(true);
  tick();
  return {};
}

void StatsService::stop() {
  if (!is_running_ || !*is_running_) return;
  *is_running_ = false;
  loop_.unwatch_fd(listen_watch_);
  ::close(listen_fd_);
  ::unlink(socket_path_.c_str());
}

void StatsService::tick() {
  update();
  loop_.after(config_.update_interval_s, [this, is_running = is_running_] {
    if (*is_running) tick();
  });
}

void StatsService::update() {
  const TimeNs now = parts_.engine.clock_now();
  const StatsTick tick{.now = now, .elapsed_s = updates_ == 0 ? 0 : to_seconds(now - last_update_)};
  for (const auto& p : publishers_) {
    const auto ok = p->publish(*segment_, tick);
    if (ok || ok.error().message == complaint_) continue;
    complaint_ = ok.error().message;
    if (loop_.log) loop_.log(LogLevel::kWarn, complaint_ + "; statseg { size } makes it larger");
  }
  last_update_ = now;
  ++updates_;
  segment_->add(StatsSegment::kHeartbeat, 1);
}

void StatsService::accept_readers() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    const int fd = ::accept4(listen_fd_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;
    if (send_fd(fd, segment_->fd())) ++handed_out_;
    ::close(fd);
  }
}

}  // namespace loom
