// A network in which every address 10.x is this host's, and no other is reached: applications meet
// there by cut-through, or, if they say so, by a transport that joins them.
#pragma once
#include <hostloom/net.h>

#include "svm/protocol.h"

namespace loom::test {

inline const NetOps kOwnNet{
    .struct_size = sizeof(NetOps),
    .route = [](Worker&, const IpAddress&, uint32_t,
                RouteInfo*) noexcept { return Status::kUnreachable; },
    .is_local = [](Worker&, const IpAddress& a,
                   uint32_t) noexcept { return a.is_ip4 && a.ip4().bytes[0] == 10; },
    .generation = nullptr,
    .route_group = nullptr,
    .listen_group = nullptr,
    .hears_group = nullptr};

// Whoever attaches so is reached through the transport, whatever the others do.
inline svm::AttachRequest over_the_network() {
  svm::AttachRequest r{};
  r.flags = svm::kScopeGlobalOnly;
  return r;
}

}  // namespace loom::test
