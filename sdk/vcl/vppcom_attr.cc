// libvppcom: vppcom_session_attr. Values as VPP's programs pass them: uint32_t unless noted.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include <hostloom/endpoint_settings.h>

#include "vcl/endpoint_tlvs.h"
#include "vcl/vppcom_app.h"

using namespace loom::vcl;
namespace svm = loom::svm;

namespace {

// The caller's buffer, checked against its length.
class Value {
 public:
  Value(void* buffer, uint32_t* len) noexcept : buffer_(buffer), len_(len) {}

  template <class T>
  int put(T value) noexcept {
    if (!buffer_ || !len_ || *len_ < sizeof(T)) return VPPCOM_EINVAL;
    std::memcpy(buffer_, &value, sizeof value);
    *len_ = sizeof value;
    return VPPCOM_OK;
  }
  int put_bytes(const std::string& value) noexcept {
    if (!buffer_ || !len_ || *len_ < value.size()) return VPPCOM_EINVAL;
    std::memcpy(buffer_, value.data(), value.size());
    *len_ = static_cast<uint32_t>(value.size());
    return VPPCOM_OK;
  }
  template <class T>
  bool get(T& value) const noexcept {
    if (!buffer_ || !len_ || *len_ < sizeof(T)) return false;
    std::memcpy(&value, buffer_, sizeof value);
    return true;
  }
  vppcom_endpt_t* endpoint() const noexcept {
    return buffer_ && len_ && *len_ >= sizeof(vppcom_endpt_t)
               ? static_cast<vppcom_endpt_t*>(buffer_)
               : nullptr;
  }
  void* data() const noexcept { return buffer_; }
  uint32_t size() const noexcept { return len_ ? *len_ : 0; }

 private:
  void* buffer_;
  uint32_t* len_;
};

// Options live in SocketOptions under their own types; times there are in ms, here in seconds.
template <class T>
int set_option(Session& s, const Value& v, T svm::SocketOptions::*field, uint32_t scale = 1) {
  uint32_t value;
  if (!v.get(value)) return VPPCOM_EINVAL;
  if constexpr (std::is_unsigned_v<T>) {
    if (value > std::numeric_limits<T>::max() / scale) return VPPCOM_EINVAL;
  }
  s.change_options([&](svm::SocketOptions& o) { o.*field = static_cast<T>(value * scale); });
  return VPPCOM_OK;
}
int set_flag(Session& s, const Value& v, uint8_t svm::SocketOptions::*field) {
  uint32_t value;
  if (!v.get(value)) return VPPCOM_EINVAL;
  s.change_options([&](svm::SocketOptions& o) { o.*field = value != 0; });
  return VPPCOM_OK;
}
template <class T>
int set_plain(const Value& v, T& field) {
  uint32_t value;
  if (!v.get(value)) return VPPCOM_EINVAL;
  field = static_cast<T>(value);
  return VPPCOM_OK;
}
int set_sizes(Session& s, const Value& v, bool is_rx) {
  uint32_t value;
  if (!v.get(value)) return VPPCOM_EINVAL;
  const int e = is_rx ? s.set_sizes(value, {}) : s.set_sizes({}, value);
  return e == 0 ? VPPCOM_OK : vppcom_error(e);
}
// As the daemon said when this worker attached; 0, the default one, while it is not attached.
uint32_t table_of(Session& s) {
  AppWorker& worker = s.worker();
  const std::lock_guard hold(worker.mutex());
  const Attachment* a = worker.current();
  return a ? a->table_of(s.socket_is_ip4) : 0;
}
int add_text(Session& s, const Value& v, loom::Setting type) {
  if (!v.data() || v.size() == 0 || s.settings.size() + v.size() > loom::kMostSettingsBytes)
    return VPPCOM_EINVAL;
  add_setting(s.settings, type, {static_cast<const char*>(v.data()), v.size()});
  return VPPCOM_OK;
}
int add_number(Session& s, const Value& v, loom::Setting type) {
  uint32_t value;
  if (!v.get(value)) return VPPCOM_EINVAL;
  add_setting(s.settings, type, value);
  return VPPCOM_OK;
}
// The pairs of a listener take the place of those that it had, all at once.
int set_pairs(Session& s, const Value& v) {
  if (!s.is_listener()) return add_number(s, v, loom::Setting::kPair);
  if (!v.data() || v.size() == 0 || v.size() % sizeof(uint32_t) != 0) return VPPCOM_EINVAL;
  std::vector<uint32_t> numbers(v.size() / sizeof(uint32_t));
  std::memcpy(numbers.data(), v.data(), v.size());
  const int e = s.replace_pairs(numbers);
  if (!s.is_listener()) return add_number(s, v, loom::Setting::kPair);  // its listen has failed
  return e == 0 ? VPPCOM_OK : vppcom_error(e);
}
int get_property(Session& s, Value& v, loom::SessionProperty which) {
  std::string value;
  if (const int e = s.property(which, value); e != 0) return vppcom_error(e);
  return v.put_bytes(value);
}
int get_endpoint(Value& v, const svm::Endpoint& e) {
  vppcom_endpt_t* ep = v.endpoint();
  if (!ep || !ep->ip) return VPPCOM_EINVAL;
  from_endpoint(e, *ep);
  return VPPCOM_OK;
}

}  // namespace

