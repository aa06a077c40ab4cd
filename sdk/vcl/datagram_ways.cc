// Session: whether there is a way to a destination that a call names, from the address and by the
// interface that it names, so that send() can say what is wrong as the kernel's does. The daemon
// knows, and is asked before the first datagram; known_ways.h says how long that is believed. One
// to the peer needs no question: connect() has found its way.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

WayKey key_of(const DatagramOut& out, const svm::Endpoint& to) noexcept {
  WayKey key{to, {}, out.interface};
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
  if (!ways_) ways_ = std::make_unique<KnownWays>();
  const auto& line = static_cast<const svm::SessionShared*>(shared_)->daemon;
  const int known =
      ways_->find(key_of(out, to), line.n_unreachable.load(std::memory_order_relaxed), sys::now);
  if (known != KnownWays::kUnknown) return known;
  return ways_->may_ask(sys::now()) ? static_cast<int>(kWayUnknown) : 0;
}

// Whatever comes of it, the same destination is not asked about at once again.
void Session::ask_way(const DatagramOut& out) {
  const WayKey key = key_of(out, out.to ? *out.to : remote());
  svm::InfoEvent info{};
  int e = ask_path(key, info);
  if (e == -EADDRNOTAVAIL) e = -ENODEV;
  if (e == -EINVAL && !is_no_source(key.source)) e = -ENETUNREACH;
  const bool is_answer = e == 0 || e == -ENODEV || e == -EINVAL || e == -ENETUNREACH;
  const std::lock_guard lock(mutex_);
  // Without an answer the daemon is to see to it.
  if (ways_) ways_->learn(key, e == 0 ? info.path_bits : 128, is_answer ? e : 0, sys::now());
}

}  // namespace loom::vcl
