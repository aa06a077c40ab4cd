// Namespaces over the binary API. Their module, "session", is there already. Control thread.
#include "api/registry.h"
#include "session.api.h"
#include "session/app_api.h"

namespace loom::session {
namespace {

constexpr int32_t kInvalidSwIfIndex = -2, kNoSuchFib = -3, kSyscallError = -11,
                  kInvalidNamespace = -128, kInUse = -155, kLimitExceeded = -162;

int32_t retval_of(const Error& e, int32_t not_found) {
  switch (e.code) {
    case Status::kNotFound:
      return not_found;
    case Status::kInvalid:
      return kApiInvalidValue;
    case Status::kInUse:
    case Status::kExists:
      return kInUse;
    case Status::kNoMemory:
      return kLimitExceeded;
    case Status::kIo:
      return kSyscallError;
    default:
      return api_retval(e.code);
  }
}

api::AppNamespaceAddDelV4Reply add_del(Impl& l, const api::AppNamespaceAddDelV4& request) {
  api::AppNamespaceAddDelV4Reply reply{.appns_index = ~0u};
  if (!request.is_add) {
    const auto done = delete_namespace(l, request.namespace_id);
    if (!done) reply.retval = retval_of(done.error(), kInvalidNamespace);
    return reply;
  }
  const auto ns = add_namespace(l, {.id = request.namespace_id,
                                    .secret = request.secret,
                                    .interface = request.sw_if_index,
                                    .ip4_table = request.ip4_fib_id,
                                    .ip6_table = request.ip6_fib_id,
                                    .socket_name = request.sock_name});
  if (ns)
    reply.appns_index = (*ns)->index;
  else
    reply.retval =
        retval_of(ns.error(), request.sw_if_index == ~0u ? kNoSuchFib : kInvalidSwIfIndex);
  return reply;
}

void describe(const Impl& l, const Namespace& ns, api::AppNamespaceDetails& d) {
  d.appns_index = ns.index;
  d.namespace_id = ns.id;
  d.has_secret = ns.secret != 0;
  d.sw_if_index = ns.interface.load(std::memory_order_relaxed);
  d.ip4_fib_id = ns.ip4_table;
  d.ip6_fib_id = ns.ip6_table;
  d.is_reachable = ns.ip4_fib.load(std::memory_order_relaxed) != kNoIndex;
  d.uid = ns.access.uid;
  d.gid = ns.access.gid;
  d.mode = ns.access.mode;
  d.applications = n_applications(l, ns);
  d.max_applications = ns.quota.applications;
  d.sessions = ns.n_sessions.load(std::memory_order_relaxed);
  d.max_sessions = ns.quota.sessions;
  d.memory = ns.memory;
  d.max_memory = ns.quota.memory;
  d.wrong_secrets = ns.wrong_secret;
  d.refused_users = ns.refused_users;
  d.refused_applications = ns.refused_applications;
  d.refused_sessions = ns.refused_sessions.load(std::memory_order_relaxed);
  d.refused_segments = ns.refused_segments;
  d.sock_name = ns.socket.name;
}

}  // namespace

void add_namespace_handlers(ApiRegistry& registry, Impl& l) {
  registry.handle<api::AppNamespaceAddDelV4, api::AppNamespaceAddDelV4Reply>(
      [&l](ApiCall&, const api::AppNamespaceAddDelV4& request) { return add_del(l, request); });
  registry.handle<api::AppNamespaceSetQuota, api::AppNamespaceSetQuotaReply>(
      [&l](ApiCall&, const api::AppNamespaceSetQuota& request) {
        Namespace* ns = find_namespace(l, request.namespace_id);
        if (!ns) return api::AppNamespaceSetQuotaReply{.retval = kInvalidNamespace};
        set_quota(*ns, {.applications = request.max_applications,
                        .sessions = request.max_sessions,
                        .memory = request.max_memory});
        return api::AppNamespaceSetQuotaReply{};
      });
  registry.handle<api::AppNamespaceSetAccess, api::AppNamespaceSetAccessReply>(
      [&l](ApiCall&, const api::AppNamespaceSetAccess& request) {
        Namespace* ns = find_namespace(l, request.namespace_id);
        if (!ns) return api::AppNamespaceSetAccessReply{.retval = kInvalidNamespace};
        const auto done =
            set_access(*ns, {.uid = request.uid, .gid = request.gid, .mode = request.mode});
        return api::AppNamespaceSetAccessReply{
            .retval = done ? 0 : retval_of(done.error(), kInvalidNamespace)};
      });
  registry.dump<api::AppNamespaceDump, api::AppNamespaceDetails>(
      [&l](const api::AppNamespaceDump& request, uint64_t& cursor,
           api::AppNamespaceDetails& details) {
        if (cursor >= l.namespaces.size()) return ApiStep::kEnd;
        const Namespace* ns = l.namespaces[cursor++].get();
        if (!ns || (!request.namespace_id.empty() && request.namespace_id != ns->id))
          return ApiStep::kSkip;
        describe(l, *ns, details);
        return ApiStep::kItem;
      });
}

}  // namespace loom::session
