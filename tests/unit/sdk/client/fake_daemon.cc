#include "fake_daemon.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace loom {

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes be16(unsigned v) { return {static_cast<uint8_t>(v >> 8), static_cast<uint8_t>(v)}; }
Bytes be32(uint32_t v) { return be16(v >> 16) + be16(v & 0xffff); }
Bytes text(std::string_view s) {
  return be32(static_cast<uint32_t>(s.size())) + Bytes(s.begin(), s.end());
}
uint32_t number_at(const Bytes& b, std::size_t at) {
  uint32_t v = 0;
  for (std::size_t i = 0; i < 4; ++i) v = v << 8 | b.at(at + i);
  return v;
}

FakeDaemon::FakeDaemon(std::vector<std::string> table, Script script)
    : table_(std::move(table)), script_(std::move(script)) {
  char name[] = "/tmp/hostloom-client-XXXXXX";
  dir_ = ::mkdtemp(name);
  path = dir_ + "/api.sock";
  uint16_t id = 100;
  for (const auto& entry : table_) {
    const auto bare = entry.substr(0, entry.rfind('_'));
    names_[id] = bare;
    ids_[bare] = id++;
  }
  sockaddr_un a{};
  a.sun_family = AF_UNIX;
  std::memcpy(a.sun_path, path.data(), path.size());
  listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  EXPECT_EQ(::listen(listener_, 1), 0);
  thread_ = std::thread([this] {
    while ((peer_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0) {
      serve();
      ::close(peer_);
    }
  });
}

// The clients of a test are gone before their daemon, so serve() has seen the end of the stream.
FakeDaemon::~FakeDaemon() {
  ::shutdown(listener_, SHUT_RDWR);
  thread_.join();
  ::close(listener_);
  ::unlink(path.c_str());
  ::rmdir(dir_.c_str());
}

bool FakeDaemon::read(uint8_t* to, std::size_t n) {
  return ::recv(peer_, to, n, MSG_WAITALL) == static_cast<ssize_t>(n);
}

void FakeDaemon::serve() {
  uint8_t header[16];
  while (read(header, sizeof header)) {
    Message m;
    m.bytes.resize(number_at(Bytes(header, header + 16), 8));
    if (!read(m.bytes.data(), m.bytes.size())) return;
    const auto id = static_cast<uint16_t>(m.bytes[0] << 8 | m.bytes[1]);
    if (id != 15) {
      m.name = names_[id];
      script_(*this, m);
      continue;
    }
    Bytes greeting = be16(16) + be32(kClientIndex) +
                     Bytes(m.bytes.begin() + 2, m.bytes.begin() + 6) + be32(0) +
                     be32(kClientIndex) + be16(static_cast<unsigned>(table_.size()));
    uint16_t next = 100;
    for (const auto& entry : table_) {
      Bytes name(entry.begin(), entry.end());
      name.resize(64);
      greeting = greeting + be16(next++) + name;
    }
    send_raw(Bytes(8) + be32(static_cast<uint32_t>(greeting.size())) + Bytes(4) + greeting);
  }
}

void FakeDaemon::send(std::string_view name, const Bytes& fields) {
  const auto it = ids_.find(name);
  ASSERT_NE(it, ids_.end()) << name;
  const Bytes message = be16(it->second) + fields;
  send_raw(Bytes(8) + be32(static_cast<uint32_t>(message.size())) + Bytes(4) + message);
}

void FakeDaemon::send_raw(const Bytes& bytes) {
  ::send(peer_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

void FakeDaemon::hang_up() { ::shutdown(peer_, SHUT_RDWR); }

}  // namespace loom
