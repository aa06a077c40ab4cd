// What the probe's scenarios are written with. A scenario knows nothing of Hostloom: 10.0.0.1 is an
// address that only the preloaded library can reach.
#pragma once
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <utility>

namespace loom::probe {

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      std::_Exit(1);                                                                         \
    }                                                                                        \
  } while (0)

struct Scenario {
  const char* name;
  void (*run)();
};
std::span<const Scenario> connection_scenarios();  // probe_connections.cc
std::span<const Scenario> data_scenarios();        // probe_data.cc
std::span<const Scenario> datagram_scenarios();    // probe_datagrams.cc
std::span<const Scenario> descriptor_scenarios();  // probe_descriptors.cc
std::span<const Scenario> option_scenarios();      // probe_options.cc
std::span<const Scenario> waiting_scenarios();     // probe_waiting.cc

constexpr char kStack[] = "10.0.0.1";

int bind_to(int fd, const char* address, uint16_t port);
int connect_to(int fd, const char* address, uint16_t port);
uint16_t port_of(int fd);
int tcp_socket(int flags = 0);
int listener(uint16_t port);
// Both ends of a connection through the daemon.
std::pair<int, int> connection(uint16_t port = 80);
void put(int fd, const std::string& text);
std::string get(int fd, size_t n);
void expect_talk(int a, int b);
int events_of(int fd, int timeout_ms, int events = POLLIN);
void watch(int set, int fd, uint32_t events = EPOLLIN);
int next_ready(int set, int timeout_ms = 20'000);
void expect_exit_0(pid_t child);
int option(int fd, int level, int name);  // the value, or a negative errno
int set(int fd, int level, int name, int value);

}  // namespace loom::probe