int vppcom_session_attr(uint32_t handle, uint32_t op, void* buffer, uint32_t* buflen) {
  const Held<Session> held = vppcom_session(handle);
  if (!held) return VPPCOM_EBADFD;
  Session& s = *held;
  Value v(buffer, buflen);
  using Options = svm::SocketOptions;

  switch (op) {
    case VPPCOM_ATTR_GET_NREAD:
      return static_cast<int>(s.unread());
    case VPPCOM_ATTR_GET_NWRITE:
      return static_cast<int>(s.free_space());
    case VPPCOM_ATTR_GET_NWRITEQ:
      return v.put(s.unsent());
    case VPPCOM_ATTR_GET_FLAGS:
      return v.put<uint32_t>(O_RDWR | (s.nonblocking() ? O_NONBLOCK : 0));
    case VPPCOM_ATTR_SET_FLAGS: {
      uint32_t flags;
      if (!v.get(flags)) return VPPCOM_EINVAL;
      s.set_nonblocking(flags & O_NONBLOCK);
      return VPPCOM_OK;
    }
    case VPPCOM_ATTR_GET_LCL_ADDR:
      return get_endpoint(v, local_name(s));
    case VPPCOM_ATTR_SET_LCL_ADDR:
      return v.endpoint() && v.endpoint()->ip ? s.bind(to_endpoint(*v.endpoint())) : VPPCOM_EINVAL;
    case VPPCOM_ATTR_GET_PEER_ADDR:
      return get_endpoint(v, s.remote());
    case VPPCOM_ATTR_GET_PROTOCOL:
      return v.put<uint32_t>(s.proto());
    case VPPCOM_ATTR_GET_LISTEN:
      return v.put<uint32_t>(s.is_listener());
    case VPPCOM_ATTR_GET_ERROR:
      return v.put<int32_t>(s.take_error());
    case VPPCOM_ATTR_GET_TX_FIFO_LEN:
      return v.put(s.tx_limit());
    case VPPCOM_ATTR_SET_TX_FIFO_LEN:
      return set_sizes(s, v, false);
    case VPPCOM_ATTR_GET_RX_FIFO_LEN:
      return v.put(s.rx_limit());
    case VPPCOM_ATTR_SET_RX_FIFO_LEN:
      return set_sizes(s, v, true);
    case VPPCOM_ATTR_GET_REUSEADDR:
      return v.put<uint32_t>(s.reuse_addr);
    case VPPCOM_ATTR_SET_REUSEADDR:
      if (s.is_connectionless())
        if (const int e = set_flag(s, v, &Options::reuseaddr); e != VPPCOM_OK) return e;
      return set_plain(v, s.reuse_addr);
    case VPPCOM_ATTR_GET_REUSEPORT:
      return v.put<uint32_t>(s.options().reuseport);
    case VPPCOM_ATTR_SET_REUSEPORT:
      return set_flag(s, v, &Options::reuseport);
    case VPPCOM_ATTR_GET_BROADCAST:
      return v.put<uint32_t>(s.broadcast);
    case VPPCOM_ATTR_SET_BROADCAST:
      if (const int e = set_flag(s, v, &Options::broadcast); e != VPPCOM_OK) return e;
      return set_plain(v, s.broadcast);
    case VPPCOM_ATTR_GET_V6ONLY:
      return v.put<uint32_t>(s.options().v6only);
    case VPPCOM_ATTR_SET_V6ONLY:
      return set_flag(s, v, &Options::v6only);
    case VPPCOM_ATTR_GET_KEEPALIVE:
      return v.put<uint32_t>(s.options().keepalive);
    case VPPCOM_ATTR_SET_KEEPALIVE:
      return set_flag(s, v, &Options::keepalive);
    case VPPCOM_ATTR_GET_TCP_NODELAY:
      return v.put<uint32_t>(s.options().nodelay);
    case VPPCOM_ATTR_SET_TCP_NODELAY:
      return set_flag(s, v, &Options::nodelay);
    case VPPCOM_ATTR_GET_TCP_KEEPIDLE:
      return v.put<uint32_t>(s.options().keepidle_ms / 1000);
    case VPPCOM_ATTR_SET_TCP_KEEPIDLE:
      return set_option(s, v, &Options::keepidle_ms, 1000);
    case VPPCOM_ATTR_GET_TCP_KEEPINTVL:
      return v.put<uint32_t>(s.options().keepintvl_ms / 1000);
    case VPPCOM_ATTR_SET_TCP_KEEPINTVL:
      return set_option(s, v, &Options::keepintvl_ms, 1000);
    case VPPCOM_ATTR_GET_TCP_USER_MSS:
      return v.put<uint32_t>(s.options().user_mss);
    case VPPCOM_ATTR_SET_TCP_USER_MSS:
      return set_option(s, v, &Options::user_mss);
    case VPPCOM_ATTR_GET_USER_TIMEOUT:
      return v.put<uint32_t>(s.options().user_timeout_ms);
    case VPPCOM_ATTR_SET_USER_TIMEOUT:
      return set_option(s, v, &Options::user_timeout_ms);
    case VPPCOM_ATTR_GET_LINGER:
      return v.put<int32_t>(s.options().linger_s);
    case VPPCOM_ATTR_SET_LINGER:
      return set_option(s, v, &Options::linger_s);
    case VPPCOM_ATTR_SET_DSCP: {
      uint8_t dscp;
      if (!v.get(dscp) || dscp > 63) return VPPCOM_EINVAL;
      s.change_options(
          [&](Options& o) { o.dscp_tos = o.ip6_class = static_cast<uint8_t>(dscp << 2); });
      return VPPCOM_OK;
    }
    case VPPCOM_ATTR_GET_CONGESTION: {
      struct Name {
        char text[16];
      } name;
      std::memcpy(name.text, s.options().congestion, sizeof name.text);
      return v.put(name);
    }
    case VPPCOM_ATTR_SET_CONGESTION: {
      if (!v.data() || v.size() >= sizeof Options::congestion) return VPPCOM_EINVAL;
      s.change_options([&](Options& o) {
        std::memset(o.congestion, 0, sizeof o.congestion);
        std::memcpy(o.congestion, v.data(), v.size());
      });
      return VPPCOM_OK;
    }
    case VPPCOM_ATTR_GET_IP_PKTINFO:
      return v.put<uint32_t>(asks_pktinfo(s));
    case VPPCOM_ATTR_SET_IP_PKTINFO: {
      uint32_t on;
      if (!v.get(on)) return VPPCOM_EINVAL;
      ask_pktinfo(s, on != 0);
      return VPPCOM_OK;
    }
    case VPPCOM_ATTR_GET_ENDPT_TLVS:
      return v.put(asked_tlvs(s));
    case VPPCOM_ATTR_SET_ENDPT_TLVS: {
      uint32_t wanted;
      return v.get(wanted) ? vppcom_error(ask_tlvs(s, wanted)) : VPPCOM_EINVAL;
    }
    case VPPCOM_ATTR_GET_DOMAIN:
      return v.put<uint32_t>(s.socket_is_ip4 ? AF_INET : AF_INET6);
    case VPPCOM_ATTR_GET_COOKIE:
      return v.put(s.cookie);
    case VPPCOM_ATTR_SET_COOKIE:
      return v.get(s.cookie) ? VPPCOM_OK : VPPCOM_EINVAL;
    case VPPCOM_ATTR_GET_VRF:
      return v.put(table_of(s));
    // The namespace decides where an application is; who asks for that place has it.
    case VPPCOM_ATTR_SET_VRF: {
      uint32_t table;
      if (!v.get(table)) return VPPCOM_EINVAL;
      return table == table_of(s) ? VPPCOM_OK : VPPCOM_ENOTSUP;
    }
    // For the next listen or connect; of servers several, chosen by the name that a client asks
    // for. On one that listens: one or several, for who connects from now on.
    case VPPCOM_ATTR_SET_CKPAIR:
      return set_pairs(s, v);
    case VPPCOM_ATTR_SET_TLS_VERIFY:
      return add_number(s, v, loom::Setting::kVerify);
    case VPPCOM_ATTR_SET_TLS_EARLY_DATA:
      if (s.is_listener()) return VPPCOM_EINVAL;  // its settings have been taken
      return add_number(s, v, loom::Setting::kEarlyData);
    case VPPCOM_ATTR_SET_TLS_SERVER_NAME:
      return add_text(s, v, loom::Setting::kServerName);
    case VPPCOM_ATTR_SET_TLS_ALPN:
      return add_text(s, v, loom::Setting::kAlpn);
    case VPPCOM_ATTR_SET_TLS_TRUST:
      return add_text(s, v, loom::Setting::kTrust);
    case VPPCOM_ATTR_SET_TLS_PROFILE:
      return add_text(s, v, loom::Setting::kProfile);
    case VPPCOM_ATTR_GET_TLS_VERSION:
      return get_property(s, v, loom::SessionProperty::kVersion);
    case VPPCOM_ATTR_GET_TLS_CIPHER:
      return get_property(s, v, loom::SessionProperty::kCipher);
    case VPPCOM_ATTR_GET_TLS_ALPN:
      return get_property(s, v, loom::SessionProperty::kAlpn);
    case VPPCOM_ATTR_GET_TLS_SERVER_NAME:
      return get_property(s, v, loom::SessionProperty::kServerName);
    case VPPCOM_ATTR_GET_TLS_PEER_CERT:
      return get_property(s, v, loom::SessionProperty::kPeerCertificate);
    case VPPCOM_ATTR_GET_TLS_RESUMED:
      return get_property(s, v, loom::SessionProperty::kIsResumed);
    case VPPCOM_ATTR_GET_TLS_VERIFIED:
      return get_property(s, v, loom::SessionProperty::kIsVerified);
    case VPPCOM_ATTR_GET_TLS_EARLY_DATA:
      return get_property(s, v, loom::SessionProperty::kEarlyData);
    case VPPCOM_ATTR_GET_MOST_PAYLOAD: {
      if (!s.is_datagram() || s.is_connectionless()) return VPPCOM_ENOTSUP;
      const int most = s.most_payload(false);
      return most < 0 ? vppcom_error(most) : v.put(static_cast<uint32_t>(most));
    }
    // Of transports that do not exist here.
    case VPPCOM_ATTR_SET_CONNECTED:
    case VPPCOM_ATTR_SET_ENDPT_EXT_CFG:
    case VPPCOM_ATTR_GET_ORIGINAL_DST:
    case VPPCOM_ATTR_GET_EXT_ENDPT:
    case VPPCOM_ATTR_GET_STREAM_FLAGS:
    case VPPCOM_ATTR_SET_STREAM_FLAGS:
    case VPPCOM_ATTR_GET_APP_PROTO_ERR_CODE:
    case VPPCOM_ATTR_SET_APP_PROTO_ERR_CODE:
      return VPPCOM_ENOTSUP;
    default:
      return VPPCOM_EINVAL;
  }
}
