// A session of the application, of a stream or of datagrams: its life (idle, bound, listening,
// connecting, open, failed), reading, writing and readiness.
//
// All methods return a count, 0 or a negative errno. Truth about an open session lies in the shared
// memory; events only say when to look again.
// Threads: any. mutex_ guards the fields and both fifo cursors; AppWorker's mutex is taken before
// it, never after. Processes that share the session after fork() serialise by SessionShared::lock.
// Nothing sleeps with mutex_ held.
#pragma once
#include <sys/uio.h>

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "svm/accept_queue.h"
#include "svm/datagram.h"
#include "svm/fifo.h"
#include "svm/protocol.h"
#include "vcl/attachment.h"
#include "vcl/bound_end.h"
#include "vcl/cut_through.h"
#include "vcl/datagram_call.h"
#include "vcl/datagram_links.h"
#include "vcl/known_ways.h"
#include "vcl/object.h"
#include "vcl/process_lock.h"
#include "vcl/sys.h"

namespace loom::vcl {

class AppWorker;

struct DatagramCork;
struct SessionTag;

class Session final : public Object, public ListNode<SessionTag> {
 public:
  enum class State : uint8_t {
    kIdle,     // created; perhaps bound
    kBinding,  // kListen sent
    kListening,
    kConnecting,  // kConnect sent
    kOpen,
    kFailed,  // connect failed, or the daemon is gone; error_ says why, once
  };

  explicit Session(AppWorker& worker) : Object(Kind::kSession), worker_(worker) {}

  // --- Life (session.cc)

  // Gives a pool object a new life with one reference.
  void init(uint8_t proto, bool is_ip4, bool nonblocking);
  int bind(const svm::Endpoint& local);
  // Waits for the daemon's answer.
  int listen(uint32_t backlog);
  // Has the daemon keep the end that bind() has named, or choose a port for it: streams, before
  // they listen or connect. Waits for the answer: 0 or a negative errno.
  int bind_end();
  const std::shared_ptr<BoundEnd>& bound_end() const noexcept { return bound_end_; }
  void set_bound_end(std::shared_ptr<BoundEnd> e) noexcept { bound_end_ = std::move(e); }
  // -EINPROGRESS when non-blocking; a blocking one that a signal or SO_SNDTIMEO ends goes on.
  int connect(const svm::Endpoint& remote);
  // A new session with one reference in `child`.
  int accept(Session*& child, bool child_nonblocking);
  // how: SHUT_RD, SHUT_WR, SHUT_RDWR
  int shutdown(int how);
  // What the transport says of an open session; asks the daemon. -ENOPROTOOPT: nothing of the kind.
  int property(SessionProperty which, std::string& value);
  // The last close will send a reset.
  void abort_on_close();
  // SO_LINGER: sleeps until everything written was acknowledged, or its time is over.
  void linger();
  // Of datagrams without a connection (datagram.cc): makes the session known to the daemon at the
  // address that was bound, or any, with a peer or without; of an open one changes the peer (port
  // 0: none any more). Waits for the daemon's answer, also when non-blocking; without a peer, for
  // the one that another thread waits for, too. -ENETUNREACH: an IPv4 peer, and the socket is of
  // IPv6 alone.
  int open_datagrams(const svm::Endpoint* peer);

  // --- Data (session_io.cc). Flags: MSG_DONTWAIT, PEEK, WAITALL, TRUNC, MORE; others mean nothing
  // here.

