// UDP without a daemon: its nodes over script::FakeHost, and a session layer of maps. Packets are
// built and read byte by byte.
#pragma once
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <hostloom/checksum.h>
#include <hostloom/datagram.h>
#include <hostloom/net.h>

#include "tests/script/fake_host.h"
#include "udp/udp.h"

namespace loom::test {

struct UdpBed {
  struct Received {
    SessionId session;
    Datagram d;
    std::string payload;
  };
  struct Flow {
    FlowKind kind;
    ConnId conn;
    uint8_t worker = 0;
  };
  using FlowId = std::tuple<IpAddress, uint16_t, IpAddress, uint16_t>;

  static inline UdpBed* self = nullptr;
  script::FakeHost fake;
  SessionOps sessions{};
  NetOps net{};
  const NetOps* fakes = nullptr;
  std::map<FlowId, Flow> flows;
  std::map<FlowId, std::vector<std::pair<ConnId, bool>>> sharing;  // and whether by reuseport
  std::map<FlowId, std::vector<ConnId>> with_one_peer;             // of those that share
  SocketOptionsView options;                                       // of what is opened
  std::vector<Received> received;
  std::vector<std::pair<SessionId, ResetReason>> errors;
  std::vector<std::pair<SessionId, uint16_t>> failing;  // calls that are to fail, by errno
  std::vector<SessionId> unreachable;
  struct Queued {
    SessionId session;
    DatagramError e;
    std::string quoted;
  };
  std::vector<Queued> queued;
  std::vector<SessionId> closed;
  Status rx_answer = Status::kOk;
  std::size_t rx_room = ~std::size_t{0};  // how many of `received` there is room for
  FlowKind force = FlowKind::kNone;       // what every lookup finds, if not this
  SessionId next_session = 100;
  std::map<SessionId, uint32_t> members;  // memberships that are charged to a session
  uint32_t most_members = ~0u;            // of all of them

  uint16_t first_chosen = 40'000, last_chosen = 40'000;  // ports for who asks for none
  uint32_t n_binds = 0, n_unnamed = 0;  // of flow_bind and flow_bind_shared; those without a port

  SocketOwner owner;                              // of what is opened
  std::function<void(const Endpoints&)> at_open;  // what happens meanwhile

  void choose(Endpoints& e) {
    ++n_unnamed;
    e.local_port = first_chosen;
  }
  static FlowId bound_id(const Endpoints& e) { return {e.local, e.local_port, {}, 0}; }
  static FlowId id_of(const Endpoints& e) {
    return {e.local, e.local_port, e.remote, e.remote_port};
  }

