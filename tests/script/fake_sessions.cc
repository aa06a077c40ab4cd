// See fake_sessions.h.
#include "fake_sessions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace loom::script {
namespace {
FakeSessions* current = nullptr;  // one script at a time in a test program

std::string copy_out(const Buffer& chain, uint32_t offset, uint32_t length) {
  std::string out;
  for (const Buffer* b = &chain; b && length; b = b->next) {
    if (offset >= b->len) {
      offset -= b->len;
      continue;
    }
    const uint32_t n = std::min(b->len - offset, length);
    out.append(reinterpret_cast<const char*>(b->data) + offset, n);
    length -= n;
    offset = 0;
  }
  EXPECT_EQ(length, 0u) << "transport pointed beyond the packet";
  return out;
}
}  // namespace

FakeSessions& FakeSessions::of(Worker&) { return *current; }

FakeSessions::FakeSessions(FakeHost& host) : host_(host) {
  current = this;
  fill_ops();
  host.worker.sessions = &session_ops_;
  host.pump = [](void* self) { static_cast<FakeSessions*>(self)->pump(); };
  host.pump_context = this;
}

FakeSessions::Session& FakeSessions::add_session() {
  Session& s = sessions_[next_id_];
  s.id = next_id_++;
  return s;
}

FakeSessions::Listener& FakeSessions::add_listener(uint16_t port) {
  Listener& l = listeners_[next_id_];
  l.id = next_id_++;
  l.conn = kNoConn;
  ports_[port] = l.id;
  return l;
}

void FakeSessions::remove_listener(SessionId id) {
  ops_.unlisten(host_.worker, listeners_.at(id).conn);
  std::erase_if(ports_, [id](const auto& p) { return p.second == id; });
  listeners_.erase(id);
}

FlowMatch FakeSessions::match(const FlowId& id) const {
  if (every_match) return *every_match;
  if (const auto flow = flows_.find(id); flow != flows_.end())
    return {flow->second.conn, 0, flow->second.kind};
  if (const auto port = ports_.find(std::get<1>(id)); port != ports_.end())
    return {listeners_.at(port->second).conn, 0, FlowKind::kListener};
  return {};
}

uint32_t FakeSessions::merge(Session& s) {
  uint32_t moved = 0;
  for (bool again = true; again;) {
    again = false;
    for (std::size_t i = 0; i < s.ranges.size(); ++i)
      if (s.ranges[i].first == 0) {
        const uint32_t n = s.ranges[i].second;
        s.rx += s.ahead.substr(0, n);
        s.ahead.erase(0, n);
        s.ranges.erase(s.ranges.begin() + static_cast<std::ptrdiff_t>(i));
        for (auto& r : s.ranges) r = {r.first - n, r.second - n};
        moved += n;
        again = true;
        break;
      }
  }
  return moved;
}

void FakeSessions::read(Session& s, uint32_t n) {
  ASSERT_LE(n, s.rx.size());
  s.rx.erase(0, n);
  s.n_read += n;
  if (s.drained_at && s.n_read >= *s.drained_at) {
    s.drained_at.reset();
    if (s.is_live()) ops_.rx_drained(host_.worker, s.conn);
  }
}

void FakeSessions::write(Session& s, const std::string& bytes, bool more) {
  s.tx += bytes;
  s.held = more ? s.held + static_cast<uint32_t>(bytes.size()) : 0;
  s.scheduled = true;
}

void FakeSessions::visit(Session& s) {
  Worker& w = host_.worker;
  for (int round = 0; round < 1000; ++round) {
    if (!s.is_live()) return;
    const auto queued = static_cast<uint32_t>(s.tx.size());
    if (s.held != 0 || s.was_held) {
      s.was_held = s.held != 0;
      ops_.tx_due(w, s.conn, s.held ? queued - std::min(s.held, queued) : ~0u);
    }
    const SendWindow window = ops_.send_window(w, s.conn, queued);
    if (window.budget == 0) return;
    ASSERT_LE(window.offset + window.budget, queued) << "budget beyond what is queued";
    ASSERT_GT(window.segment, 0u);
    std::vector<Buffer*> chains;
    for (uint32_t at = 0; at < window.budget;) {
      const uint32_t n = std::min(window.segment, window.budget - at);
      Buffer* b = w.alloc();
      if (!b || !w.sessions->tx_append(w, s.id, window.offset + at, n, *b)) {
        if (b) w.free(b);
        break;
      }
      chains.push_back(b);
      at += n;
    }
    if (chains.empty()) return;
    ops_.push_headers(w, s.conn, chains);
  }
  FAIL() << "the transport never stops sending";
}

void FakeSessions::pump() {
  for (auto& [id, s] : sessions_)
    if (s.scheduled) {
      s.scheduled = false;
      visit(s);
    }
}

