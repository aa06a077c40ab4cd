// A connection's two ends, and the link that they are on where that matters (RFC 4007): link-local
// addresses mean something on one link alone, and a socket may have one interface alone.
#pragma once
#include <hostloom/buffer.h>
#include <hostloom/interface.h>
#include <hostloom/session.h>

namespace loom::tcp {

struct Ends : Endpoints {
  IfIndex link = kNoIndex;  // the only interface that it goes and comes by; kNoIndex: any
};

// By which a packet has come. What this host sends itself came by none: then by the one that it was
// sent by, if that was said.
inline IfIndex link_of(const Buffer& b) noexcept { return b.rx_if != kNoIndex ? b.rx_if : b.tx_if; }
// Whether a packet that came so is for somebody on `link`.
inline bool hears(IfIndex link, IfIndex by) noexcept {
  return link == kNoIndex || by == kNoIndex || by == link;
}
inline bool is_link_local(const IpAddress& a) noexcept {
  return !a.is_ip4 && a.ip6().is_link_local();
}

}  // namespace loom::tcp
