// The bytes that a perf client sends: a table, repeated. Whoever gets them back can check any part
// of the stream by its position, with memcmp.
//
// The table begins with kEchoMark. A stream that wants to be sent back starts at position 0, one
// that does not at kMarkSize: so a server knows by the first bytes, a peer that knows nothing of
// this finds ordinary bytes, and an ordinary echo server sends back a stream that checks.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace loom::perf {

constexpr std::size_t kMarkSize = 16;
constexpr char kEchoMark[kMarkSize + 1] = "hostloom-perf-ec";
constexpr std::size_t kPeriod = 65521;          // a prime: no power of two hides a shifted stream
constexpr std::size_t kMostAtOnce = 64 * 1024;  // bytes that pattern() gives at most

// Up to n bytes of the stream from `position` on.
std::span<const std::byte> pattern(uint64_t position, std::size_t n) noexcept;
bool matches(uint64_t position, std::span<const std::byte> bytes) noexcept;

}  // namespace loom::perf