  ssize_t receive(std::span<const iovec> to, int flags);
  ssize_t send(std::span<const iovec> from, int flags);
  ssize_t receive(void* p, size_t n, int flags) {
    const iovec v{p, n};
    return receive({&v, 1}, flags);
  }
  ssize_t send(const void* p, size_t n, int flags) {
    const iovec v{const_cast<void*>(p), n};
    return send({&v, 1}, flags);
  }
  // Of datagrams (datagram.cc), one a call. Both send() and receive() above are these, without more
  // to say. The result of send_datagram is all or an error: -EDESTADDRREQ, -EMSGSIZE, -ENETUNREACH
  // (IPv4 from an IPv6 address; to an address that is named there is no route), -ENODEV (no such
  // interface), -EOPNOTSUPP (MSG_OOB; of DTLS MSG_MORE), and what earlier ones to the peer met
  // with, as -ECONNREFUSED. With MSG_TRUNC receive_datagram returns the length that the datagram
  // has.
  ssize_t send_datagram(std::span<const iovec> from, int flags, const DatagramOut& out);
  ssize_t receive_datagram(std::span<const iovec> to, int flags, DatagramIn* in);
  // Several with one lock, and whoever reads them is woken once. How many: send_datagrams goes on
  // until all are sent, or one cannot be; receive_datagrams waits for the first alone. Negative
  // errno: of the first. What a later one meets with is met again, or told, by the next call.
  int send_datagrams(std::span<DatagramSend> all, int flags);
  // UDP_CORK (datagram_cork.h). Turned off, it sends what was held back. 0, or -ENOBUFS.
  int cork(bool on);
  bool is_corked();
  int receive_datagrams(std::span<DatagramReceive> all, int flags);
  // The next call would return an error of earlier datagrams.
  bool has_error();
  // That error is the next call's to return: it came when there was something else to return.
  void put_back_error(int error);
  // Of datagrams: IP_RECVERR, IPV6_RECVERR, and what MSG_ERRQUEUE reads (datagram_errors.cc). The
  // header is as svm/datagram.h has it with kDatagramQueued. -EAGAIN: there is none.
  void hear_errors(bool is_ip4, bool on);
  ssize_t receive_error(std::span<const iovec> to, DatagramIn& in, svm::ErrorPacket* by = nullptr);
  // The largest IP packet that goes there in one piece, bytes; or a negative errno. A round trip to
  // the daemon, unless what it said within the last second will do (datagram_path.cc).
  int path_mtu(const svm::Endpoint& to, bool may_be_known);
  // Of a connection of datagrams: the largest that its path takes now, bytes. The same errors and
  // round trips. -ENOTCONN: it is not open.
  int most_payload(bool may_be_known);
  // Of datagrams (datagram_groups.cc): membership of a group; handle and context are filled in
  // here. -ENODEV: no such interface; -EADDRINUSE, -EADDRNOTAVAIL: it is, or is not, a member.
  // Before the session is open it is only noted, and asked by ask_groups_later().
  int ask_group(const svm::GroupEvent& asked);
  int ask_groups_later();
  // All sources of a membership at once, and number `n` of those it has; group and interface as in
  // `about`. Threads that set one of a socket at the same time may be told -EINVAL.
  int set_group_filter(const svm::GroupEvent& about, bool excludes,
                       std::span<const svm::Endpoint> sources);
  int read_group_filter(const svm::GroupEvent& about, uint32_t n, svm::FilterEvent& out);
  // Of datagrams: takes up links with other applications of this daemon, and lets go of those that
  // are over. Under the worker's mutex / under none.
  void look_at_links();
  void settle_links();

  // Zero copy, of streams only. read_views: bytes in the views, which stay until release() drops
  // them. fill: calls `f` with free space of the tx fifo, and sends the bytes that it says it has
  // put there; when those are fewer than n, the rest is taken to follow: the caller goes on, or
  // ends it with push().
  ssize_t read_views(std::span<svm::ByteView> views, uint32_t max_bytes, uint32_t& n_views);
  void release(uint32_t n_bytes);
  template <class F>
  ssize_t fill(size_t n, int flags, F&& f);
  // What MSG_MORE held back is due.
  void push();
  uint32_t unread();      // FIONREAD; of datagrams, what the next one has
  uint32_t unsent();      // SIOCOUTQ: written and not yet acknowledged
  uint32_t free_space();  // of the tx fifo
  // Everything or nothing, into a stream.
  ssize_t send_all_or_nothing(std::span<const iovec> from);

  uint32_t poll(uint32_t wanted, bool edge) override;
  void on_unwatched() override;
  // More than `seen` bytes, or no more to come; otherwise arms. For MSG_PEEK with MSG_WAITALL.
  bool readable_beyond(uint32_t seen);
  // The answer to that question, or none to come.
  bool has_answer(uint32_t context);
  // Room for `n` bytes, or none to come; otherwise asks for it. For writes of all or nothing.
  bool has_room(uint32_t n);

