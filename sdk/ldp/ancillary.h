// Control messages of datagrams: source and destination address, TTL, TOS, segmentation.
//
// The interface in IP_PKTINFO and IPV6_PKTINFO is Hostloom's number of it and one, since 0 means
// none; the kernel has other numbers.
#pragma once
#include <sys/socket.h>

#include "vcl/session.h"

namespace loom::ldp {

// IP_PKTINFO, IP_RECVTTL, IP_RECVTOS, IP_RECVORIGDSTADDR, IPV6_RECVPKTINFO, IPV6_RECVHOPLIMIT,
// IPV6_RECVTCLASS, IPV6_RECVORIGDSTADDR, UDP_GRO, SO_TXTIME. False: it is none of these.
bool set_ancillary(vcl::Session& s, int level, int name, int number);
bool get_ancillary(vcl::Session& s, int level, int name, int& number);

// What sendmsg()'s control messages ask for; `source` is where out.source may point to, `ancillary`
// the socket's. 0 or a negative errno.
int take_control(const msghdr& m, vcl::DatagramOut& out, svm::Endpoint& source,
                 uint16_t ancillary = 0);
// Writes those that were asked for into `m`, and MSG_CTRUNC into its flags when they have no room.
void give_control(vcl::Session& s, const vcl::DatagramIn& in, msghdr& m);
// The same of an error, and of the packet that told it: IP_RECVERR or IPV6_RECVERR, by the socket's
// family, come last.
void give_error(vcl::Session& s, const vcl::DatagramIn& in, const svm::ErrorPacket& by, msghdr& m);

}  // namespace loom::ldp
