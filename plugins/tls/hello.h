// A ClientHello before OpenSSL has it (RFC 8446 section 4.1.2, RFC 5077): whether a session is
// likely to be resumed with what a worker does in the time of a few packets; and under which name,
// which OpenSSL says too late.
//   in    what has come of a connection, of which nothing is believed
//   cost  a look at each extension
#pragma once
#include <cstddef>
#include <span>
#include <string_view>

namespace loom::tls {

constexpr std::size_t kMostHello = 2048;  // bytes that are looked at; a longer one is not quick

// It is whole, in one record, has a ticket, and its key shares are of groups whose key exchange is
// quick: with those of many bits one is as long as a signature. Whether the ticket is good is
// OpenSSL's to say.
bool resumes_quickly(std::span<const std::byte> records) noexcept;

// The host's name in a server_name extension (RFC 6066 section 3); "": it has none.
std::string_view name_in(std::span<const std::byte> extension) noexcept;

}  // namespace loom::tls
