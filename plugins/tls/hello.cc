#include "hello.h"

#include <cstdint>

namespace loom::tls {
namespace {

constexpr uint32_t kHandshake = 22, kClientHello = 1;            // RFC 8446 sections 5.1 and 4
constexpr uint32_t kTicket = 35, kPreShared = 41, kShares = 51;  // extensions, section 4.2
constexpr std::size_t kRandom = 32;

// Reads on, and never beyond the end: then it has failed, and all that is read is 0.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> of) noexcept : left_(of) {}
  uint32_t number(std::size_t bytes) noexcept {
    uint32_t n = 0;
    for (const std::byte b : take(bytes)) n = n << 8 | std::to_integer<uint32_t>(b);
    return n;
  }
  // A length of so many bytes, and what it is of.
  std::span<const std::byte> block(std::size_t bytes) noexcept { return take(number(bytes)); }
  std::span<const std::byte> take(std::size_t n) noexcept {
    if (n > left_.size()) {
      has_failed_ = true;
      left_ = {};
      return {};
    }
    const auto taken = left_.first(n);
    left_ = left_.subspan(n);
    return taken;
  }
  bool is_at_end() const noexcept { return left_.empty(); }
  bool has_failed() const noexcept { return has_failed_; }

 private:
  std::span<const std::byte> left_;
  bool has_failed_ = false;
};

bool is_quick(uint32_t group) noexcept {
  constexpr uint32_t kP256 = 23, kX25519 = 29, kX25519MlKem768 = 0x11ec;
  const bool is_grease = (group & 0x0f0f) == 0x0a0a;  // RFC 8701: none that is ever taken
  return group == kP256 || group == kX25519 || group == kX25519MlKem768 || is_grease;
}

bool are_quick(std::span<const std::byte> extension) noexcept {
  Reader outer(extension);
  Reader shares(outer.block(2));
  while (!shares.is_at_end()) {
    if (!is_quick(shares.number(2))) return false;
    (void)shares.block(2);
  }
  return !outer.has_failed() && !shares.has_failed();
}

}  // namespace

bool resumes_quickly(std::span<const std::byte> records) noexcept {
  Reader record(records);
  if (record.number(1) != kHandshake) return false;
  (void)record.number(2);  // a version that says nothing
  Reader message(record.block(2));
  if (message.number(1) != kClientHello) return false;
  Reader hello(message.block(3));
  (void)hello.take(2 + kRandom);
  (void)hello.block(1);  // session id
  (void)hello.block(2);  // cipher suites
  (void)hello.block(1);  // compression
  bool has_ticket = false;
  for (Reader extensions(hello.block(2)); !extensions.is_at_end();) {
    const uint32_t type = extensions.number(2);
    const auto body = extensions.block(2);
    if (extensions.has_failed()) return false;
    has_ticket |= type == kPreShared || (type == kTicket && !body.empty());
    if (type == kShares && !are_quick(body)) return false;
  }
  return has_ticket && !hello.has_failed();
}

std::string_view name_in(std::span<const std::byte> extension) noexcept {
  constexpr uint32_t kHostName = 0;
  Reader outer(extension);
  Reader names(outer.block(2));
  if (names.number(1) != kHostName) return {};
  const auto name = names.block(2);
  return {reinterpret_cast<const char*>(name.data()), name.size()};
}

}  // namespace loom::tls
