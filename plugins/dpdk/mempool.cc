#include "mempool.h"

#include <rte_eal.h>
#include <rte_errno.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace loom::dpdk {

thread_local Worker* calling_worker = nullptr;

// What DPDK calls in place of a ring of free objects.
struct Ops {
  static Mempools::Pool& pool_of(const rte_mempool* mp) noexcept {
    return *static_cast<Mempools::Pool*>(mp->pool_config);
  }
  static int alloc(rte_mempool* mp) {
    mp->pool_data = mp->pool_config;
    return 0;
  }
  static void free(rte_mempool*) {}
  // Nobody counts what lies in the caches of workers; drivers only want to know whether there is
  // any.
  static unsigned get_count(const rte_mempool* mp) { return mp->size; }

  // All or none, as DPDK has it. What is at hand is not touched: the driver fills in the mbuf, and
  // whoever receives the packet the Buffer.
  static int dequeue(rte_mempool* mp, void** objects, unsigned n) {
    Mempools::Pool& pool = pool_of(mp);
    Worker* w = calling_worker;
    if (w && w->cache.n >= n && n != 0 && pool.range.has(w->cache.free[w->cache.n - 1]))
        [[likely]] {
      w->cache.n -= n;
      Buffer** from = &w->cache.free[w->cache.n];
      for (unsigned i = 0; i < n; ++i) objects[i] = mbuf_of(from[i]);
      return 0;
    }
    return take(pool, w, objects, n);
  }
  static int take(Mempools::Pool& pool, Worker* w, void** objects, unsigned n) {
    Host& host = pool.all->host_;
    const std::span<Buffer*> out(reinterpret_cast<Buffer**>(objects), n);
    uint32_t got = w ? w->alloc(out) : host.take_buffers(pool.index, out);
    if (w && got != 0 && !pool.range.has(out[0])) [[unlikely]] {  // a worker of another node
      w->free(out.first(got));
      w = nullptr;
      got = host.take_buffers(pool.index, out);
    }
    if (got != n) [[unlikely]] {
      if (w)
        w->free(out.first(got));
      else
        host.give_buffers(pool.index, out.first(got));
      return -ENOBUFS;
    }
    for (unsigned i = 0; i < n; ++i) objects[i] = mbuf_of(out[i]);
    return 0;
  }

  static int enqueue(rte_mempool* mp, void* const* objects, unsigned n) {
    Mempools::Pool& pool = pool_of(mp);
    Worker* w = calling_worker;
    for (unsigned i = 0; i < n; ++i) {
      auto* m = static_cast<rte_mbuf*>(objects[i]);
      Buffer* b = buffer_of(m);
      if (w && !m->shinfo && w->cache.n < kBufferCacheSize && w->cache.n != 0 &&
          pool.range.has(w->cache.free[w->cache.n - 1])) [[likely]] {
        b->data = nullptr;  // free
        w->cache.free[w->cache.n++] = b;
        continue;
      }
      b->next = nullptr;  // each segment comes back for itself
      if (std::exchange(m->shinfo, nullptr) == note_of(b)) [[unlikely]]
        give_external(pool, w, b, static_cast<Worker*>(note_of(b)->fcb_opaque));
      else
        give(pool, w, b);
    }
    return 0;
  }
  static void give(Mempools::Pool& pool, Worker* w, Buffer* b) {
    b->flags = 0;
    b->data = b->start();
    if (w)
      w->free(b);
    else
      pool.all->host_.give_buffers(pool.index, {&b, 1});
  }
  // The bytes are those of a session that is on the worker that has sent them, for as long as they
  // are held: nobody else lets them go.
  static void give_external(Mempools::Pool& pool, Worker* w, Buffer* b, Worker* sender) {
    if (w == sender) return w->free(b);
    bool is_first = false;
    {
      const std::lock_guard hold(pool.all->lock_);
      is_first = pool.all->orphans_.empty();
      pool.all->orphans_.push_back({b, sender->index});
    }
    if (is_first) pool.all->on_orphan_(pool.all->context_);
  }

  static ssize_t calc_mem_size(const rte_mempool* mp, uint32_t n, uint32_t, size_t* least_chunk,
                               size_t* align) {
    *least_chunk = *align = kCacheLine;
    return static_cast<ssize_t>(n * (mp->header_size + mp->elt_size + mp->trailer_size));
  }

  // Every buffer is an object already; none is put anywhere.
  static int populate(rte_mempool* mp, unsigned most, void* at, rte_iova_t iova, size_t,
                      rte_mempool_populate_obj_cb_t* add, void* argument) {
    const BufferPoolInfo& info = pool_of(mp).info;
    const unsigned n = std::min<unsigned>(most, info.n_buffers);
    for (unsigned i = 0; i < n; ++i) {
      const std::size_t offset = i * info.stride + kNoteSize;
      add(mp, argument, static_cast<std::byte*>(at) + offset,
          iova == RTE_BAD_IOVA ? RTE_BAD_IOVA : iova + offset);
    }
    return static_cast<int>(n);
  }

