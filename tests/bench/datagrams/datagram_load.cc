// Datagrams between two programs, as fast as they go. Plain sockets, so that it runs over the
// kernel and over Hostloom alike.
//   datagram_load serve ADDRESS PORT
//   datagram_load ping|ping-to|flood ADDRESS PORT SECONDS BYTES      prints a rate, per second
// ping: one datagram at a time, there and back; counts round trips. ping-to: the same by sendto(),
// without a peer. flood: one way without a pause;
// counts what has arrived, as the server says afterwards.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

using Clock = std::chrono::steady_clock;
enum Kind : char { kPing = 'p', kFlood = 'f', kCount = 'c' };
char buffer[65536];

int open_socket(const char* address, const char* port, sockaddr_in& at) {
  at = {};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (fd < 0 || inet_pton(AF_INET, address, &at.sin_addr) != 1) std::exit(2);
  return fd;
}

int serve(int fd) {
  uint64_t arrived = 0;
  std::printf("listening\n");
  std::fflush(stdout);
  while (true) {
    sockaddr_in from;
    socklen_t len = sizeof from;
    const ssize_t n =
        recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &len);
    if (n < 1) continue;
    ssize_t answer = n;
    if (buffer[0] == kFlood) {
      ++arrived;
      continue;
    }
    if (buffer[0] == kCount) {
      std::memcpy(buffer + 1, &arrived, sizeof arrived);
      answer = 1 + sizeof arrived;
    }
    (void)!sendto(fd, buffer, static_cast<size_t>(answer), 0, reinterpret_cast<sockaddr*>(&from),
                  len);
  }
}

// What has arrived; asked again when the question was dropped behind the flood.
uint64_t ask_count(int fd) {
  const timeval wait{0, 200'000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  uint64_t arrived = 0;
  for (int i = 0; i < 100; ++i) {
    buffer[0] = kCount;
    (void)!send(fd, buffer, 1, 0);
    if (recv(fd, buffer, sizeof buffer, 0) != 1 + sizeof arrived) continue;
    std::memcpy(&arrived, buffer + 1, sizeof arrived);
    return arrived;
  }
  std::exit(3);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  sockaddr_in at;
  const int fd = open_socket(argv[2], argv[3], at);
  const auto* name = reinterpret_cast<const sockaddr*>(&at);
  if (std::strcmp(argv[1], "serve") == 0) return bind(fd, name, sizeof at) != 0 ? 1 : serve(fd);
  const bool has_peer = std::strcmp(argv[1], "ping-to") != 0;
  if (argc < 6 || (has_peer && connect(fd, name, sizeof at) != 0)) return 1;
  const bool is_ping = std::strncmp(argv[1], "ping", 4) == 0;
  const auto size = static_cast<size_t>(std::atoi(argv[5]));
  if (size < 1 || size > sizeof buffer) return 2;
  const auto begin = Clock::now(), end = begin + std::chrono::seconds(std::atoi(argv[4]));
  uint64_t done = 0;
  for (; Clock::now() < end; ++done) {
    buffer[0] = is_ping ? kPing : kFlood;
    if (sendto(fd, buffer, size, 0, has_peer ? nullptr : name, has_peer ? 0 : sizeof at) < 0)
      return 1;
    if (is_ping && recv(fd, buffer, sizeof buffer, 0) < 0) return 1;
  }
  const std::chrono::duration<double> took = Clock::now() - begin;
  const uint64_t counted = is_ping ? done : ask_count(fd);
  std::printf("%.0f\n", static_cast<double>(counted) / took.count());
  return 0;
}
