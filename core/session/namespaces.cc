// The table of namespaces, their secrets and quotas. Control thread.
#include "session/namespaces.h"

#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "session/impl.h"

namespace loom::session {
namespace {

Result<void> check_id(const std::string& id) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.' || c == ':' || c == '+';
  };
  if (id.empty() || id.size() > kMaxNamespaceId || !std::all_of(id.begin(), id.end(), is_plain) ||
      id.find_first_not_of('.') == id.npos)  // it is a file's name, too
    return error(Status::kInvalid, "'" + id + "' is not a namespace's id: 1 to " +
                                       std::to_string(kMaxNamespaceId) +
                                       " letters, digits and _-.:+");
  return {};
}

// Takes the same time wherever they differ.
bool is_same(const void* a, const void* b, std::size_t n) noexcept {
  const auto *x = static_cast<const volatile uint8_t*>(a),
             *y = static_cast<const volatile uint8_t*>(b);
  uint8_t differ = 0;
  for (std::size_t i = 0; i < n; ++i) differ = static_cast<uint8_t>(differ | (x[i] ^ y[i]));
  return differ == 0;
}

using PaddedId = std::array<char, kMaxNamespaceId + 1>;
PaddedId padded(std::string_view id) noexcept {
  PaddedId all{};
  std::memcpy(all.data(), id.data(), std::min(id.size(), kMaxNamespaceId));
  return all;
}

bool is_in_group(int peer, gid_t primary, gid_t wanted) {
  if (primary == wanted) return true;
  std::vector<gid_t> groups(64);
  for (int tries = 0; tries < 2; ++tries) {
    socklen_t bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    const int done = ::getsockopt(peer, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes);
    if (done != 0 && errno != ERANGE) return false;
    groups.resize(bytes / sizeof(gid_t));
    if (done == 0) return std::find(groups.begin(), groups.end(), wanted) != groups.end();
  }
  return false;
}

bool may_attach(const NamespaceAccess& access, int peer) {
  ucred cred{};
  socklen_t size = sizeof cred;
  if (::getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &cred, &size) != 0) return false;
  if (cred.uid == 0) return true;
  constexpr uint32_t kOwner = 0200, kGroup = 0020, kOthers = 0002;
  if (cred.uid == access.uid) return access.mode & kOwner;
  return access.mode & (is_in_group(peer, cred.gid, access.gid) ? kGroup : kOthers);
}

Result<uint32_t> free_index(Impl& layer) {
  auto& all = layer.namespaces;
  for (uint32_t i = 0; i < all.size(); ++i)
    if (!all[i]) return i;
  if (all.size() == kMaxNamespaces)
    return error(Status::kNoMemory,
                 "there are " + std::to_string(kMaxNamespaces) + " namespaces already");
  all.emplace_back();
  return static_cast<uint32_t>(all.size() - 1);
}

bool is_placed(const Namespace& ns, const NamespaceArgs& args) noexcept {
  const IfIndex interface = ns.interface.load(std::memory_order_relaxed);
  if (interface != args.interface) return false;
  if (interface != kNoIndex) return ns.ip4_fib.load(std::memory_order_relaxed) != kNoIndex;
  return ns.ip4_table == args.ip4_table && ns.ip6_table == args.ip6_table;
}

struct OldPlace {
  explicit OldPlace(const Namespace& ns)
      : interface(ns.interface.load(std::memory_order_relaxed)),
        ip4_table(ns.ip4_table),
        ip6_table(ns.ip6_table),
        fibs(ns.fibs()) {}
  void restore(Namespace& ns) const {
    ns.interface.store(interface, std::memory_order_relaxed);
    ns.ip4_table = ip4_table;
    ns.ip6_table = ip6_table;
    ns.ip4_fib.store(fibs.ip4, std::memory_order_relaxed);
    ns.ip6_fib.store(fibs.ip6, std::memory_order_relaxed);
  }
  IfIndex interface;
  uint32_t ip4_table, ip6_table;
  FibPair fibs;
};

