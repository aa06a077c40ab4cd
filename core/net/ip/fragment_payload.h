// Payload of a packet that is split, copied into one of its fragments.
#pragma once
#include "buffer/chain.h"

namespace loom {

// Appends bytes [at, at + n) of `packet` to `fragment`. False: there are no buffers, or not that
// many bytes; the fragment has some of them.
inline bool append_payload(Worker& w, Buffer& fragment, const Buffer& packet, uint32_t at,
                           uint32_t n) noexcept {
  for (uint32_t done = 0; done < n;) {
    std::array<std::byte, 2048> piece;
    const uint32_t want = std::min<uint32_t>(n - done, piece.size());
    if (chain_copy_out(packet, at + done, {piece.data(), want}) != want ||
        !chain_append(w, fragment, {piece.data(), want}))
      return false;
    done += want;
  }
  return true;
}

}  // namespace loom
