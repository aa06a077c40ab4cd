// Sending and receiving one datagram, as text.
#pragma once
#include <string>

#include "vcl/session.h"

namespace loom::vcl::test_bed {

struct DatagramCalls {
  static ssize_t send(Session& s, std::string text, const DatagramOut& out = {}) {
    const iovec v{text.data(), text.size()};
    return s.send_datagram({&v, 1}, 0, out);
  }
  struct Got {
    ssize_t n;
    std::string bytes;
    DatagramIn in{};
  };
  static Got receive(Session& s, int flags = 0, size_t room = 70'000) {
    Got g{0, std::string(room, '?'), {}};
    const iovec v{g.bytes.data(), room};
    g.n = s.receive_datagram({&v, 1}, flags, &g.in);
    g.bytes.resize(std::min<size_t>(room, g.n > 0 ? static_cast<size_t>(g.n) : 0));
    return g;
  }
};

}  // namespace loom::vcl::test_bed
