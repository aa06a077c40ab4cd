// Chains as one run of bytes: copying in and out, and flattening for drivers that send a packet as
// one piece of memory. Nothing here writes to the bytes of external segments. Thread: the worker
// that holds the packet.
#pragma once
#include <span>

#include <hostloom/worker.h>

namespace loom {

// Copies bytes [offset, offset + out.size()) of the packet; returns how many there were.
uint32_t chain_copy_out(const Buffer& first, uint32_t offset, std::span<std::byte> out) noexcept;

// Appends bytes to the packet, with more segments as they are needed. The packet's last segment
// takes what fits. False when there are no buffers: the packet is as it was.
bool chain_append(Worker&, Buffer& first, std::span<const std::byte> bytes) noexcept;

// A copy of the packet in fresh buffers without external segments: what it says about headers,
// offload and interfaces comes along, and the headers before its data; traces do not. Each segment
// is full but the last. The packet stays the caller's. nullptr when there are not enough buffers.
Buffer* chain_copy(Worker&, const Buffer& first) noexcept;

// The packet in one segment: itself when it is one already; a copy, and the packet is freed, when
// it fits into one; nullptr, and the packet stays as it is, when it does not or there is no buffer.
Buffer* chain_linearize(Worker&, Buffer* first) noexcept;

// Segments in the chain.
inline uint32_t chain_segments(const Buffer& first) noexcept {
  uint32_t n = 1;
  for (const Buffer* b = first.next; b; b = b->next) ++n;
  return n;
}

}  // namespace loom