void FakeSessions::fill_ops() {
  SessionOps& o = session_ops_;
  o.struct_size = sizeof o;
  o.lookup4 = [](Worker& w, std::span<const FlowKey4> keys, FlowMatch* out) noexcept {
    for (const auto& k : keys)
      *out++ = of(w).match({k.local, k.local_port, k.remote, k.remote_port});
  };
  o.lookup6 = [](Worker& w, std::span<const FlowKey6> keys, FlowMatch* out) noexcept {
    for (const auto& k : keys)
      *out++ = of(w).match({k.local, k.local_port, k.remote, k.remote_port});
  };
  o.listener_on = [](Worker& w, const Endpoints&, uint8_t, SessionId found, IfIndex by) noexcept {
    for (const auto& [id, l] : of(w).listeners_)
      if (id != found && (l.interface == kNoIndex || l.interface == by)) return l.conn;
    return kNoConn;
  };
  o.flow_add = [](Worker& w, const Endpoints& e, uint8_t, FlowKind kind, ConnId conn) noexcept {
    auto& flows = of(w).flows_;
    const auto found = flows.find(flow_id(e));
    const bool replaces = found != flows.end() && found->second.kind == FlowKind::kHalfOpen &&
                          kind == FlowKind::kEstablished;
    if (of(w).refuses_flows) return Status::kNoMemory;
    if (of(w).before_flow_add)
      if (const Status s = of(w).before_flow_add(); s != Status::kOk) return s;
    if (found != flows.end() && !replaces) return Status::kExists;
    flows[flow_id(e)] = {kind, conn};
    return Status::kOk;
  };
  o.flow_del = [](Worker& w, const Endpoints& e, uint8_t) noexcept {
    EXPECT_EQ(of(w).flows_.erase(flow_id(e)), 1u) << "flow_del of an entry that is not there";
    if (of(w).after_flow_del) of(w).after_flow_del();
  };
  o.flow_move = [](Worker& w, const Endpoints& e, uint8_t, ConnId conn) noexcept {
    const auto found = of(w).flows_.find(flow_id(e));
    ASSERT_NE(found, of(w).flows_.end()) << "flow_move of an entry that is not there";
    found->second = {FlowKind::kEstablished, conn};
  };
  o.flow_open = [](Worker& w, Endpoints& e, uint8_t, ConnId conn) noexcept {
    FakeSessions& self = of(w);
    if (!self.host_.has_route) return Status::kUnreachable;
    if (e.local.is_zero()) e.local = self.host_.route.source;
    if (e.local_port == 0) e.local_port = self.next_port_++;
    if (self.flows_.contains(flow_id(e))) return Status::kInUse;
    self.flows_[flow_id(e)] = {FlowKind::kHalfOpen, conn};
    return Status::kOk;
  };
  o.accept_allowed = [](Worker& w, SessionId listener, uint32_t half_open) noexcept {
    const Listener& l = of(w).listeners_.at(listener);
    return l.accepted.size() + half_open < l.backlog;
  };
  o.accepted = [](Worker& w, SessionId listener, TransportId, ConnId conn, const Endpoints& e,
                  SessionId* out) noexcept {
    FakeSessions& self = of(w);
    if (self.refuses_memory) return Status::kNoMemory;
    Listener& l = self.listeners_.at(listener);
    if (l.accepted.size() >= l.backlog) return Status::kAgain;
    Session& s = self.add_session();
    s.conn = conn;
    s.ends = e;
    s.is_accepted = true;
    s.rx_limit = l.rx_limit;
    l.accepted.push_back(s.id);
    *out = s.id;
    if (self.on_accepted) self.on_accepted(self, listener);
    return Status::kOk;
  };
  o.connected = [](Worker& w, SessionId id, Status status, const Endpoints& e) noexcept {
    Session& s = of(w).sessions_.at(id);
    EXPECT_FALSE(s.connected) << "connected twice";
    s.connected = status;
    s.ends = e;
    s.scheduled = true;
  };
  o.peer_closed = [](Worker& w, SessionId id) noexcept {
    FakeSessions& self = of(w);
    Session& s = self.sessions_.at(id);
    EXPECT_TRUE(s.is_live());
    s.is_peer_closed = true;
    if (self.on_readable) self.on_readable(w, s, self.on_readable_context);
  };
  o.reset = [](Worker& w, SessionId id, ResetReason reason) noexcept {
    Session& s = of(w).sessions_.at(id);
    EXPECT_TRUE(s.is_live()) << "reset after the end";
    s.reset = reason;
  };
  o.closed = [](Worker& w, SessionId id) noexcept {
    Session& s = of(w).sessions_.at(id);
    EXPECT_TRUE(s.is_live()) << "closed after the end";
    s.is_closed = true;
  };
  o.rx_enqueue = [](Worker& w, SessionId id, const Buffer& b, uint32_t offset,
                    uint32_t length) noexcept -> uint32_t {
    FakeSessions& self = of(w);
    Session& s = self.sessions_.at(id);
    EXPECT_TRUE(s.is_live()) << "data after the end";
    EXPECT_GT(length, 0u);
    if (self.refuses_memory) return 0;
    const auto space = static_cast<uint32_t>(s.rx_limit - s.rx.size());
    length = std::min(length, space);
    if (length == 0) return 0;
    if (s.ahead.size() < length) s.ahead.resize(length, '\0');
    s.ahead.replace(0, length, copy_out(b, offset, length));
    // What lies within is part of the new range now.
    std::pair<uint32_t, uint32_t> range{0, length};
    std::erase_if(s.ranges, [&](const auto& r) {
      if (r.first > range.second) return false;
      range.second = std::max(range.second, r.second);
      return true;
    });
    s.ranges.insert(s.ranges.begin(), range);
    const uint32_t moved = self.merge(s);
    if (self.on_readable) self.on_readable(w, s, self.on_readable_context);
    return moved;
  };
  o.rx_enqueue_at = [](Worker& w, SessionId id, uint32_t ahead, const Buffer& b, uint32_t offset,
                       uint32_t length) noexcept {
    FakeSessions& self = of(w);
    Session& s = self.sessions_.at(id);
    EXPECT_TRUE(s.is_live());
    EXPECT_GT(ahead, 0u);
    EXPECT_GT(length, 0u);
    if (self.refuses_memory || ahead + length > s.rx_limit - s.rx.size()) return false;
    if (s.ahead.size() < ahead + length) s.ahead.resize(ahead + length, '\0');
    s.ahead.replace(ahead, length, copy_out(b, offset, length));
    std::pair<uint32_t, uint32_t> range{ahead, ahead + length};
    std::erase_if(s.ranges, [&](const auto& r) {
      if (r.first > range.second || r.second < range.first) return false;
      range = {std::min(range.first, r.first), std::max(range.second, r.second)};
      return true;
    });
    s.ranges.insert(s.ranges.begin(), range);
    return true;
  };
  o.rx_ooo_ranges = [](Worker& w, SessionId id,
                       std::span<std::pair<uint32_t, uint32_t>> out) noexcept -> uint32_t {
    const Session& s = of(w).sessions_.at(id);
    const std::size_t n = std::min(out.size(), s.ranges.size());
    std::copy_n(s.ranges.begin(), n, out.begin());
    return static_cast<uint32_t>(n);
  };
  o.rx_space = [](Worker& w, SessionId id) noexcept {
    const Session& s = of(w).sessions_.at(id);
    return static_cast<uint32_t>(s.rx_limit - s.rx.size());
  };
  o.rx_size = [](Worker& w, SessionId id) noexcept { return of(w).sessions_.at(id).rx_limit; };
  o.rx_await = [](Worker& w, SessionId id, uint32_t bytes) noexcept {
    Session& s = of(w).sessions_.at(id);
    of(w).read(s, std::exchange(s.reads_first, 0));
    if (s.rx_limit - s.rx.size() >= bytes) return false;
    s.drained_at = s.n_read + s.rx.size() + bytes - s.rx_limit;
    return true;
  };
  o.tx_queued = [](Worker& w, SessionId id) noexcept {
    return static_cast<uint32_t>(of(w).sessions_.at(id).tx.size());
  };
  o.tx_append = [](Worker& w, SessionId id, uint32_t offset, uint32_t length,
                   Buffer& first) noexcept {
    const Session& s = of(w).sessions_.at(id);
    EXPECT_LE(offset + length, s.tx.size()) << "transport asks for bytes that are not queued";
    Buffer* last = &first;
    while (last->next) last = last->next;
    // Odd sizes: nothing may assume that a segment's length is even.
    for (uint32_t at = 0; at < length;) {
      if (last->tailroom() == 0 || last->len >= 701) {
        Buffer* more = w.alloc();
        if (!more) {
          if (first.next) w.free(first.next);
          first.next = nullptr;
          first.len = first.rest_len = 0;
          return false;
        }
        last->next = more;
        last = more;
      }
      const uint32_t n = std::min({length - at, last->tailroom(), 701 - last->len});
      std::memcpy(last->append(n), s.tx.data() + offset + at, n);
      if (last != &first) first.rest_len += n;
      at += n;
    }
    return true;
  };
  o.tx_drop = [](Worker& w, SessionId id, uint32_t n) noexcept {
    Session& s = of(w).sessions_.at(id);
    EXPECT_LE(n, s.tx.size()) << "transport drops more than is queued";
    s.tx.erase(0, n);
  };
  o.handle = [](Worker&, SessionId id) noexcept { return uint64_t{7} << 40 | id; };
  o.tx_schedule = [](Worker& w, SessionId id) noexcept { of(w).sessions_.at(id).scheduled = true; };
}

}  // namespace loom::script
