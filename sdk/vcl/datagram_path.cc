// Session: what the way to a destination takes, for datagrams that are not to be fragmented
// (IP_MTU_DISCOVER, IPV6_DONTFRAG; those of DTLS never are), so that send() can say EMSGSIZE as the
// kernel's does. The daemon knows; what it has said is believed for a second, and it looks at each
// datagram itself.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kIp4Headers = 28, kIp6Headers = 48;
constexpr uint32_t kIp4Least = 576, kIp6Least = 1280;  // no path is taken to have less
constexpr uint32_t kAnyLength = 1u << 20;
constexpr size_t kSurelyFits = 400;  // in a record, by whatever cipher, on those paths
// As SocketOptions has them: what is refused when it is too big, not split.
constexpr uint8_t kDo = 1 + 2, kProbe = 1 + 3, kInterface = 1 + 4;

bool same_address(const svm::Endpoint& a, const svm::Endpoint& b) noexcept {
  return a.is_ip4 == b.is_ip4 && std::memcmp(a.ip, b.ip, a.is_ip4 ? 4 : 16) == 0;
}

}  // namespace

// What was said of it within the last second, or 0.
int Session::known_path(const svm::Endpoint& to) {
  const TimeNs now = sys::now();
  const std::lock_guard lock(mutex_);
  for (const KnownPath& p : paths_)
    if (now < p.until && same_address(p.to, to)) return static_cast<int>(p.takes);
  return 0;
}

void Session::know_path(const svm::Endpoint& to, uint32_t takes) {
  const std::lock_guard lock(mutex_);
  // The same one again, or that which has been known longest.
  auto at = std::ranges::find_if(paths_, [&](const auto& p) { return same_address(p.to, to); });
  if (at == paths_.end()) at = std::ranges::min_element(paths_, {}, &KnownPath::until);
  *at = {to, takes, sys::now() + kSecond};
}

int Session::path_mtu(const svm::Endpoint& to, bool may_be_known) {
  if (const int known = may_be_known ? known_path(to) : 0; known != 0) return known;
  svm::InfoEvent info;
  const int e = ask_path({.to = to}, info, may_be_known ? kMostWaitToSend : sys::kForever);
  // Who is to send and has no answer sends: the daemon says what is wrong.
  if (may_be_known && e == -EAGAIN) know_path(to, kAnyLength);
  if (e != 0) return e;
  know_path(to, info.pmtu);
  return static_cast<int>(info.pmtu);
}

int Session::ask_path(const WayKey& key, svm::InfoEvent& out, TimeNs most) {
  const auto ask = [&](uint32_t context) {
    worker_.send(*attachment_, daemon_worker(), svm::ToDaemon::kGetPath,
                 svm::PathEvent{handle_, context, key.interface, key.to, key.source});
  };
  const int e = ask_info(out, ask, most);
  return e == 0 && out.pmtu == 0 ? -ENETUNREACH : e;
}

int Session::most_payload(bool may_be_known) {
  const svm::Endpoint to = remote();
  if (const int known = may_be_known ? known_path(to) : 0; known != 0) return known;
  svm::InfoEvent said;
  if (const int e = info(said); e != 0) return e;
  if (said.snd_mss == 0) return -ENETUNREACH;
  know_path(to, said.snd_mss);
  return static_cast<int>(said.snd_mss);
}

// Under mutex_.
void Session::forget_paths() noexcept { paths_.fill({}); }

Session::PathRules Session::path_rules() {
  const std::lock_guard lock(mutex_);
  return {state() == State::kOpen, remote_, options_.ip4_path_mtu, options_.ip6_path_mtu,
          options_.dont_fragment6 != 0};
}

// 0, or -EMSGSIZE: the destination is not reached by so many bytes in one piece, and they are not
// to be split.
int Session::check_path(const DatagramSend& d, const PathRules& rules, uint32_t& mtu) {
  if (!rules.is_open) return 0;
  const size_t n = d.length;
  if (!is_connectionless()) {
    const int most = n <= kSurelyFits ? 0 : most_payload(true);
    if (most <= 0 || n <= static_cast<size_t>(most)) return 0;
    mtu = static_cast<uint32_t>(most);
    return -EMSGSIZE;
  }
  const svm::Endpoint& to = d.out.to ? *d.out.to : rules.peer;
  const uint8_t mode = to.is_ip4 ? rules.ip4_mode : rules.ip6_mode;
  const bool is_whole = d.out.whole >= 0 ? d.out.whole != 0 : rules.dont_fragment6;
  // A segment is never split (Linux's udp_send_skb()).
  const bool refuses = d.out.gso_size != 0 || mode == kDo || mode == kProbe || mode == kInterface ||
                       (!to.is_ip4 && is_whole);
  if (to.port == 0 || !refuses) return 0;
  const size_t payload = d.out.gso_size != 0 ? std::min<size_t>(n, d.out.gso_size) : n;
  const size_t packet = payload + (to.is_ip4 ? kIp4Headers : kIp6Headers);
  if (packet <= (to.is_ip4 ? kIp4Least : kIp6Least)) return 0;
  const int takes = path_mtu(to, true);
  if (takes < 0 || packet <= static_cast<size_t>(takes)) return 0;  // the daemon says what is wrong
  mtu = static_cast<uint32_t>(takes);
  return -EMSGSIZE;
}

}  // namespace loom::vcl
