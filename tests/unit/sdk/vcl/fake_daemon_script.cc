// What tests do to the far ends of sessions, and see there.
#include <arpa/inet.h>

#include <cstring>

#include "fake_daemon_impl.h"

namespace loom::test {

size_t FakeDaemon::n_sessions() {
  size_t n = 0;
  run([&] { n = sessions_.size(); });
  return n;
}

size_t FakeDaemon::inject(size_t i, const std::string& bytes) {
  size_t n = 0;
  run([&] {
    Session& s = *sessions_.at(i);
    s.rx.refresh();
    n = s.rx.enqueue(bytes_of(bytes.data(), bytes.size()));
    if (s.rx.should_notify()) to_owner(s, ToApp::kRx);
  });
  return n;
}

void FakeDaemon::inject_fin(size_t i) {
  run([&] {
    Session& s = *sessions_.at(i);
    s.rx.set_eof();
    if (s.rx.should_notify()) to_owner(s, ToApp::kRx);
  });
}

void FakeDaemon::inject_reset(size_t i, int error) {
  run([&] {
    Session& s = *sessions_.at(i);
    s.rx.set_reset(error);
    if (s.rx.should_notify()) to_owner(s, ToApp::kRx);
  });
}

void FakeDaemon::add_unreachable(size_t i) {
  run([&] { sessions_.at(i)->shared->daemon.n_unreachable.fetch_add(1); });
}

std::string FakeDaemon::sent(size_t i) {
  std::string out;
  run([&] {
    for (bool more = true; more;) more = pump_one(*sessions_.at(i));
    out.swap(sessions_.at(i)->outside);
  });
  return out;
}

bool FakeDaemon::dial(uint16_t port) {
  bool done = false;
  run([&] {
    for (auto& l : listeners_) {
      if (l->local.port != htons(port)) continue;
      Endpoint remote{.is_ip4 = 1, .reserved = 0, .port = htons(next_port_++), .ip = {}};
      std::memcpy(remote.ip, "\x0a\x00\x00\x09", 4);
      done = offer(*l, new_session(*l->app, l->local, remote));
    }
  });
  return done;
}

uint64_t FakeDaemon::interested(uint16_t port) {
  uint64_t bits = 0;
  run([&] {
    for (const auto& l : listeners_)
      if (l->local.port == htons(port)) bits = l->queue.interested();
  });
  return bits;
}

SocketOptions FakeDaemon::options(size_t i) {
  SocketOptions o{};
  run([&] { o = sessions_.at(i)->options; });
  return o;
}
uint32_t FakeDaemon::options_number(size_t i) {
  uint32_t number = 0;
  run([&] { number = sessions_.at(i)->options_number; });
  return number;
}
uint32_t FakeDaemon::owner(size_t i) {
  uint32_t worker = 0;
  run([&] { worker = sessions_.at(i)->shared->owner.load(); });
  return worker;
}
void FakeDaemon::set_tx_size(size_t i, uint32_t bytes) {
  Session& s = *sessions_.at(i);
  if (bytes - 1 < 1u << 30) s.tx.set_size(std::max(s.tx.size(), bytes));
  s.shared->tx_size = bytes;
}
int FakeDaemon::lock_holder(size_t i) {
  int pid = 0;
  run([&] { pid = static_cast<int>(sessions_.at(i)->shared->lock.load()); });
  return pid;
}
bool FakeDaemon::shut_down(size_t i) {
  bool b = false;
  run([&] { b = sessions_.at(i)->shut; });
  return b;
}
bool FakeDaemon::closed(size_t i) {
  bool b = false;
  run([&] { b = sessions_.at(i)->closed; });
  return b;
}
bool FakeDaemon::was_reset(size_t i) {
  bool b = false;
  run([&] { b = sessions_.at(i)->reset; });
  return b;
}

}  // namespace loom::test
