#include "ldp/scope.h"

#include <cerrno>

#include "ldp/names.h"

namespace loom::ldp {

void set_scope(vcl::Session& s, uint32_t scope) {
  if (s.options().interface == scope) return;
  s.change_options([=](svm::SocketOptions& o) { o.interface = static_cast<uint16_t>(scope); });
}

bool may_use(vcl::Session& s, uint32_t interface) {
  const uint32_t only = s.options().interface;
  return interface == 0 || only == 0 || interface == only;
}

int take_scope(vcl::Session& s, const svm::Endpoint& peer, uint32_t scope) {
  if (!is_of_link(peer)) return 0;
  const svm::SocketOptions o = s.options();
  if (scope != 0 && o.interface != 0 && o.interface != scope) return -EINVAL;
  if (scope == 0) scope = o.interface;
  if (scope == 0 && is_group(peer)) scope = o.ip6_group_if;  // of datagrams
  if (scope == 0) return -EINVAL;
  if (scope > kMostScope) return -ENETUNREACH;
  set_scope(s, scope);
  return 0;
}

int without_interface(vcl::Session& s, int outcome, bool is_bind) {
  if (outcome != -EHOSTUNREACH || s.options().interface == 0) return outcome;
  return is_bind ? -ENODEV : -ENETUNREACH;
}

}  // namespace loom::ldp
