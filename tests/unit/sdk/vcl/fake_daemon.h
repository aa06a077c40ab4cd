// The daemon's side of the application protocol in one thread: attach socket, queues, sessions. Its
// "network" joins a connecting application with a listening one (of this daemon), and moves their
// bytes; ports below 10 have a meaning of their own. Tests drive the library against it.
#pragma once
#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "svm/accept_queue.h"
#include "svm/daemon_arena.h"
#include "svm/fifo.h"
#include "svm/mq.h"
#include "svm/protocol.h"

namespace loom::test {

class FakeDaemon {
 public:
  // Ports to connect to.
  static constexpr uint16_t kRefused = 1, kSilent = 2;     // kSilent: never answers
  static constexpr uint32_t kIp4Table = 7, kIp6Table = 9;  // of every application
  // Interfaces as programs see them: the last one, and the one with an address. Names: "wire3".
  static constexpr uint32_t kInterfaces = 64, kOwnInterface = 3;
  static constexpr uint8_t kOwnIp4[4] = {192, 0, 2, 9};
  static constexpr uint16_t kPeer = 8;  // by cut-through: the other end is the test's, as Pair

  explicit FakeDaemon(std::string path);
  ~FakeDaemon();  // as when the daemon dies

  // Runs `f` on the daemon's thread and waits for it.
  void run(std::function<void()> f);
  // The daemon's process dies: its sockets close.
  void kill();

  // The far end of the nth session that was accepted or connected, for scripts. On the thread.
  size_t n_sessions();
  // Bytes from the outside to session `i`; how many fitted.
  size_t inject(size_t i, const std::string& bytes);
  // The memory of the nth cut-through session; any thread, as the other application's.
  struct Pair;
  Pair& pair(size_t i);
  // The news that the daemon has for the session's application.
  void tell(size_t i, svm::ToApp type);
  // Any event to the first application. From then on what it asks may be nonsense, too.
  void say(uint32_t type, const void* payload, uint32_t len);
  void inject_fin(size_t i);
  void inject_reset(size_t i, int error);
  // Listens are answered when the test says so.
  void hold_listens() { holds_listens_ = true; }
  void release_listens();
  // How often settings were given, and given to a listener.
  uint64_t settings_given() const { return settings_given_; }
  uint64_t settings_used() const { return settings_used_; }
  // The latest, as far as 4 KB of them.
  std::string settings() {
    const std::lock_guard lock(mutex_);
    return settings_;
  }
  // What every path takes, and of a connection its largest segment or record, in bytes.
  void set_path_mtu(uint32_t bytes) { path_mtu_ = bytes; }
  // What is said of a path instead; `f` fills in the answer, on the thread.
  using PathAnswer = std::function<void(const svm::PathEvent&, svm::InfoEvent&)>;
  void answer_paths(PathAnswer f) {
    run([&] { path_answer_ = std::move(f); });
  }
  // No question about a path is answered. Questions are counted still.
  void silence_paths() {
    run([&] { is_silent_about_paths_ = true; });
  }
  // ConnectedEvent::everywhere of what is opened from now on.
  void set_everywhere(uint8_t families) {
    run([&] { everywhere_ = families; });
  }
  // A datagram of session `i` had no route.
  void add_unreachable(size_t i);
  // What was asked of groups; on the thread. And how that is answered, as loom::Status.
  const std::vector<svm::GroupEvent>& groups() const { return groups_; }
  void answer_groups(int32_t status) { group_status_ = status; }
  // What session `i` has sent, taken out.
  std::string sent(size_t i);
  // A connection from the outside to the listener on `port`; its bytes are injected and read by the
  // test. False: nobody listens, or the backlog is full.
  bool dial(uint16_t port);
  // The workers that ask to be woken for a connection, as bits.
  uint64_t interested(uint16_t port);
  // Events seen so far, by type.
  uint64_t events(svm::ToDaemon type) const { return counts_[static_cast<size_t>(type)]; }
  uint64_t workers_added() const { return workers_added_; }
  // Nobody gets a doorbell to ring from now on; how often that was asked for.
  void refuse_doorbells() { refuses_doorbells_ = true; }
  uint64_t doorbells_asked() const { return doorbells_asked_; }
  // Runs `f` on the thread when an application next asks for a doorbell to listen at, which it
  // waits for.
  void before_next_doorbell(std::function<void()> f) {
    run([&] { before_doorbell_ = std::move(f); });
  }
  svm::SocketOptions options(size_t i);
  uint32_t options_number(size_t i);           // of the last event that had some
  uint32_t owner(size_t i);                    // the application worker that gets its events
  void set_tx_size(size_t i, uint32_t bytes);  // in run(): another process has asked for it
  int lock_holder(size_t i);                   // pid in SessionShared::lock, 0 = free
  bool shut_down(size_t i);                    // the application has ended its sending side
  bool closed(size_t i);
  bool was_reset(size_t i);

 private:
  struct App;
  struct Worker;
  struct Session;
  struct Listener;

  void loop();
  void serve_socket(Worker& w);
  void accept_worker();
  void reply_attach(Worker& to, Worker& about, bool with_socket);
  std::unique_ptr<Worker> new_worker(App& app, int socket);
  void handle(Worker& w, const svm::MqEvent& e);
  void connect(Worker& w, const svm::ConnectEvent& e);
  void connect_to_peer(Worker& w, const svm::ConnectEvent& e);
  void serve_pair(Worker& w, const svm::AttachRequest& r);
  void serve_interface(Worker& w, const svm::AttachRequest& r);
  void set_peer(Worker& w, const svm::PeerEvent& e);
  void listen(Worker& w, const svm::ListenEvent& e);
  void serve_settings(Worker& w, const svm::AttachRequest& r, std::string_view text);
  // Fifo sizes of 0: the application's.
  Session& new_session(App& app, const svm::Endpoint& local, const svm::Endpoint& remote,
                       uint32_t rx_size = 0, uint32_t tx_size = 0);
  bool offer(Listener& l, Session& s);
  void wake_acceptor(Listener& l);
  void pump();
  bool pump_one(Session& s);
  void drop_worker(Worker& w);
  void after_holders(Session& s);
  void to_owner(Session& s, svm::ToApp type);
  template <class T>
  void send(Worker& w, svm::ToApp type, const T& payload);
  Worker* worker(App& app, uint32_t index);

  const std::string path_;
  int listen_fd_ = -1, wake_fd_ = -1;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // closures_, settings_
  std::vector<std::function<void()>> closures_;
  std::vector<std::unique_ptr<App>> apps_;
  std::vector<std::unique_ptr<Session>> sessions_;  // never removed: tests look at closed ones
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::vector<std::unique_ptr<Pair>> pairs_;
  std::atomic<uint64_t> counts_[32] = {};
  std::atomic<uint64_t> workers_added_{0}, doorbells_asked_{0};
  std::atomic<bool> refuses_doorbells_{false}, holds_listens_{false};
  std::function<void()> before_doorbell_;
  std::vector<std::pair<Worker*, svm::ListenEvent>> held_listens_;
  std::string settings_;
  std::atomic<uint64_t> settings_given_{0}, settings_used_{0};
  std::atomic<uint32_t> path_mtu_{1500};
  PathAnswer path_answer_;
  bool is_silent_about_paths_ = false;
  uint8_t everywhere_ = 0;
  uint32_t bound_ends_ = 0;  // numbers that were given
  std::vector<svm::GroupEvent> groups_;
  std::atomic<int32_t> group_status_{0};
  uint16_t next_port_ = 40000;
  bool lies_ = false;
};

}  // namespace loom::test
