// A bed whose handshakes are done by two threads of the pool. The test steps the worker, and waits
// for conditions.
#pragma once
#include <deque>
#include <latch>
#include <thread>

#include "tls_bed.h"

namespace loom::tls {

// A thread of the pool that is at work for as long as the test likes.
struct Blocked : CryptoPool::Job {
  Blocked() {
    run = [](Job& j) noexcept {
      static_cast<Blocked&>(j).begun.count_down();
      static_cast<Blocked&>(j).may_end.wait();
    };
    fn = [](Worker&, WorkerPost& p) noexcept {
      static_cast<Blocked&>(static_cast<Job&>(p)).came_back = true;
    };
  }
  std::latch begun{1}, may_end{1};
  bool came_back = false;
};

// The thread that is next in a handshake of a context stands in the middle of its step.
class Gate {
 public:
  explicit Gate(SSL_CTX* c) {
    worker_ = std::this_thread::get_id();
    SSL_CTX_set_info_callback(c, pass);
  }
  void shut() {
    begun_ = &latches_.emplace_back(1);
    may_go_ = &latches_.emplace_back(1);
    is_shut_.store(true);
  }
  void wait() { begun_->wait(); }
  void open() { may_go_->count_down(); }

 private:
  static void pass(const SSL*, int where, int) noexcept {
    if (std::this_thread::get_id() == worker_) return;  // the test's
    if (!(where & SSL_CB_LOOP) || !is_shut_.exchange(false)) return;
    std::latch* const may_go = may_go_;
    begun_->count_down();
    may_go->wait();
  }
  static inline std::deque<std::latch> latches_;  // there as long as a thread may look
  static inline std::latch *begun_ = nullptr, *may_go_ = nullptr;
  static inline std::thread::id worker_;
  static inline std::atomic<bool> is_shut_{false};
};

// The threads of a bed's pool, of which there are two. Bed::pump(): its workers do what there is.
template <class Bed>
struct PoolThreads {
  static CryptoPool& pool() { return *shared().pool; }
  template <class F>
  void until(F&& is_so) {
    while (!is_so()) {
      static_cast<Bed*>(this)->pump();
      std::this_thread::yield();
    }
  }
  // Every thread of the pool is at something that takes long.
  void block() {
    blocked.emplace();
    for (Blocked& b : *blocked) pool().submit(b);
    for (Blocked& b : *blocked) b.begun.wait();
  }
  void release() {
    for (Blocked& b : *blocked) b.may_end.count_down();
    until([&] { return (*blocked)[0].came_back && (*blocked)[1].came_back; });
  }
  std::optional<std::array<Blocked, 2>> blocked;
};

// There may be a chain to check in a client's last flight, which is a thread's then.
inline void ask_clients(Config& c) { c.verify_client = Verify::kOptional; }

struct PoolBed : PoolThreads<PoolBed> {
  explicit PoolBed(const std::function<void(Config&)>& more = {})
      : bed([&](Config& c) {
          c.crypto_threads = 2;
          if (more) more(c);
        }) {
    HandshakeSlice& slice = shared().workers[0]->slice;
    std::destroy_at(&slice);
    std::construct_at(&slice, +[]() noexcept { return spent; });
  }
  // What handshakes take of a round, as the test says: its rounds all have the same time, and a
  // sanitizer may take more than there is.
  static inline TimeNs spent = 0;
  static void use_up(HandshakeSlice& slice) {
    slice.measure([] { spent += kMillisecond; });
  }

  void pump() { bed.bed.pump(0); }
  static SSL_CTX* server() { return shared().listeners.begin()->second->context->ssl.get(); }
  TlsBed::Link connected() {
    svm::MqEvent e{};
    until([&] {
      while (bed.app->events.pop(e))
        if (static_cast<svm::ToApp>(e.type) == svm::ToApp::kConnected) return true;
      return false;
    });
    const auto c = e.as<svm::ConnectedEvent>();
    EXPECT_EQ(c.status, 0);
    return c.status == 0 ? bed.app->connection(c.handle, c.session) : nullptr;
  }
  TlsBed::Link accepted() {
    TlsBed::Link link;
    until([&] { return !!(link = bed.accept()); });
    return link;
  }
  // A plain connection to a listener of TLS, for a Peer.
  TlsBed::Link raw(uint16_t port = 443) { return bed.connect(port, test::PipeTransport::kProto); }
  // No thread has anything of ours.
  void settle() {
    until([&] { return bed.stat(kCryptoUnderWay) == 0; });
    pump();
  }
  // Peer::exchange, when steps take their time.
  void exchange(Peer& peer, TlsBed::Link& link) {
    for (int quiet = 0; quiet < 3; ++quiet) {
      const std::size_t steps = bed.stat(kCryptoSteps);
      peer.exchange(*bed.app, *link);
      settle();
      if (bed.stat(kCryptoSteps) != steps) quiet = 0;
    }
  }
  TlsBed bed;
};
struct TlsPool : testing::Test, PoolBed {
  using PoolBed::PoolBed;
};

}  // namespace loom::tls
