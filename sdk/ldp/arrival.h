// When a datagram came, and how many were lost before it: SO_TIMESTAMP, SO_TIMESTAMPNS and
// SO_TIMESTAMPING (of the software, received), SO_RXQ_OVFL and their control messages; SIOCGSTAMP.
// Semantics are Linux's (net/core/sock.c, net/socket.c). The daemon notes the time, and only while
// one of them is on. Threads: any.
#pragma once
#include "ldp/control_messages.h"
#include "vcl/session.h"

namespace loom::ldp {

bool is_arrival_option(int level, int name) noexcept;
// 0 or a negative errno. `number`: the value as an int.
int set_arrival_option(vcl::Session&, int name, int number);
// How many bytes of `out` are the value.
size_t get_arrival_option(vcl::Session&, int name, int (&out)[2]);
void give_arrival(vcl::Session&, const svm::DatagramHeader&, Control&);

// SIOCGSTAMP and SIOCGSTAMPNS.
bool is_stamp_request(unsigned long request) noexcept;
// -ENOENT: nothing has come yet.
int give_last_arrival(vcl::Session&, unsigned long request, void* argument);

}  // namespace loom::ldp
