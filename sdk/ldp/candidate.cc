#include "ldp/candidate.h"

#include <netinet/in.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "ldp/fd_table.h"
#include "ldp/group_options.h"
#include "ldp/libc.h"
#include "ldp/names.h"
#include "ldp/options.h"
#include "ldp/process.h"
#include "ldp/scope.h"

namespace loom::ldp {
namespace {

struct Option {
  int level, name;
  std::vector<std::byte> value;
};
constexpr socklen_t kLongestOption = 16384;  // IP_MSFILTER and the like have lists
constexpr size_t kMostOptions = 256;         // memberships are kept one by one

// Of a socket: its descriptors have one in common.
struct Asked {
  std::vector<Option> options;
  Device device{};
  bool bound = false;
  svm::Endpoint local{};
  sockaddr_storage name{};
  socklen_t name_len = 0;
  // Not to be let go under the mutex.
  std::shared_ptr<vcl::BoundEnd> end{};
};

struct Candidates {
  std::mutex mutex;
  // Only of those that were asked something, or copied.
  std::unordered_map<int, std::shared_ptr<Asked>> asked;
};
Candidates& candidates() {
  static Candidates& c = *new Candidates;  // never destroyed: sockets may come late
  return c;
}
std::atomic<bool> any_copied{false};

// Under the mutex.
Asked& asked_of(int fd) {
  std::shared_ptr<Asked>& a = candidates().asked[fd];
  if (!a) a = std::make_shared<Asked>();
  return *a;
}
// nullptr: it is not bound.
Asked* bound_at(int fd) {
  const auto found = candidates().asked.find(fd);
  return found != candidates().asked.end() && found->second->bound ? found->second.get() : nullptr;
}

// The descriptor's part in it; nullptr: none.
std::shared_ptr<Asked> take_asked(int fd) {
  const std::lock_guard lock(candidates().mutex);
  const auto found = candidates().asked.find(fd);
  if (found == candidates().asked.end()) return nullptr;
  std::shared_ptr<Asked> taken = std::move(found->second);
  candidates().asked.erase(found);
  return taken;
}

// In network order; 0 when there is none.
in_port_t free_port(int family) {
  sockaddr_in6 any{};
  any.sin6_family = static_cast<sa_family_t>(family);
  socklen_t len = family == AF_INET ? sizeof(sockaddr_in) : sizeof any;
  auto* name = reinterpret_cast<sockaddr*>(&any);
  const int fd = libc().socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  const bool found = libc().bind(fd, name, len) == 0 && libc().getsockname(fd, name, &len) == 0;
  vcl::sys::close(fd);
  return found ? any.sin6_port : 0;
}

// The other descriptors of the same kernel socket.
std::vector<int> copies_of(int fd) {
  std::vector<int> all;
  struct stat self, other;
  if (!any_copied.load() || fstat(fd, &self) != 0) return all;
  for (int i = 0; i < fds.end(); ++i)
    if (i != fd && is_candidate(i) && fstat(i, &other) == 0 && self.st_ino == other.st_ino &&
        self.st_dev == other.st_dev)
      all.push_back(i);
  return all;
}

// Replaces the kernel socket behind `fd` and enters `s`, whose reference it takes over.
int replace(int fd, Session* s) {
  const int descriptor_flags = libc().fcntl(fd, F_GETFD);
  const int placeholder = vcl::sys::eventfd();
  if (placeholder < 0 || descriptor_flags < 0) {
    const int error = errno;
    if (placeholder >= 0) vcl::sys::close(placeholder);
    s->unref();
    return -error;
  }
  const int cloexec = descriptor_flags & FD_CLOEXEC ? O_CLOEXEC : 0;
  const int done = libc().dup3(placeholder, fd, cloexec);
  const int error = errno;
  vcl::sys::close(placeholder);
  if (done < 0 || !enter(fd, s)) {
    s->unref();
    return done < 0 ? -error : -ENOMEM;
  }
  worker()->take_candidate(fd, s);
  return 0;
}

}  // namespace

void note_candidate(int fd) noexcept { fds.set(fd, ObjectTable::kCandidate); }

void note_option(int fd, int level, int name, const void* value, socklen_t len) {
  if (!value || len > kLongestOption) return;
  const auto* bytes = static_cast<const std::byte*>(value);
  Option o{level, name, {bytes, bytes + len}};
  const std::lock_guard lock(candidates().mutex);
  auto& options = asked_of(fd).options;
  if (!is_membership(level, name))
    std::erase_if(options,
                  [&](const Option& was) { return was.level == level && was.name == name; });
  if (options.size() < kMostOptions) options.push_back(std::move(o));
}

void note_device(int fd, Device d) {
  const std::lock_guard lock(candidates().mutex);
  std::swap(asked_of(fd).device, d);
}

Device device_of(int fd) {
  const std::lock_guard lock(candidates().mutex);
  const auto found = candidates().asked.find(fd);
  return found != candidates().asked.end() ? found->second->device : Device{};
}

int note_bind(int fd, const svm::Endpoint& local, const sockaddr* addr, socklen_t len) {
  const std::lock_guard lock(candidates().mutex);
  Asked& a = asked_of(fd);
  if (a.bound) return -EINVAL;
  a.bound = true;
  a.local = local;
  a.name_len = std::min<socklen_t>(len, sizeof a.name);
  std::memcpy(&a.name, addr, a.name_len);
  return 0;
}

void forget_bind(int fd) {
  const std::lock_guard lock(candidates().mutex);
  if (Asked* a = bound_at(fd)) a->bound = false;
}

bool bound_to(int fd, svm::Endpoint& local, uint32_t* scope) {
  const std::lock_guard lock(candidates().mutex);
  const Asked* a = bound_at(fd);
  if (!a) return false;
  local = a->local;
  if (scope) *scope = scope_of(&a->name, a->name_len, local);
  return true;
}

void keep_bound_end(int fd, std::shared_ptr<vcl::BoundEnd> end, in_port_t port) {
  const std::lock_guard lock(candidates().mutex);
  Asked* a = bound_at(fd);
  if (!a) return;
  std::swap(a->end, end);
  a->local.port = port;
}

void settle_port(int fd) {
  const std::lock_guard lock(candidates().mutex);
  Asked* a = bound_at(fd);
  if (!a) return;
  if (a->local.port == 0) a->local.port = free_port(a->name.ss_family);
  // sin_port and sin6_port are at the same place.
  reinterpret_cast<sockaddr_in*>(&a->name)->sin_port = a->local.port;
}

bool candidate_is_ip4(int fd) noexcept {
  int domain = 0;
  socklen_t len = sizeof domain;
  libc().getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
  return domain == AF_INET;
}

bool candidate_is_datagram(int fd) noexcept {
  int type = 0;
  socklen_t len = sizeof type;
  libc().getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
  return type == SOCK_DGRAM;
}

void copy_candidate(int from, int to) {
  any_copied.store(true);
  note_candidate(to);
  std::shared_ptr<Asked> before;
  const std::lock_guard lock(candidates().mutex);
  (void)asked_of(from);
  before = std::exchange(candidates().asked[to], candidates().asked.at(from));
}

void forget_candidate(int fd) {
  take_asked(fd);
  if (vcl::AppWorker* w = worker()) w->take_candidate(fd, nullptr);
}

void prepare_session(int fd, vcl::Session& s) {
  Asked a;
  {
    const std::lock_guard lock(candidates().mutex);
    const auto found = candidates().asked.find(fd);
    if (found == candidates().asked.end()) return;
    a = *found->second;
  }
  for (const Option& o : a.options)
    set_option(s, o.level, o.name, o.value.data(), static_cast<socklen_t>(o.value.size()));
  if (a.device.number != 0) set_scope(s, a.device.number);
  if (!a.bound) return;
  s.bind(a.local);
  s.set_bound_end(a.end);
  if (const uint32_t scope = scope_of(&a.name, a.name_len, a.local); scope != 0)
    set_scope(s, scope);  // as Linux, whatever was chosen before
}

int become_session(int fd, vcl::Session* s) {
  for (const int copy : copies_of(fd)) {
    s->ref();
    replace(copy, s);
    take_asked(copy);
  }
  const int outcome = replace(fd, s);
  if (outcome == 0) take_asked(fd);
  return outcome;
}

int become_kernel(int fd) {
  std::vector<int> all = copies_of(fd);
  all.push_back(fd);
  std::shared_ptr<Asked> asked;
  for (const int each : all) {
    if (auto taken = take_asked(each)) asked = std::move(taken);
    fds.set(each, ObjectTable::kNone);
    if (vcl::AppWorker* w = worker()) w->take_candidate(each, nullptr);
  }
  if (asked && !asked->device.name.empty())  // which the kernel may have, too
    (void)libc().setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, asked->device.name.data(),
                            static_cast<socklen_t>(asked->device.name.size()));
  if (asked && asked->bound &&
      libc().bind(fd, reinterpret_cast<const sockaddr*>(&asked->name), asked->name_len) != 0)
    return -errno;
  return 0;
}

void lock_candidates() noexcept { candidates().mutex.lock(); }
void unlock_candidates() noexcept { candidates().mutex.unlock(); }

}  // namespace loom::ldp
