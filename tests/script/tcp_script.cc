// See tcp_script.h.
#include "tcp_script.h"

#include <gtest/gtest.h>

#include <hostloom/checksum.h>
#include <hostloom/wire.h>

#include <cstring>

#include "cc-cubic/cubic.h"
#include "cc-newreno/newreno.h"
#include "tcp/segment.h"
#include "tcp/tcp.h"

namespace loom::script {
namespace {
constexpr uint32_t kPeerIss = 0xfffff000;  // wraps early
constexpr uint16_t kStackPort = 80;
constexpr char kFlagLetters[] = "FSRP.U";

// Byte number `offset` of a stream; both directions differ.
char stream_byte(uint32_t offset, bool from_peer) {
  return static_cast<char>((offset * 31 + (offset >> 8) + (from_peer ? 101 : 7)) & 0xff);
}
std::string stream_bytes(uint32_t offset, uint32_t n, bool from_peer) {
  std::string s(n, '\0');
  for (uint32_t i = 0; i < n; ++i) s[i] = stream_byte(offset + i, from_peer);
  return s;
}
IpAddress stack_address(bool ip6) { return *IpAddress::parse(ip6 ? "fd00::1" : "10.0.0.1"); }
IpAddress peer_address(bool ip6) { return *IpAddress::parse(ip6 ? "fd00::2" : "10.0.0.2"); }

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
std::string be32(uint32_t v) {
  v = byteswap(v);
  return {reinterpret_cast<char*>(&v), 4};
}
}  // namespace

TcpScript::TcpScript(ScriptOptions options)
    : options_(std::move(options)),
      host_(std::make_unique<FakeHost>()),
      sessions_(std::make_unique<FakeSessions>(*host_)) {
  host_->route.source = stack_address(options_.ip6);
  for (const CcOps* cc : {&newreno::kOps, &cubic::kOps})
    EXPECT_TRUE(host_->host.add_congestion_control(*cc).has_value());
  EXPECT_TRUE(tcp::init(host_->host).has_value());
  tcp::shared().config.cc_algo = options_.cc;
  apply_config_words(options_.config);
  EXPECT_TRUE(tcp::start(host_->host).has_value());
  sessions_->set_transport(host_->transports.at(0).second);
  zero_ = host_->worker.now;
  peers_[port_].stack_port = kStackPort;
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
  if (options.cwnd) s.conn().cc.cwnd = options.cwnd;
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
  if (options.cwnd) s.conn().cc.cwnd = options.cwnd;
  if (!options.quick_acks) s.conn().quick_acks = 0;
  return s;
}

Packet TcpScript::with_offers(Packet p) const {
  if (options_.mss) p.mss(options_.mss);
  if (options_.sack) p.sackok();
  if (options_.wscale) p.wscale(*options_.wscale);
  if (options_.timestamps) p.ts(10'000, peers_.at(port_).tsecr);
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

std::string TcpScript::options_bytes(const Packet& p) {
  if (!p.raw_options.empty()) return p.raw_options;
  std::string o;
  if (p.mss_option) {
    o += std::string("\x02\x04", 2) + static_cast<char>(*p.mss_option >> 8) +
         static_cast<char>(*p.mss_option);
  }
  if (p.wscale_option) o += std::string("\x01\x03\x03", 3) + static_cast<char>(*p.wscale_option);
  if (p.sack_permitted) o += std::string("\x01\x01\x04\x02", 4);
  if (p.tsval) o += std::string("\x01\x01\x08\x0a", 4) + be32(*p.tsval) + be32(p.tsecr.value_or(0));
  if (!p.sack_blocks.empty()) {
    o += std::string("\x01\x01\x05", 3) + static_cast<char>(2 + 8 * p.sack_blocks.size());
    const uint32_t iss = peers_[port_].iss;
    for (const auto& [from, to] : p.sack_blocks) o += be32(iss + from) + be32(iss + to);
  }
  return o;
}

Buffer* TcpScript::build(const Packet& wanted) {
  Packet p = wanted;
  Peer& peer = peers_[port_];
  if (peer.timestamps && !p.tsval && !p.without_timestamps && p.raw_options.empty() &&
      !p.has('R')) {
    const auto ms = static_cast<uint32_t>((host_->worker.now - zero_) / kMillisecond);
    p.ts(10'000 + ms, peer.tsecr);
  }
  if (p.has('S') && p.tsval) peer.timestamps = true;
  std::string options = options_bytes(p);
  while (options.size() % 4) options += '\0';
  TcpHeader h{};
  h.src_port = port_;
  h.dst_port = peer.stack_port;
  const uint32_t seq = p.seq.value_or(peer.next);
  h.seq = kPeerIss + seq;
  h.ack = p.has('.') ? peer.iss + p.ack_number.value_or(peer.wanted) : 0;
  h.data_offset = static_cast<uint8_t>((20 + options.size()) << 2);
  for (int i = 0; i < 6; ++i)
    if (p.has(kFlagLetters[i])) h.flags |= static_cast<uint8_t>(1 << i);
  h.window = static_cast<uint16_t>(p.window.value_or(options_.window));
  if (!p.has('R'))
    peer.next = std::max(peer.next, seq + p.length + (p.has('S') ? 1 : 0) + (p.has('F') ? 1 : 0));
  const std::string bytes = std::string(reinterpret_cast<char*>(&h), sizeof h) + options +
                            stream_bytes(seq - 1, p.length, true);
  return build_ip(bytes, static_cast<uint32_t>(bytes.size()));
}

// `length`: what the IP header says; the packet may be longer (padding) or shorter (malformed).
Buffer* TcpScript::build_ip(const std::string& tcp, uint32_t length) {
  Buffer* b = host_->alloc_buffer();
  b->l3_offset = b->offset_of_data();
  if (!options_.ip6) {
    auto* ip = reinterpret_cast<Ip4Header*>(b->append(sizeof(Ip4Header)));
    *ip = {};
    ip->version_ihl = 0x45;
    ip->total_length = static_cast<uint16_t>(length + sizeof(Ip4Header));
    ip->protocol = kProtoTcp;
    ip->src = peer_address(false).ip4();
    ip->dst = stack_address(false).ip4();
  } else {
    auto* ip = reinterpret_cast<Ip6Header*>(b->append(sizeof(Ip6Header)));
    *ip = {};
    ip->version_class_flow = 6u << 28;
    ip->payload_length = static_cast<uint16_t>(length);
    ip->next_header = kProtoTcp;
    ip->src = peer_address(true).ip6();
    ip->dst = stack_address(true).ip6();
  }
  b->advance(b->len);
  // At least 128 bytes of a packet lie in the first segment; the rest in odd pieces.
  Buffer* last = b;
  for (std::size_t at = 0; at < tcp.size();) {
    const std::size_t limit = last == b ? 555 : 777;
    if (last->len >= limit) {
      last->next = host_->alloc_buffer();
      last = last->next;
    }
    const auto n = static_cast<uint32_t>(std::min(tcp.size() - at, limit - last->len));
    std::memcpy(last->append(n), tcp.data() + at, n);
    if (last != b) b->rest_len += n;
    at += n;
  }
  if (b->len >= sizeof(TcpHeader)) {
    auto* h = b->peek<TcpHeader>();
    h->checksum = 0;
    const uint32_t n = std::min(length, b->length());
    const ChecksumSum pseudo =
        options_.ip6 ? pseudo_header_sum(peer_address(true).ip6(), stack_address(true).ip6(),
                                         kProtoTcp, length)
                     : pseudo_header_sum(peer_address(false).ip4(), stack_address(false).ip4(),
                                         kProtoTcp, length);
    h->checksum = checksum_finish(checksum_add_chain(pseudo, b, 0, n));
  }
  return b;
}

TcpScript& TcpScript::inject(Packet p) { return inject(std::vector<Packet>{std::move(p)}); }

TcpScript& TcpScript::inject(std::vector<Packet> frame) {
  host_->run();
  collect();
  check_leftovers("before the peer sent", false);
  std::vector<Buffer*> buffers;
  for (const Packet& p : frame) buffers.push_back(build(p));
  host_->deliver(options_.ip6 ? "tcp6-input" : "tcp4-input", buffers);
  collect();
  return *this;
}

TcpScript& TcpScript::inject_raw(std::string tcp, bool fix_checksum, uint32_t claim_length) {
  host_->run();
  collect();
  Buffer* b = build_ip(tcp, claim_length ? claim_length : static_cast<uint32_t>(tcp.size()));
  if (!fix_checksum) b->peek<TcpHeader>()->checksum ^= 0x5555;
  host_->deliver(options_.ip6 ? "tcp6-input" : "tcp4-input", {b});
  collect();
  return *this;
}

TcpScript& TcpScript::from(uint16_t port) {
  port_ = port;
  return *this;
}

// --- What was sent
// ---------------------------------------------------------------------------------

void TcpScript::collect() {
  while (!host_->captured.empty()) {
    const auto c = host_->captured.front();
    host_->captured.pop_front();
    parse(c);
    host_->free_chain(c.packet);
  }
}

void TcpScript::parse(const FakeHost::Captured& captured) {
  Buffer& b = *captured.packet;
  std::string bytes;
  uint32_t counted = 0;
  for (const Buffer* part = &b; part; part = part->next) {
    bytes.append(reinterpret_cast<const char*>(part->data), part->len);
    if (part != &b) counted += part->len;
  }
  ASSERT_EQ(counted, b.rest_len);
  ASSERT_TRUE(b.flags & kBufferLocallyOriginated);
  ASSERT_EQ(b.l3_offset, b.offset_of_data());
  uint32_t ip_bytes;
  ChecksumSum pseudo;
  if (!options_.ip6) {
    const auto& ip = *b.at<Ip4Header>(b.l3_offset);
    ip_bytes = sizeof(Ip4Header);
    ASSERT_EQ(ip.total_length, bytes.size());
    ASSERT_TRUE(ip4_header_checksum_ok(ip));
    ASSERT_EQ(ip.src, stack_address(false).ip4());
    ASSERT_EQ(ip.dst, peer_address(false).ip4());
    last_ip_id = ip.id;
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, b.length() - ip_bytes);
  } else {
    const auto& ip = *b.at<Ip6Header>(b.l3_offset);
    ip_bytes = sizeof(Ip6Header);
    ASSERT_EQ(ip.payload_length + ip_bytes, bytes.size());
    ASSERT_TRUE(b.flags & kBufferIsIp6);
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, b.length() - ip_bytes);
  }
  ASSERT_EQ(b.l4_offset, b.l3_offset + static_cast<int>(ip_bytes));
  const auto& h = *reinterpret_cast<const TcpHeader*>(bytes.data() + ip_bytes);
  if (b.flags & kBufferTxTcpChecksum) {
    ASSERT_EQ(h.checksum, checksum_fold(pseudo));
  } else {
    ASSERT_EQ(checksum_fold(checksum_add_chain(pseudo, &b, ip_bytes, b.length() - ip_bytes)),
              0xffff);
  }
  Peer& peer = peers_[h.dst_port];
  if (!peer.knows_iss && (h.flags & tcp::kSyn)) {
    peer.iss = h.seq;
    peer.knows_iss = true;
    peer.stack_port = h.src_port;
  }
  Packet p;
  for (int i = 0; i < 6; ++i)
    if (h.flags & 1 << i) p.flags += kFlagLetters[i];
  p.seq = h.seq - peer.iss;
  if (h.flags & tcp::kAck) p.ack_number = h.ack - kPeerIss;
  p.window = h.window;
  tcp::Options o;
  ASSERT_TRUE(tcp::parse_options(
      {reinterpret_cast<const std::byte*>(&h + 1), h.header_length() - sizeof h}, o));
  if (o.has(tcp::kOptMss)) p.mss_option = o.mss;
  if (o.has(tcp::kOptWscale)) p.wscale_option = o.wscale;
  p.sack_permitted = o.has(tcp::kOptSackPermitted);
  if (o.has(tcp::kOptTimestamps)) {
    p.tsval = o.tsval;
    p.tsecr = o.tsecr;
    peer.tsecr = o.tsval;
  }
  for (uint32_t i = 0; i < o.n_sack; ++i)
    p.sack_blocks.emplace_back(o.sack[i].start.raw() - kPeerIss, o.sack[i].end.raw() - kPeerIss);
  const std::string text = bytes.substr(ip_bytes + h.header_length());
  ASSERT_EQ(text, stream_bytes(*p.seq - 1, static_cast<uint32_t>(text.size()), false));
  const auto size = static_cast<uint32_t>(text.size());
  if (b.gso_size != 0) {
    ASSERT_GT(size, b.gso_size) << "gso on a single segment";
  }
  // The wire's view: one packet a segment, FIN and PSH on the last.
  const uint32_t step = b.gso_size ? b.gso_size : std::max(size, 1u);
  for (uint32_t at = 0; at == 0 || at < size; at += step) {
    Packet part = p;
    part.seq = *p.seq + at;
    part.length = std::min(step, size - at);
    if (at + part.length < size)
      std::erase_if(part.flags, [](char c) { return c == 'F' || c == 'P'; });
    sent_.push_back({captured.when, h.dst_port, part});
  }
}

TcpScript& TcpScript::expect(Packet want) {
  host_->run();
  collect();
  if (sent_.empty()) {
    ADD_FAILURE() << where() << ": expected " << want.str() << ", nothing was sent";
    return *this;
  }
  const Sent sent = sent_.front();
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
  Peer& peer = peers_[port_];
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
  for (const Sent& s : sent_) {
    all.push_back(s.packet);
    Peer& peer = peers_[s.port];
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
  ends.remote = peer_address(options_.ip6);
  ends.remote_port = port_;
  connect_status = transport().connect(host_->worker, s.id, ends, options_.socket, &s.conn);
  s.ends = ends;
  return *this;
}

TcpScript& TcpScript::app_listens(uint32_t backlog) {
  FakeSessions::Listener& l = sessions_->add_listener(kStackPort);
  listener_ = l.id;
  l.backlog = backlog;
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
  session().rx_limit = options_.rx_fifo;
  return *this;
}

TcpScript& TcpScript::app_writes(uint32_t n, bool more) {
  uint32_t& written = peers_[port_].written;
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
