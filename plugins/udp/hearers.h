// Datagrams for this host alone, whose port is bound, but not by a socket that hears the link they
// came by: another one on the port may, on whichever worker it lives. Worker.
//
// Linux gives it to the one that has asked for most, of all there are. So the workers that have
// sockets are asked in turn, each hands the packet on to the next, and the last one to where the
// best was. It is rare: a socket has to be bound to one link, and another to the same port.
#pragma once
#include "udp.h"

namespace loom::udp {

// The one of this worker, or nullptr, and how much it has asked for: kMostAsked is enough.
constexpr int kMostAsked = 2;
Connection* find_hearer(UdpWorker&, Buffer&, int& score) noexcept;

// Whether other workers have sockets that it may be for: any, and more sockets have the port than
// are bound to it here.
bool may_be_elsewhere(UdpWorker&, const Buffer&) noexcept;
// The packet, at its UDP header with `payload` bytes behind it, is theirs to look at, and is handed
// to them; `score`: of the best one here, -1: there is none.
void note_search(const UdpWorker&, Buffer&, uint32_t payload, int score) noexcept;
void look_elsewhere(UdpWorker&, Buffer&) noexcept;

extern const NodeInfo kUdpHearer;

}  // namespace loom::udp
