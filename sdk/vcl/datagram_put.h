// Writing one datagram into a fifo: header and payload together, or nothing of it.
#pragma once
#include <sys/uio.h>

#include <span>

#include "svm/datagram.h"
#include "svm/fifo.h"

namespace loom::vcl {

// Consecutive bytes of `v`, from any of them on.
void copy_out(std::span<const iovec> v, size_t from, std::span<const svm::MutableByteView> to,
              size_t skip, size_t n) noexcept;

enum class Put : uint8_t { kDone, kFull, kNoMemory, kViolation };

// The bytes [from, from + h.length) of `v`, behind the header. more_memory() -> bool: asks for
// another segment for chunks.
template <class F>
Put put_datagram(svm::AppFifoProducer& tx, const svm::DatagramHeader& h, std::span<const iovec> v,
                 size_t from, F&& more_memory) noexcept {
  constexpr size_t kMaxViews = 32;  // a datagram in the smallest chunks has 17
  const auto total = static_cast<uint32_t>(sizeof h) + h.length;
  while (true) {
    if (tx.space() < total && tx.refresh() < total)
      return tx.violation() ? Put::kViolation : Put::kFull;
    svm::MutableByteView views[kMaxViews];
    const uint32_t n_views = tx.reserve(total, views);
    if (tx.violation()) return Put::kViolation;
    size_t room = 0;
    for (uint32_t i = 0; i < n_views; ++i) room += views[i].size();
    if (room < total) {
      if (!more_memory()) return Put::kNoMemory;
      continue;
    }
    const iovec header{const_cast<svm::DatagramHeader*>(&h), sizeof h};
    copy_out({&header, 1}, 0, {views, n_views}, 0, sizeof h);
    copy_out(v, from, {views, n_views}, sizeof h, h.length);
    tx.commit(total);
    return Put::kDone;
  }
}

}  // namespace loom::vcl