  // --- Options and facts

  State state() const noexcept { return state_.load(std::memory_order_acquire); }
  bool nonblocking() const noexcept { return nonblocking_.load(std::memory_order_relaxed); }
  void set_nonblocking(bool on) noexcept { nonblocking_.store(on, std::memory_order_relaxed); }
  // Changes options with `f` and tells the daemon if the session is open.
  template <class F>
  void change_options(F&& f) {
    const std::lock_guard lock(mutex_);
    f(options_);
    send_options();
  }
  svm::SocketOptions options() {
    const std::lock_guard lock(mutex_);
    return options_;
  }
  svm::Endpoint local() {
    const std::lock_guard lock(mutex_);
    svm::Endpoint e = local_;
    if (hides_port_) e.port = 0;
    return e;
  }
  svm::Endpoint remote() {
    const std::lock_guard lock(mutex_);
    return remote_;
  }
  // SO_ERROR: the pending error, which is then no longer pending.
  int take_error();
  // Round trip to the daemon.
  int info(svm::InfoEvent& out);

  uint8_t proto() const noexcept { return proto_; }
  // Its fifos hold datagrams, each behind its header, and each call moves one.
  bool is_datagram() const noexcept { return proto_ == kProtoUdp || proto_ == kProtoDtls; }
  // Of those, one that is opened by bind alone, and has the peer that the latest connect gave it.
  // Another (DTLS) has connections as streams have: listen, accept, and an end.
  bool is_connectionless() const noexcept { return proto_ == kProtoUdp; }
  bool bound() const noexcept { return bound_; }
  bool is_listener() const noexcept {
    const State s = state();
    return s == State::kListening || s == State::kBinding;
  }
  bool is_cut_through() const noexcept { return cut_.pair != nullptr; }
  bool ever_connected() const noexcept { return shared_ != nullptr; }
  AppWorker& worker() noexcept { return worker_; }
  uint64_t handle() const noexcept { return handle_; }
  // The daemon's worker that hears what is said about the session: where it lives now.
  uint32_t daemon_worker() const noexcept;
  uint32_t index() const noexcept { return index_; }
  void set_index(uint32_t i) noexcept { index_ = i; }
  uint32_t listener_index() const noexcept { return listener_index_; }
  uint32_t n_accepted() const noexcept { return n_accepted_; }

  // Set by whoever makes the session or through socket options; read at leisure.
  bool socket_is_ip4 = true;  // the domain of the socket: AF_INET, else AF_INET6
  bool reuse_addr = false, broadcast = false;
  // Fifo limits asked for; 0 = default. set_sizes() changes those of an open session, too, if it is
  // of datagrams without a connection (datagram_sizes.cc): a round trip to the daemon.
  uint32_t rx_size = 0, tx_size = 0;
  int set_sizes(std::optional<uint32_t> rx, std::optional<uint32_t> tx);
  // Of a listener: certificates, by number, for those who connect from now on, instead of those it
  // had. Else -EINVAL, and what the daemon has against them; nothing has changed then.
  // Waits for a listen() of another thread's.
  int replace_pairs(std::span<const uint32_t> numbers);
  // What the next listen or connect is to have besides (hostloom/endpoint_settings.h).
  SecretString settings;
  // The limits to tell of: of datagrams those that hold, once there are fifos. Bytes.
  uint32_t rx_limit();
  uint32_t tx_limit();
  std::atomic<uint32_t> rcv_lowat{1};
  std::atomic<TimeNs> rcv_timeout{-1}, snd_timeout{-1};  // ns, -1 = none
  uint64_t cookie = 0;
  uint8_t ttl = 0, ip6_hop_limit = 0;                         // of datagrams sent; 0 = default
  std::atomic<uint8_t> ip4_group_hops{1}, ip6_group_hops{1};  // the same to groups
  std::atomic<uint16_t> gso_size{0};      // UDP_SEGMENT, unless a datagram has its own
  std::atomic<bool> no_check6_tx{false};  // UDP_NO_CHECK6_TX
  std::atomic<bool> holds_back{false};    // corked, or something waits (datagram_cork.h): read only
  // What the program wants to be told with each datagram; the bits are those of the library above.
  std::atomic<uint16_t> ancillary{0};
  std::atomic<uint8_t> arrival{0};    // the same of when it came, and of what was lost
  std::atomic<uint32_t> stamping{0};  // SO_TIMESTAMPING
  LastDatagram last_datagram() {
    const std::lock_guard lock(mutex_);
    return last_;
  }