  UdpBed() {
    self = this;
    sessions.struct_size = sizeof sessions;
    sessions.lookup4 = lookup<FlowKey4, Ip4Address>;
    sessions.lookup6 = lookup<FlowKey6, Ip6Address>;
    sessions.owner = [](Worker&, SessionId) noexcept { return self->owner; };
    sessions.flow_open = [](Worker&, Endpoints& e, uint8_t, ConnId c) noexcept {
      if (self->at_open) self->at_open(e);
      if (e.local.is_zero()) e.local = local(!e.remote.is_ip4);
      if (e.local_port == 0) e.local_port = self->first_chosen;
      return self->flows.try_emplace(id_of(e), Flow{FlowKind::kHalfOpen, c}).second
                 ? Status::kOk
                 : Status::kInUse;
    };
    sessions.flow_add = [](Worker&, const Endpoints& e, uint8_t, FlowKind kind, ConnId c) noexcept {
      self->flows[id_of(e)] = {kind, c};
      return Status::kOk;
    };
    sessions.flow_del = [](Worker&, const Endpoints& e, uint8_t) noexcept {
      EXPECT_EQ(self->flows.erase(id_of(e)), 1u);
    };
    // Several with one peer: the latest is found.
    sessions.flow_share = [](Worker&, const Endpoints& e, uint8_t, ConnId c, SessionId,
                             const SocketOptionsView&) noexcept {
      auto& all = self->with_one_peer[id_of(e)];
      if (all.empty() && self->flows.contains(id_of(e))) return Status::kInUse;
      all.push_back(c);
      self->flows[id_of(e)] = {FlowKind::kEstablished, c};
      return Status::kOk;
    };
    sessions.flow_unshare = [](Worker&, const Endpoints& e, uint8_t, ConnId c) noexcept {
      auto& all = self->with_one_peer[id_of(e)];
      std::erase(all, c);
      if (all.empty())
        self->flows.erase(id_of(e));
      else
        self->flows[id_of(e)].conn = all.back();
    };
    sessions.chosen_ports = [](Worker&, uint16_t* first, uint16_t* last) noexcept {
      *first = self->first_chosen;
      *last = self->last_chosen;
    };
    sessions.flow_bind = [](Worker&, Endpoints& e, uint8_t, bool both, ConnId c) noexcept {
      ++self->n_binds;
      if (e.local_port == 0) self->choose(e);
      if (!self->flows.try_emplace(bound_id(e), Flow{FlowKind::kBound, c}).second)
        return Status::kInUse;
      Endpoints ip4 = e;
      ip4.local = Ip4Address{};
      if (both) self->flows[bound_id(ip4)] = {FlowKind::kBound, c};
      return Status::kOk;
    };
    sessions.flow_unbind = [](Worker&, const Endpoints& e, uint8_t, bool both) noexcept {
      EXPECT_EQ(self->flows.erase(bound_id(e)), 1u);
      Endpoints ip4 = e;
      ip4.local = Ip4Address{};
      if (both) {
        EXPECT_EQ(self->flows.erase(bound_id(ip4)), 1u);
      }
    };
    // Several on one end: the latest is found.
    sessions.flow_bind_shared = [](Worker&, Endpoints& e, uint8_t, bool, ConnId c, SessionId,
                                   const SocketOptionsView& o) noexcept {
      ++self->n_binds;
      if (e.local_port == 0) self->choose(e);
      auto& all = self->sharing[bound_id(e)];
      if (all.empty() && self->flows.contains(bound_id(e))) return Status::kInUse;
      if (!all.empty() && all.front().second != o.reuseport) return Status::kInUse;
      all.emplace_back(c, o.reuseport);
      self->flows[bound_id(e)] = {FlowKind::kBound, c};
      return Status::kOk;
    };
    sessions.flow_unbind_shared = [](Worker&, const Endpoints& e, uint8_t, bool,
                                     ConnId c) noexcept {
      auto& all = self->sharing[bound_id(e)];
      EXPECT_EQ(std::erase_if(all, [&](const auto& each) { return each.first == c; }), 1u);
      if (all.empty())
        self->flows.erase(bound_id(e));
      else
        self->flows[bound_id(e)].conn = all.back().first;
    };
    sessions.rx_datagram = [](Worker&, SessionId s, const Datagram& d, const Buffer& chain,
                              uint32_t offset, uint32_t length) noexcept {
      if (self->rx_answer != Status::kOk) return self->rx_answer;
      if (self->received.size() >= self->rx_room) return Status::kAgain;
      self->received.push_back({s, d, bytes_of(chain).substr(offset, length)});
      return Status::kOk;
    };
    sessions.soft_error = [](Worker&, SessionId s, ResetReason r) noexcept {
      self->errors.emplace_back(s, r);
    };
    sessions.call_fails = [](Worker&, SessionId s, uint16_t error) noexcept {
      self->failing.emplace_back(s, error);
    };
    sessions.unreachable = [](Worker&, SessionId s) noexcept { self->unreachable.push_back(s); };
    sessions.datagram_error = [](Worker&, SessionId s, const DatagramError& e, const Buffer& chain,
                                 uint32_t offset, uint32_t length) noexcept {
      if (self->rx_answer != Status::kOk) return self->rx_answer;
      self->queued.push_back({s, e, bytes_of(chain).substr(offset, length)});
      return Status::kOk;
    };
    sessions.closed = [](Worker&, SessionId s) noexcept { self->closed.push_back(s); };
    sessions.take_membership = [](Worker&, SessionId s) noexcept {
      uint32_t n = 0;
      for (const auto& [id, of_session] : self->members) n += of_session;
      if (n >= self->most_members) return false;
      ++self->members[s];
      return true;
    };
    sessions.give_back_memberships = [](Worker&, SessionId s, uint32_t n) noexcept {
      EXPECT_GE(self->members[s], n);
      if ((self->members[s] -= n) == 0) self->members.erase(s);
    };
    fake.worker.sessions = &sessions;
    // Sources of routes that a test says nothing of are as flow_open has them.
    net = *fake.worker.net;
    net.route = [](Worker& w, const IpAddress& to, uint32_t fib, RouteInfo* out) noexcept {
      const Status s = self->fakes->route(w, to, fib, out);
      if (s == Status::kOk && out->source.is_zero()) out->source = local(!to.is_ip4);
      return s;
    };
    fakes = std::exchange(fake.worker.net, &net);
    EXPECT_TRUE(udp::init(fake.host));
    EXPECT_TRUE(udp::start(fake.host));
  }
  ~UdpBed() {
    udp::stop(fake.host);
    self = nullptr;
  }

