// Bulk over one connection with tls_server.
//   tls_load tls|plain send|receive ADDRESS PORT SECONDS      prints bits a second
// send: what has arrived, as the server says afterwards. tls: by OpenSSL, which believes any
// certificate.
#include <arpa/inet.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "channel.h"

namespace {

using Clock = std::chrono::steady_clock;
constexpr size_t kBlock = 64 << 10;
char block[kBlock];

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  ERR_print_errors_fp(stderr);
  std::exit(1);
}

int connect_to(const char* address, const char* port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (inet_pton(AF_INET, address, &at.sin_addr) != 1 ||
      connect(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0)
    give_up("connect");
  return fd;
}

void write_all(Channel& c, const char* from, size_t size) {
  for (size_t n = 0; size != 0; from += n, size -= n)
    if (c.write(from, size, n) != Outcome::kDone) give_up("write");
}

uint64_t send_until(Channel& c, Clock::time_point end) {
  write_all(c, "d", 1);
  while (Clock::now() < end) write_all(c, block, kBlock);
  c.end();
  uint64_t arrived = 0;
  for (size_t got = 0, n = 0; got < sizeof arrived; got += n)
    if (c.read(reinterpret_cast<char*>(&arrived) + got, sizeof arrived - got, n) != Outcome::kDone)
      give_up("read");
  return arrived;
}

uint64_t receive_until(Channel& c, Clock::time_point end) {
  write_all(c, "s", 1);
  uint64_t arrived = 0;
  while (Clock::now() < end) {
    size_t n = 0;
    if (c.read(block, kBlock, n) != Outcome::kDone) give_up("read");
    arrived += n;
  }
  return arrived;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const bool is_tls = std::strcmp(argv[1], "tls") == 0, sends = std::strcmp(argv[2], "send") == 0;
  SSL_CTX* const context = is_tls ? new_context(TLS_client_method()) : nullptr;
  Channel c(connect_to(argv[3], argv[4]), context, false);
  if (c.handshake() != Outcome::kDone) give_up("handshake");
  const auto begin = Clock::now(), end = begin + std::chrono::seconds(std::atoi(argv[5]));
  const uint64_t bytes = sends ? send_until(c, end) : receive_until(c, end);
  const std::chrono::duration<double> took = Clock::now() - begin;
  std::printf("%.0f\n", static_cast<double>(bytes) * 8 / took.count());
  return 0;
}
