// Datagrams between two programs, as fast as they go. Plain sockets, so that it runs over the
// kernel and over Hostloom alike.
//   datagram_load serve ADDRESS PORT
//   datagram_load ping|ping-to|flood|flood-many ADDRESS PORT SECONDS BYTES [PAUSE]     prints a
//   rate, per second
// ping: one datagram at a time, there and back, PAUSE us after each; counts round trips. ping-to:
// the same by sendto(), without a peer. flood: one way without a pause; counts what has arrived, as
// the server says afterwards. flood-many: the same, 32 by each sendmmsg().
#include <arpa/inet.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
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

// Any datagram may be lost: after this long without an answer it is sent again.
void set_timeout(int fd) {
  const timeval wait{0, 200'000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
}

// What has arrived; asked again when the question was dropped behind the flood.
uint64_t ask_count(int fd) {
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

bool send_many(int fd, size_t size) {
  constexpr unsigned kMany = 32;
  iovec v{buffer, size};
  mmsghdr all[kMany]{};
  for (mmsghdr& m : all) {
    m.msg_hdr.msg_iov = &v;
    m.msg_hdr.msg_iovlen = 1;
  }
  for (unsigned done = 0; done < kMany;) {
    const int n = sendmmsg(fd, all + done, kMany - done, 0);
    if (n <= 0) return false;
    done += static_cast<unsigned>(n);
  }
  return true;
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
  set_timeout(fd);
  const auto begin = Clock::now(), end = begin + std::chrono::seconds(std::atoi(argv[4]));
  const timespec pause{0, argc > 6 ? 1000 * std::min(std::atol(argv[6]), 999'999L) : 0};
  uint64_t done = 0;
  const bool is_many = std::strcmp(argv[1], "flood-many") == 0;
  while (Clock::now() < end) {
    buffer[0] = is_ping ? kPing : kFlood;
    if (is_many) {
      if (!send_many(fd, size)) return 1;
      continue;
    }
    if (sendto(fd, buffer, size, 0, has_peer ? nullptr : name, has_peer ? 0 : sizeof at) < 0)
      return 1;
    if (is_ping && recv(fd, buffer, sizeof buffer, 0) < 0) {
      if (errno == EAGAIN) continue;
      return 1;
    }
    ++done;
    if (pause.tv_nsec != 0) clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, nullptr);
  }
  const std::chrono::duration<double> took = Clock::now() - begin;
  const uint64_t counted = is_ping ? done : ask_count(fd);
  std::printf("%.0f\n", static_cast<double>(counted) / took.count());
  return 0;
}