  static std::string bytes_of(const Buffer& chain) {
    std::string all;
    for (const Buffer* b = &chain; b; b = b->next)
      all.append(reinterpret_cast<const char*>(b->data), b->len);
    return all;
  }
  static IpAddress local(bool ip6) { return *IpAddress::parse(ip6 ? "2001:db8::1" : "10.0.0.1"); }
  static IpAddress remote(bool ip6) { return *IpAddress::parse(ip6 ? "2001:db8::2" : "192.0.2.2"); }

  template <class Key, class Address>
  static void lookup(Worker&, std::span<const Key> keys, FlowMatch* out) noexcept {
    for (const Key& k : keys) {
      *out = {};
      if (self->force != FlowKind::kNone) out->kind = self->force;
      for (const FlowId& id :
           {FlowId{k.local, k.local_port, k.remote, k.remote_port},
            FlowId{k.local, k.local_port, {}, 0}, FlowId{Address{}, k.local_port, {}, 0}}) {
        const auto found = self->flows.find(id);
        if (found == self->flows.end() || out->kind != FlowKind::kNone) continue;
        *out = {found->second.conn, found->second.worker, found->second.kind};
      }
      ++out;
    }
  }

  // --- What the session layer asks.
  const TransportOps& ops() { return fake.transports.at(0).second; }
  ConnId open(Endpoints e, Status expected = Status::kOk, bool v6only = false) {
    options.v6only = v6only;
    ConnId c = kNoConn;
    EXPECT_EQ(ops().connect(fake.worker, next_session++, e, options, &c), expected);
    return c;
  }
  ConnId bind(uint16_t port, bool ip6 = false) {
    Endpoints e;
    e.local = e.remote = ip6 ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
    e.local_port = port;
    return open(e);
  }
  ConnId connect(uint16_t port, bool ip6 = false) {
    Endpoints e;
    e.local = ip6 ? IpAddress(Ip6Address{}) : IpAddress(Ip4Address{});
    e.remote = remote(ip6);
    e.remote_port = port;
    return open(e);
  }
  void send(ConnId c, const std::string& payload, const Datagram& d = {}) {
    Buffer* first = fake.worker.alloc();
    Buffer* last = first;
    for (std::size_t done = 0; done < payload.size();) {
      if (last->tailroom() == 0) {
        last->next = fake.worker.alloc();
        last = last->next;
      }
      const auto n =
          static_cast<uint32_t>(std::min<std::size_t>(payload.size() - done, last->tailroom()));
      std::memcpy(last->append(n), payload.data() + done, n);
      if (last != first) first->rest_len += n;
      done += n;
    }
    ops().push_datagrams(fake.worker, c, {&first, 1}, &d);
    fake.run();
  }
  static Datagram to(const IpAddress& a, uint16_t port) {
    Datagram d;
    d.flags = kDatagramRemote;
    d.ends.remote = a;
    d.ends.local = a.is_ip4 ? IpAddress(Ip4Address{}) : IpAddress(Ip6Address{});
    d.ends.remote_port = port;
    return d;
  }

