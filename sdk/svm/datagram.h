// The header before each datagram in the fifos of a datagram session, byte for byte.
//
// Header and payload are published by one store of the fifo's tail, so that a reader sees a
// datagram whole or not at all. rx: written by the daemon, every field. tx: written by the
// application, and the daemon believes none of it: a header that reaches beyond what was published
// (or a length above kMaxDatagramBytes) breaks the framing and ends the application; any other
// field that makes no sense drops that datagram, counted as `bad-datagram` of session-queue.
#pragma once
#include <cstdint>

#include <hostloom/datagram.h>
#include <hostloom/types.h>

namespace loom::svm {

struct DatagramHeader {
  uint32_t length;  // bytes of payload behind the header
  // tx: sent as datagrams of so many bytes (UDP_SEGMENT). rx: these are several of so many bytes,
  // the last perhaps of fewer (UDP_GRO). 0 = one.
  uint16_t gso_size;
  uint8_t flags;     // DatagramFlags; rx: all but kDatagramError, or that alone
  uint8_t is_ip4;    // of both addresses
  uint16_t error;    // rx, with kDatagramError: errno of the session's pending error
  uint8_t tos, ttl;  // with kDatagramTos, kDatagramTtl
  uint16_t local_port, remote_port;  // network order. tx: the local one means nothing
  uint32_t interface;  // index: rx, by which it came; tx, with kDatagramInterface, by which it goes
  // Wire order; IPv4 in the first four bytes. rx, of IPv4 with kDatagramToGroup: the next four of
  // the local one are this host's address that an answer comes from, with
  // SocketOptions::answers_from; else 0.
  uint8_t local_ip[16], remote_ip[16];
  // rx, with SocketOptions::arrival: how many were dropped before it, as DaemonLine::n_dropped, and
  // when it came, CLOCK_REALTIME in ns; else 0.
  uint32_t dropped;
  TimeNs time;
};
static_assert(sizeof(DatagramHeader) == 64);

// rx, beside those of DatagramFlags that are said of received ones: not a datagram but an error of
// earlier ones, in its place among what came. length is 0, unless kDatagramQueued is set. The bit
// is tx's kDatagramWhole.
constexpr uint8_t kDatagramError = 1u << 7;
// With kDatagramError: for MSG_ERRQUEUE, too (IP_RECVERR). Then `tos` and `ttl` are ICMP's type and
// code, `gso_size` the origin (Linux's SO_EE_ORIGIN_*), `interface` the MTU with EMSGSIZE or what
// ICMP says besides, remote_ip and remote_port where the datagram went, local_ip who says so (zero:
// this host), `time` as of datagrams; the payload is an ErrorPacket and, behind it, what the error
// quotes of the datagram's, at most kMaxQuoted bytes. The bit is tx's kDatagramNoChecksum.
constexpr uint8_t kDatagramQueued = 1u << 6;
// rx: it went to a multicast or broadcast address, which is the local one. The bit is tx's
// kDatagramInterface.
constexpr uint8_t kDatagramToGroup = 1u << 4;
// The packet by which an error came; of this host's own all are 0.
struct ErrorPacket {
  uint8_t to[16];      // wire order; IPv4 in the first four bytes
  uint32_t interface;  // Linux's number: 1 more than the index; 0: by none
  uint8_t tos, ttl;
  uint8_t reserved[2];
};
static_assert(sizeof(ErrorPacket) == 24);
constexpr uint32_t kMaxQuoted = 512;
constexpr uint32_t kMaxQueuedErrors = 32;  // that wait in a fifo; further ones are dropped
constexpr uint8_t kDatagramKnownFlags =
    kDatagramRemote | kDatagramLocal | kDatagramTos | kDatagramTtl;
constexpr uint32_t kMaxGsoSegments = 128;  // as Linux's UDP_MAX_SEGMENTS

}  // namespace loom::svm
