// Reports of groups that this host sends: with the router alert option, to routers alone, and not
// beyond the link.
#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

#include "net/group/group_reports.h"
#include "net/group/group_wire.h"
#include "net/ip6/ip6_address.h"
#include "net/state.h"

namespace loom {
namespace {

const Interface* ready(Worker& w, IfIndex index) noexcept {
  const Interface* f = net_state(w).interfaces.find(index);
  return f && f->is_up() && f->is_ethernet ? f : nullptr;
}

void leave(Worker& w, const Interface& f, Buffer* b, const MacAddress& to, uint16_t type) {
  b->flags |= kBufferLocallyOriginated;
  *b->prepend<EthernetHeader>() = {to, f.mac, Be16(type)};
  b->l2_offset = b->offset_of_data();
  b->tx_if = f.index;
  w.enqueue_to_node(net_state(w).nodes.interface_output, b);
}

// RFC 2113: a header of 24 bytes.
void send4(Worker& w, const Interface& f, Buffer* b, const Ip4Address& to) {
  constexpr uint8_t kRouterAlert[4] = {0x94, 4, 0, 0};
  const IpAddress* source = f.address_view().source_for(IpAddress(to));
  std::memcpy(b->prepend(sizeof kRouterAlert), kRouterAlert, sizeof kRouterAlert);
  auto& ip = *b->prepend<Ip4Header>();
  ip = {};
  ip.version_ihl = 0x46;
  ip.tos = 0xc0;  // RFC 3376 section 4
  ip.total_length = static_cast<uint16_t>(b->len);
  ip.ttl = 1;
  ip.protocol = kProtoIgmp;
  ip.src = source ? source->ip4() : Ip4Address{};
  ip.dst = to;
  ip.checksum = checksum_finish(checksum_add(0, b->data, sizeof ip + sizeof kRouterAlert));
  leave(w, f, b, multicast_mac_of(to), kEtherTypeIp4);
}

// RFC 2711: behind hop-by-hop options of 8 bytes.
void send6(Worker& w, const Interface& f, Buffer* b, const Ip6Address& to) {
  constexpr uint8_t kHopByHop[8] = {kProtoIcmp6, 0, 5, 2, 0, 0, 1, 0};
  // From the link, however far the group reaches (RFC 3810 section 5.2.13).
  const IpAddress* own = f.address_view().source_for(IpAddress(all_nodes()));
  const Ip6Address source = own && own->ip6().is_link_local() ? own->ip6() : Ip6Address{};
  auto& icmp = *b->peek<IcmpHeader>();
  icmp.checksum = 0;
  icmp.checksum = checksum_finish(
      checksum_add(pseudo_header_sum(source, to, kProtoIcmp6, b->len), b->data, b->len));
  std::memcpy(b->prepend(sizeof kHopByHop), kHopByHop, sizeof kHopByHop);
  push_ip6_header(*b, source, to, 0 /* hop-by-hop */, 0, 0, 1);
  leave(w, f, b, multicast_mac_of(to), kEtherTypeIp6);
}

template <class T>
T& append(Buffer& b) noexcept {
  auto& t = *reinterpret_cast<T*>(b.append(sizeof(T)));
  t = {};
  return t;
}
void append(Buffer& b, const IpAddress& a) noexcept {
  const uint32_t n = a.is_ip4 ? 4 : 16;
  std::memcpy(b.append(n), a.bits.bytes.data(), n);
}

}  // namespace

bool send_group_report(Worker& w, IfIndex index, const IpAddress& group, GroupRecord type,
                       const std::set<IpAddress>& sources) {
  const Interface* f = ready(w, index);
  Buffer* b = f ? w.alloc() : nullptr;
  if (!b) return false;
  static_assert(kDefaultDataSize > 64 + 16 * (kMaxGroupSources + 1));
  auto& header = append<GroupReportHeader>(*b);
  header.type = group.is_ip4 ? kIgmp3Report : kMld2Report;
  header.n_records = 1;
  auto& record = append<GroupRecordHeader>(*b);
  record.type = static_cast<uint8_t>(type);
  record.n_sources = static_cast<uint16_t>(sources.size());
  append(*b, group);
  for (const IpAddress& a : sources) append(*b, a);
  if (group.is_ip4) {
    header.checksum = checksum_finish(checksum_add(0, b->data, b->len));
    send4(w, *f, b, {{224, 0, 0, 22}});
  } else {
    Ip6Address routers = all_nodes();  // ff02::16
    routers.bytes[15] = 0x16;
    send6(w, *f, b, routers);
  }
  return true;
}

bool send_old_group_report(Worker& w, IfIndex index, const IpAddress& group, uint8_t version,
                           bool is_leave) {
  const Interface* f = ready(w, index);
  Buffer* b = f ? w.alloc() : nullptr;
  if (!b) return false;
  if (group.is_ip4) {
    auto& h = append<IgmpHeader>(*b);
    h.type = is_leave ? kIgmp2Leave : version == 1 ? kIgmp1Report : kIgmp2Report;
    h.group = group.ip4();
    h.checksum = checksum_finish(checksum_add(0, b->data, b->len));
    send4(w, *f, b, is_leave ? Ip4Address{{224, 0, 0, 2}} : group.ip4());
  } else {
    auto& h = append<MldHeader>(*b);
    h.type = is_leave ? kMld1Done : kMld1Report;
    h.group = group.ip6();
    Ip6Address routers = all_nodes();  // ff02::2
    routers.bytes[15] = 2;
    send6(w, *f, b, is_leave ? routers : group.ip6());
  }
  return true;
}

}  // namespace loom
