// Neighbour-discovery messages that this host sends.
#include "net/ip6/nd_messages.h"

#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

#include "net/ip6/ip6_address.h"
#include "net/ip6/nd_wire.h"
#include "net/neighbor/neighbor_messages.h"
#include "net/state.h"

namespace loom {
namespace {

struct Message {
  NeighborMessage body;
  uint8_t option = 0;  // kind of the link-layer option that goes along, 0 = none
  Ip6Address src, dst;
  MacAddress to;
};

bool send(Worker& w, const Interface& f, const Message& m) {
  Buffer* b = w.alloc();
  if (!b) return false;
  auto* body = reinterpret_cast<NeighborMessage*>(b->append(sizeof(NeighborMessage)));
  *body = m.body;
  if (m.option) {
    auto* o = reinterpret_cast<LinkLayerOption*>(b->append(sizeof(LinkLayerOption)));
    *o = {m.option, 1, f.mac};
  }
  body->checksum = 0;
  body->checksum = checksum_finish(
      checksum_add(pseudo_header_sum(m.src, m.dst, kProtoIcmp6, b->len), b->data, b->len));
  push_ip6_header(*b, m.src, m.dst, kProtoIcmp6, 0, 0, kNdHopLimit);
  *b->prepend<EthernetHeader>() = {m.to, f.mac, Be16(kEtherTypeIp6)};
  b->l2_offset = b->offset_of_data();
  b->tx_if = f.index;
  w.enqueue_to_node(net_state(w).nodes.interface_output, b);
  return true;
}

// The interface, when it can carry neighbour discovery.
Interface* ready(Worker& w, IfIndex index) noexcept {
  Interface* f = net_state(w).interfaces.find(index);
  return f && f->is_up() && f->is_ethernet ? f : nullptr;
}

NeighborMessage solicitation(const Ip6Address& target) noexcept {
  return {kIcmp6NeighborSolicitation, 0, 0, 0, target};
}

}  // namespace

bool send_neighbor_solicitation(Worker& w, IfIndex index, const Ip6Address& target,
                                const MacAddress* unicast) {
  const Interface* f = ready(w, index);
  if (!f) return false;
  const IpAddress* source = f->address_view().source_for(IpAddress(target));
  if (!source) return false;
  const Ip6Address group = solicited_node_of(target);
  return send(w, *f,
              {.body = solicitation(target),
               .option = kNdSourceLinkLayer,
               .src = source->ip6(),
               .dst = unicast ? target : group,
               .to = unicast ? *unicast : multicast_mac_of(group)});
}

bool send_dad_solicitation(Worker& w, IfIndex index, const Ip6Address& own) {
  Interface* f = ready(w, index);
  if (!f) return false;
  f->dad_until.store(w.now + kDadTime, std::memory_order_relaxed);
  const Ip6Address group = solicited_node_of(own);
  return send(w, *f,
              {.body = solicitation(own), .src = {}, .dst = group, .to = multicast_mac_of(group)});
}

bool send_advertisement(Worker& w, IfIndex index, const Ip6Address& own, const Ip6Address& to,
                        const MacAddress& to_mac, uint32_t flags) {
  const Interface* f = ready(w, index);
  if (!f) return false;
  return send(w, *f,
              {.body = {kIcmp6NeighborAdvertisement, 0, 0, flags, own},
               .option = kNdTargetLinkLayer,
               .src = own,
               .dst = to,
               .to = to_mac});
}

}  // namespace loom