  // --- For AppWorker, under its mutex

  void on_connected(const svm::ConnectedEvent& e);
  void on_bound(const svm::BoundEvent& e);
  void on_info(const svm::InfoEvent& e);
  void on_listener_closed();
  void on_daemon_gone();
  // fork(): the holder bits of the child, before; new locks, after.
  void add_holder(uint64_t bit) noexcept;
  void drop_holder(uint64_t bit) noexcept;
  // After fork, in the child: new locks; what the parent asked for is answered to the parent.
  void after_fork() noexcept;
  std::mutex& mutex() noexcept { return mutex_; }
  bool uses(const Attachment& a) const noexcept { return attachment_.get() == &a; }

  Session* pool_next_ = nullptr;

  static constexpr uint8_t kProtoUdp = 1, kProtoDtls = 5;  // VPPCOM_PROTO_UDP, _DTLS

 private:
  void retire() override;

  bool adopt(svm::Ref ref, uint64_t handle, svm::CutThrough which);
  bool adopt_cut_through(svm::Ref ref, uint32_t end);
  bool accept_one(Session& child, svm::AcceptedSession& a);
  class Accepting;
  void stop_waiting() noexcept;
  void become_owner() noexcept;
  void tell(svm::ToDaemon type) noexcept;
  void ring_peer() noexcept;
  // The connection is gone: its errno, or 0.
  int lost() const noexcept;
  // Cut-through: the other end has closed, and reads no more.
  bool peer_closed() const noexcept;
  bool is_sending_shut() const noexcept;
  void set_owner(uint32_t worker) noexcept;
  ssize_t put_in_vain(size_t n) noexcept;
  void send_options() noexcept;
  int64_t send_settings();
  int ask_listen(uint32_t backlog, bool only_binds);
  void fail(int error) noexcept;
  void let_go();
  bool hand_on() noexcept;

