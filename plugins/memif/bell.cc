#include "bell.h"

#include <linux/aio_abi.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <string>

#include <hostloom/waker.h>

namespace loom::memif {
namespace {

constexpr uint32_t kCompletions = 16;

Error failed(const char* what) {
  return error(Status::kIo, std::string(what) + ": " + std::strerror(errno));
}

bool is_datagram_socket(int fd) {
  int domain = 0, type = 0;
  socklen_t n = sizeof domain;
  if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) != 0) return false;
  n = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && domain == AF_UNIX &&
         type == SOCK_DGRAM;
}

}  // namespace

Bell::Bell(Bell&& o) noexcept
    : fd_(std::move(o.fd_)),
      empty_(std::move(o.empty_)),
      context_(std::exchange(o.context_, Context())) {}

Bell& Bell::operator=(Bell&& o) noexcept {
  fd_ = std::move(o.fd_);
  empty_ = std::move(o.empty_);
  std::swap(context_, o.context_);
  return *this;
}

Bell::~Bell() {
  if (context_.id) spare_contexts().push_back(context_);
}

std::vector<Bell::Context>& Bell::spare_contexts() {
  static auto& all = *new std::vector<Context>;  // bells may be left at the end of the process
  return all;
}

bool Bell::can_be_over(int fd) noexcept { return is_eventfd(fd); }

Result<Bell> Bell::make(UniqueFd& theirs) {
  Waker w = Waker::open();
  if (!w) return failed("socketpair");
  Bell b;
  b.fd_ = std::move(w.writer);
  theirs = std::move(w.reader);
  return b;
}

Result<Bell> Bell::over(UniqueFd eventfd) {
  if (!is_eventfd(eventfd.get()))
    return error(Status::kInvalid, "Interrupt descriptor is no eventfd");
  Bell b;
  b.fd_ = std::move(eventfd);
  b.empty_ = UniqueFd(::memfd_create("memif-bell", MFD_CLOEXEC));
  if (!b.empty_) return failed("memfd_create");
  auto& spare = spare_contexts();
  if (!spare.empty()) {
    b.context_ = spare.back();
    spare.pop_back();
  } else if (::syscall(SYS_io_setup, kCompletions, &b.context_.id) != 0) {
    return failed("io_setup");
  }
  return b;
}

void Bell::ring() noexcept {
  if (!empty_) {
    // Full, it need not be rung. Eight bytes, as a reader of an eventfd expects them.
    const uint64_t one = 1;
    (void)!::send(fd_.get(), &one, sizeof one, MSG_DONTWAIT | MSG_NOSIGNAL);
    return;
  }
  if (context_.n_unread == kCompletions) {
    io_event done[kCompletions];
    timespec at_once{};
    (void)::syscall(SYS_io_getevents, context_.id, 0L, long{kCompletions}, done, &at_once);
    context_.n_unread = 0;
  }
  iocb read{};
  read.aio_lio_opcode = IOCB_CMD_PREAD;
  read.aio_fildes = static_cast<uint32_t>(empty_.get());
  read.aio_buf = reinterpret_cast<uint64_t>(&read);
  read.aio_flags = IOCB_FLAG_RESFD;
  read.aio_resfd = static_cast<uint32_t>(fd_.get());
  iocb* list[] = {&read};
  (void)::syscall(SYS_io_submit, context_.id, 1L, list);
  ++context_.n_unread;
}

Result<Ear> Ear::make() {
  Ear e;
  e.epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!e.epoll_) return failed("epoll_create1");
  auto own = make_eventfd();
  if (!own) return own.error();
  e.own_ = std::move(*own);
  if (auto heard = e.listen(e.own_.get()); !heard) return heard.error();
  return e;
}

Result<void> Ear::listen(int fd) {
  if (!is_eventfd(fd) && !is_datagram_socket(fd))
    return error(Status::kInvalid, "Interrupt descriptor is no eventfd");
  epoll_event e{};
  e.events = EPOLLIN | EPOLLET;
  e.data.fd = fd;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &e) != 0) return failed("epoll_ctl");
  return {};
}

void Ear::forget(int fd) noexcept { (void)::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Ear::shout() noexcept {
  const uint64_t one = 1;
  (void)!::write(own_.get(), &one, sizeof one);  // nobody but us has it, and it does not wait
}

// A socket is emptied, or a full one would ring no more; an eventfd says each time that it was
// written to.
void Ear::consume() noexcept {
  epoll_event events[8];
  const int n = ::epoll_wait(epoll_.get(), events, 8, 0);
  for (int i = 0; i < n; ++i) {
    uint64_t word;
    // As many as its queue may hold; a peer that goes on sending does not keep us here.
    int k = 0;
    while (k < 32 && ::recv(events[i].data.fd, &word, sizeof word, MSG_DONTWAIT) > 0) ++k;
  }
}

Result<UniqueFd> make_eventfd() {
  UniqueFd fd = open_eventfd();
  if (!fd) return failed("eventfd");
  return fd;
}

}  // namespace loom::memif
