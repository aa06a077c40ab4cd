// One worker's connection to the daemon: the attach socket, the segments it has mapped and its
// message queues. Dies with the daemon; a new one is opened to attach again, and sessions of the
// old one keep it alive for the memory.
//
// Threads: requests on the socket are serialised here. The queue towards this worker is for one
// thread at a time (the AppWorker's mutex); those towards the daemon are for any.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include <hostloom/endpoint_settings.h>
#include <hostloom/secret.h>

#include "svm/app_arena.h"
#include "svm/mq.h"
#include "svm/protocol.h"
#include "svm/segment.h"
#include "vcl/config.h"

namespace loom::vcl {

// What kAttach and kAddWorker give: the descriptors are the holder's to close.
struct WorkerEnds {
  svm::AttachReply reply{};
  int socket = -1;
  int event_fd = -1;
  int daemon_event_fds[svm::kMaxDaemonWorkers];
  int segment_fds[4] = {-1, -1, -1, -1};

  WorkerEnds();
  WorkerEnds(WorkerEnds&& o) noexcept;
  WorkerEnds& operator=(WorkerEnds&& o) noexcept;
  ~WorkerEnds() { close_all(); }
  void close_all() noexcept;
};

class Attachment {
 public:
  // Connects and attaches. Errors name the socket path.
  static Result<std::shared_ptr<Attachment>> open(const Config& config, const std::string& app);
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  // Asks for another worker of the same application.
  Result<WorkerEnds> add_worker();
  static Result<std::shared_ptr<Attachment>> from(WorkerEnds ends);
  // After fork, in the child: goes on as the new worker, with the segments that are mapped already.
  Result<void> become(WorkerEnds ends);
  // After fork, in the child, when there is no worker for it: closes the parent's descriptors.
  void abandon() noexcept;
  // After fork: this process has no other thread that could hold the lock.
  void reset_locks() noexcept;
  std::mutex& socket_mutex() noexcept { return socket_mutex_; }

  // What cut-through pairs are made of (svm::AttachOp). The descriptors are the caller's.
  Result<WorkerEnds> get_segment(uint32_t pair, uint32_t id);
  Result<WorkerEnds> add_arena(uint32_t pair);
  // To listen at. -1: refused, or gone.
  int doorbell(uint32_t pair, uint32_t end, uint32_t worker);
  // To ring, and what is to be kept open as long. False: as above.
  bool bell_push(uint32_t pair, uint32_t end, uint32_t worker, int& push);

  // Settings for endpoints (hostloom/endpoint_settings.h): their number. `once`: for one listen or
  // connect.
  Result<uint32_t> add_settings(std::string_view bytes, bool once);
  Result<void> del_settings(uint32_t number);
  // For connections that come to that listener from now on.
  Result<void> use_settings(uint64_t listener, uint32_t number);
  // The interface that `index` means, or the IPv4 address if that is 0 (AttachOp::kFindInterface).
  Result<uint32_t> find_interface(bool is_ip4, uint32_t index, const uint8_t (&ip4)[4]);
  Result<uint32_t> find_interface(bool is_ip4, std::string_view name);
  Result<std::string> interface_name(bool is_ip4, uint32_t index);
  // What the transport says of one of the application's sessions.
  Result<std::string> property(uint64_t handle, SessionProperty which);

  // One more app-arena segment; false: the daemon refuses, or is gone.
  bool add_app_arena();

  // Sends and wakes the daemon worker if it sleeps. kFull: nothing was sent.
  svm::MqProducer::Push send(uint32_t daemon_worker, svm::ToDaemon type, const void* payload,
                             uint32_t len) noexcept;

  const svm::SegmentTable& table() const noexcept { return table_; }
  svm::AppArena& arena() noexcept { return arena_; }
  svm::MqConsumer& queue() noexcept { return queue_; }
  int socket() const noexcept { return socket_; }
  int event_fd() const noexcept { return event_fd_; }
  uint32_t worker_index() const noexcept { return worker_index_; }
  uint64_t worker_bit() const noexcept { return 1ull << worker_index_; }
  uint32_t app_index() const noexcept { return app_index_; }
  uint32_t n_daemon_workers() const noexcept { return n_daemon_workers_; }
  // Listeners live on all workers, and their handles name none. All that is said about them goes to
  // the same one: who closes a listener and opens the next on its port must not overtake himself.
  static constexpr uint32_t kListenerWorker = 0;
  uint32_t daemon_worker_of(uint64_t handle) const noexcept {
    const uint32_t worker = (handle >> 32) & 0xff;
    return worker < n_daemon_workers() ? worker : kListenerWorker;
  }
  uint32_t rx_fifo_size() const noexcept { return rx_fifo_size_; }
  uint32_t tx_fifo_size() const noexcept { return tx_fifo_size_; }
  // The routing table that the application's namespace had when this worker attached.
  uint32_t table_of(bool is_ip4) const noexcept { return is_ip4 ? ip4_table_ : ip6_table_; }
  bool dead() const noexcept { return dead_.load(std::memory_order_acquire); }
  void set_dead() noexcept { dead_.store(true, std::memory_order_release); }

 private:
  Attachment();
  Result<void> take_over(WorkerEnds& ends);
  Result<void> map_segment(int fd, const svm::SegmentInfo& info);
  bool load_segment(uint32_t id);
  // `more` follows the request, `got` the reply.
  Result<WorkerEnds> request(const svm::AttachRequest& request, std::string_view more = {},
                             std::string* got = nullptr);

  std::mutex socket_mutex_;  // requests, and changes of segments_
  int socket_ = -1, event_fd_ = -1;
  int daemon_event_fds_[svm::kMaxDaemonWorkers];
  uint32_t worker_index_ = 0, app_index_ = 0, n_daemon_workers_ = 0;
  uint32_t rx_fifo_size_ = 0, tx_fifo_size_ = 0, ip4_table_ = 0, ip6_table_ = 0;
  std::atomic<bool> dead_{false};
  std::vector<std::unique_ptr<svm::Segment>> segments_;
  svm::SegmentTable table_{1024};
  svm::AppArena arena_{table_};
  svm::MqConsumer queue_;
  svm::MqProducer to_daemon_[svm::kMaxDaemonWorkers];
};

}  // namespace loom::vcl
