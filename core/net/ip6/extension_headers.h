// The walk over an IPv6 packet's extension headers at its destination (RFC 8200 section 4).
#pragma once
#include <hostloom/wire.h>
#include <hostloom/worker.h>

namespace loom {

enum class Ip6Walk : uint8_t {
  kOk,
  kTooShort,           // fewer than the 8 bytes that every extension header has
  kOverrun,            // a header's length goes beyond the first segment
  kTooMany,            // more than kMaxExtensionHeaders
  kMisplacedHopByHop,  // not first
  kFragment,           // a fragment proper
  kNoNextHeader,       // RFC 8200 section 4.7: nothing follows
  kRoutingHeader,      // with segments left
  kOptionOverrun,      // an option runs out of its header
  kRefusedOption,      // an unknown option that says discard
};

constexpr uint32_t kMaxExtensionHeaders = 8;

struct Ip6WalkResult {
  Ip6Walk verdict = Ip6Walk::kOk;
  uint8_t protocol = 0;            // of what follows the last header
  uint32_t header_bytes = 0;       // IPv6 header and extension headers
  uint32_t next_header_field = 0;  // offset of the field that names `protocol`, for ICMP's pointer
  bool is_answered = false;        // the sender is to be told: parameter problem ...
  uint8_t code = 0;                // ... of that code
  uint32_t pointer = 0;            // ... about the byte at this offset
};

// Data at the IPv6 header, which is complete.
Ip6WalkResult walk_extension_headers(Buffer& b) noexcept;

// True when a fragment header is among the extension headers of a packet that the walk has
// accepted; header_bytes: what it found.
bool has_fragment_header(const Ip6Header& ip, uint32_t header_bytes) noexcept;

// Where the protocol above begins in a packet on its way to somebody else, of which only the first
// segment is seen, and nothing is checked: for icmp6-error. Data at the IPv6 header, complete.
struct Ip6UpperLayer {
  uint8_t protocol = 0;
  uint32_t at = 0;          // offset of its header
  bool is_visible = false;  // false: a later fragment, or the chain leaves the segment
};
Ip6UpperLayer find_upper_layer(Buffer& b) noexcept;

}  // namespace loom