  // --- Packets from the peer, data at the UDP header.
  struct Packet {
    std::string payload = "hello";
    uint16_t src_port = 7, dst_port = 53;
    std::optional<uint16_t> length{};    // of the UDP header
    std::optional<uint16_t> checksum{};  // else the right one
    uint32_t padding = 0;                // behind the IP packet
    uint32_t cut = 0;                    // bytes that the packet has fewer than its IP header says
    uint32_t flags = 0;                  // BufferFlags
    uint16_t gso_size = 0;
    uint8_t tos = 0xb8, ttl = 61;
    IfIndex rx_if = 3, tx_if = kNoIndex;
  };
  void receive(const Packet& p, bool ip6 = false, std::optional<IpAddress> to = {}) {
    fake.deliver(ip6 ? "udp6-input" : "udp4-input", {packet(p, ip6, to)});
  }
  // In one frame.
  void receive_all(const std::vector<Packet>& all, bool ip6) {
    std::vector<Buffer*> packets;
    for (const Packet& p : all) packets.push_back(packet(p, ip6, {}));
    fake.deliver(ip6 ? "udp6-input" : "udp4-input", packets);
  }
  Buffer* packet(const Packet& p, bool ip6, std::optional<IpAddress> to) {
    const IpAddress dst = to ? *to : local(ip6);
    std::string udp(sizeof(UdpHeader), 0);
    udp += p.payload;
    auto& h = *reinterpret_cast<UdpHeader*>(udp.data());
    h.src_port = p.src_port;
    h.dst_port = p.dst_port;
    const auto size = static_cast<uint16_t>(udp.size());
    h.length = p.length.value_or(size);
    const uint32_t summed = std::min<uint32_t>(p.gso_size ? size : uint32_t{h.length}, size);
    ChecksumSum sum = ip6 ? pseudo_header_sum(remote(true).ip6(), dst.ip6(), kProtoUdp, summed)
                          : pseudo_header_sum(remote(false).ip4(), dst.ip4(), kProtoUdp, summed);
    h.checksum = p.checksum.value_or(checksum_finish(checksum_add(sum, udp.data(), summed)));
    Buffer* b = fake.worker.alloc();
    b->l3_offset = b->offset_of_data();
    if (ip6) {
      auto& ip = *reinterpret_cast<Ip6Header*>(b->append(sizeof(Ip6Header)));
      ip.version_class_flow = 6u << 28 | uint32_t{p.tos} << 20;
      ip.payload_length = size;
      ip.next_header = kProtoUdp;
      ip.hop_limit = p.ttl;
      ip.src = remote(true).ip6();
      ip.dst = dst.ip6();
    } else {
      auto& ip = *reinterpret_cast<Ip4Header*>(b->append(sizeof(Ip4Header)));
      ip.version_ihl = 0x45;
      ip.tos = p.tos;
      ip.total_length = static_cast<uint16_t>(size + sizeof(Ip4Header));
      ip.ttl = p.ttl;
      ip.protocol = kProtoUdp;
      ip.src = remote(false).ip4();
      ip.dst = dst.ip4();
    }
    b->advance(b->len);
    udp.resize(udp.size() - p.cut);
    std::memcpy(b->append(static_cast<uint32_t>(udp.size())), udp.data(), udp.size());
    std::memset(b->append(p.padding), 0x55, p.padding);
    b->l4_offset = b->offset_of_data();
    b->flags |= p.flags;
    b->gso_size = p.gso_size;
    b->rx_if = p.rx_if;
    b->tx_if = p.tx_if;
    return b;
  }
  uint64_t count(const std::string& path) { return fake.counter(path); }
  udp::Connection& connection(ConnId c) {
    return *udp::udp_worker(fake.worker).connections.find(c);
  }
};

}  // namespace loom::test
