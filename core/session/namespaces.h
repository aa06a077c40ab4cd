// Application namespaces: who may attach, where in the network its applications are, and how much
// of the daemon they may take. Private to core/session/.
//
// Each has an attach socket and a table of local listeners of its own. Applications of different
// namespaces meet as hosts do, by the network, or not at all: cut-through finds listeners of the
// caller's namespace only, and a session handle of another application is nobody's.
//
// Threads: made, changed and deleted on the control thread. A worker reads the atomic fields of a
// namespace as long as one of its applications is there.
#pragma once
#include <sys/types.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/interface.h>

#include "session/application.h"

namespace loom::session {

constexpr uint32_t kMaxNamespaces = 1024;
constexpr std::size_t kMaxNamespaceId = 63;
constexpr const char* kDefaultNamespace = "default";  // index 0, always there

// A Unix socket that listens for applications.
struct AttachSocket {
  std::string name;                // a path, or '@' and an abstract name
  UniqueFd fd;                     // none: it is closed
  uint64_t device = 0, inode = 0;  // of its file; inode 0: it has none
  uint64_t watch = 0;              // 0: nobody is let in for the moment
};

// Who may attach, as a file's mode says who may write; by whatever socket they come.
struct NamespaceAccess {
  uid_t uid = 0;
  gid_t gid = 0;
  uint32_t mode = 0666;
  bool operator==(const NamespaceAccess&) const = default;
};

// 0: no limit. What applications inside the process have does not count.
struct NamespaceQuota {
  uint32_t applications = 0;
  uint32_t sessions = 0;
  uint64_t memory = 0;  // bytes of segments, and of settings for endpoints
};

struct Namespace {
  uint32_t index = 0;
  std::string id;
  uint64_t secret = 0;  // 0: none is asked for
  bool is_deleted = false;

  // Where it is. Applications of a namespace that is bound to an interface listen on and connect
  // from the interface's addresses, in the interface's tables.
  uint32_t ip4_table = 0, ip6_table = 0;  // the operator's numbers
  std::atomic<IfIndex> interface { kNoIndex };
  std::atomic<uint32_t> ip4_fib{0}, ip6_fib{0};  // kNoIndex: the interface has gone

  AttachSocket socket;
  NamespaceAccess access;
  NamespaceQuota quota;
  uint64_t memory = 0;                     // bytes that are charged
  std::atomic<uint32_t> most_sessions{0};  // quota.sessions for workers
  std::atomic<uint32_t> n_sessions{0};

  // Counters.
  uint64_t wrong_secret = 0;          // attaches that named it
  uint64_t refused_users = 0;         // whom `access` keeps out
  uint64_t refused_applications = 0;  // by quota
  uint64_t refused_segments = 0;
  uint64_t refused_settings = 0;  // for want of memory: given, or to be used by a listener
  std::atomic<uint64_t> refused_sessions{0};  // or put off
  bool is_short = false;                      // the last segment was refused: said once

