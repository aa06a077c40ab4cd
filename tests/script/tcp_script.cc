// See tcp_script.h.
#include "tcp_script.h"

#include <gtest/gtest.h>

#include <hostloom/wire.h>

#include "cc-cubic/cubic.h"
#include "cc-newreno/newreno.h"
#include "tcp/tcp.h"

namespace loom::script {
namespace {
void apply_config_words(const std::string& words) {
  ConfigNode stanza{.word = "tcp", .children = {}, .has_block = true, .file = "script", .line = 1};
  std::string word;
  for (const char c : words + " ") {
    if (c != ' ') {
      word += c;
    } else if (!word.empty()) {
      stanza.children.push_back(
          {.word = word, .children = {}, .has_block = false, .file = "script", .line = 1});
      word.clear();
    }
  }
  const auto r = tcp::apply_config(&tcp::shared().config, stanza);
  ASSERT_TRUE(r.has_value()) << "config: " << words;
}
}  // namespace

TcpScript::TcpScript(ScriptOptions options)
    : options_(std::move(options)),
      host_(std::make_unique<FakeHost>()),
      sessions_(std::make_unique<FakeSessions>(*host_)),
      bytes_(*host_, options_.ip6, options_.window, options_.link_local) {
  host_->route.source = stack_address(options_.ip6, options_.link_local);
  host_->has_links = options_.link_local;
  bytes_.link = options_.socket.interface;
  for (const CcOps* cc : {&newreno::kOps, &cubic::kOps})
    EXPECT_TRUE(host_->host.add_congestion_control(*cc).has_value());
  EXPECT_TRUE(tcp::init(host_->host).has_value());
  tcp::shared().config.cc_algo = options_.cc;
  apply_config_words(options_.config);
  EXPECT_TRUE(tcp::start(host_->host).has_value());
  sessions_->set_transport(host_->transports.at(0).second);
  zero_ = host_->worker.now;
  bytes_.peers[port_];  // known before it has sent
}

TcpScript::~TcpScript() {
  if (!host_) return;  // moved from
  host_->run();
  collect();
  check_leftovers("when the script ended", false);
  expect_counters_sum();
  tcp::stop(host_->host);
}

TcpScript TcpScript::established(ScriptOptions options) {
  TcpScript s(options);
  s.zero_ += 20 * kMillisecond;
  s.at(-20ms).app_connects();
  s.take_sent();
  s.at(0ms).inject(s.with_offers(syn_ack())).expect(ack(1));
  if (options.cwnd) s.conn().cc->cwnd = options.cwnd;
  if (!options.quick_acks) s.conn().quick_acks = 0;
  return s;
}

TcpScript TcpScript::listening(ScriptOptions options, uint32_t backlog) {
  TcpScript s(options);
  s.app_listens(backlog);
  return s;
}

TcpScript TcpScript::accepted(ScriptOptions options) {
  TcpScript s = listening(options);
  s.zero_ += 20 * kMillisecond;
  s.at(-20ms).inject(s.with_offers(syn()));
  s.take_sent();
  s.at(0ms).inject(ack(1)).expect_silence();
  s.app_accepts();
  if (options.cwnd) s.conn().cc->cwnd = options.cwnd;
  if (!options.quick_acks) s.conn().quick_acks = 0;
  return s;
}

Packet TcpScript::with_offers(Packet p) const {
  if (options_.mss) p.mss(options_.mss);
  if (options_.sack) p.sackok();
  if (options_.wscale) p.wscale(*options_.wscale);
  if (options_.timestamps) p.ts(10'000, bytes_.peers.at(port_).tsecr);
  return p;
}

std::string TcpScript::where() const {
  return "at " + std::to_string(static_cast<double>(host_->worker.now - zero_) / 1e6) + " ms";
}

// --- Time
// ------------------------------------------------------------------------------------------

TcpScript& TcpScript::at(std::chrono::nanoseconds t) {
  host_->run();
  collect();
  check_leftovers("before time moved on", false);
  host_->advance_to(zero_ + t.count());
  collect();
  check_leftovers("on the way", true);
  return *this;
}

TcpScript& TcpScript::by(std::chrono::nanoseconds t) {
  host_->run();
  collect();
  check_leftovers("before time moved on", false);
  host_->advance_to(zero_ + t.count());
  collect();
  return *this;
}

void TcpScript::check_leftovers(const char* when, bool only_before) {
  for (auto i = sent_.begin(); i != sent_.end();) {
    if (only_before && i->when == host_->worker.now) {
      ++i;
      continue;
    }
    ADD_FAILURE() << "nobody expected, " << when << ": " << i->packet.str() << ", sent at "
                  << static_cast<double>(i->when - zero_) / 1e6 << " ms";
    i = sent_.erase(i);
  }
}

// --- The peer
// --------------------------------------------------------------------------------------

TcpScript& TcpScript::inject(Packet p) { return inject(std::vector<Packet>{std::move(p)}); }

TcpScript& TcpScript::inject(std::vector<Packet> frame) {
  host_->run();
  collect();
  check_leftovers("before the peer sent", false);
  std::vector<Buffer*> buffers;
  const auto ms = static_cast<uint32_t>((host_->worker.now - zero_) / kMillisecond);
  for (const Packet& p : frame) buffers.push_back(bytes_.build(p, port_, 10'000 + ms));
  host_->deliver(options_.ip6 ? "tcp6-input" : "tcp4-input", buffers);
  collect();
  return *this;
}

TcpScript& TcpScript::inject_altered(const Packet& p, const std::function<void(Buffer&)>& alter) {
  host_->run();
  collect();
  check_leftovers("before the peer sent", false);
  const auto ms = static_cast<uint32_t>((host_->worker.now - zero_) / kMillisecond);
  Buffer* b = bytes_.build(p, port_, 10'000 + ms);
  b->flags |= kBufferL4ChecksumOk;
  alter(*b);
  host_->deliver(options_.ip6 ? "tcp6-input" : "tcp4-input", {b});
  collect();
  return *this;
}

TcpScript& TcpScript::inject_raw(std::string tcp, bool fix_checksum, uint32_t claim_length) {
  host_->run();
  collect();
  Buffer* b = bytes_.build_ip(tcp, claim_length ? claim_length : static_cast<uint32_t>(tcp.size()));
  if (!fix_checksum) b->peek<TcpHeader>()->checksum ^= 0x5555;
  host_->deliver(options_.ip6 ? "tcp6-input" : "tcp4-input", {b});
  collect();
  return *this;
}

TcpScript& TcpScript::from(uint16_t port) {
  port_ = port;
  return *this;
}

TcpScript& TcpScript::on_link(IfIndex link) {
  bytes_.link = link;
  return *this;
}

// --- What was sent
// ---------------------------------------------------------------------------------

void TcpScript::collect() {
  while (!host_->captured.empty()) {
    const auto c = host_->captured.front();
    host_->captured.pop_front();
    bytes_.read(c, sent_);
    host_->free_chain(c.packet);
  }
}
void TcpScript::check_link(const PacketBytes::Sent& sent) const {
  const IfIndex only = options_.socket.interface;
  if (!options_.link_local && (only == kNoIndex || only != bytes_.link)) return;
  EXPECT_EQ(sent.tx_if, bytes_.link) << where() << ": " << sent.packet.str();
  EXPECT_EQ(sent.adjacency, FakeHost::adjacency_on(bytes_.link))
      << where() << ": " << sent.packet.str();
}

TcpScript& TcpScript::expect(Packet want) {
  host_->run();
  collect();
  if (sent_.empty()) {
    ADD_FAILURE() << where() << ": expected " << want.str() << ", nothing was sent";
    return *this;
  }
  const auto sent = sent_.front();
  sent_.pop_front();
  const Packet& got = sent.packet;
  bool same =
      sent.port == port_ && want.length == got.length && want.sack_blocks == got.sack_blocks;
  for (const char f : std::string("FSR.U")) same = same && want.has(f) == got.has(f);
  same = same && (!want.has('P') || got.has('P')) && (!want.seq || want.seq == got.seq) &&
         (!want.ack_number || want.ack_number == got.ack_number) &&
         (!want.window || want.window == got.window) &&
         (!want.mss_option || want.mss_option == got.mss_option) &&
         (!want.wscale_option || want.wscale_option == got.wscale_option) &&
         (!want.sack_permitted || got.sack_permitted) && (!want.tsval || want.tsval == got.tsval) &&
         (!want.tsecr || want.tsecr == got.tsecr);
  if (!same)
    ADD_FAILURE() << where() << ":\n  expected " << want.str() << "\n  sent     " << got.str();
  check_link(sent);
  Peer& peer = bytes_.peers[port_];
  peer.wanted = std::max(peer.wanted,
                         *got.seq + got.length + (got.has('S') ? 1 : 0) + (got.has('F') ? 1 : 0));
  return *this;
}

TcpScript& TcpScript::expect(const std::vector<Packet>& all) {
  for (const Packet& p : all) expect(p);
  return *this;
}

TcpScript& TcpScript::expect_silence() {
  host_->run();
  collect();
  check_leftovers("where silence was expected", false);
  return *this;
}

std::vector<Packet> TcpScript::take_sent() {
  host_->run();
  collect();
  std::vector<Packet> all;
  for (const auto& s : sent_) {
    check_link(s);
    all.push_back(s.packet);
    Peer& peer = bytes_.peers[s.port];
    peer.wanted =
        std::max(peer.wanted, *s.packet.seq + s.packet.length + (s.packet.has('S') ? 1 : 0) +
                                  (s.packet.has('F') ? 1 : 0));
  }
  sent_.clear();
  return all;
}

// --- The application
// -------------------------------------------------------------------------------

TcpScript& TcpScript::app_connects() {
  FakeSessions::Session& s = sessions_->add_session();
  session_ = s.id;
  s.rx_limit = options_.rx_fifo;
  Endpoints ends;
  ends.remote = peer_address(options_.ip6, options_.link_local);
  ends.remote_port = port_;
  connect_status = transport().connect(host_->worker, s.id, ends, options_.socket, &s.conn);
  s.ends = ends;
  return *this;
}

TcpScript& TcpScript::app_listens(uint32_t backlog) {
  FakeSessions::Listener& l = sessions_->add_listener(kStackPort);
  listener_ = l.id;
  l.backlog = backlog;
  l.rx_limit = options_.rx_fifo;
  l.interface = options_.socket.interface;
  Endpoints ends;
  ends.local_port = kStackPort;
  EXPECT_EQ(transport().listen(host_->worker, l.id, ends, options_.socket, &l.conn), Status::kOk);
  return *this;
}

TcpScript& TcpScript::app_unlistens() {
  sessions_->remove_listener(listener_);
  return *this;
}

TcpScript& TcpScript::app_accepts() {
  auto& waiting = sessions_->listener(listener_).accepted;
  if (waiting.empty()) {
    ADD_FAILURE() << where() << ": nothing to accept";
    return *this;
  }
  session_ = waiting.front();
  waiting.erase(waiting.begin());
  return *this;
}

TcpScript& TcpScript::app_writes(uint32_t n, bool more) {
  uint32_t& written = bytes_.peers[port_].written;
  sessions_->write(session(), stream_bytes(written, n, false), more);
  written += n;
  host_->run();
  return *this;
}

TcpScript& TcpScript::app_reads(uint32_t n) {
  FakeSessions::Session& s = session();
  EXPECT_GE(s.rx.size(), n) << where() << ": fewer bytes to read";
  const auto offset = static_cast<uint32_t>(conn().bytes_received - s.rx.size());
  const auto have = static_cast<uint32_t>(std::min<std::size_t>(n, s.rx.size()));
  EXPECT_EQ(s.rx.substr(0, have), stream_bytes(offset, have, true)) << where();
  sessions_->read(s, have);
  host_->run();
  return *this;
}

TcpScript& TcpScript::app_shuts_down() {
  transport().shutdown(host_->worker, session().conn);
  host_->run();
  return *this;
}

TcpScript& TcpScript::app_closes(bool unread) {
  transport().close(host_->worker, session().conn, unread);
  host_->run();
  return *this;
}

TcpScript& TcpScript::app_aborts() {
  transport().abort(host_->worker, session().conn);
  host_->run();
  return *this;
}

TcpScript& TcpScript::app_sets(const SocketOptionsView& o) {
  EXPECT_EQ(transport().set_options(host_->worker, session().conn, o), Status::kOk);
  host_->run();
  return *this;
}

// --- Looking inside
// --------------------------------------------------------------------------------

tcp::Connection& TcpScript::conn() {
  tcp::Connection* c = worker().connections.find(session().conn);
  if (c) return *c;
  ADD_FAILURE() << where() << ": the connection is gone";
  static tcp::Connection none;
  return none;
}

void TcpScript::expect_all_gone() {
  host_->run();
  EXPECT_EQ(worker().connections.size(), 0u);
  EXPECT_EQ(worker().half_open.size(), 0u);
  EXPECT_EQ(worker().time_waits.size(), 0u);
  EXPECT_EQ(worker().scoreboards.size(), 0u);
  EXPECT_EQ(sessions_->n_flows(), 0u);
  EXPECT_EQ(host_->n_timers(), 0u);
}

void TcpScript::expect_counters_sum() {
  for (const char* node :
       {"tcp4-input", "tcp6-input", "tcp4-established", "tcp6-established", "tcp4-syn-sent",
        "tcp6-syn-sent", "tcp4-rcv-process", "tcp6-rcv-process", "tcp4-listen", "tcp6-listen",
        "tcp4-reset", "tcp6-reset", "tcp4-output", "tcp6-output"})
    EXPECT_EQ(host_->node_total(node), host_->packets_into(node)) << node;
}

}  // namespace loom::script
