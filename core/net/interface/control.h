// What the files of Net's interface methods share. Control thread.
#pragma once
#include <string>
#include <vector>

#include <hostloom/address.h>
#include <hostloom/status.h>

#include "net/interface/interface.h"

namespace loom {

class Net;
struct NetState;

constexpr uint32_t kLeastMtu = 68;  // RFC 791

// What a driver has not done: `what` follows "refuses". kInProgress: it will.
inline Error refused(Status status, const Interface& f, const std::string& what) {
  return error(status, status == Status::kInProgress
                           ? "the device of " + f.name +
                                 " does not answer; it is done when it does ('show "
                                 "hardware-interfaces' says what it waits for)"
                           : "the driver of " + f.name + " refuses" + what);
}

inline Error no_interface(IfIndex i) {
  return error(Status::kNotFound, "there is no interface " + std::to_string(i));
}

// Of everybody, or of whoever is in a group: no route leads there, and no neighbour is there.
inline bool is_group(const IpAddress& a) noexcept {
  return a.is_ip4 ? a.ip4().is_multicast() || a.ip4().is_broadcast() : a.ip6().is_multicast();
}

constexpr std::size_t kMostInterfaceName = 63;
// A name for an interface to come, or that it is to have: none has it.
Result<void> check_name(const NetState& s, const std::string& name);
inline std::string sub_interface_name(const std::string& parent, uint32_t sub_id) {
  return parent + "." + std::to_string(sub_id);
}

// Gives the receive queues of a new interface to the workers.
void place_queues(NetState& s, Interface& f);
// The mode of a queue may have changed: its driver learns it, and its worker looks once more.
void apply_rx_mode(NetState& s, Interface& f, uint16_t queue);

// Workers see its addresses, and those that it borrows, as they are now; the link hears of the
// groups that it listens to for them.
void show_addresses(NetState& s, Interface& f);
// Of its own, beside an IPv6 link-local one.
bool has_addresses(const Interface& f);
// Which interfaces borrow its addresses.
std::vector<Interface*> borrowers_of(const NetState& s, const Interface& lender);

// Tells whoever listens what the interface is now.
void notify(const NetState& s, const Interface& f, bool is_deleted);
// The interface has begun, or ceased, to carry packets, or its link has changed. The links of its
// sub-interfaces follow.
void state_changed(NetState& s, Interface& f, bool was_up);

// An interface's own ways out: whoever is on its subnets, and everybody.
void add_adjacencies(NetState& s, Interface& f);
// Its MTU or its link-layer address has changed: every way out by it says so from now on.
void refresh_adjacencies(NetState& s, const Interface& f);
// Its VLANs; empty for an interface that has none.
std::vector<Interface*> sub_interfaces_of(const NetState& s, const Interface& parent);
// Its frames are nobody's from now on. Of an interface that has no parent: nothing happens.
void take_from_parent(const Interface& f);
// Tells the link which addresses are here (RFC 5227 section 2.3), and whether that is news: then
// an IPv6 address asks first (RFC 4862 section 5.4), else it says where it is now (RFC 4861 section
// 7.2.6).
void announce_addresses(NetState& s, const Interface& f, bool is_new);
// Says where the IPv6 addresses are that it borrows, all or one. These never ask: they have on
// their lender, and who objects here must not take them from it.
void announce_borrowed_ip6(NetState& s, const Interface& f, const Ip6Address* only = nullptr);
// The interface takes IPv6 packets; one that borrows has the IPv6 addresses as well from now on.
void turn_ip6_on(NetState& s, Interface& f);
void turn_ip6_off(Net& net, Interface& f);
Result<void> may_have_ip6(const Interface& f);  // its packets are large enough
Result<void> may_lose_ip6(const Interface& f);  // it has no global address, of its own or borrowed
void ip6_after_mtu(Net& net, NetState& s, Interface& f);  // its packets have another size

}  // namespace loom
