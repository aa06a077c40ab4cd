// The answer to a solicitation. On worker 0. See also neighbor_messages.h.
#pragma once
#include <hostloom/interface.h>
#include <hostloom/worker.h>

namespace loom {

// RFC 4862 section 5.1, RetransTimer after the one solicitation: how long an answer counts.
constexpr TimeNs kDadTime = kSecond;

// flags: kNdRouter, kNdSolicited, kNdOverride.
bool send_advertisement(Worker&, IfIndex, const Ip6Address& own, const Ip6Address& to,
                        const MacAddress& to_mac, uint32_t flags);

}  // namespace loom
