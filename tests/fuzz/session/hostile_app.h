// An application that keeps to no rule, driven by the bytes of a fuzzer: it attaches as others do,
// and then says and writes what those bytes say. It believes nothing, and expects no answer.
#pragma once
#include <algorithm>
#include <bit>
#include <cstring>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "svm/accept_queue.h"
#include "svm/bell.h"
#include "svm/fifo.h"
#include "svm/mq.h"
#include "svm/protocol.h"
#include "tests/unit/core/session/raw_attach.h"

namespace loom::test {

// The fuzzer's bytes, taken one after the other; zeros when there are no more.
class Bytes {
 public:
  Bytes(const uint8_t* data, std::size_t size) : data_(data), size_(size) {}
  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }
  template <class T = uint8_t>
  T take() {
    T value{};
    take(&value, sizeof value);
    return value;
  }
  void take(void* to, std::size_t n) {
    const std::size_t there = std::min(n, size_);
    std::memset(to, 0, n);
    std::memcpy(to, data_, there);
    data_ += there;
    size_ -= there;
  }

 private:
  const uint8_t* data_;
  std::size_t size_;
};

class HostileApp {
 public:
  struct Session {
    uint64_t handle = 0;
    svm::SessionLine* line = nullptr;  // of its own memory; may be nullptr
    std::optional<svm::RxFifo> rx;
    std::optional<svm::TxFifo> tx;
    svm::SegmentTable* table = nullptr;
    svm::AppArena* arena = nullptr;
    uint32_t rx_size = 0, tx_size = 0;
  };
  struct Region {
    std::byte* base;
    std::size_t size;
  };

  ~HostileApp() { die(); }
  bool is_alive() const { return socket >= 0; }
  void die() {
    close_fd(socket);
    close_fd(event_fd);
    for (int& fd : wake_fds) close_fd(fd);
  }

  // Takes what the reply to an attach brought. False: it was refused.
  bool take_over(int fd, const svm::AttachReply& r, const std::vector<int>& fds) {
    const uint32_t n = r.n_daemon_workers;
    if (r.status != 0 || n == 0 || fds.size() != 1u + n + r.n_segments) {
      for (const int f : fds) ::close(f);
      ::close(fd);
      return false;
    }
    socket = fd;
    event_fd = fds[0];
    wake_fds.assign(fds.begin() + 1, fds.begin() + 1 + n);
    worker = r.worker_index;
    map(r, fds, 1 + n, table, arena, segments);
    auto* mine = table.resolve_as<svm::MqShared>(r.app_mq);
    if (!mine) return false;
    for (uint32_t i = 0; i < n; ++i) {
      auto* theirs = table.resolve_as<svm::MqShared>(r.daemon_mq[i]);
      if (!theirs) return false;
      capacity = theirs->capacity;
      requests.emplace_back(*theirs, capacity);
    }
    events = svm::MqConsumer(*mine, capacity);
    return true;
  }

  void push(uint32_t type, const void* payload, std::size_t n) {
    if (is_alive())
      (void)requests[to_worker % requests.size()].push(type, payload, static_cast<uint32_t>(n));
  }

  // Learns handles and memory from an event.
  void learn(const svm::MqEvent& e) {
    switch (static_cast<svm::ToApp>(e.type)) {
      case svm::ToApp::kConnected: {
        const auto c = e.as<svm::ConnectedEvent>();
        if (c.status == 0) add_session(c.handle, c.session, c.cut_through);
        break;
      }
      case svm::ToApp::kBound: {
        const auto b = e.as<svm::BoundEvent>();
        auto* l = b.status == 0 ? table.resolve_as<svm::ListenerShared>(b.listener) : nullptr;
        if (!l) break;
        listener_handles.push_back(b.handle);
        listener = l;
        listener_capacity = l->capacity;
        if (std::has_single_bit(listener_capacity) && listener_capacity <= 4096)
          regions.push_back(
              {reinterpret_cast<std::byte*>(l), svm::listener_bytes(listener_capacity)});
        else
          listener = nullptr;
        break;
      }
      default:
        break;
    }
  }

