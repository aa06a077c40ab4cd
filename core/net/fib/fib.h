// What the routing tables of both families share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>

#include <hostloom/address.h>
#include <hostloom/buffer.h>

namespace loom {

// A route's value: an index into whatever the caller routes by (adjacencies, load-balance groups).
// kNoIndex (hostloom/buffer.h) is what a lookup says when no route matches.
constexpr uint32_t kMaxFibValue = 0x7ffffffe;

// Runs `release` once no worker can still be inside a lookup that began before the call: the
// caller knows how its workers pass such points. May run it on any thread, and also after the table
// is gone, but must run it or destroy it.
using FibDefer = std::function<void(std::function<void()> release)>;

using FibVisitor = std::function<void(const IpPrefix&, uint32_t value)>;

}  // namespace loom
