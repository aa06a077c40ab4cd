#include "buffer/chain.h"

#include <algorithm>
#include <cstring>

namespace loom {
namespace {

// What a packet's first segment says about the packet, without its memory and its neighbours.
void copy_description(Buffer& to, const Buffer& from) noexcept {
  to.flags = from.flags & ~(kBufferExternal | kBufferTraced);
  to.gso_size = from.gso_size;
  to.l4_protocol = from.l4_protocol;
  to.feature_arc = from.feature_arc;
  to.rx_if = from.rx_if;
  to.tx_if = from.tx_if;
  to.feature_index = from.feature_index;
  to.session = from.session;
  to.fib_index = from.fib_index;
  to.feature_end = from.feature_end;
  to.adjacency = from.adjacency;
  to.hash = from.hash;
  to.error_node = from.error_node;
  to.error_counter = from.error_counter;
  std::memcpy(to.opaque, from.opaque, sizeof to.opaque);
  if (from.is_external()) return;  // its offsets mean nothing
  to.l2_offset = from.l2_offset;
  to.l3_offset = from.l3_offset;
  to.l4_offset = from.l4_offset;
}

}  // namespace

uint32_t chain_copy_out(const Buffer& first, uint32_t offset, std::span<std::byte> out) noexcept {
  uint32_t done = 0;
  for (const Buffer* b = &first; b && done < out.size(); b = b->next) {
    if (offset >= b->len) {
      offset -= b->len;
      continue;
    }
    const auto n = std::min<uint32_t>(b->len - offset, static_cast<uint32_t>(out.size()) - done);
    std::memcpy(out.data() + done, b->data + offset, n);
    done += n;
    offset = 0;
  }
  return done;
}

bool chain_append(Worker& w, Buffer& first, std::span<const std::byte> bytes) noexcept {
  Buffer* last = &first;
  while (last->next) last = last->next;
  // Buffers first, bytes later: so there is nothing to undo but the allocation.
  const auto fits = std::min<std::size_t>(last->tailroom(), bytes.size());
  Buffer* head = nullptr;
  Buffer** link = &head;
  for (std::size_t at = fits; at < bytes.size();) {
    Buffer* b = w.alloc();
    if (!b) {
      if (head) w.free(head);
      return false;
    }
    const auto n = std::min<std::size_t>(b->tailroom(), bytes.size() - at);
    std::memcpy(b->append(static_cast<uint32_t>(n)), bytes.data() + at, n);
    at += n;
    *link = b;
    link = &b->next;
  }
  if (fits) std::memcpy(last->append(static_cast<uint32_t>(fits)), bytes.data(), fits);
  last->next = head;
  first.rest_len += static_cast<uint32_t>(bytes.size() - (last == &first ? fits : 0));
  return true;
}

Buffer* chain_copy(Worker& w, const Buffer& first) noexcept {
  Buffer* head = w.alloc();
  if (!head) return nullptr;
  copy_description(*head, first);
  // The same headroom as before, so that header offsets stay true, and what they lead to.
  const uint32_t room = std::min(first.is_external() ? kHeadroom : first.headroom(),
                                 kHeadroom + uint32_t{head->data_size});
  head->data = head->start() + room;
  if (!first.is_external()) std::memcpy(head->start(), first.start(), room);
  for (const Buffer* b = &first; b; b = b->next) {
    if (!chain_append(w, *head, {b->data, b->len})) {
      w.free(head);
      return nullptr;
    }
  }
  return head;
}

Buffer* chain_linearize(Worker& w, Buffer* first) noexcept {
  if (!first->next) return first;
  const uint32_t room = first->is_external() ? kHeadroom : first->headroom();
  if (room + first->length() > kHeadroom + uint32_t{first->data_size}) return nullptr;
  Buffer* flat = chain_copy(w, *first);
  if (!flat) return nullptr;
  LOOM_DCHECK(!flat->next);
  flat->flags |= first->flags & kBufferTraced;  // the packet lives on in the copy
  flat->trace_index = first->trace_index;
  w.free(first);
  return flat;
}

}  // namespace loom
