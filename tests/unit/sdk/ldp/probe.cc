// One scenario of the socket interface per run, by the name in argv[1]. Knows nothing of Hostloom:
// 10.0.0.1 is an address that only the preloaded library can reach. Exit status 0 = as it should.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace {

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      std::_Exit(1);                                                                         \
    }                                                                                        \
  } while (0)

constexpr char kStack[] = "10.0.0.1";

sockaddr_in name_of(const char* address, uint16_t port) {
  sockaddr_in in{};
  in.sin_family = AF_INET;
  in.sin_port = htons(port);
  inet_pton(AF_INET, address, &in.sin_addr);
  return in;
}
int bind_to(int fd, const char* address, uint16_t port) {
  const sockaddr_in in = name_of(address, port);
  return bind(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in);
}
int connect_to(int fd, const char* address, uint16_t port) {
  const sockaddr_in in = name_of(address, port);
  return connect(fd, reinterpret_cast<const sockaddr*>(&in), sizeof in);
}
uint16_t port_of(int fd) {
  sockaddr_in in{};
  socklen_t len = sizeof in;
  CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&in), &len) == 0);
  return ntohs(in.sin_port);
}
int tcp_socket(int flags = 0) {
  const int fd = socket(AF_INET, SOCK_STREAM | flags, 0);
  CHECK(fd >= 0);
  return fd;
}
int listener(uint16_t port) {
  const int fd = tcp_socket();
  CHECK(bind_to(fd, kStack, port) == 0 && listen(fd, 8) == 0);
  return fd;
}
// Both ends of a connection through the daemon.
std::pair<int, int> connection(uint16_t port = 80) {
  const int l = listener(port), c = tcp_socket();
  CHECK(connect_to(c, kStack, port) == 0);
  const int s = accept(l, nullptr, nullptr);
  CHECK(s >= 0 && close(l) == 0);
  return {c, s};
}
void put(int fd, const std::string& text) {
  CHECK(write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}
std::string get(int fd, size_t n) {
  std::string text(n, '\0');
  const ssize_t got = recv(fd, text.data(), n, MSG_WAITALL);
  CHECK(got >= 0);
  text.resize(static_cast<size_t>(got));
  return text;
}
void expect_talk(int a, int b) {
  put(a, "there");
  CHECK(get(b, 5) == "there");
  put(b, "back");
  CHECK(get(a, 4) == "back");
}
int events_of(int fd, int timeout_ms, int events = POLLIN) {
  pollfd p{fd, static_cast<short>(events), 0};
  CHECK(poll(&p, 1, timeout_ms) >= 0);
  return p.revents;
}
void watch(int set, int fd, uint32_t events = EPOLLIN) {
  epoll_event e{};
  e.events = events;
  e.data.fd = fd;
  CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &e) == 0);
}
int next_ready(int set, int timeout_ms = 5000) {
  epoll_event e{};
  const int n = epoll_wait(set, &e, 1, timeout_ms);
  CHECK(n >= 0);
  return n == 1 ? e.data.fd : -1;
}
void expect_exit_0(pid_t child) {
  int status = -1;
  CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
}

// --- Scenarios

void talk() {
  const auto [c, s] = connection();
  CHECK(c < 10 && s < 10);
  expect_talk(c, s);
  CHECK(port_of(s) == 80);
  put(c, "abc");
  char text[8]{};
  CHECK(recv(s, text, 2, MSG_PEEK) == 2 && std::string(text) == "ab");
  int unread = 0;
  CHECK(events_of(s, 5000) == POLLIN && ioctl(s, FIONREAD, &unread) == 0 && unread == 3);
  CHECK(get(s, 3) == "abc");
  CHECK(recv(s, text, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN);
  CHECK(lseek(s, 0, SEEK_CUR) == -1 && errno == ESPIPE);
  CHECK(pread(s, text, 1, 0) == -1 && errno == ESPIPE);
  CHECK(fcntl(s, F_SETFL, O_NONBLOCK) == 0 && fcntl(s, F_GETFL) == (O_RDWR | O_NONBLOCK));
  CHECK(read(s, text, 1) == -1 && errno == EAGAIN);
  CHECK(shutdown(c, SHUT_WR) == 0);
  CHECK(events_of(s, 5000) & POLLIN);
  CHECK(read(s, text, 1) == 0);
  CHECK(close(s) == 0 && close(c) == 0 && close(c) == -1 && errno == EBADF);
}

void duplicates() {
  const auto [c, s] = connection();
  const int copy = dup(c), high = fcntl(c, F_DUPFD_CLOEXEC, 100);
  CHECK(copy >= 0 && high >= 100 && fcntl(high, F_GETFD) == FD_CLOEXEC);
  CHECK(close(c) == 0);
  expect_talk(copy, s);
  CHECK(close(copy) == 0);
  expect_talk(high, s);
  CHECK(close(high) == 0);
  CHECK(get(s, 1).empty());  // the last close has ended it
}

void replaced_number() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  CHECK(dup2(pipe_fds[0], c) == c);  // ends the session, and c is a pipe now
  CHECK(get(s, 1).empty());
  put(pipe_fds[1], "p");
  char byte;
  CHECK(read(c, &byte, 1) == 1 && byte == 'p');
  CHECK(dup2(s, c) == c && close(s) == 0);
  CHECK(recv(c, &byte, 1, 0) == 0);
  CHECK(dup2(999, c) == -1 && errno == EBADF && recv(c, &byte, 1, 0) == 0);
}

