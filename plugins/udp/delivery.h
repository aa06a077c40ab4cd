// Gives a socket what a packet carries: one datagram, or, of a packet that the device has put
// together (gso_size), each in turn, unless the socket takes them as they are (UDP_GRO). Worker.
#pragma once
#include <hostloom/datagram.h>

#include <algorithm>

#include "udp.h"

namespace loom::udp {

// The packet is at its UDP header, with `payload` bytes behind that; it stays the caller's. `d` is
// said of each datagram. Not kOk: one was refused, and so were those behind it; each counts.
inline Status give(UdpWorker& u, Connection& c, Datagram d, const Buffer& b,
                   uint32_t payload) noexcept {
  const bool is_several = b.gso_size != 0 && payload > b.gso_size;
  d.segment = is_several && c.gro ? b.gso_size : uint16_t{0};
  const uint32_t most = is_several && !c.gro ? b.gso_size : payload;
  const auto datagrams_in = [&](uint32_t bytes) {
    return is_several ? (bytes + b.gso_size - 1) / b.gso_size : 1;
  };
  uint32_t done = 0;
  do {
    const uint32_t length = std::min(most, payload - done);
    const Status s = u.w.sessions->rx_datagram(
        u.w, c.session, d, b, static_cast<uint32_t>(sizeof(UdpHeader)) + done, length);
    if (s != Status::kOk) [[unlikely]] {
      if (s == Status::kAgain) c.overflowed += datagrams_in(payload - done);
      return s;
    }
    c.received += d.segment != 0 ? datagrams_in(length) : 1;
    done += length;
  } while (done < payload);
  return Status::kOk;
}

}  // namespace loom::udp
