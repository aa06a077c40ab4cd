// Settings of the session layer: the `session { }` stanza and what an application may override when
// it attaches.
#pragma once
#include <cstdint>
#include <string>

namespace loom {

struct SessionConfig {
  std::string runtime_dir;               // attach sockets are made in runtime_dir/app_ns_sockets/
  uint32_t event_queue_length = 2048;    // slots of each message queue; a power of two
  uint64_t segment_size = 256ull << 20;  // first daemon-arena segment of an application, bytes
  uint64_t add_segment_size = 128ull << 20;  // further segments, and app arenas
  uint32_t preallocated_sessions = 0;
  uint32_t v4_session_buckets = 1u << 14, v6_session_buckets = 1u << 12;
  uint32_t v4_halfopen_buckets = 1u << 12, v6_halfopen_buckets = 1u << 10;
  // New connections of listeners live on the worker that the flow's hash names, and not on the one
  // whose receive queue brings them: for devices with fewer queues than there are workers. The
  // packets of most flows are then handed off, and no session follows them (note_stray).
  bool spread_flows = false;
  // Ports that are chosen, of connects, binds and listeners that name none: Linux's. As many
  // connections to one server leave one source address.
  uint16_t min_src_port = 32768, max_src_port = 60999;
  uint32_t rx_fifo_size = 1u << 20, tx_fifo_size = 1u << 20;  // when the application does not say
};

}  // namespace loom
