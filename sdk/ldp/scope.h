// Interfaces that sockets have by sin6_scope_id of link-local addresses (RFC 4007): the
// only one by which such a socket sends and hears. Linux's numbers, 0: none.
#pragma once
#include "vcl/session.h"

namespace loom::ldp {

constexpr uint32_t kMostScope = UINT16_MAX;

void set_scope(vcl::Session& s, uint32_t scope);
// Whether options and control messages may name that one.
bool may_use(vcl::Session& s, uint32_t interface);
// Whether Hostloom has it, where the application is: asks the daemon. 0, -ENODEV, or another
// negative errno: there is no answer.
int find_scope(vcl::AppWorker&, uint32_t scope);
// Before connect(): the one that the peer is named with, or that the socket has, or that it sends
// to groups by. 0, or a negative errno: -EINVAL, the peer needs one and has none, or another than
// the socket; -ENETUNREACH: there is none such, which streams that do not wait could not say later.
int take_scope(vcl::Session& s, const svm::Endpoint& peer, uint32_t scope);
// The outcome of a bind or connect, of an interface that the daemon does not have as Linux says it.
int without_interface(vcl::Session& s, int outcome, bool is_bind);

}  // namespace loom::ldp
