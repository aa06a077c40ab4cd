// IP addresses, prefixes and MAC addresses: bytes of the wire <-> text of people and JSON.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace loom {

// By the number of bytes: 4, 16 (IP) or 6 (MAC, "02:fe:00:00:00:01").
std::string address_to_text(std::span<const std::byte> address);

// An address of either family, as its 4 or 16 bytes; nothing when the text is none.
std::optional<std::vector<std::byte>> ip_from_text(const std::string& text);
// Six bytes, each of one or two hex digits, separated by ':' or '-'.
std::optional<std::vector<std::byte>> mac_from_text(const std::string& text);

struct PrefixText {
  std::vector<std::byte> address;  // 4 or 16 bytes
  uint8_t length;
};
// "10.0.0.0/8"; an address alone is a prefix of its full length.
std::optional<PrefixText> prefix_from_text(const std::string& text);

}  // namespace loom
