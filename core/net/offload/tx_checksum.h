// Fills in the checksums that a packet's kBufferTx... flags ask for, and clears the flags.
#pragma once
#include <hostloom/buffer.h>

namespace loom {

// l3_offset and l4_offset say where the headers are, in the first segment, whose bytes are the
// pool's. False: they are not there; the packet is not fit to be sent.
bool finish_tx_checksums(Buffer& b) noexcept;
// Only the IPv4 header's, if it is asked for.
bool finish_ip4_checksum(Buffer& b) noexcept;

}  // namespace loom
