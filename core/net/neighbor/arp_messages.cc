// ARP requests and announcements.
#include "net/neighbor/neighbor_messages.h"
#include "net/state.h"

namespace loom {
namespace {

bool send_arp(Worker& w, const Interface& f, const Ip4Address& sender, const Ip4Address& target,
              const MacAddress& to) {
  Buffer* b = w.alloc();
  if (!b) return false;
  auto* eth = reinterpret_cast<EthernetHeader*>(b->append(sizeof(EthernetHeader)));
  *eth = {to, f.mac, Be16(kEtherTypeArp)};
  auto* arp = reinterpret_cast<ArpHeader*>(b->append(sizeof(ArpHeader)));
  *arp = {.hardware_type = 1,
          .protocol_type = kEtherTypeIp4,
          .hardware_length = 6,
          .protocol_length = 4,
          .operation = 1,
          .sender_mac = f.mac,
          .sender_ip = sender,
          .target_mac = {},
          .target_ip = target};
  b->flags |= kBufferLocallyOriginated;
  b->l2_offset = kHeadroom;
  b->tx_if = f.index;
  w.enqueue_to_node(net_state(w).nodes.interface_output, b);
  return true;
}

}  // namespace

bool send_arp_request(Worker& w, IfIndex index, const Ip4Address& target,
                      const MacAddress* unicast) {
  const Interface* f = net_state(w).interfaces.find(index);
  if (!f || !f->is_up()) return false;
  const IpAddress* source = f->address_view().source_for(IpAddress(target));
  if (!source) return false;
  return send_arp(w, *f, source->ip4(), target, unicast ? *unicast : kBroadcastMac);
}

bool send_gratuitous_arp(Worker& w, IfIndex index, const Ip4Address& own) {
  const Interface* f = net_state(w).interfaces.find(index);
  return f && f->is_up() && f->is_ethernet && send_arp(w, *f, own, own, kBroadcastMac);
}

}  // namespace loom
