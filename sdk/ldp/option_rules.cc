#include "ldp/option_rules.h"

#include <linux/in6.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include <cstring>

namespace loom::ldp {
namespace {

constexpr int kIpOptions = 4, kIpRecvFragmentSize = 25, kRfc4884Errors = 26, kTcpAoFirst = 38,
              kTcpAoLast = 41;

// Those that are on or off, or say so much.
bool refuses_number(bool is_datagram, int level, int name) noexcept {
  switch (level) {
    case SOL_SOCKET:
      switch (name) {
        case SO_LOCK_FILTER:
        case SO_ZEROCOPY:
        case SO_SELECT_ERR_QUEUE:
        case SO_RCVMARK:
          return true;
        case SO_TIMESTAMP_OLD:
        case SO_TIMESTAMPNS_OLD:
        case SO_TIMESTAMPING_OLD:
        case SO_TIMESTAMP_NEW:
        case SO_TIMESTAMPNS_NEW:
        case SO_TIMESTAMPING_NEW:
        case SO_TXTIME:
          return !is_datagram;
        default:
          return false;
      }
    case IPPROTO_IP:
      switch (name) {
        case IP_RECVOPTS:
        case IP_RETOPTS:
        case IP_PASSSEC:
        case IP_TRANSPARENT:
        case IP_MINTTL:
        case IP_CHECKSUM:
        case kIpRecvFragmentSize:
        case kRfc4884Errors:
        case IP_UNICAST_IF:
          return true;
        default:
          return false;
      }
    case IPPROTO_IPV6:
      switch (name) {
        case IPV6_2292PKTINFO:
        case IPV6_2292HOPOPTS:
        case IPV6_2292DSTOPTS:
        case IPV6_2292RTHDR:
        case IPV6_2292HOPLIMIT:
        case IPV6_FLOWINFO:
        case IPV6_FLOWINFO_SEND:
        case IPV6_RECVERR_RFC4884:
        case IPV6_RECVHOPOPTS:
        case IPV6_RECVRTHDR:
        case IPV6_RECVDSTOPTS:
        case IPV6_RECVPATHMTU:
        case IPV6_MINHOPCOUNT:
        case IPV6_TRANSPARENT:
        case IPV6_UNICAST_IF:
        case IPV6_RECVFRAGSIZE:
          return true;
        default:
          return false;
      }
    case IPPROTO_TCP:
      switch (name) {
        case TCP_REPAIR:
        case TCP_FASTOPEN:
        case TCP_FASTOPEN_CONNECT:
        case TCP_SAVE_SYN:
        case TCP_INQ:
        case TCP_TX_DELAY:
          return !is_datagram;
        default:
          return false;
      }
    case SOL_UDP:
      return is_datagram && name == UDP_ENCAP;
    default:
      return false;
  }
}

// Those whose value is a structure or a list, or has no number that means nothing.
bool refuses_value(bool is_datagram, int level, int name) noexcept {
  switch (level) {
    case SOL_SOCKET:
      return name == SO_ATTACH_FILTER || name == SO_ATTACH_BPF ||
             name == SO_ATTACH_REUSEPORT_CBPF || name == SO_ATTACH_REUSEPORT_EBPF;
    case IPPROTO_IP:
      return name == IP_IPSEC_POLICY || name == IP_XFRM_POLICY;
    case IPPROTO_IPV6:
      return name == IPV6_ADDRFORM || name == IPV6_2292PKTOPTIONS || name == IPV6_JOIN_ANYCAST ||
             name == IPV6_FLOWLABEL_MGR || name == IPV6_IPSEC_POLICY || name == IPV6_XFRM_POLICY;
    case IPPROTO_TCP:
      return !is_datagram && (name == TCP_MD5SIG || name == TCP_MD5SIG_EXT || name == TCP_ULP ||
                              (name >= kTcpAoFirst && name <= kTcpAoLast));
    default:
      return false;
  }
}

// Headers that go with each packet; none, with a value of no length.
bool refuses_bytes(int level, int name) noexcept {
  if (level == IPPROTO_IP) return name == kIpOptions;
  return level == IPPROTO_IPV6 &&
         (name == IPV6_HOPOPTS || name == IPV6_RTHDRDSTOPTS || name == IPV6_RTHDR ||
          name == IPV6_DSTOPTS || name == IPV6_PKTINFO);
}

bool read_number(const void* value, socklen_t len, int& number) noexcept {
  number = 0;
  if (!value || len == 0) return false;
  if (len < sizeof number)
    number = *static_cast<const uint8_t*>(value);
  else
    std::memcpy(&number, value, sizeof number);
  return true;
}

bool is_off(bool is_datagram, int level, int name, const void* value, socklen_t len) noexcept {
  int number;
  if (refuses_bytes(level, name)) return len == 0;
  if (!read_number(value, len, number)) return false;
  if (level == SOL_SOCKET && name == SO_PEEK_OFF) return number < 0;
  return refuses_number(is_datagram, level, name) && number == 0;
}

bool is_hint_always(bool is_datagram, int level, int name) noexcept {
  if (level == SOL_SOCKET) switch (name) {
      case SO_DEBUG:
      case SO_NO_CHECK:
      case SO_PRIORITY:
      case SO_MARK:
      case SO_BUSY_POLL:
      case SO_PREFER_BUSY_POLL:
      case SO_BUSY_POLL_BUDGET:
      case SO_MAX_PACING_RATE:
      case SO_INCOMING_CPU:
      case SO_CNX_ADVICE:
      case SO_BUF_LOCK:
      case SO_RESERVE_MEM:
      case SO_TXREHASH:
        return true;
      default:
        return false;
    }
  if (level == IPPROTO_TCP && !is_datagram) switch (name) {
      case TCP_SYNCNT:
      case TCP_LINGER2:
      case TCP_WINDOW_CLAMP:
      case TCP_THIN_LINEAR_TIMEOUTS:
      case TCP_THIN_DUPACK:
      case TCP_NOTSENT_LOWAT:
        return true;
      default:
        return false;
    }
  if (level == IPPROTO_IPV6)
    return name == IPV6_AUTOFLOWLABEL || name == IPV6_ADDR_PREFERENCES || name == IPV6_MTU;
  return false;
}

}  // namespace

bool is_refused(bool is_datagram, int level, int name, const void* value, socklen_t len) noexcept {
  const bool could_be = refuses_number(is_datagram, level, name) ||
                        refuses_value(is_datagram, level, name) || refuses_bytes(level, name) ||
                        (level == SOL_SOCKET && name == SO_PEEK_OFF);
  return could_be && !is_off(is_datagram, level, name, value, len);
}

bool is_hint(bool is_datagram, int level, int name, const void* value, socklen_t len) noexcept {
  return is_hint_always(is_datagram, level, name) || is_off(is_datagram, level, name, value, len);
}

}  // namespace loom::ldp
