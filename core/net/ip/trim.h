// Cuts a packet to a given length, over segments.
#pragma once
#include <hostloom/worker.h>

namespace loom {

// length <= first.length(). Segments that become empty are freed.
inline void trim_packet(Worker& w, Buffer& first, uint32_t length) noexcept {
  if (first.length() == length) [[likely]]
    return;
  Buffer* last = &first;
  uint32_t left = length;
  while (left > last->len) {
    left -= last->len;
    last = last->next;
  }
  last->len = left;
  if (Buffer* rest = last->next) {
    last->next = nullptr;
    rest->rest_len = 0;
    w.free(rest);
  }
  first.rest_len = length - first.len;
}

}  // namespace loom
