// Addresses as plain data, in wire order, with text forms (RFC 5952 for IPv6).
#pragma once
#include <arpa/inet.h>

#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include <hostloom/types.h>

namespace loom {

struct MacAddress {
  std::array<uint8_t, 6> bytes{};
  friend constexpr bool operator==(const MacAddress&, const MacAddress&) = default;
  constexpr bool is_multicast() const noexcept { return bytes[0] & 1; }
  std::string str() const {
    char s[18];
    std::snprintf(s, sizeof s, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2],
                  bytes[3], bytes[4], bytes[5]);
    return s;
  }
};
constexpr MacAddress kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

struct Ip4Address {
  std::array<uint8_t, 4> bytes{};
  friend constexpr auto operator<=>(const Ip4Address&, const Ip4Address&) = default;
  // As it lies in memory, for hashing and equality; host() is the number 192.0.2.1 -> 0xc0000201.
  uint32_t raw() const noexcept {
    uint32_t v;
    std::memcpy(&v, bytes.data(), 4);
    return v;
  }
  uint32_t host() const noexcept { return byteswap(raw()); }
  static Ip4Address from_raw(uint32_t v) noexcept {
    Ip4Address a;
    std::memcpy(a.bytes.data(), &v, 4);
    return a;
  }
  static Ip4Address from_host(uint32_t v) noexcept { return from_raw(byteswap(v)); }
  bool is_zero() const noexcept { return raw() == 0; }
  bool is_multicast() const noexcept { return (bytes[0] & 0xf0) == 0xe0; }
  bool is_broadcast() const noexcept { return raw() == 0xffffffffu; }
  bool is_loopback() const noexcept { return bytes[0] == 127; }
  std::string str() const {
    char s[INET_ADDRSTRLEN];
    return inet_ntop(AF_INET, bytes.data(), s, sizeof s);
  }
};

struct Ip6Address {
  std::array<uint8_t, 16> bytes{};
  friend constexpr auto operator<=>(const Ip6Address&, const Ip6Address&) = default;
  bool is_zero() const noexcept { return *this == Ip6Address{}; }
  bool is_multicast() const noexcept { return bytes[0] == 0xff; }
  bool is_link_local() const noexcept { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }
  bool is_loopback() const noexcept {
    Ip6Address l;
    l.bytes[15] = 1;
    return *this == l;
  }
  std::string str() const {
    char s[INET6_ADDRSTRLEN];
    return inet_ntop(AF_INET6, bytes.data(), s, sizeof s);
  }
};

// Either family; an IPv4 address sits in the first four bytes and the rest is zero.
struct IpAddress {
  bool is_ip4 = true;
  Ip6Address bits{};

  IpAddress() = default;
  IpAddress(const Ip4Address& a) noexcept { std::memcpy(bits.bytes.data(), a.bytes.data(), 4); }
  IpAddress(const Ip6Address& a) noexcept : is_ip4(false), bits(a) {}
  friend constexpr auto operator<=>(const IpAddress&, const IpAddress&) = default;
  Ip4Address ip4() const noexcept {
    Ip4Address a;
    std::memcpy(a.bytes.data(), bits.bytes.data(), 4);
    return a;
  }
  const Ip6Address& ip6() const noexcept { return bits; }
  bool is_zero() const noexcept { return bits.is_zero(); }
  std::string str() const { return is_ip4 ? ip4().str() : ip6().str(); }
  static std::optional<IpAddress> parse(std::string_view text) {
    const std::string s(text);
    Ip4Address a4;
    if (inet_pton(AF_INET, s.c_str(), a4.bytes.data()) == 1) return IpAddress(a4);
    Ip6Address a6;
    if (inet_pton(AF_INET6, s.c_str(), a6.bytes.data()) == 1) return IpAddress(a6);
    return std::nullopt;
  }
};

struct IpPrefix {
  IpAddress address;
  uint8_t length = 0;  // 0..32 or 0..128
  friend constexpr auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
  std::string str() const { return address.str() + "/" + std::to_string(length); }
  // "10.0.0.0/8"; a bare address means a host prefix. Host bits are kept: an interface address
  // needs them.
  static std::optional<IpPrefix> parse(std::string_view text) {
    const auto slash = text.find('/');
    const auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) return std::nullopt;
    const unsigned most = address->is_ip4 ? 32 : 128;
    unsigned length = most;
    if (slash != text.npos) {
      const auto digits = text.substr(slash + 1);
      if (digits.empty() || digits.size() > 3) return std::nullopt;
      length = 0;
      for (const char c : digits) {
        if (c < '0' || c > '9') return std::nullopt;
        length = length * 10 + static_cast<unsigned>(c - '0');
      }
      if (length > most) return std::nullopt;
    }
    return IpPrefix{*address, static_cast<uint8_t>(length)};
  }
};

}  // namespace loom
