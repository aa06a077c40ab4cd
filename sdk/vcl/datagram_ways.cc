// Session: whether there is a way to a destination that a call names, from the address and by the
// interface that it names, so that send() can say what is wrong as the kernel's does. The daemon
// knows. Where there is a default route it has said so when the session opened; else it is asked
// before the first datagram, and known_ways.h says how long that is believed. One to the peer needs
// no question: connect() has found its way.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

WayKey key_of(const DatagramOut& out, const svm::Endpoint& to, uint32_t bound) noexcept {
  WayKey key{to, {}, out.interface, bound};
  if (out.source) key.source = *out.source;
  key.to.port = key.source.port = 0;
  return key;
}

// An address that no host sends from: Linux says EINVAL then, and ENETUNREACH of another host's.
bool is_no_source(const svm::Endpoint& e) noexcept {
  const uint8_t first = e.ip[0];
  return !e.is_ip4 || first == 0 || first == 127 || (first & 0xf0) == 0xe0 ||
         std::all_of(e.ip, e.ip + 4, [](uint8_t b) { return b == 255; });
}

}  // namespace

// 0, a negative errno, or kWayUnknown: ask_way(), without locks. Under mutex_.
int Session::know_way(const DatagramOut& out, const svm::Endpoint& to) {
  const auto& line = static_cast<const svm::SessionShared*>(shared_)->daemon;
  const uint32_t news = line.n_unreachable.load(std::memory_order_relaxed);
  if (news != 0) everywhere_ = 0;
  const bool is_plain = !out.source && out.interface == 0 && options_.interface == 0;
  if (is_plain && (everywhere_ >> to.is_ip4 & 1)) [[likely]]
    return 0;
  // Who can remember nothing asks nothing.
  if (!ways_) ways_.reset(new (std::nothrow) KnownWays(news));
  if (!ways_) return 0;
  const int known = ways_->find(key_of(out, to, options_.interface), news, sys::now);
  if (known != KnownWays::kUnknown) return known;
  return ways_->may_ask(sys::now()) ? static_cast<int>(kWayUnknown) : 0;
}

// Whatever comes of it, the same destination is not asked about at once again.
void Session::ask_way(const DatagramOut& out) {
  WayKey key;
  {
    const std::lock_guard lock(mutex_);
    key = key_of(out, out.to ? *out.to : remote_, options_.interface);
    if (ways_) ways_->count();
  }
  svm::InfoEvent info{};
  int e = ask_path(key, info, kMostWaitToSend);
  if (e == -EADDRNOTAVAIL) e = -ENODEV;
  if (e == -EINVAL && !is_no_source(key.source)) e = -ENETUNREACH;
  const bool is_answer = e == 0 || e == -ENODEV || e == -EINVAL || e == -ENETUNREACH;
  const std::lock_guard lock(mutex_);
  if (!ways_) return;
  if (!is_answer) ways_->count_vain();
  // Without an answer the daemon is to see to it.
  ways_->learn(key, e == 0 ? info.path_bits : 128, is_answer ? e : 0, sys::now());
}

// The same for what a call begins that later ones send, asked if need be. 0, or a negative errno;
// what ails the session itself they hear.
int Session::find_way(const DatagramOut& out) {
  if (!out.to && !out.source && out.interface == 0) return 0;
  while (true) {
    int e = 0;
    {
      const std::lock_guard lock(mutex_);
      if (state() != State::kOpen || !shared_) return 0;
      const svm::Endpoint& to = out.to ? *out.to : remote_;
      e = reaches(to) ? know_way(out, to) : -ENETUNREACH;
    }
    if (e != kWayUnknown) return e;
    ask_way(out);
  }
}

}  // namespace loom::vcl