void close_everything() {
  const auto [c, s] = connection();
  CHECK(events_of(s, 10) == 0);  // so that the library has descriptors of its own for waiting
  const int highest = s > c ? s : c;
  CHECK(close_range(static_cast<unsigned>(highest) + 1, ~0u, 0) == 0);
  for (int fd = highest + 1; fd < 70'000; ++fd) close(fd);
  expect_talk(c, s);
  CHECK(events_of(s, 10) == 0);
  CHECK(close_range(static_cast<unsigned>(c), static_cast<unsigned>(c), 0) == 0);
  CHECK(get(s, 1).empty());
}

void loopback() {
  const int l = tcp_socket();
  CHECK(bind_to(l, "127.0.0.1", 0) == 0 && listen(l, 1) == 0);
  const int c = tcp_socket();
  CHECK(connect_to(c, "127.0.0.1", port_of(l)) == 0);
  const int s = accept(l, nullptr, nullptr);
  expect_talk(c, s);
  // Bound to any address, and decided by where it goes.
  const int any = tcp_socket();
  CHECK(bind_to(any, "0.0.0.0", 0) == 0);
  CHECK(connect_to(any, "127.0.0.1", port_of(l)) == 0);
}

void mixed_epoll() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  const int set = epoll_create1(EPOLL_CLOEXEC);
  watch(set, s);
  watch(set, pipe_fds[0]);
  CHECK(next_ready(set, 20) == -1);
  put(pipe_fds[1], "p");
  CHECK(next_ready(set) == pipe_fds[0]);
  char byte;
  CHECK(read(pipe_fds[0], &byte, 1) == 1);
  put(c, "s");
  CHECK(next_ready(set) == s && next_ready(set) == s);
  CHECK(get(s, 1) == "s" && next_ready(set, 20) == -1);
  // The pipe has its turn although the session is always ready.
  put(c, "s");
  put(pipe_fds[1], "p");
  bool seen = false;
  for (int i = 0; i < 4; ++i) seen |= next_ready(set) == pipe_fds[0];
  CHECK(seen);
  CHECK(epoll_ctl(set, EPOLL_CTL_DEL, s, nullptr) == 0);
  CHECK(epoll_ctl(set, EPOLL_CTL_DEL, s, nullptr) == -1 && errno == ENOENT);
}

void mixed_poll() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  put(c, "s");
  CHECK(events_of(s, 5000) == POLLIN);
  put(pipe_fds[1], "p");
  pollfd p[3] = {{pipe_fds[0], POLLIN, 0}, {s, POLLIN | POLLOUT, 0}, {-1, POLLIN, 0}};
  CHECK(poll(p, 3, 5000) == 2 && p[0].revents == POLLIN && p[1].revents == (POLLIN | POLLOUT));
  fd_set in, out;
  FD_ZERO(&in);
  FD_ZERO(&out);
  FD_SET(s, &in);
  FD_SET(c, &in);
  FD_SET(pipe_fds[0], &in);
  FD_SET(c, &out);
  CHECK(select(100, &in, &out, nullptr, nullptr) == 3);
  CHECK(FD_ISSET(s, &in) && !FD_ISSET(c, &in) && FD_ISSET(pipe_fds[0], &in) && FD_ISSET(c, &out));
  CHECK(get(s, 1) == "s");
  timeval tv{0, 20'000};
  FD_ZERO(&in);
  FD_SET(s, &in);
  CHECK(select(s + 1, &in, nullptr, nullptr, &tv) == 0 && !FD_ISSET(s, &in) && tv.tv_usec == 0);
}