  static rte_mempool_ops table() {
    rte_mempool_ops ops{};
    std::strcpy(ops.name, "hostloom");
    ops.alloc = alloc;
    ops.free = free;
    ops.enqueue = enqueue;
    ops.dequeue = dequeue;
    ops.get_count = get_count;
    ops.calc_mem_size = calc_mem_size;
    ops.populate = populate;
    return ops;
  }
};

namespace {

// As rte_pktmbuf_init, which would clear the private area, and that is the Buffer.
void init_mbuf(rte_mempool* mp, void*, void* object, unsigned) {
  auto* m = static_cast<rte_mbuf*>(object);
  std::memset(static_cast<void*>(m), 0, sizeof *m);
  m->priv_size = sizeof(Buffer);
  m->buf_addr = buffer_of(m)->start();
  m->buf_iova = rte_mempool_virt2iova(m) + sizeof(rte_mbuf) + sizeof(Buffer);
  m->buf_len = rte_pktmbuf_data_room_size(mp);
  m->data_off = kHeadroom;
  m->pool = mp;
  m->nb_segs = 1;
  m->port = RTE_MBUF_PORT_INVALID;
  rte_mbuf_refcnt_set(m, 1);
}

}  // namespace

Result<void> Mempools::make() {
  const rte_mempool_ops ops = Ops::table();
  if (rte_mempool_register_ops(&ops) < 0)
    return error(Status::kIo, "DPDK has no room for another kind of mempool");
  for (uint32_t i = 0;; ++i) {
    auto pool = std::make_unique<Pool>();
    if (host_.buffer_pool(i, pool->info) != Status::kOk) return {};
    pool->all = this;
    pool->index = i;
    if (auto made = make_one(*pool); !made) return made;
    pool->range = {reinterpret_cast<uintptr_t>(pool->info.memory.data()), pool->info.memory.size()};
    ranges_.push_back(pool->range);
    pools_.push_back(std::move(pool));
  }
}

Result<void> Mempools::make_one(Pool& p) {
  const auto failed = [](const std::string& what) {
    return error(Status::kNoMemory, "mempool: " + what + ": " + rte_strerror(rte_errno));
  };
  LOOM_CHECK(p.info.front == kFront);
  const unsigned size = static_cast<unsigned>(p.info.stride) - kNoteSize;
  const std::string name = "hostloom" + std::to_string(p.index);
  rte_mempool* mp = rte_mempool_create_empty(
      name.c_str(), p.info.n_buffers, size, 0, sizeof(rte_pktmbuf_pool_private),
      p.info.numa_node < 0 ? SOCKET_ID_ANY : p.info.numa_node, RTE_MEMPOOL_F_NO_SPREAD);
  if (!mp) return failed("rte_mempool_create_empty");
  LOOM_CHECK(mp->header_size + mp->elt_size + mp->trailer_size == p.info.stride &&
             mp->header_size == kNoteSize);
  if (rte_mempool_set_ops_byname(mp, "hostloom", &p) != 0) return failed("its kind");
  rte_pktmbuf_pool_private sizes{};
  sizes.mbuf_data_room_size = static_cast<uint16_t>(kHeadroom + p.info.data_size);
  sizes.mbuf_priv_size = sizeof(Buffer);
  rte_pktmbuf_pool_init(mp, &sizes);
  // EAL's memory: of one piece for devices, or of virtual addresses (provide_buffers).
  const rte_iova_t iova = rte_mem_virt2iova(p.info.memory.data());
  const int n = rte_mempool_populate_iova(mp, reinterpret_cast<char*>(p.info.memory.data()), iova,
                                          p.info.memory.size(), nullptr, nullptr);
  if (n < 0) rte_errno = -n;
  if (n != static_cast<int>(p.info.n_buffers))
    return failed("only " + std::to_string(n) + " of " + std::to_string(p.info.n_buffers) +
                  " buffers are in it");
  rte_mempool_obj_iter(mp, init_mbuf, nullptr);
  p.mempool = mp;
  return {};
}

const Mempools::Pool& Mempools::for_socket(int socket) const noexcept {
  for (const auto& p : pools_)
    if (p->info.numa_node == socket) return *p;
  return *pools_.front();
}

void Mempools::free_orphans() {
  std::vector<Orphan> orphans;
  {
    const std::lock_guard hold(lock_);
    orphans.swap(orphans_);
  }
  std::ranges::sort(orphans, {}, &Orphan::worker);
  for (auto at = orphans.begin(); at != orphans.end();) {
    std::array<Buffer*, kFrameSize> some;
    uint32_t n = 0;
    const uint32_t worker = at->worker;
    for (; at != orphans.end() && at->worker == worker && n < some.size(); ++at)
      some[n++] = at->buffer;
    host_.run_on_worker(worker, [&](Worker& w) { w.free(std::span(some).first(n)); });
  }
}

}  // namespace loom::dpdk
