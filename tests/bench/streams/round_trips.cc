// Round trips of one message over one TCP connection. Plain sockets, so that it runs over the
// kernel and over Hostloom alike, and of any size, which sockperf does not.
//   round_trips serve ADDRESS PORT [polling]
//   round_trips ask ADDRESS PORT SECONDS BYTES [polling]     prints p50 and p99, in microseconds
// polling: both ends ask again and again instead of sleeping.
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

sockaddr_in endpoint(const char* address, const char* port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (inet_pton(AF_INET, address, &at.sin_addr) != 1) std::exit(2);
  return at;
}

void prepare(int fd, bool polling) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (polling) fcntl(fd, F_SETFL, O_NONBLOCK);
}

// All n bytes, by `call`: read or write. False: the connection has ended.
template <class Call>
bool transfer(Call call, int fd, char* bytes, size_t n) {
  while (n != 0) {
    const ssize_t done = call(fd, bytes, n);
    if (done < 0 && errno == EAGAIN) continue;
    if (done <= 0) return false;
    bytes += done;
    n -= static_cast<size_t>(done);
  }
  return true;
}

// Each connection begins with the size of its messages.
int serve(const sockaddr_in& at, bool polling) {
  const int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 ||
      listen(listener, 1) != 0)
    return 1;
  std::printf("listening\n");
  std::fflush(stdout);
  while (true) {
    const int fd = accept(listener, nullptr, nullptr);
    if (fd < 0) return 1;
    prepare(fd, polling);
    uint32_t size = 0;
    if (!transfer(read, fd, reinterpret_cast<char*>(&size), sizeof size)) size = 0;
    std::vector<char> message(size);
    while (size != 0 && transfer(read, fd, message.data(), size) &&
           transfer(write, fd, message.data(), size)) {}
    close(fd);
  }
}

int ask(const sockaddr_in& at, double seconds, uint32_t size, bool polling) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) return 1;
  prepare(fd, polling);
  if (!transfer(write, fd, reinterpret_cast<char*>(&size), sizeof size)) return 1;
  std::vector<char> message(size, 'x');
  std::vector<float> took;
  took.reserve(1 << 22);
  auto now = Clock::now();
  const auto end = now + std::chrono::duration<double>(seconds);
  while (now < end) {
    if (!transfer(write, fd, message.data(), size) || !transfer(read, fd, message.data(), size))
      return 1;
    const auto then = Clock::now();
    if (took.size() < took.capacity())
      took.push_back(std::chrono::duration<float, std::micro>(then - now).count());
    now = then;
  }
  std::ranges::sort(took);
  std::printf("%f %f\n", took[took.size() / 2], took[took.size() * 99 / 100]);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const bool polling = argc > 4 && std::strcmp(argv[argc - 1], "polling") == 0;
  if (argc - polling == 4 && std::strcmp(argv[1], "serve") == 0)
    return serve(endpoint(argv[2], argv[3]), polling);
  const int size = argc - polling == 6 ? std::atoi(argv[5]) : 0;
  if (size <= 0 || std::strcmp(argv[1], "ask") != 0) return 2;
  return ask(endpoint(argv[2], argv[3]), std::atof(argv[4]), static_cast<uint32_t>(size), polling);
}