  void add_session(uint64_t handle, svm::Ref ref, svm::CutThrough which) {
    Session s;
    s.handle = handle;
    if (which == svm::CutThrough::kNo) {
      auto* shared = table.resolve_as<svm::SessionShared>(ref);
      if (shared) {
        s.line = shared;
        s.rx.emplace(shared->rx());
        s.tx.emplace(shared->tx());
        s.rx_size = shared->rx_size;
        s.tx_size = shared->tx_size;
        s.table = &table;
        s.arena = &arena;
        regions.push_back({reinterpret_cast<std::byte*>(shared), sizeof *shared});
      }
    } else if ((s.line = table.resolve_as<svm::SessionLine>(ref))) {
      pair_wanted = svm::ref_segment(s.line->block);
      pair_block = s.line->block;
      pair_end = which == svm::CutThrough::kEnd1;
      regions.push_back({reinterpret_cast<std::byte*>(s.line), sizeof *s.line});
    }
    if (sessions.size() < 64) sessions.push_back(s);
  }

  // Maps what a reply to kGetSegment or kAddAppArena brought: of a pair, or of its own.
  void take_segments(const svm::AttachReply& r, const std::vector<int>& fds, bool of_pair) {
    if (fds.size() != r.n_segments || segments.size() + pair_segments.size() > 16) {
      for (const int f : fds) ::close(f);
      return;
    }
    if (!of_pair) return map(r, fds, 0, table, arena, segments);
    map(r, fds, 0, pair_table, pair_arena, pair_segments);
    auto* shared = pair_table.resolve_as<svm::CutThroughShared>(pair_block);
    if (!shared) return;
    regions.push_back({reinterpret_cast<std::byte*>(shared), sizeof *shared});
    if (sessions.empty() || sessions.back().rx || !sessions.back().line) return;
    Session& s = sessions.back();
    s.rx.emplace(shared->fifos[1 - pair_end]);
    s.tx.emplace(shared->fifos[pair_end]);
    s.rx_size = s.line->rx_size;
    s.tx_size = s.line->tx_size;
    s.table = &pair_table;
    s.arena = &pair_arena;
    if (auto* bell = pair_table.resolve_as<svm::BellShared>(s.line->bell))
      regions.push_back({reinterpret_cast<std::byte*>(bell), sizeof *bell});
  }

  int socket = -1, event_fd = -1;
  std::vector<int> wake_fds;  // by worker of the daemon
  uint32_t worker = 0, capacity = 0;
  uint32_t to_worker = 0;  // of the daemon: whom it asks next
  std::vector<std::unique_ptr<svm::Segment>> segments, pair_segments;
  svm::SegmentTable table, pair_table;
  svm::AppArena arena{table}, pair_arena{pair_table};
  svm::MqConsumer events;
  std::deque<svm::MqProducer> requests;  // by worker of the daemon
  std::vector<Session> sessions;
  std::vector<uint64_t> listener_handles;
  svm::ListenerShared* listener = nullptr;
  uint32_t listener_capacity = 0;
  std::vector<Region> regions;  // what is worth writing to
  uint32_t pair_wanted = 0, pair_end = 0;
  svm::Ref pair_block = 0;

 private:
  static void close_fd(int& fd) {
    if (fd >= 0) ::close(std::exchange(fd, -1));
  }
  void map(const svm::AttachReply& r, const std::vector<int>& fds, std::size_t first,
           svm::SegmentTable& to, svm::AppArena& chunks,
           std::vector<std::unique_ptr<svm::Segment>>& keep) {
    for (uint32_t i = 0; i < r.n_segments; ++i) {
      const auto& info = r.segments[i];
      auto s = svm::Segment::map(fds[first + i], info.id, info.kind, info.size);
      if (!s) continue;
      if (!to.add(**s)) continue;
      if (info.kind == svm::SegmentKind::kAppArena) (void)chunks.add_segment(**s);
      keep.push_back(std::move(*s));
      regions.push_back(
          {keep.back()->base(), std::min<std::size_t>(keep.back()->size(), 256 << 10)});
    }
  }
};

}  // namespace loom::test
