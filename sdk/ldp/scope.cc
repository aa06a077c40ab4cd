#include "ldp/scope.h"

#include <cerrno>

#include "ldp/names.h"
#include "vcl/app_worker.h"

namespace loom::ldp {

void set_scope(vcl::Session& s, uint32_t scope) {
  if (s.options().interface == scope) return;
  s.change_options([=](svm::SocketOptions& o) { o.interface = static_cast<uint16_t>(scope); });
}

bool may_use(vcl::Session& s, uint32_t interface) {
  const uint32_t only = s.options().interface;
  return interface == 0 || only == 0 || interface == only;
}

int find_scope(vcl::AppWorker& w, uint32_t scope) {
  std::shared_ptr<vcl::Attachment> attachment;
  {
    const std::lock_guard lock(w.mutex());
    attachment = w.attachment_locked();
  }
  if (!attachment) return -ECONNRESET;
  const auto found = attachment->find_interface(false, scope, {});
  if (found) return 0;
  const Status s = found.error().code;
  return s == Status::kNotFound ? -ENODEV : -vcl::errno_of(static_cast<int32_t>(s));
}

int take_scope(vcl::Session& s, const svm::Endpoint& peer, uint32_t scope) {
  if (!is_of_link(peer)) return 0;
  const svm::SocketOptions o = s.options();
  if (scope != 0 && o.interface != 0 && o.interface != scope) return -EINVAL;
  if (scope == 0) scope = o.interface;
  if (scope == 0 && is_group(peer)) scope = o.ip6_group_if;  // of datagrams
  if (scope == 0) return -EINVAL;
  if (scope > kMostScope) return -ENETUNREACH;
  // Of datagrams the daemon's answer to connect() says so.
  if (!s.is_datagram() && find_scope(s.worker(), scope) == -ENODEV) return -ENETUNREACH;
  set_scope(s, scope);
  return 0;
}

int without_interface(vcl::Session& s, int outcome, bool is_bind) {
  return is_bind && outcome == -ENETUNREACH && s.options().interface != 0 ? -ENODEV : outcome;
}

}  // namespace loom::ldp