  ssize_t take(std::span<const iovec> to, bool peek, bool discard);
  ssize_t put(std::span<const iovec> from, bool more);
  ssize_t put_locked(std::span<const iovec> from, size_t wanted, bool more);
  ssize_t cannot_receive();
  int cannot_send();
  ssize_t end_of_stream();
  uint32_t poll_open(uint32_t wanted, bool edge);
  uint32_t writable_at() const noexcept { return tx_.size() / 3; }
  bool more_memory() noexcept;
  void follow_sizes() noexcept;
  int reserve_tx(uint32_t n, std::span<svm::MutableByteView> out, uint32_t& views);
  void commit_tx(uint32_t n, bool more);
  void set_more(bool more) noexcept;
  void push_locked() noexcept;
  bool links_changed() const noexcept;
  void sync_links();
  void tell_link(svm::ToDaemon type, uint32_t slot, uint32_t word) noexcept;
  bool is_link_table_new() const noexcept;
  bool is_link_let_go() const noexcept;
  // Whatever the daemon says meanwhile: of some of it no event comes, and who then neither looks at
  // the links nor arms them sleeps for ever.
  bool can_use_links() const noexcept { return !links_.empty() && !is_link_let_go(); }
  void take_up_links();
  void enter_link_table();
  void leave_links();
  void mark_let_go(svm::DatagramLinkSlot& slot, uint32_t serial) noexcept;
  void sync_link(uint32_t i);
  bool find_datagram(DatagramLink*& from, svm::DatagramHeader& h);
  uint32_t next_length();
  bool links_readable();
  bool arm_links();
  // Who is to be woken for what has been put, once.
  struct Wakes {
    DatagramLink* link = nullptr;
    bool daemon = false;
  };
  bool send_by_link(const DatagramSend& d, const svm::Endpoint& to, svm::DatagramHeader h,
                    Wakes& due);
  void on_peer_set(const svm::ConnectedEvent& e);
  bool next_datagram(uint32_t ready, svm::DatagramHeader& h);
  bool has_datagram(uint32_t ready) noexcept;
  int datagram_error(bool take);
  // No errnos: settle_links(), or ask_way(), and again.
  static constexpr ssize_t kLinksChanged = -5000, kWayUnknown = -5001;
  ssize_t take_datagram(DatagramReceive& d, int flags, bool is_first);
  ssize_t take_datagrams(std::span<DatagramReceive> all, int flags);
  void wake(Wakes& due) noexcept;
  int put_datagram(const DatagramSend& d, bool is_first, Wakes& due);
  ssize_t put_datagrams(std::span<const DatagramSend> all);
  // What decides whether a datagram may be split on its way, as it is now.
  struct PathRules {
    bool is_open = false;
    svm::Endpoint peer{};
    uint8_t ip4_mode = 0, ip6_mode = 0;
    bool dont_fragment6 = false;
  };
  PathRules path_rules();
  int cannot_leave(DatagramSend& d, int flags, const PathRules& rules, uint32_t& mtu);
  int wait_writable(int flags, TimeNs& deadline, bool& has_deadline);
  bool reaches(const svm::Endpoint& to) const noexcept;
  // Sends a question that kInfo answers, by ask(context), under both mutexes, and waits so long at
  // most, or as the configuration says. -EAGAIN: in vain.
  int ask_group_now(const svm::GroupEvent&, svm::InfoEvent& answer);
  int ask_info(svm::InfoEvent& out, const std::function<void(uint32_t)>& ask,
               TimeNs most = sys::kForever);
  // Of a call that sends, also of one that does not wait for room.
  static constexpr TimeNs kMostWaitToSend = kSecond / 10;
  int check_path(const DatagramSend& d, const PathRules& rules, uint32_t& mtu);
  int ask_path(const WayKey& key, svm::InfoEvent& out, TimeNs most);
  int know_way(const DatagramOut& out, const svm::Endpoint& to);
  void ask_way(const DatagramOut& out);
  int find_way(const DatagramOut& out);
  void forget_paths() noexcept;
  int known_path(const svm::Endpoint& to);
  void know_path(const svm::Endpoint& to, uint32_t takes);
  // How large the fifos are to be that the daemon is asked for; 0: as it likes.
  uint32_t rx_to_ask() const noexcept;
  uint32_t tx_to_ask() const noexcept;
  int send_whole(std::span<DatagramSend> all, int flags);
  DatagramCork* the_cork() noexcept;
  void note_cork(const DatagramCork& c) noexcept;
  int send_pending(DatagramCork& c, std::unique_lock<std::mutex>& lock, int flags);
  int add_to_cork(DatagramSend& d, int flags);
  int send_corked(std::span<DatagramSend> all, int flags);
  void cork_after_fork() noexcept;
  void end_cork() noexcept;
  void collect_errors();
  void add_local_error(const svm::Endpoint& to, uint32_t mtu);

