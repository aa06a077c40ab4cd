#include "ldp/options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ldp/ancillary.h"
#include "ldp/arrival.h"
#include "ldp/device.h"
#include "ldp/group_filter.h"
#include "ldp/group_options.h"
#include "ldp/option_rules.h"
#include "vcl/app_worker.h"

namespace loom::ldp {
namespace {

using Options = svm::SocketOptions;
using vcl::Session;

constexpr int kMaxBuffer = 64 << 20, kMinBuffer = 4096;  // bytes, of SO_RCVBUF and SO_SNDBUF

// What Linux does with a value of any length: writes what fits.
int put(const void* from, size_t size, void* value, socklen_t* len) {
  const size_t n = std::min<size_t>(size, *len);
  std::memcpy(value, from, n);
  *len = static_cast<socklen_t>(n);
  return 0;
}
int put(int number, void* value, socklen_t* len) { return put(&number, sizeof number, value, len); }

int put_time(TimeNs t, void* value, socklen_t* len) {
  timeval tv{};
  if (t >= 0) tv = {static_cast<time_t>(t / kSecond), static_cast<long>(t % kSecond / 1000)};
  return put(&tv, sizeof tv, value, len);
}
// 0 = no limit, as on Linux.
int take_time(const void* value, socklen_t len, std::atomic<TimeNs>& field) {
  timeval tv;
  if (len < sizeof tv) return -EINVAL;
  std::memcpy(&tv, value, sizeof tv);
  if (tv.tv_usec < 0 || tv.tv_usec >= 1'000'000) return -EDOM;
  const bool forever = (tv.tv_sec == 0 && tv.tv_usec == 0) || tv.tv_sec > 1'000'000'000;
  field.store(forever ? -1 : std::max<TimeNs>(tv.tv_sec, 0) * kSecond + tv.tv_usec * 1000);
  return 0;
}

// Linux doubles the size for its bookkeeping, and programs expect to read the double.
uint32_t buffer_size(int number) noexcept {
  return static_cast<uint32_t>(std::clamp(number, kMinBuffer, kMaxBuffer / 2) * 2);
}

int set_socket_option(Session& s, int name, int number, const void* value, socklen_t len) {
  switch (name) {
    case SO_REUSEADDR:
      s.reuse_addr = number != 0;
      s.change_options([&](Options& o) { o.reuseaddr = number != 0; });
      return 0;
    case SO_REUSEPORT:
      s.change_options([&](Options& o) { o.reuseport = number != 0; });
      return 0;
    case SO_KEEPALIVE:
      s.change_options([&](Options& o) { o.keepalive = number != 0; });
      return 0;
    case SO_LINGER: {
      linger l;
      if (len < sizeof l) return -EINVAL;
      std::memcpy(&l, value, sizeof l);
      s.change_options([&](Options& o) { o.linger_s = l.l_onoff ? std::max(l.l_linger, 0) : -1; });
      return 0;
    }
    case SO_RCVBUF:
    case SO_RCVBUFFORCE:
      return s.set_sizes(buffer_size(number), {});
    case SO_SNDBUF:
    case SO_SNDBUFFORCE:
      return s.set_sizes({}, buffer_size(number));
    case SO_RCVTIMEO:
      return take_time(value, len, s.rcv_timeout);
    case SO_SNDTIMEO:
      return take_time(value, len, s.snd_timeout);
    case SO_RCVLOWAT:
      s.rcv_lowat.store(static_cast<uint32_t>(std::max(number, 1)));
      return 0;
    case SO_BROADCAST:
      s.broadcast = number != 0;
      s.change_options([&](Options& o) { o.broadcast = number != 0; });
      return 0;
    case SO_OOBINLINE:
      return 0;  // there is no out-of-band data
    case SO_TYPE:
    case SO_ERROR:
    case SO_DOMAIN:
    case SO_PROTOCOL:
    case SO_ACCEPTCONN:
    default:
      return -ENOPROTOOPT;
  }
}

int set_time_ms(Session& s, int number, int scale, uint32_t Options::*field) {
  constexpr int kMaxSeconds = 32767;  // as Linux
  if (number < 1 || number > kMaxSeconds * (1000 / scale)) return -EINVAL;
  s.change_options([&](Options& o) { o.*field = static_cast<uint32_t>(number * scale); });
  return 0;
}

int set_tcp_option(Session& s, int name, int number, const void* value, socklen_t len) {
  switch (name) {
    case TCP_NODELAY:
      s.change_options([&](Options& o) { o.nodelay = number != 0; });
      if (number != 0) s.push();
      return 0;
    case TCP_CORK:
      s.change_options([&](Options& o) { o.cork = number != 0; });
      if (number == 0) s.push();
      return 0;
    case TCP_MAXSEG:
      if (number != 0 && (number < 88 || number > 32767)) return -EINVAL;
      s.change_options([&](Options& o) { o.user_mss = static_cast<uint16_t>(number); });
      return 0;
    case TCP_KEEPIDLE:
      return set_time_ms(s, number, 1000, &Options::keepidle_ms);
    case TCP_KEEPINTVL:
      return set_time_ms(s, number, 1000, &Options::keepintvl_ms);
    case TCP_KEEPCNT:
      if (number < 1 || number > 127) return -EINVAL;
      s.change_options([&](Options& o) { o.keepcnt = static_cast<uint8_t>(number); });
      return 0;
    case TCP_USER_TIMEOUT:
      if (number < 0) return -EINVAL;
      s.change_options([&](Options& o) { o.user_timeout_ms = static_cast<uint32_t>(number); });
      return 0;
    case TCP_CONGESTION: {
      const size_t n = strnlen(static_cast<const char*>(value), len);
      if (n == 0) return -EINVAL;
      if (n >= sizeof Options::congestion) return -ENOENT;
      s.change_options([&](Options& o) {
        std::memset(o.congestion, 0, sizeof o.congestion);
        std::memcpy(o.congestion, value, n);
      });
      return 0;
    }
    // Hints: acknowledgements and the accept queue follow the stack's own rules.
    case TCP_QUICKACK:
    case TCP_DEFER_ACCEPT:
      return 0;
    default:
      return -ENOPROTOOPT;
  }
}

int get_socket_option(Session& s, int name, void* value, socklen_t* len) {
  switch (name) {
    case SO_ERROR:
      return put(s.take_error(), value, len);
    case SO_TYPE:
      return put(s.is_datagram() ? SOCK_DGRAM : SOCK_STREAM, value, len);
    case SO_DOMAIN:
      return put(s.socket_is_ip4 ? AF_INET : AF_INET6, value, len);
    case SO_PROTOCOL:
      return put(s.is_datagram() ? IPPROTO_UDP : IPPROTO_TCP, value, len);
    case SO_ACCEPTCONN:
      return put(s.state() == Session::State::kListening, value, len);
    case SO_REUSEADDR:
      return put(s.reuse_addr, value, len);
    case SO_REUSEPORT:
      return put(s.options().reuseport, value, len);
    case SO_KEEPALIVE:
      return put(s.options().keepalive, value, len);
    case SO_BROADCAST:
      return put(s.broadcast, value, len);
    case SO_OOBINLINE:
      return put(0, value, len);
    case SO_LINGER: {
      const int seconds = s.options().linger_s;
      const linger l{seconds >= 0, std::max(seconds, 0)};
      return put(&l, sizeof l, value, len);
    }
    case SO_RCVBUF:
      return put(static_cast<int>(s.rx_limit()), value, len);
    case SO_SNDBUF:
      return put(static_cast<int>(s.tx_limit()), value, len);
    case SO_RCVLOWAT:
      return put(static_cast<int>(s.rcv_lowat.load()), value, len);
    case SO_SNDLOWAT:
      return put(1, value, len);
    case SO_RCVTIMEO:
      return put_time(s.rcv_timeout.load(), value, len);
    case SO_SNDTIMEO:
      return put_time(s.snd_timeout.load(), value, len);
    default:
      return -ENOPROTOOPT;
  }
}

int get_tcp_option(Session& s, int name, void* value, socklen_t* len) {
  const Options o = s.options();
  // RFC 1122 section 4.2.3.6 and Linux: the defaults that the transport applies for 0.
  const auto seconds = [&](uint32_t ms, int otherwise) {
    return put(ms ? static_cast<int>(ms / 1000) : otherwise, value, len);
  };
  switch (name) {
    case TCP_NODELAY:
      return put(o.nodelay, value, len);
    case TCP_CORK:
      return put(o.cork, value, len);
    case TCP_MAXSEG:
      return put(static_cast<int>(current_mss(s)), value, len);
    case TCP_KEEPIDLE:
      return seconds(o.keepidle_ms, 7200);
    case TCP_KEEPINTVL:
      return seconds(o.keepintvl_ms, 75);
    case TCP_KEEPCNT:
      return put(o.keepcnt ? static_cast<int>(o.keepcnt) : 9, value, len);
    case TCP_USER_TIMEOUT:
      return put(static_cast<int>(o.user_timeout_ms), value, len);
    case TCP_QUICKACK:
      return put(1, value, len);
    case TCP_DEFER_ACCEPT:
      return put(0, value, len);
    case TCP_CONGESTION: {
      char text[sizeof o.congestion] = "cubic";  // the stack's default
      if (o.congestion[0]) std::memcpy(text, o.congestion, sizeof text);
      return put(text, sizeof text, value, len);
    }
    case TCP_INFO:
      return get_tcp_info(s, value, len);
    default:
      return -ENOPROTOOPT;
  }
}

bool is_error_option(int level, int name) noexcept {
  return (level == IPPROTO_IP && name == IP_RECVERR) ||
         (level == IPPROTO_IPV6 && name == IPV6_RECVERR);
}
// RFC 6935: datagrams over IPv6 that have no checksum.
bool is_checksum_option(int level, int name) noexcept {
  return level == SOL_UDP && (name == UDP_NO_CHECK6_TX || name == UDP_NO_CHECK6_RX);
}
// man 7 ip, 7 ipv6: what becomes of a datagram that is bigger than the path takes.
bool is_path_option(int level, int name) noexcept {
  return level == IPPROTO_IP ? name == IP_MTU_DISCOVER || name == IP_MTU
                             : level == IPPROTO_IPV6 && (name == IPV6_MTU_DISCOVER ||
                                                         name == IPV6_MTU || name == IPV6_DONTFRAG);
}
int set_path_option(Session& s, int level, int name, int number) {
  if (level == IPPROTO_IPV6 && name == IPV6_DONTFRAG) {
    s.change_options([&](Options& o) { o.dont_fragment6 = number != 0; });
    return 0;
  }
  if (name == (level == IPPROTO_IP ? IP_MTU : IPV6_MTU)) return -ENOPROTOOPT;
  if (number < IP_PMTUDISC_DONT || number > IP_PMTUDISC_OMIT) return -EINVAL;
  s.change_options([&](Options& o) {
    (level == IPPROTO_IP ? o.ip4_path_mtu : o.ip6_path_mtu) = static_cast<uint8_t>(1 + number);
  });
  return 0;
}
int get_path_option(Session& s, int level, int name) {
  const Options o = s.options();
  if (level == IPPROTO_IPV6 && name == IPV6_DONTFRAG) return o.dont_fragment6;
  if (name == (level == IPPROTO_IP ? IP_MTU : IPV6_MTU)) {
    const svm::Endpoint to = s.remote();
    return to.port == 0 ? -ENOTCONN : s.path_mtu(to, false);
  }
  const uint8_t mode = level == IPPROTO_IP ? o.ip4_path_mtu : o.ip6_path_mtu;
  return mode == 0 ? IP_PMTUDISC_WANT : mode - 1;
}

}  // namespace

namespace {

int set_known_option(Session& s, int level, int name, const void* value, socklen_t len) {
  if (is_device_option(level, name)) return set_device(s, name, value, len);
  if (!value) return -EFAULT;
  if (s.is_datagram() && is_group_filter(level, name))
    return set_group_filter(s, level, value, len, name);
  if (s.is_datagram() && is_group_option(level, name))
    return set_group_option(s, level, name, value, len);
  int number = 0;
  const bool is_text = level == IPPROTO_TCP && name == TCP_CONGESTION;
  const bool is_byte = level == IPPROTO_IP && len >= 1 && len < sizeof number;
  if (is_byte)
    number = *static_cast<const uint8_t*>(value);
  else if (len >= sizeof number)
    std::memcpy(&number, value, sizeof number);
  else if (!is_text)
    return -EINVAL;
  if (s.is_datagram() && is_arrival_option(level, name)) return set_arrival_option(s, name, number);
  if (s.is_datagram() && set_ancillary(s, level, name, number)) return 0;
  if (level == SOL_SOCKET) return set_socket_option(s, name, number, value, len);
  if (level == IPPROTO_TCP)
    return s.is_datagram() ? -ENOPROTOOPT : set_tcp_option(s, name, number, value, len);
  const bool hops = (level == IPPROTO_IP && name == IP_TTL) ||
                    (level == IPPROTO_IPV6 && name == IPV6_UNICAST_HOPS);
  if (hops) {
    const int least = level == IPPROTO_IP ? 1 : 0;
    if (number > 255 || (number < least && number != -1)) return -EINVAL;
    const auto own = static_cast<uint8_t>(std::max(number, 0));
    if (s.is_datagram())
      (level == IPPROTO_IP ? s.ttl : s.ip6_hop_limit) = own;
    else
      s.change_options(
          [&](Options& o) { (level == IPPROTO_IP ? o.ip4_ttl : o.ip6_hop_limit) = own; });
    return 0;
  }
  if (s.is_datagram() && level == SOL_UDP && name == UDP_SEGMENT) {
    if (number < 0 || number > 65'535) return -EINVAL;
    s.gso_size.store(static_cast<uint16_t>(number));
    return 0;
  }
  if (s.is_datagram() && level == SOL_UDP && name == UDP_CORK) {
    return s.cork(number != 0);
  }
  if (s.is_datagram() && is_checksum_option(level, name)) {
    if (name == UDP_NO_CHECK6_TX)
      s.no_check6_tx.store(number != 0);
    else
      s.change_options([&](Options& o) { o.no_check6_rx = number != 0; });
    return 0;
  }
  const bool traffic_class =
      (level == IPPROTO_IP && name == IP_TOS) || (level == IPPROTO_IPV6 && name == IPV6_TCLASS);
  if (traffic_class) {
    if (number < -1 || number > 255) return -EINVAL;
    s.change_options([&](Options& o) {
      (level == IPPROTO_IP ? o.dscp_tos : o.ip6_class) = static_cast<uint8_t>(std::max(number, 0));
    });
    return 0;
  }
  if (s.is_datagram() && is_path_option(level, name))
    return set_path_option(s, level, name, number);
  if (s.is_datagram() && is_error_option(level, name)) {
    s.hear_errors(level == IPPROTO_IP, number != 0);
    return 0;
  }
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
    if (s.state() != Session::State::kIdle || s.socket_is_ip4) return -EINVAL;
    s.change_options([&](Options& o) { o.v6only = number != 0; });
    return 0;
  }
  return -ENOPROTOOPT;
}

}  // namespace

int set_option(Session& s, int level, int name, const void* value, socklen_t len) {
  const int outcome = set_known_option(s, level, name, value, len);
  return outcome == -ENOPROTOOPT && is_hint(s.is_datagram(), level, name, value, len) ? 0 : outcome;
}

int get_option(Session& s, int level, int name, void* value, socklen_t* len) {
  if (!value || !len) return -EFAULT;
  if (static_cast<int>(*len) < 0) return -EINVAL;
  if (is_device_option(level, name)) return get_device(s, name, value, len);
  if (s.is_datagram() && is_arrival_option(level, name)) {
    int found[2];
    return put(found, get_arrival_option(s, name, found), value, len);
  }
  if (level == SOL_SOCKET) return get_socket_option(s, name, value, len);
  if (level == IPPROTO_TCP)
    return s.is_datagram() ? -ENOPROTOOPT : get_tcp_option(s, name, value, len);
  if (s.is_datagram() && is_group_filter(level, name))
    return get_group_filter(s, level, value, len, name);
  if (std::byte bytes[4]; s.is_datagram() && is_group_option(level, name)) {
    const int n = get_group_option(s, level, name, bytes);
    return n < 0 ? n : put(bytes, static_cast<size_t>(n), value, len);
  }
  const bool hops = (level == IPPROTO_IP && name == IP_TTL) ||
                    (level == IPPROTO_IPV6 && name == IPV6_UNICAST_HOPS);
  if (hops) {
    const Options o = s.options();
    const uint8_t own = level == IPPROTO_IP ? (s.is_datagram() ? s.ttl : o.ip4_ttl)
                                            : (s.is_datagram() ? s.ip6_hop_limit : o.ip6_hop_limit);
    return put(own ? own : 64, value, len);
  }
  int number;
  if (s.is_datagram() && get_ancillary(s, level, name, number)) return put(number, value, len);
  if (s.is_datagram() && level == SOL_UDP && name == UDP_SEGMENT)
    return put(s.gso_size.load(), value, len);
  if (s.is_datagram() && level == SOL_UDP && name == UDP_CORK)
    return put(s.is_corked(), value, len);
  if (s.is_datagram() && is_checksum_option(level, name)) {
    const bool is_on = name == UDP_NO_CHECK6_TX ? s.no_check6_tx.load() : s.options().no_check6_rx;
    return put(is_on, value, len);
  }
  if (s.is_datagram() && is_path_option(level, name)) {
    const int found = get_path_option(s, level, name);
    return found < 0 ? found : put(found, value, len);
  }
  if (s.is_datagram() && is_error_option(level, name)) {
    const Options o = s.options();
    return put(level == IPPROTO_IP ? o.ip4_errors : o.ip6_errors, value, len);
  }
  if (level == IPPROTO_IP && name == IP_TOS) return put(s.options().dscp_tos, value, len);
  if (level == IPPROTO_IPV6 && name == IPV6_TCLASS) return put(s.options().ip6_class, value, len);
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && !s.socket_is_ip4)
    return put(s.options().v6only, value, len);
  return -ENOPROTOOPT;
}

}  // namespace loom::ldp
