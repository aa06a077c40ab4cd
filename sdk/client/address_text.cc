#include "client/address_text.h"

#include <arpa/inet.h>

#include <array>
#include <charconv>
#include <cstdio>

namespace loom {

std::string address_to_text(std::span<const std::byte> address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.size() == 6) {
    const auto byte = [&](std::size_t i) { return std::to_integer<unsigned>(address[i]); };
    std::snprintf(text.data(), text.size(), "%02x:%02x:%02x:%02x:%02x:%02x", byte(0), byte(1),
                  byte(2), byte(3), byte(4), byte(5));
  } else {
    ::inet_ntop(address.size() == 4 ? AF_INET : AF_INET6, address.data(), text.data(), text.size());
  }
  return text.data();
}

std::optional<std::vector<std::byte>> ip_from_text(const std::string& text) {
  if (text.find('\0') != std::string::npos) return {};
  const bool is_ip6 = text.find(':') != std::string::npos;
  std::vector<std::byte> address(is_ip6 ? 16 : 4);
  if (::inet_pton(is_ip6 ? AF_INET6 : AF_INET, text.c_str(), address.data()) != 1) return {};
  return address;
}

std::optional<std::vector<std::byte>> mac_from_text(const std::string& text) {
  std::vector<std::byte> address;
  const char* at = text.data();
  const char* const end = at + text.size();
  while (address.size() < 6) {
    unsigned value = 0;
    const auto [next, e] = std::from_chars(at, end, value, 16);
    if (e != std::errc() || next - at > 2) return {};
    address.push_back(static_cast<std::byte>(value));
    at = next;
    if (address.size() == 6) break;
    if (at == end || (*at != ':' && *at != '-')) return {};
    ++at;
  }
  if (at != end) return {};
  return address;
}

std::optional<PrefixText> prefix_from_text(const std::string& text) {
  const auto slash = text.find('/');
  auto address = ip_from_text(text.substr(0, slash));
  if (!address) return {};
  const std::size_t most = address->size() * 8;
  unsigned length = static_cast<unsigned>(most);
  if (slash != std::string::npos) {
    const char* const end = text.data() + text.size();
    const auto [next, e] = std::from_chars(text.data() + slash + 1, end, length);
    if (e != std::errc() || next != end || length > most) return {};
  }
  return PrefixText{std::move(*address), static_cast<uint8_t>(length)};
}

}  // namespace loom
