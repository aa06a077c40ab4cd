// One data-path thread as its nodes, transports and timers see it. Everything here runs on that
// thread and is only for it. Calls go through `ops`, so that a plugin needs no symbol of the
// daemon.
#pragma once
#include <array>
#include <span>

#include <hostloom/buffer.h>
#include <hostloom/node.h>
#include <hostloom/timer.h>
#include <hostloom/types.h>

namespace loom {

struct SessionOps;  // hostloom/session.h
struct NetOps;      // hostloom/net.h
class Host;         // hostloom/host.h

constexpr std::size_t kBufferCacheSize = 512;
constexpr std::size_t kMaxPluginSlots = 32;

// Free buffers at hand; refilled from and spilled to the pool in batches.
struct BufferCache {
  uint32_t n = 0;
  std::array<Buffer*, kBufferCacheSize> free;
};

struct WorkerOps {
  uint32_t struct_size;
  // Buffers.
  uint32_t (*alloc)(Worker&, std::span<Buffer*> out) noexcept;
  void (*free)(Worker&, std::span<Buffer* const>) noexcept;
  Buffer* (*alloc_external)(Worker&, std::span<const std::byte>, ExternalOwner*,
                            uint32_t token) noexcept;
  // Timers.
  void (*timer_start)(Worker&, Timer&, TimeNs deadline) noexcept;
  void (*timer_stop)(Worker&, Timer&) noexcept;
  // Graph.
  void (*enqueue_to_node)(Worker&, NodeId, std::span<Buffer* const>) noexcept;
  // Randomness: a fast generator seeded from the kernel per worker. Not for secrets.
  uint64_t (*random)(Worker&) noexcept;
  // Runs fn(arg) on the control thread soon. May allocate: for rare events only.
  void (*post_to_control)(Worker&, void (*fn)(void*), void* arg) noexcept;
  // The NodeRuntime of a node on this worker (for counters outside the node's own function).
  NodeRuntime& (*node_runtime)(Worker&, NodeId) noexcept;
  // See Worker::hand_off. Since ABI 1.1.
  void (*hand_off)(Worker&, uint32_t to, NodeId, std::span<Buffer* const>) noexcept;
};

// A call on a worker that waits in its caller's memory: Host::post_to_worker. The worker's from
// then until it calls fn, which may free it, or have it posted again.
struct WorkerPost {
  void (*fn)(Worker&, WorkerPost&) noexcept = nullptr;
  WorkerPost* next = nullptr;  // core's
};

struct Worker {
  uint32_t index = 0;
  TimeNs now = 0;     // read once per scheduler round; virtual in tests
  uint32_t work = 0;  // units of work found in this round; a round that finds none may end in sleep
  BufferCache cache;
  const WorkerOps* ops = nullptr;
  const SessionOps* sessions = nullptr;  // session layer, see session.h; null in graphs without it
  const NetOps* net = nullptr;           // IP layer, see net.h
  std::array<void*, kMaxPluginSlots> plugin_data{};  // slots from Host::allocate_worker_slot
  void* impl = nullptr;                              // core's

  // One empty buffer, or nullptr when the pool has none (count it, push back).
  Buffer* alloc() noexcept {
    if (cache.n != 0) [[likely]] {
      Buffer* b = cache.free[--cache.n];
      b->reset();
      return b;
    }
    Buffer* b = nullptr;
    return ops->alloc(*this, {&b, 1}) == 1 ? b : nullptr;
  }
  // Fills `out` with empty buffers and returns how many there were.
  uint32_t alloc(std::span<Buffer*> out) noexcept { return ops->alloc(*this, out); }
  // Frees the chains.
  void free(std::span<Buffer* const> packets) noexcept { ops->free(*this, packets); }
  void free(Buffer* packet) noexcept { ops->free(*this, {&packet, 1}); }
  // A segment that refers to bytes outside the pool; owner->release(token) is called when it is
  // freed.
  Buffer* alloc_external(std::span<const std::byte> bytes, ExternalOwner* owner,
                         uint32_t token) noexcept {
    return ops->alloc_external(*this, bytes, owner, token);
  }

  // Starts or restarts. Fires at the first tick at or after `deadline` (on the worker's clock).
  void timer_start(Timer& t, TimeNs deadline) noexcept { ops->timer_start(*this, t, deadline); }
  void timer_start_in(Timer& t, TimeNs delay) noexcept { ops->timer_start(*this, t, now + delay); }
  void timer_stop(Timer& t) noexcept {
    if (t.is_running()) ops->timer_stop(*this, t);
  }

  // Hands packets to a node from outside a node function (timers, session callbacks).
  void enqueue_to_node(NodeId node, std::span<Buffer* const> packets) noexcept {
    ops->enqueue_to_node(*this, node, packets);
  }
  void enqueue_to_node(NodeId node, Buffer* packet) noexcept {
    ops->enqueue_to_node(*this, node, {&packet, 1});
  }
  // Hands packets to a node on another worker (or on this one), whole: in order for each pair of
  // workers, and none is lost but when memory runs out (counted in node "worker-handoff"). They
  // arrive there in its next round. For packets of something that lives on worker `to`, which
  // exists.
  void hand_off(uint32_t to, NodeId node, std::span<Buffer* const> packets) noexcept {
    ops->hand_off(*this, to, node, packets);
  }
  uint64_t random() noexcept { return ops->random(*this); }
  void post_to_control(void (*fn)(void*), void* arg) noexcept {
    ops->post_to_control(*this, fn, arg);
  }
  NodeRuntime& node_runtime(NodeId id) noexcept { return ops->node_runtime(*this, id); }
};

}  // namespace loom