void candidate_in_epoll() {
  const int l = listener(80), set = epoll_create1(0), c = tcp_socket(SOCK_NONBLOCK);
  watch(set, c, EPOLLOUT | EPOLLONESHOT);
  CHECK(next_ready(set) == c);  // as the kernel says of a socket that is not connected
  epoll_event e{};
  e.events = EPOLLOUT;
  e.data.fd = c;
  CHECK(epoll_ctl(set, EPOLL_CTL_MOD, c, &e) == 0);
  CHECK(connect_to(c, kStack, 80) == -1 && errno == EINPROGRESS);
  CHECK(next_ready(set) == c);
  int error = -1;
  socklen_t len = sizeof error;
  CHECK(getsockopt(c, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0);
  CHECK(fcntl(c, F_SETFL, 0) == 0);
  expect_talk(c, accept(l, nullptr, nullptr));
}

void epoll_number_again() {
  const auto [c, s] = connection();
  int pipe_fds[2], number = -1;
  CHECK(pipe(pipe_fds) == 0);
  for (int i = 0; i < 3; ++i) {
    const int set = epoll_create1(0);
    CHECK(number == -1 || set == number);
    number = set;
    watch(set, s);
    watch(set, pipe_fds[0]);
    const pid_t later = fork();
    if (later == 0) {
      usleep(50'000);
      CHECK(write(pipe_fds[1], "p", 1) == 1);
      _exit(0);
    }
    CHECK(next_ready(set) == pipe_fds[0]);  // while it sleeps
    char byte;
    CHECK(read(pipe_fds[0], &byte, 1) == 1);
    expect_exit_0(later);
    CHECK(close(set) == 0);
  }
  expect_talk(c, s);
}

void copied_epoll() {
  const auto [c, s] = connection();
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  const int set = epoll_create1(0);
  watch(set, s);
  watch(set, pipe_fds[0]);
  const int copy = dup(set);
  CHECK(close(set) == 0 && next_ready(copy, 10) == -1);
  put(pipe_fds[1], "p");
  CHECK(next_ready(copy) == pipe_fds[0]);
  put(c, "s");
  CHECK(events_of(s, 5000) == POLLIN);
  bool seen = false;
  for (int i = 0; i < 4; ++i) seen |= next_ready(copy) == s;
  CHECK(seen);
}

void forked() {
  const int l = listener(80);
  const pid_t server = fork();
  if (server == 0) {  // the child accepts, the parent does not
    const int s = accept(l, nullptr, nullptr);
    CHECK(get(s, 5) == "there");
    put(s, "back");
    CHECK(get(s, 1).empty());
    _exit(0);
  }
  CHECK(close(l) == 0);
  const int c = tcp_socket();
  CHECK(connect_to(c, kStack, 80) == 0);
  put(c, "there");
  CHECK(get(c, 4) == "back");
  const pid_t other = fork();
  if (other == 0) {
    close(c);  // is not the connection's end
    _exit(0);
  }
  expect_exit_0(other);
  CHECK(close(c) == 0);
  expect_exit_0(server);
}

void vforked() {
  const auto [c, s] = connection();
  const int end = c, null = STDIN_FILENO;
  const pid_t child = vfork();
  if (child == 0) {  // what programs do between vfork and exec
    close(end);
    dup2(null, s);
    close_range(3, ~0u, 0);
    execlp("true", "true", nullptr);
    _exit(1);
  }
  expect_exit_0(child);
  expect_talk(c, s);
}

int option(int fd, int level, int name) {
  int value = -1;
  socklen_t len = sizeof value;
  return getsockopt(fd, level, name, &value, &len) == 0 ? value : -errno;
}
int set(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) == 0 ? 0 : -errno;
}

void options() {
  const int l = listener(80), c = tcp_socket();
  // Before the decision, and kept over it.
  CHECK(set(c, IPPROTO_TCP, TCP_NODELAY, 1) == 0 && set(c, SOL_SOCKET, SO_KEEPALIVE, 1) == 0);
  CHECK(set(c, IPPROTO_TCP, TCP_KEEPIDLE, 11) == 0 && set(c, SOL_SOCKET, SO_RCVBUF, 50'000) == 0);
  CHECK(setsockopt(c, IPPROTO_TCP, TCP_CONGESTION, "newreno", 7) == 0);
  CHECK(connect_to(c, kStack, 80) == 0);
  CHECK(option(c, IPPROTO_TCP, TCP_NODELAY) == 1 && option(c, SOL_SOCKET, SO_KEEPALIVE) == 1);
  CHECK(option(c, IPPROTO_TCP, TCP_KEEPIDLE) == 11 && option(c, SOL_SOCKET, SO_RCVBUF) == 100'000);
  char name[16]{};
  socklen_t len = sizeof name;
  CHECK(getsockopt(c, IPPROTO_TCP, TCP_CONGESTION, name, &len) == 0 &&
        !std::strcmp(name, "newreno"));
  CHECK(option(c, SOL_SOCKET, SO_TYPE) == SOCK_STREAM &&
        option(c, SOL_SOCKET, SO_DOMAIN) == AF_INET);
  CHECK(option(l, SOL_SOCKET, SO_ACCEPTCONN) == 1 && option(c, SOL_SOCKET, SO_ACCEPTCONN) == 0);
  CHECK(set(c, IPPROTO_TCP, TCP_FASTOPEN, 1) == -ENOPROTOOPT);
  CHECK(set(c, IPPROTO_TCP, TCP_KEEPCNT, 0) == -EINVAL);
  CHECK(set(c, IPPROTO_IP, IP_TOS, 0x10) == 0 && option(c, IPPROTO_IP, IP_TOS) == 0x10);
  const timeval tv{0, 30'000};
  CHECK(setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) == 0);
  char byte;
  CHECK(recv(c, &byte, 1, 0) == -1 && errno == EAGAIN);
}

void refused() {
  const int c = tcp_socket();
  CHECK(connect_to(c, kStack, 1) == -1 && errno == ECONNREFUSED);
  const int first = listener(80), second = tcp_socket();
  CHECK(bind_to(second, kStack, 80) == 0);
  CHECK(listen(second, 1) == -1 && errno == EADDRINUSE);
  sockaddr_in in{};
  socklen_t len = sizeof in;
  CHECK(getpeername(first, reinterpret_cast<sockaddr*>(&in), &len) == -1 && errno == ENOTCONN);
  CHECK(send(first, "x", 1, MSG_NOSIGNAL) == -1 && (errno == EPIPE || errno == ENOTCONN));
  CHECK(fcntl(first, F_SETFL, O_NONBLOCK) == 0);
  CHECK(accept(first, nullptr, nullptr) == -1 && errno == EAGAIN);
}

void nonblocking_connect() {
  const int c = tcp_socket(SOCK_NONBLOCK);
  CHECK(connect_to(c, kStack, 1) == -1 && errno == EINPROGRESS);
  CHECK(events_of(c, 5000, POLLOUT) & POLLERR);
  CHECK(option(c, SOL_SOCKET, SO_ERROR) == ECONNREFUSED && option(c, SOL_SOCKET, SO_ERROR) == 0);
  const int silent = tcp_socket(SOCK_NONBLOCK);
  CHECK(connect_to(silent, kStack, 2) == -1 && errno == EINPROGRESS);
  CHECK(connect_to(silent, kStack, 2) == -1 && errno == EALREADY);
  CHECK(events_of(silent, 20, POLLOUT) == 0);
}

volatile sig_atomic_t pipes = 0;

void sigpipe() {
  signal(SIGPIPE, [](int) { pipes = pipes + 1; });
  const auto [c, s] = connection();
  CHECK(shutdown(c, SHUT_WR) == 0);
  CHECK(send(c, "x", 1, MSG_NOSIGNAL) == -1 && errno == EPIPE && pipes == 0);
  CHECK(write(c, "x", 1) == -1 && errno == EPIPE && pipes == 1);
  CHECK(get(s, 1).empty());
}

void stream() {
  const auto [c, s] = connection();
  FILE* f = fdopen(c, "r+");
  CHECK(f && fileno(f) == c);
  CHECK(std::fprintf(f, "line %d\n", 1) == 7 && std::fflush(f) == 0);
  CHECK(get(s, 7) == "line 1\n");
  put(s, "answer\n");
  char text[32];
  CHECK(std::fgets(text, sizeof text, f) && std::string(text) == "answer\n");
  CHECK(std::fclose(f) == 0 && get(s, 1).empty());
  CHECK(read(c, text, 1) == -1 && errno == EBADF);
}

void sendfile_scenario() {
  const auto [c, s] = connection();
  FILE* f = std::tmpfile();
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i);
  CHECK(std::fwrite(text.data(), 1, text.size(), f) == text.size() && std::fflush(f) == 0);
  off_t at = 10;
  CHECK(sendfile(c, fileno(f), &at, text.size()) == static_cast<ssize_t>(text.size() - 10));
  CHECK(at == static_cast<off_t>(text.size()));
  CHECK(get(s, text.size() - 10) == text.substr(10));
  CHECK(sendfile(c, fileno(f), &at, 10) == 0);
  CHECK(sendfile(c, s, nullptr, 10) == -1 && errno == EINVAL);
}

void errno_kept() {
  const auto [c, s] = connection();
  errno = 77;
  expect_talk(c, s);
  CHECK(events_of(c, 5, POLLIN) == 0 && option(c, SOL_SOCKET, SO_ERROR) == 0);
  CHECK(close(c) == 0);
  CHECK(errno == 77);
}

void port_before_listen() {
  const int l = tcp_socket();
  CHECK(bind_to(l, kStack, 0) == 0);
  const uint16_t port = port_of(l);
  CHECK(port != 0 && listen(l, 1) == 0 && port_of(l) == port);
  const int c = tcp_socket();
  CHECK(connect_to(c, kStack, port) == 0);
  expect_talk(c, accept(l, nullptr, nullptr));
}

// Two sockets ask for a daemon that is not there.
void kernel_fallback() {
  for (int i = 0; i < 2; ++i) {
    const int l = tcp_socket();
    CHECK(bind_to(l, "0.0.0.0", 0) == 0 && listen(l, 1) == 0 && port_of(l) != 0);
    const int c = tcp_socket();
    CHECK(connect_to(c, "127.0.0.1", port_of(l)) == 0);
    expect_talk(c, accept(l, nullptr, nullptr));
  }
}

void no_fallback() {
  const int l = tcp_socket(), c = tcp_socket();
  CHECK(bind_to(l, "0.0.0.0", 0) == -1 && errno == ENETDOWN);
  CHECK(connect_to(c, kStack, 80) == -1 && errno == ENETDOWN);
  const int local = tcp_socket();
  CHECK(bind_to(local, "127.0.0.1", 0) == 0 && listen(local, 1) == 0);
}

void no_sockets() {
  int pipe_fds[2];
  CHECK(pipe(pipe_fds) == 0);
  put(pipe_fds[1], "x");
  CHECK(events_of(pipe_fds[0], 0) == POLLIN);
  const int unused = tcp_socket();
  CHECK(close(unused) == 0);
}

struct Scenario {
  const char* name;
  void (*run)();
};
constexpr Scenario kScenarios[] = {
    {"talk", talk},
    {"duplicates", duplicates},
    {"replaced_number", replaced_number},
    {"close_everything", close_everything},
    {"loopback", loopback},
    {"mixed_epoll", mixed_epoll},
    {"mixed_poll", mixed_poll},
    {"candidate_in_epoll", candidate_in_epoll},
    {"epoll_number_again", epoll_number_again},
    {"copied_epoll", copied_epoll},
    {"forked", forked},
    {"vforked", vforked},
    {"options", options},
    {"refused", refused},
    {"nonblocking_connect", nonblocking_connect},
    {"sigpipe", sigpipe},
    {"stream", stream},
    {"sendfile", sendfile_scenario},
    {"errno_kept", errno_kept},
    {"port_before_listen", port_before_listen},
    {"kernel_fallback", kernel_fallback},
    {"no_fallback", no_fallback},
    {"no_sockets", no_sockets},
};

}  // namespace

int main(int argc, char** argv) {
  for (const Scenario& s : kScenarios) {
    if (argc != 2 || std::strcmp(argv[1], s.name) != 0) continue;
    s.run();
    return 0;
  }
  std::fprintf(stderr, "no such scenario\n");
  return 2;
}
