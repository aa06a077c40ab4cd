// DPDK's view of a buffer pool: a mempool whose objects are our buffers. In front of each buffer
// lie the mempool's note about the object and the rte_mbuf, and the buffer is the mbuf's private
// area:
//
//     | note | rte_mbuf | Buffer | headroom | data      (kFront | sizeof(Buffer) | 128 | data_size)
//
// So a packet is handed over without being copied, and each finds the other by a constant. Free
// buffers are the pool's and the workers' caches' alone; the mempool has none of its own.
//
// What holds while the pool, or our graph, has a buffer: its mbuf says next == nullptr, nb_segs ==
// 1, refcnt == 1, shinfo == nullptr, and points at the buffer's own bytes. While DPDK has it to
// fill in, the Buffer says nothing. While DPDK has it to send, the Buffer says what it said; its
// mbuf's shinfo is our note if its bytes are an application's. Any other is a driver's, of bytes
// that it receives elsewhere.
#pragma once
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include <atomic>
#include <mutex>
#include <vector>

#include <hostloom/host.h>

namespace loom::dpdk {

constexpr uint32_t kNoteSize = 64;  // of the mempool's, up to a cache line
constexpr uint32_t kFront = kNoteSize + sizeof(rte_mbuf);
static_assert(sizeof(rte_mempool_objhdr) <= kNoteSize && sizeof(rte_mbuf) % kCacheLine == 0);
static_assert(kHeadroom == RTE_PKTMBUF_HEADROOM);

inline rte_mbuf* mbuf_of(Buffer* b) noexcept { return reinterpret_cast<rte_mbuf*>(b) - 1; }
inline Buffer* buffer_of(rte_mbuf* m) noexcept { return reinterpret_cast<Buffer*>(m + 1); }

// About an application's bytes, in the headroom of the buffer that refers to them, which is free:
// fcb_opaque is the Worker that has sent them.
inline rte_mbuf_ext_shared_info* note_of(Buffer* b) noexcept {
  static_assert(sizeof(rte_mbuf_ext_shared_info) <= kHeadroom);
  return reinterpret_cast<rte_mbuf_ext_shared_info*>(b->start());
}

inline void prefetch_mbuf(Buffer* b) noexcept {
  __builtin_prefetch(mbuf_of(b), 1);  // its first line: of a single segment the rest stays as it is
}

// The worker in whose name DPDK is called by this thread; null: it is no worker. Looked up for each
// packet that a driver frees: by an offset, not by a call, which takes 8 bytes of what the C
// library keeps for libraries that are loaded late.
extern thread_local Worker* calling_worker [[gnu::tls_model("initial-exec")]];

class Mempools {
 public:
  // on_orphan: the first segment is there for free_orphans(); on any thread.
  Mempools(Host& host, void (*on_orphan)(void*) noexcept, void* context)
      : host_(host), on_orphan_(on_orphan), context_(context) {}
  Mempools(const Mempools&) = delete;

  // Once, after Host::place_buffers has made room: a mempool for each buffer pool. For as long as
  // the process lives.
  Result<void> make();
  // Whether an mbuf is one of our buffers'.
  bool owns(const rte_mbuf* m) const noexcept {
    for (const Range& r : ranges_)
      if (r.has(m)) return true;
    return false;
  }
  // Frees segments that refer to an application's bytes and have come back on another thread than
  // the worker that had sent them, which alone can let the bytes go: a frame of them in a round of
  // its own. Control thread; all are gone on return.
  void free_orphans();

  struct Range {
    uintptr_t begin = 0;
    std::size_t size = 0;
    bool has(const void* p) const noexcept { return reinterpret_cast<uintptr_t>(p) - begin < size; }
  };
  struct Pool {
    Range range;
    Mempools* all = nullptr;
    uint32_t index = 0;
    BufferPoolInfo info;
    rte_mempool* mempool = nullptr;
  };
  const std::vector<std::unique_ptr<Pool>>& pools() const noexcept { return pools_; }
  // For a device's socket (-1: any).
  const Pool& for_socket(int socket) const noexcept;

 private:
  friend struct Ops;
  Result<void> make_one(Pool&);

  Host& host_;
  void (*const on_orphan_)(void*) noexcept;
  void* const context_;
  std::vector<std::unique_ptr<Pool>> pools_;
  std::vector<Range> ranges_;
  struct Orphan {
    Buffer* buffer;  // with external bytes
    uint32_t worker;
  };
  std::mutex lock_;  // guards what follows
  std::vector<Orphan> orphans_;
};

}  // namespace loom::dpdk
