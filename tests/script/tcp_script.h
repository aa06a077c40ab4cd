// TCP tests as packet traces: a peer that is the test, an application that is the test, and the
// plugin between them in virtual time.
//
//   TcpScript s = TcpScript::established({.mss = 1000});
//   s.at(0ms).app_writes(2000).expect(segs(1, 2001));
//   s.at(20ms).inject(ack(2001)).expect_silence();
//
// Time is relative to the end of the handshake. Whatever the stack sends must be expected, at the
// instant at which it is sent; what is left over when time moves on, or when the script ends, fails
// the test. Every packet's checksums, lengths and payload bytes are checked on the way.
#pragma once
#include <chrono>
#include <functional>
#include <memory>

#include "fake_host.h"
#include "fake_sessions.h"
#include "packet.h"
#include "packet_bytes.h"
#include "tcp/tcp_worker.h"

namespace loom::script {

using namespace std::chrono_literals;

struct ScriptOptions {
  uint32_t mss = 1000;      // the peer's MSS option; 0 = none
  bool timestamps = false;  // what the peer offers
  bool sack = true;
  std::optional<uint32_t> wscale{};
  uint32_t window = 65535;   // in the peer's packets, as on the wire
  uint32_t rx_fifo = 65535;  // bytes, of the application
  uint32_t cwnd = 0;         // bytes; 0 = what the stack begins with
  std::string cc = "newreno";
  bool quick_acks = false;  // true: the first segments are acknowledged at once
  bool ip6 = false;
  bool link_local = false;  // with ip6: both ends
  bool gso = false;         // true: adds checks that chains are cut at the MSS
  SocketOptionsView socket{.nodelay = true};
  std::string config{};  // words of tcp { }
};

class TcpScript {
 public:
  explicit TcpScript(ScriptOptions = {});            // nothing open yet
  static TcpScript established(ScriptOptions = {});  // active open, round trip 20 ms
  static TcpScript accepted(ScriptOptions = {});     // passive open, round trip 20 ms
  static TcpScript listening(ScriptOptions = {}, uint32_t backlog = 16);
  ~TcpScript();
  TcpScript(TcpScript&&) = default;

  // --- Time.
  TcpScript& at(std::chrono::nanoseconds t);  // nothing may have been sent before
  TcpScript& by(std::chrono::nanoseconds t);  // things may have been sent since

  // --- The peer.
  TcpScript& inject(Packet p);
  TcpScript& inject(std::vector<Packet> frame);  // in one frame
  // Data at the TCP header; what `alter` does to addresses is not checked by the checksum.
  TcpScript& inject_altered(const Packet& p, const std::function<void(Buffer&)>& alter);
  TcpScript& from(uint16_t port);  // another peer, for listeners
  // What is injected has come by that interface; else by the socket's only one. If it is that one,
  // or of link-local ends, all that is sent leaves by it.
  TcpScript& on_link(IfIndex);
  // Bytes behind the IP header, as they are; checksum_ok as a device would say.
  TcpScript& inject_raw(std::string tcp, bool fix_checksum, uint32_t claim_length = 0);

  // --- What must have been sent, in order.
  TcpScript& expect(Packet p);
  TcpScript& expect(const std::vector<Packet>& all);
  TcpScript& expect_silence();
  std::vector<Packet> take_sent();  // for tests that look themselves

  // --- The application.
  TcpScript& app_connects();
  TcpScript& app_listens(uint32_t backlog);
  TcpScript& app_unlistens();
  TcpScript& app_accepts();  // takes the oldest accepted session as the script's
  TcpScript& app_writes(uint32_t n, bool more = false);  // more: MSG_MORE
  TcpScript& app_reads(uint32_t n);                      // checks the bytes
  TcpScript& app_shuts_down();
  TcpScript& app_closes(bool unread = false);
  TcpScript& app_aborts();
  TcpScript& app_sets(const SocketOptionsView&);

  // --- Looking inside.
  tcp::Connection& conn();
  FakeSessions::Session& session() { return sessions_->at(session_); }
  FakeSessions& sessions() { return *sessions_; }
  FakeHost& host() { return *host_; }
  tcp::TcpWorker& worker() { return tcp::tcp_worker(host_->worker); }
  const TransportOps& transport() { return host_->transports[0].second; }
  uint64_t counter(const std::string& path) const { return host_->counter(path); }
  std::size_t waiting() { return sessions_->listener(listener_).accepted.size(); }
  // No connection, entry, flow or timer is left.
  void expect_all_gone();
  // Each node's counters sum to the packets that entered it.
  void expect_counters_sum();
  Status connect_status = Status::kOk;  // what the last app_connects returned
  uint32_t last_iss() const { return bytes_.peers.at(port_).iss; }

 private:
  void collect();  // captured packets -> sent_
  void check_leftovers(const char* when, bool only_before);
  void check_link(const PacketBytes::Sent&) const;
  std::string where() const;
  Packet with_offers(Packet p) const;

  ScriptOptions options_;
  std::unique_ptr<FakeHost> host_;
  std::unique_ptr<FakeSessions> sessions_;
  TimeNs zero_ = 0;
  SessionId session_ = kNoSession;
  SessionId listener_ = kNoSession;
  uint16_t port_ = 5000;
  PacketBytes bytes_;
  std::deque<PacketBytes::Sent> sent_;
};

}  // namespace loom::script
