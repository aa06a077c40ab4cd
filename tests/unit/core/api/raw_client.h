// A client that knows nothing but the description of the protocol (bytes written by hand).
#pragma once
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace loom {

using Bytes = std::vector<uint8_t>;

inline Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
inline Bytes be16(unsigned v) { return {static_cast<uint8_t>(v >> 8), static_cast<uint8_t>(v)}; }
inline Bytes be32(uint32_t v) { return be16(v >> 16) + be16(v & 0xffff); }
inline Bytes text(std::string_view s, std::size_t n) {
  Bytes b(s.begin(), s.end());
  b.resize(n);
  return b;
}
inline Bytes frame(const Bytes& message) {
  return Bytes(8) + be32(static_cast<uint32_t>(message.size())) + Bytes(4) + message;
}
inline uint32_t number(const Bytes& b, std::size_t at, std::size_t n) {
  uint32_t v = 0;
  for (std::size_t i = 0; i < n; ++i) v = v << 8 | b.at(at + i);
  return v;
}

class RawClient {
 public:
  explicit RawClient(const std::string& path)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::memcpy(a.sun_path, path.data(), path.size());
    EXPECT_EQ(::connect(fd_, reinterpret_cast<sockaddr*>(&a), sizeof a), 0) << std::strerror(errno);
  }
  ~RawClient() { ::close(fd_); }
  RawClient(const RawClient&) = delete;

  // False when the server has closed the connection.
  bool send(const Bytes& b) {
    for (std::size_t at = 0; at < b.size();) {
      const ssize_t n = ::send(fd_, b.data() + at, b.size() - at, MSG_NOSIGNAL);
      if (n <= 0) return false;
      at += static_cast<std::size_t>(n);
    }
    return true;
  }
  // One message without its header; empty at the end of the stream.
  Bytes receive() {
    const Bytes header = read(16);
    return header.empty() ? header : read(number(header, 8, 4));
  }
  void shut_down() { ::shutdown(fd_, SHUT_WR); }
  bool is_closed_by_server() { return read(1).empty(); }
  // Sends sockclnt_create and keeps the table.
  void create() {
    ASSERT_TRUE(send(frame(be16(15) + be32(77) + text("raw", 64))));
    const Bytes m = receive();
    ASSERT_GE(m.size(), 20u);
    EXPECT_EQ(number(m, 0, 2), 16u);
    client_index = number(m, 2, 4);
    EXPECT_EQ(number(m, 6, 4), 77u);            // context
    EXPECT_EQ(number(m, 10, 4), 0u);            // response
    EXPECT_EQ(number(m, 14, 4), client_index);  // index
    const uint32_t count = number(m, 18, 2);
    ASSERT_EQ(m.size(), 20 + count * 66);
    for (std::size_t i = 0, at = 20; i < count; ++i, at += 66)
      ids[reinterpret_cast<const char*>(&m[at + 2])] = number(m, at, 2);
  }
  Bytes request(const char* name, uint32_t context, const Bytes& rest = {}) {
    return frame(be16(ids.at(name)) + be32(client_index) + be32(context) + rest);
  }

  uint32_t client_index = 0;
  std::map<std::string, uint32_t> ids;

 private:
  // Exactly n bytes; none at the end of the stream. Takes what there is at once: tests read
  // millions of messages.
  Bytes read(std::size_t n) {
    while (in_.size() - at_ < n) {
      pollfd p{fd_, POLLIN, 0};
      if (::poll(&p, 1, 20'000) != 1) {
        ADD_FAILURE() << "the server is silent";
        return {};
      }
      in_.erase(in_.begin(), in_.begin() + static_cast<long>(at_));
      at_ = 0;
      const std::size_t had = in_.size();
      in_.resize(had + 65536);
      const ssize_t got = ::recv(fd_, in_.data() + had, 65536, 0);
      in_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      if (got <= 0) return {};
    }
    at_ += n;
    return {in_.begin() + static_cast<long>(at_ - n), in_.begin() + static_cast<long>(at_)};
  }
  Bytes in_;  // received, from at_ on not yet looked at
  std::size_t at_ = 0;
  int fd_;
};

}  // namespace loom