Result<Namespace*> change_namespace(Impl& layer, Namespace& ns, const NamespaceArgs& args) {
  if (!args.socket_name.empty()) {
    const auto name = resolve_socket_name(layer, args);
    if (!name) return name.error();
    if (*name != ns.socket.name)
      return error(Status::kInvalid, "namespace '" + ns.id + "' has the socket " + ns.socket.name +
                                         "; another one needs another namespace");
  }
  if (!args.keeps_place && !is_placed(ns, args)) {
    if (n_applications(layer, ns) != 0)
      return error(Status::kInUse,
                   "namespace '" + ns.id + "' has applications: it keeps its interface and tables");
    const OldPlace before(ns);
    if (auto done = settle(layer, ns, args); !done) return done.error();
    if (auto done = layer.filters->namespace_moved(ns.index, Filters::Moving::kAll); !done) {
      before.restore(ns);
      return done.error();
    }
  }
  ns.secret = args.secret;
  return &ns;
}

}  // namespace

std::shared_ptr<Namespace> make_default_namespace() {
  auto ns = std::make_shared<Namespace>();
  ns->id = kDefaultNamespace;
  ns->access = {.uid = ::geteuid(), .gid = ::getegid()};
  return ns;
}

uint64_t make_decoy() {
  uint64_t number = 0;
  while (number == 0)
    if (::getrandom(&number, sizeof number, 0) != sizeof number) number = 0;
  return number;
}

Namespace* find_namespace(const Impl& layer, std::string_view id) {
  for (const auto& ns : layer.namespaces)
    if (ns && ns->id == id) return ns.get();
  return nullptr;
}

Result<Namespace*> add_namespace(Impl& layer, const NamespaceArgs& args) {
  if (auto done = check_id(args.id); !done) return done.error();
  if (Namespace* ns = find_namespace(layer, args.id)) return change_namespace(layer, *ns, args);
  auto ns = std::make_shared<Namespace>();
  ns->id = args.id;
  ns->secret = args.secret;
  ns->access = {.uid = ::geteuid(), .gid = ::getegid()};
  if (auto done = settle(layer, *ns, args); !done) return done.error();
  const auto name = resolve_socket_name(layer, args);
  if (!name) return name.error();
  for (const auto& other : layer.namespaces)
    if (other && other->socket.name == *name)
      return error(Status::kExists, *name + " is the socket of namespace '" + other->id + "'");
  ns->socket.name = *name;
  const auto index = free_index(layer);
  if (!index) return index.error();
  ns->index = *index;
  if (!layer.stopped && !layer.attach_off)
    if (auto done = open_socket(layer, *ns); !done) return done.error();
  layer.namespaces[*index] = std::move(ns);
  return layer.namespaces[*index].get();
}

Result<void> delete_namespace(Impl& layer, std::string_view id) {
  Namespace* found = find_namespace(layer, id);
  if (!found) return error(Status::kNotFound, "no namespace '" + std::string(id) + "'");
  if (found->is_default()) return error(Status::kInvalid, "namespace 'default' is always there");
  const auto ns = layer.namespaces[found->index];
  ns->is_deleted = true;  // for who has come by its socket and not attached yet
  close_socket(layer, *ns);
  for (std::size_t i = 0; i < layer.apps.size(); ++i)
    if (layer.apps[i] && layer.apps[i]->ns == ns)
      end_application(layer, *layer.apps[i], "its namespace was deleted");
  layer.filters->forget_namespace(ns->index);
  layer.namespaces[ns->index].reset();
  return {};
}

void set_quota(Namespace& ns, const NamespaceQuota& quota) {
  ns.quota = quota;
  ns.most_sessions.store(quota.sessions, std::memory_order_relaxed);
  ns.is_short = false;
}

