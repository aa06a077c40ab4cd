// A server of streams for benchmarks: one thread, epoll, non-blocking sockets.
//   tls_server tls ADDRESS PORT CERTIFICATE KEY    speaks TLS by OpenSSL
//   tls_server plain ADDRESS PORT                  does not: somebody else may, below
// The first byte of a connection says what it is for:
//   G   a request of HTTP/1.0: a short answer, and the end
//   d   everything else is thrown away; at the end comes how many bytes that were (u64)
//   s   is sent to until it goes away
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/epoll.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "channel.h"

namespace {

constexpr size_t kBlock = 64 << 10;
char block[kBlock];

struct Connection {
  Connection(int socket, SSL_CTX* context) : fd(socket), channel(socket, context, true) {}
  const int fd;
  Channel channel;
  bool is_open = false;  // the handshake is done
  char purpose = 0;
  uint64_t received = 0;
  std::string unsent;  // of the answer
  uint32_t waits_for = EPOLLIN;
};

// What the connection waits for next; 0: it is over.
uint32_t events_of(Outcome o) {
  return o == Outcome::kWantsRead ? EPOLLIN : o == Outcome::kWantsWrite ? EPOLLOUT : 0u;
}

uint32_t answer(Connection& c) {
  while (!c.unsent.empty()) {
    size_t n = 0;
    const Outcome o = c.channel.write(c.unsent.data(), c.unsent.size(), n);
    if (o != Outcome::kDone) return events_of(o);
    c.unsent.erase(0, n);
  }
  c.channel.end();
  return 0;
}

// A few blocks, then it is the others' turn.
uint32_t send_blocks(Connection& c) {
  for (int i = 0; i < 16; ++i) {
    size_t n = 0;
    const Outcome o = c.channel.write(block, kBlock, n);
    if (o != Outcome::kDone) return events_of(o);
  }
  return EPOLLOUT;
}

uint32_t serve(Connection& c) {
  if (!c.is_open) {
    const Outcome o = c.channel.handshake();
    if (o != Outcome::kDone) return events_of(o);
    c.is_open = true;
  }
  if (!c.unsent.empty()) return answer(c);
  if (c.purpose == 's') return send_blocks(c);
  // All that is there: with read-ahead OpenSSL may have more than the socket says.
  while (true) {
    size_t n = 0;
    const Outcome o = c.channel.read(block, kBlock, n);
    if (o == Outcome::kEnd && c.purpose == 'd') {
      c.unsent.assign(reinterpret_cast<const char*>(&c.received), sizeof c.received);
      return answer(c);
    }
    if (o != Outcome::kDone) return events_of(o);
    if (c.purpose == 0) c.purpose = block[0];
    c.received += n;
    if (c.purpose == 's') return send_blocks(c);
    if (c.purpose == 'G') {
      c.unsent = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nok\n";
      return answer(c);
    }
  }
}

int listen_at(const char* address, const char* port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (inet_pton(AF_INET, address, &at.sin_addr) != 1 ||
      bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 || listen(fd, 1024) != 0) {
    std::perror("tls_server");
    std::exit(1);
  }
  return fd;
}

void watch(int epoll, int op, int fd, uint32_t events, void* what) {
  epoll_event e{};
  e.events = events;
  e.data.ptr = what;
  if (epoll_ctl(epoll, op, fd, &e) == 0) return;
  std::perror("epoll_ctl");
  std::exit(1);
}

void accept_all(int epoll, int listener, SSL_CTX* context) {
  for (int fd; (fd = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK)) >= 0;) {
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, new Connection(fd, context));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const bool is_tls = argc == 6 && std::strcmp(argv[1], "tls") == 0;
  if (!is_tls && (argc != 4 || std::strcmp(argv[1], "plain") != 0)) return 2;
  signal(SIGPIPE, SIG_IGN);
  SSL_CTX* context = nullptr;
  if (is_tls) {
    context = new_context(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, argv[4]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, argv[5], SSL_FILETYPE_PEM) != 1) {
      ERR_print_errors_fp(stderr);
      return 1;
    }
    // Sessions in tickets, as the daemon has them, and no list of them here.
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  }
  const int listener = listen_at(argv[2], argv[3]), epoll = epoll_create1(0);
  watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, nullptr);
  std::printf("listening\n");
  std::fflush(stdout);
  while (true) {
    epoll_event events[64];
    const int n = epoll_wait(epoll, events, 64, -1);
    for (int i = 0; i < n; ++i) {
      auto* c = static_cast<Connection*>(events[i].data.ptr);
      if (!c) {
        accept_all(epoll, listener, context);
        continue;
      }
      const uint32_t next = serve(*c);
      if (next == 0)
        delete c;
      else if (next != c->waits_for)
        watch(epoll, EPOLL_CTL_MOD, c->fd, c->waits_for = next, c);
    }
  }
}