  bool is_default() const noexcept { return index == 0; }
  FibPair fibs() const noexcept {
    return {ip4_fib.load(std::memory_order_relaxed), ip6_fib.load(std::memory_order_relaxed)};
  }
};

// --- Any worker

// Counts a session of the application in. False: its namespace has as many as it may have.
inline bool take_session(const App& app) noexcept {
  Namespace& ns = *app.ns;
  if (app.owner->in_this_process) return true;
  const uint32_t had = ns.n_sessions.fetch_add(1, std::memory_order_relaxed);
  const uint32_t most = ns.most_sessions.load(std::memory_order_relaxed);
  if (most == 0 || had < most) [[likely]]
    return true;
  ns.n_sessions.fetch_sub(1, std::memory_order_relaxed);
  ns.refused_sessions.fetch_add(1, std::memory_order_relaxed);
  return false;
}
inline void release_session(const App& app) noexcept {
  if (!app.owner->in_this_process) app.ns->n_sessions.fetch_sub(1, std::memory_order_relaxed);
}
// Whether take_session would succeed now.
inline bool has_room(const App& app) noexcept {
  const uint32_t most = app.ns->most_sessions.load(std::memory_order_relaxed);
  return most == 0 || app.owner->in_this_process ||
         app.ns->n_sessions.load(std::memory_order_relaxed) < most;
}

// The table that local listeners of the namespace are in: a key's fib_index that no packet has. The
// default namespace, whose applications may choose a routing table, has one for each of those.
constexpr uint32_t local_table(uint32_t ns_index, uint32_t fib_index) noexcept {
  return ns_index == 0 ? 0xc000 | fib_index : 0x8000 | ns_index;
}

// --- namespaces.cc. Control thread.

struct NamespaceArgs {
  std::string id;
  uint64_t secret = 0;
  IfIndex interface = kNoIndex;
  uint32_t ip4_table = 0, ip6_table = 0;  // unless there is an interface: then its own
  bool keeps_place = false;               // of one that is there: the three above mean nothing
  // A path; '@' or "abstract:" and an abstract name; a name in RUNTIME/app_ns_sockets/. Empty: the
  // id is that name.
  std::string socket_name{};
};

std::shared_ptr<Namespace> make_default_namespace();
uint64_t make_decoy();  // a number that nobody knows
Namespace* find_namespace(const SessionLayer::Impl&, std::string_view id);
// Adds it and opens its socket. One that is there gets the secret and, while it has no
// applications, the place, and its session rules of scope global go there with it; on an error
// nothing has changed. Errors: kInvalid, the id, or another socket than it has; kNotFound, no such
// interface or table; kInUse, it has applications; kExists, the socket is another namespace's, or
// a rule is in the way (Filters::namespace_moved); kNoMemory; kIo, the socket.
Result<Namespace*> add_namespace(SessionLayer::Impl&, const NamespaceArgs&);
// Ends its applications. kInvalid: the default one. kNotFound.
Result<void> delete_namespace(SessionLayer::Impl&, std::string_view id);
// What is over it already stays; nothing is added.
void set_quota(Namespace&, const NamespaceQuota&);
// What a segment costs: its bytes, of the namespace's quota and of all addresses, and a descriptor.
// Errors: kNoMemory, nothing was taken.
Result<void> take_segment(MemoryCharge&, Taken& descriptors, Taken& address_space, uint64_t bytes);
void give_back_segment(MemoryCharge&, Taken& descriptors, Taken& address_space,
                       uint64_t bytes) noexcept;
// That others need what is left.
Error no_share(const char* what, uint64_t has);
Result<void> set_access(Namespace&, const NamespaceAccess&);
uint32_t n_applications(const SessionLayer::Impl&, const Namespace&);  // attached, not in-process

// Which namespace somebody attaches to who came by the socket of `by`. kPermission: whoever asks
// learns nothing of namespaces whose secret he has not, not even that they are there. `peer`: the
// connection, for who he is.
Result<std::shared_ptr<Namespace>> admit(SessionLayer::Impl&, const Namespace& by,
                                         const svm::AttachRequest&, int peer);

// --- attach_socket.cc. Control thread.

// Of every namespace. Errors: those of the default one; the log has the others'.
Result<void> open_attach_sockets(SessionLayer::Impl&);
void close_attach_sockets(SessionLayer::Impl&);  // who is attached stays
Result<void> open_socket(SessionLayer::Impl&, Namespace&);
void close_socket(SessionLayer::Impl&, Namespace&);
void watch_socket(SessionLayer::Impl&, Namespace&);  // an open one
// What NamespaceArgs::socket_name stands for.
Result<std::string> resolve_socket_name(const SessionLayer::Impl&, const NamespaceArgs&);
Result<void> apply_access(const AttachSocket&, const NamespaceAccess&);  // to its file

// --- namespace_net.cc

// Control thread.
// Looks up the tables, and for an interface those it is in. kNotFound names what there is not.
Result<void> settle(SessionLayer::Impl&, Namespace&, const NamespaceArgs&);
// All places of a listener that wants `local`; none when the interface has no such address now.
// `fibs`: unless the namespace is bound to an interface.
std::vector<Place> places_of(const SessionLayer::Impl&, const App&, const Endpoints& local,
                             bool dual_stack, const FibPair& fibs);
// listeners.cc. To be found there or no longer. `alone`: not beside others. kInUse: somebody is
// there who does not share.
Status take_place(SessionLayer::Impl&, const Listener&, Place&, bool alone);
void give_up_place(SessionLayer::Impl&, const Listener&, const Place&);
// The addresses or the tables of an interface changed, or it has gone.
void interface_changed(SessionLayer::Impl&, IfIndex, bool has_gone);
// Of the first namespace there, or "".
std::string namespace_in_table(const SessionLayer::Impl&, uint32_t table, bool is_ip6);
std::string interface_name(const SessionLayer::Impl&, const Namespace&);  // "" without
// Whether a listener may have that interface alone. kUnreachable: there is none, or it is none of
// the namespace's; kNotFound: it has not that address. Control thread.
Status may_listen_on(const SessionLayer::Impl&, const Namespace&, const IpAddress& local, IfIndex);
// The one of the namespace's that `wanted` says, or, if that is kNoIndex, that has the address;
// kNoIndex: it is this host's, and says none (a loopback interface's). kNotFound. Control thread.
Result<IfIndex> find_interface(const SessionLayer::Impl&, const Namespace&, bool is_ip4,
                               IfIndex wanted, Ip4Address);
Result<IfIndex> find_interface(const SessionLayer::Impl&, const Namespace&, bool is_ip4,
                               std::string_view name);
std::string name_of(const SessionLayer::Impl&, IfIndex);  // "": there is none

// Worker. Where the namespace of the application is: fills in the table, and the source when the
// namespace is bound to an interface. `by`: the interface that is named, if any, see place_on().
// kUnreachable; kNotFound, the local address is not its own.
Status place_connect(SessionWorker&, const App&, Endpoints&, IfIndex by = kNoIndex) noexcept;

// --- namespace_cli.cc

std::span<const CliCommand> namespace_commands();  // without context

}  // namespace loom::session