Result<void> set_access(Namespace& ns, const NamespaceAccess& access) {
  if (access.mode > 0777) return error(Status::kInvalid, "a mode is an octal number up to 777");
  if (access.uid == ~uid_t{0} || access.gid == ~gid_t{0})  // to chown() it means "as it is"
    return error(Status::kInvalid, "4294967295 is nobody's number");
  if (ns.socket.fd)
    if (auto done = apply_access(ns.socket, access); !done) {
      (void)apply_access(ns.socket, ns.access);  // which were its own before
      return done;
    }
  ns.access = access;
  return {};
}

uint32_t n_applications(const Impl& layer, const Namespace& ns) {
  uint32_t n = 0;
  for (const auto& app : layer.apps)
    n += app && app->ns.get() == &ns && !app->detached && !app->owner->in_this_process;
  return n;
}

Result<std::shared_ptr<Namespace>> admit(Impl& layer, const Namespace& by,
                                         const svm::AttachRequest& request, int peer) {
  const std::string_view said(request.namespace_id,
                              ::strnlen(request.namespace_id, sizeof request.namespace_id));
  const PaddedId wanted = padded(said.empty() ? by.id : said);
  // Every id is looked at, to its end, and a secret compared in any case: how long a refusal takes
  // says nothing of what there is.
  std::shared_ptr<Namespace>* found = nullptr;
  for (auto& ns : layer.namespaces) {
    if (!ns) continue;
    const PaddedId id = padded(ns->id);
    const bool is_reachable = by.is_default() || ns.get() == &by;
    if (is_same(id.data(), wanted.data(), id.size()) && is_reachable) found = &ns;
  }
  const uint64_t secret = found ? (*found)->secret : layer.no_namespace;
  const bool knows = is_same(&secret, &request.namespace_secret, sizeof secret);
  if (by.is_deleted || !found || !(knows || secret == 0)) {
    ++(found ? (*found)->wrong_secret : layer.unknown_namespaces);
    return error(Status::kPermission, "there is no namespace '" + std::string(wanted.data()) +
                                          "', or this is not its secret");
  }
  if (!may_attach((*found)->access, peer)) {
    ++(*found)->refused_users;
    return error(Status::kPermission,
                 "namespace '" + (*found)->id + "' does not take applications of this user");
  }
  return *found;
}

MemoryCharge::~MemoryCharge() { give_back(bytes_); }

Result<void> MemoryCharge::take(uint64_t bytes, MemoryUse use) {
  if (!ns_) return {};
  const uint64_t most = ns_->quota.memory;
  const bool is_segment = use == MemoryUse::kSegments;
  if (most != 0 && (ns_->memory > most || bytes > most - ns_->memory)) {
    ++(is_segment ? ns_->refused_segments : ns_->refused_settings);
    return error(Status::kNoMemory, "namespace '" + ns_->id + "' may have " + std::to_string(most) +
                                        " bytes of segments and settings, has " +
                                        std::to_string(ns_->memory) + " and would need " +
                                        std::to_string(bytes) + " more");
  }
  ns_->memory += bytes;
  if (is_segment) ns_->is_short = false;
  bytes_ += bytes;
  return {};
}

void MemoryCharge::give_back(uint64_t bytes) noexcept {
  if (!ns_) return;
  ns_->memory -= bytes;
  bytes_ -= bytes;
}

Error no_share(const char* what, uint64_t has) {
  return error(Status::kNoMemory, "the application has " + std::to_string(has) + " " + what +
                                      ", and what is left is for others");
}

Result<void> take_segment(MemoryCharge& memory, Taken& descriptors, Taken& address_space,
                          uint64_t bytes) {
  if (!descriptors.take(1)) return no_share("descriptors", descriptors.count());
  if (!address_space.take(bytes)) {
    descriptors.give_back(1);
    return no_share("bytes of addresses", address_space.count());
  }
  auto taken = memory.take(bytes);
  if (!taken) {
    address_space.give_back(bytes);
    descriptors.give_back(1);
  }
  return taken;
}

void give_back_segment(MemoryCharge& memory, Taken& descriptors, Taken& address_space,
                       uint64_t bytes) noexcept {
  memory.give_back(bytes);
  address_space.give_back(bytes);
  descriptors.give_back(1);
}

}  // namespace loom::session