  AppWorker& worker_;
  std::mutex mutex_;
  std::atomic<State> state_{State::kIdle};
  std::atomic<bool> nonblocking_{false};
  uint8_t proto_ = 0;
  bool bound_ = false;
  bool shut_rd_ = false, shut_wr_ = false;
  bool error_taken_ = false;  // the fifo's reset was reported
  bool abort_ = false;
  bool connect_reported_ = false;  // connect() has returned 0
  uint32_t accepting_ = 0;         // threads that sleep in accept()
  int error_ = 0;                  // pending, of SO_ERROR
  std::shared_ptr<Attachment> attachment_;
  std::shared_ptr<BoundEnd> bound_end_;  // let go without a lock
  uint64_t handle_ = 0;
  uint32_t context_ = 0;
  uint32_t index_ = 0, listener_index_ = ~0u;
  uint32_t n_accepted_ = 0;
  svm::SessionLine* shared_ = nullptr;
  svm::AppFifoConsumer rx_;
  svm::AppFifoProducer tx_;
  // Of a cut-through session.
  struct {
    std::shared_ptr<CutThroughPair> pair;  // nullptr: it is not one
    svm::BellShared* bell = nullptr;
    svm::CutThroughEnd *own = nullptr, *peer = nullptr;
    svm::Ref bell_ref = 0;
    uint32_t bit = 0, end = 0;
    bool wrote_in_vain = false;
    bool vain_views = false;  // the views of reserve_tx lead nowhere
  } cut_;
  // Of a datagram session.
  std::vector<std::unique_ptr<DatagramLink>> links_;
  svm::DatagramLinks* link_table_ = nullptr;  // nullptr: there was none yet
  std::vector<uint32_t> links_done_;          // by slot: of what word this process has said so
  uint32_t links_seen_ = 0;                   // the table's version
  uint32_t links_let_go_ = 0;                 // its let_go_version
  uint32_t turn_ = 0;                         // what is read next: 0 the rx fifo, or a link
  uint32_t link_read_ = 0;                    // in links_: where the last datagram came from
  bool links_over_ = false;                   // one of them is of no more use
  svm::ListenerShared* listener_ = nullptr;
  svm::AcceptConsumer accept_queue_;
  svm::Endpoint local_{}, remote_{};
  svm::SocketOptions options_{};
  struct Question {
    uint32_t context;
    bool is_answered;
    svm::InfoEvent answer;
  };
  std::vector<Question> questions_;  // one for each thread that waits for its answer
  std::vector<svm::GroupEvent> groups_later_;
  struct KnownPath {
    svm::Endpoint to;
    uint32_t takes;  // bytes, of a packet (path_mtu) or of what is sent (most_payload)
    TimeNs until;
  };
  std::array<KnownPath, 8> paths_{};
  uint8_t everywhere_ = 0;           // ConnectedEvent's, while it holds
  std::unique_ptr<KnownWays> ways_;  // of destinations that calls name; null: none was asked about
  struct QueuedError {
    svm::DatagramHeader header;
    svm::ErrorPacket packet;
    std::string payload;
  };
  LastDatagram last_;
  // The port was not asked for; and it has lost its peer and sent nothing since: until it does,
  // getsockname() says 0, as on Linux.
  bool chose_port_ = false, hides_port_ = false;
  std::deque<QueuedError> errors_;
  uint32_t errors_seen_ = 0;   // the rx fifo's cursor
  int queued_error_ = 0;       // errno of one in the queue that no call has returned
  bool hears_errors_ = false;  // has asked for them
  struct CorkDeleter {
    void operator()(DatagramCork* c) const noexcept;
  };
  std::unique_ptr<DatagramCork, CorkDeleter> cork_;
};

// The bytes of `n` at most; f(views) returns how many it filled, or a negative errno.
template <class F>
ssize_t Session::fill(size_t n, int flags, F&& f) {
  TimeNs deadline = 0;
  bool has_deadline = false;
  while (true) {
    ssize_t outcome;
    {
      const std::lock_guard lock(mutex_);
      outcome = cannot_send();
      if (outcome == 0) {
        const ProcessLock process_lock(*shared_);
        svm::MutableByteView views[8];
        uint32_t n_views = 0;
        outcome = reserve_tx(static_cast<uint32_t>(n > INT32_MAX ? INT32_MAX : n), views, n_views);
        if (outcome == 0) {
          outcome = f(std::span<svm::MutableByteView>(views, n_views));
          if (outcome > 0)
            commit_tx(static_cast<uint32_t>(outcome),
                      (flags & MSG_MORE) || static_cast<size_t>(outcome) < n);
          return outcome;
        }
      }
    }
    if (outcome != -EAGAIN) return outcome;
    if (const int e = wait_writable(flags, deadline, has_deadline); e != 0) return e;
  }
}

int errno_of(int32_t status) noexcept;

}  // namespace loom::vcl
