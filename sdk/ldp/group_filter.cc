#include "ldp/group_filter.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "ldp/names.h"

namespace loom::ldp {
namespace {

using vcl::Session;

// Linux's net.ipv4.igmp_max_msf and net.ipv6.mld_max_msf.
constexpr uint32_t kMostSources4 = 10, kMostSources6 = 64;
constexpr socklen_t kHead4 = offsetof(ip_msfilter, imsf_slist);
constexpr socklen_t kHead = offsetof(group_filter, gf_slist);

svm::Endpoint end_of(sa_family_t family, const void* address) noexcept {
  svm::Endpoint e{};
  e.is_ip4 = family == AF_INET;
  std::memcpy(e.ip, address, family == AF_INET ? 4 : 16);
  return e;
}
const void* address_of(const sockaddr_storage& a) noexcept {
  return a.ss_family == AF_INET
             ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(a).sin_addr)
             : &reinterpret_cast<const sockaddr_in6&>(a).sin6_addr;
}

// What the structure says in front of its sources.
struct Head {
  svm::GroupEvent about{};  // group and interface
  uint32_t mode = 0, n_sources = 0;
  socklen_t size = 0;  // of itself, bytes
  socklen_t each = 0;  // of a source
  sa_family_t family = AF_UNSPEC;
};
// False: it is too short.
bool read_head(int level, int name, const void* value, socklen_t len, Head& h) noexcept {
  h.about.address.is_ip4 = h.about.source.is_ip4 = level == IPPROTO_IP;
  if (name == IP_MSFILTER) {
    if (len < kHead4) return false;
    ip_msfilter f;
    std::memcpy(&f, value, kHead4);
    h.about.group = end_of(AF_INET, &f.imsf_multiaddr);
    h.about.address = end_of(AF_INET, &f.imsf_interface);
    h.mode = f.imsf_fmode;
    h.n_sources = f.imsf_numsrc;
    h.size = kHead4;
    h.each = sizeof(in_addr);
    h.family = AF_INET;
    return true;
  }
  if (len < kHead) return false;
  group_filter f;
  std::memcpy(&f, value, kHead);
  h.family = f.gf_group.ss_family;
  h.about.group = end_of(h.family, address_of(f.gf_group));
  h.about.interface = f.gf_interface;
  h.mode = f.gf_fmode;
  h.n_sources = f.gf_numsrc;
  h.size = kHead;
  h.each = sizeof(sockaddr_storage);
  return true;
}

}  // namespace

bool is_group_filter(int level, int name) noexcept {
  return (level == IPPROTO_IP && name == IP_MSFILTER) ||
         ((level == IPPROTO_IP || level == IPPROTO_IPV6) && name == MCAST_MSFILTER);
}

int set_group_filter(Session& s, int level, const void* value, socklen_t len, int name) {
  Head h;
  if (!read_head(level, name, value, len, h)) return -EINVAL;
  if (h.n_sources > (level == IPPROTO_IP ? kMostSources4 : kMostSources6)) return -ENOBUFS;
  if (h.size + h.n_sources * h.each > len) return -EINVAL;
  const sa_family_t family = level == IPPROTO_IP ? AF_INET : AF_INET6;
  if (h.family != family) return family == AF_INET ? -EADDRNOTAVAIL : -EINVAL;
  std::vector<svm::Endpoint> sources;
  for (uint32_t i = 0; i < h.n_sources; ++i) {
    const auto* at = static_cast<const std::byte*>(value) + h.size + i * h.each;
    if (name == IP_MSFILTER) {
      sources.push_back(end_of(AF_INET, at));
      continue;
    }
    sockaddr_storage a;
    std::memcpy(&a, at, sizeof a);
    if (a.ss_family != family) return -EADDRNOTAVAIL;
    sources.push_back(end_of(family, address_of(a)));
  }
  if (!is_group(h.about.group) || h.mode > MCAST_INCLUDE) return -EINVAL;
  return s.set_group_filter(h.about, h.mode == MCAST_EXCLUDE, sources);
}

int get_group_filter(Session& s, int level, void* value, socklen_t* len, int name) {
  Head h;
  if (!read_head(level, name, value, *len, h)) return -EINVAL;
  const sa_family_t family = level == IPPROTO_IP ? AF_INET : AF_INET6;
  if (h.family != family) return family == AF_INET ? -EINVAL : -EADDRNOTAVAIL;
  if (!is_group(h.about.group)) return -EINVAL;
  const uint32_t room = std::min(h.n_sources, (*len - h.size) / h.each);
  svm::FilterEvent f{};
  uint32_t n = 0;
  auto* const out = static_cast<std::byte*>(value);
  do {  // once in any case
    if (const int e = s.read_group_filter(h.about, n, f); e != 0) return e;
    if (n >= room || n >= f.n_sources) break;
    if (name == IP_MSFILTER) {
      std::memcpy(out + h.size + n * h.each, f.source.ip, 4);
    } else {
      sockaddr_storage a{};
      a.ss_family = family;
      std::memcpy(const_cast<void*>(address_of(a)), f.source.ip, family == AF_INET ? 4 : 16);
      std::memcpy(out + h.size + n * h.each, &a, sizeof a);
    }
    ++n;
  } while (n < room && n < f.n_sources);
  // Both structures end their heads with the mode and the number of sources.
  const uint32_t tail[] = {f.is_exclude ? uint32_t{MCAST_EXCLUDE} : uint32_t{MCAST_INCLUDE},
                           f.n_sources};
  std::memcpy(out + h.size - sizeof tail, tail, sizeof tail);
  *len = h.size + n * h.each;
  return 0;
}

}  // namespace loom::ldp
