// Encoding of the binary API's messages: packed, big-endian. The structs and their encode() and
// decode() functions are generated from *.api.json files by api/apigen, for the daemon, plugins and
// clients alike.
//
// A message on the wire is its id (u16, this run's number for "NAME_CRC") and then its fields. The
// structs hold the fields behind the id; a count field in front of an array is the array's size and
// not a member.
#pragma once
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace loom {

// What identifies a message. Two of one name and CRC have the same layout.
struct ApiMessageInfo {
  const char* name;
  uint32_t crc;
};

// Where a message has what is secret ("secret": true in its file), behind its id: so many bytes, or
// as many as there are.
struct ApiSecret {
  uint32_t at = 0, size = 0;
};

// One *.api.json file.
struct ApiModule {
  const char* name;
  std::array<uint32_t, 3> version;
  std::span<const ApiMessageInfo> messages;  // in the file's order
  const char* json;                          // the description, for clients that ask for it
};

// Appends to a vector of the caller's.
class ApiWriter {
 public:
  explicit ApiWriter(std::vector<std::byte>& out) : out_(out) {}

  template <class T>
  void number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    std::array<std::byte, sizeof(T)> raw = std::bit_cast<std::array<std::byte, sizeof(T)>>(value);
    for (std::size_t i = 0; i < sizeof(T); ++i) out_.push_back(raw[sizeof(T) - 1 - i]);
  }
  // Zero-filled to n bytes; cut to n - 1, so that there is always a zero at the end.
  void fixed_string(std::string_view text, std::size_t n) {
    text = text.substr(0, n - 1);
    bytes(text);
    out_.resize(out_.size() + n - text.size());
  }
  void string(std::string_view text) {
    number(static_cast<uint32_t>(text.size()));
    bytes(text);
  }
  void bytes(std::string_view raw) {
    const auto* from = reinterpret_cast<const std::byte*>(raw.data());
    out_.insert(out_.end(), from, from + raw.size());
  }

 private:
  std::vector<std::byte>& out_;
};

// Reads untrusted bytes. Reading beyond the end gives zeros and sets the failure, which stays: look
// at ok() once, after the whole message.
class ApiReader {
 public:
  explicit ApiReader(std::span<const std::byte> in) : in_(in) {}

  bool ok() const { return !failed_; }
  void fail() { failed_ = true; }
  std::size_t remaining() const { return in_.size(); }

  template <class T>
  T number() {
    static_assert(std::is_arithmetic_v<T>);
    const auto raw = take(sizeof(T));
    std::array<std::byte, sizeof(T)> host{};
    for (std::size_t i = 0; i < raw.size(); ++i) host[sizeof(T) - 1 - i] = raw[i];
    if constexpr (std::is_same_v<T, bool>)
      return host[0] != std::byte{0};
    else
      return std::bit_cast<T>(host);
  }
  // Up to the first zero byte.
  std::string fixed_string(std::size_t n) {
    const std::string_view text = view(take(n));
    return std::string(text.substr(0, text.find('\0')));
  }
  // Some clients count the zero byte at the end, or fill up to some length: zeros there are not
  // text.
  std::string string() {
    std::string_view text = view(take(number<uint32_t>()));
    return std::string(text.substr(0, text.find_last_not_of('\0') + 1));
  }
  // The number of elements that follow, each of at least `least` bytes; more than there can be
  // fails.
  template <class Count>
  std::size_t count(std::size_t least) {
    const std::size_t n = number<Count>();
    if (n <= remaining() / least) return n;
    fail();
    return 0;
  }

 private:
  std::span<const std::byte> take(std::size_t n) {
    if (n > in_.size()) {
      failed_ = true;
      in_ = {};
      return {};
    }
    const auto out = in_.first(n);
    in_ = in_.subspan(n);
    return out;
  }
  static std::string_view view(std::span<const std::byte> raw) {
    return {reinterpret_cast<const char*>(raw.data()), raw.size()};
  }

  std::span<const std::byte> in_;
  bool failed_ = false;
};

}  // namespace loom
