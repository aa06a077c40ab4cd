// What calls say of a datagram that is sent, and hear of one that was received.
#pragma once
#include <sys/types.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <span>

#include "svm/datagram.h"
#include "svm/protocol.h"

namespace loom::vcl {

// What may be said with a datagram to send.
struct DatagramOut {
  const svm::Endpoint* to = nullptr;      // nullptr: to the peer
  const svm::Endpoint* source = nullptr;  // address to send from; the port is not looked at
  int tos = -1, ttl = -1;                 // -1: the socket's
  uint16_t gso_size = 0;                  // UDP_SEGMENT
  uint32_t interface = 0;  // to send by, Linux's number: 1 more than the index; 0: any
  int whole = -1;          // IPV6_DONTFRAG: 0 or 1; -1: the socket's
};
// What came with a received one.
struct DatagramIn {
  svm::DatagramHeader header;
  bool is_truncated;
  svm::Endpoint from() const noexcept;
};
// Of the last one that was read: when it came, CLOCK_REALTIME in ns (0, nobody had asked; -1: there
// was none yet), and where it had been sent to (port 0: there was none yet).
struct LastDatagram {
  TimeNs time = -1;
  svm::Endpoint to{};
};
// One of several: to send, and to receive.
struct DatagramSend {
  std::span<const iovec> from;
  DatagramOut out;
  size_t length = 0;  // bytes of `from`; filled in
};
struct DatagramReceive {
  std::span<const iovec> to;
  DatagramIn in{};  // filled in, as the next
  ssize_t n = 0;    // as of receive_datagram()
};

}  // namespace loom::vcl
