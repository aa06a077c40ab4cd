// The session layer as a transport sees it: SessionOps over strings and maps. One transport, stream
// sessions, applications that are the test itself.
#pragma once
#include <hostloom/session.h>
#include <hostloom/transport.h>

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "fake_host.h"

namespace loom::script {

class FakeSessions {
 public:
  struct Session {
    SessionId id = kNoSession;
    ConnId conn = kNoConn;
    Endpoints ends;
    std::string rx;  // received, in order, unread
    uint32_t rx_limit = 65535;
    std::string tx;     // from the oldest unacknowledged byte on
    uint32_t held = 0;  // of its last bytes, by MSG_MORE
    bool was_held = false;
    // What the transport reported.
    std::optional<Status> connected;
    std::optional<ResetReason> reset;
    bool is_accepted = false, is_peer_closed = false, is_closed = false;
    uint64_t n_read = 0;                 // bytes, of all that have come
    std::optional<uint64_t> drained_at;  // n_read at which rx_drained is called
    // What the application reads just before the next rx_await: the transport asks without it.
    uint32_t reads_first = 0;
    bool scheduled = false;
    // Bytes beyond the end of rx, and which are there: [start, end), most recent first.
    std::string ahead;
    std::vector<std::pair<uint32_t, uint32_t>> ranges;
    bool is_live() const {
      return !reset && !is_closed && (!connected || *connected == Status::kOk);
    }
  };
  struct Listener {
    SessionId id;
    ConnId conn;
    uint32_t backlog = 16;
    uint32_t rx_limit = 65535;        // of accepted sessions
    IfIndex interface = kNoIndex;     // for listener_on
    std::vector<SessionId> accepted;  // waiting for accept()
  };

  explicit FakeSessions(FakeHost& host);
  void set_transport(const TransportOps& ops) { ops_ = ops; }

  Session& add_session();
  Session& at(SessionId id) { return sessions_.at(id); }
  Listener& add_listener(uint16_t port);
  Listener& listener(SessionId id) { return listeners_.at(id); }
  void remove_listener(SessionId id);
  // The application took `n` bytes out of rx.
  void read(Session&, uint32_t n);
  void write(Session&, const std::string& bytes, bool more = false);
  // Lets scheduled sessions send until the transport says stop.
  void pump();
  std::size_t n_flows() const { return flows_.size(); }

  bool refuses_flows = false;            // flow_add acts as without memory
  bool refuses_memory = false;           // rx_enqueue and accepted act as without memory
  std::function<Status()> before_flow_add;  // other than kOk: its answer
  std::function<void()> after_flow_del;
  std::optional<FlowMatch> every_match;  // what each lookup finds, whatever the flows say
  // Runs inside rx_enqueue and peer_closed, as an in-process application's callback would.
  void (*on_readable)(Worker&, Session&, void*) = nullptr;
  void* on_readable_context = nullptr;
  // Runs inside accepted.
  void (*on_accepted)(FakeSessions&, SessionId listener) = nullptr;

 private:
  using FlowId = std::tuple<IpAddress, uint16_t, IpAddress, uint16_t>;
  struct Flow {
    FlowKind kind;
    ConnId conn;
  };
  static FakeSessions& of(Worker& w);
  static FlowId flow_id(const Endpoints& e) {
    return {e.local, e.local_port, e.remote, e.remote_port};
  }
  FlowMatch match(const FlowId&) const;
  uint32_t merge(Session&);
  void visit(Session&);
  void fill_ops();

  FakeHost& host_;
  TransportOps ops_;
  SessionOps session_ops_{};
  std::map<SessionId, Session> sessions_;
  std::map<SessionId, Listener> listeners_;
  std::map<uint16_t, SessionId> ports_;
  std::map<FlowId, Flow> flows_;
  SessionId next_id_ = 1;
  uint16_t next_port_ = 40'000;
};

}  // namespace loom::script
