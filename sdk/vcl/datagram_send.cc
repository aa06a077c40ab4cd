// Session: datagrams, sent. Each lies in the tx fifo, or that of a link, behind its header
// (svm/datagram.h), whole or not at all. Those that are sent together are put there under one lock,
// and whoever reads them is woken once, when all are there.
#include "svm/datagram.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vcl/app_worker.h"
#include "vcl/datagram_put.h"
#include "vcl/session.h"

namespace loom::vcl {
namespace {

constexpr uint32_t kHeader = sizeof(svm::DatagramHeader);
constexpr size_t kMaxIp4Bytes = 65'507;  // 65535 without the headers of IPv4 and UDP
constexpr uint8_t kDefaultTtl = 64;      // as the transport's

// More than a datagram can have counts as that and one.
size_t length_of(std::span<const iovec> v) noexcept {
  constexpr size_t kTooMany = kMaxDatagramBytes + 1;
  size_t n = 0;
  for (const iovec& e : v) n += std::min(e.iov_len, kTooMany - n);
  return n;
}

bool is_multicast(const svm::Endpoint& e) noexcept {
  return e.is_ip4 ? (e.ip[0] & 0xf0) == 0xe0 : e.ip[0] == 0xff;
}
bool is_all(const svm::Endpoint& e, uint8_t value) noexcept {
  return std::all_of(e.ip, e.ip + (e.is_ip4 ? 4 : 16), [=](uint8_t b) { return b == value; });
}
bool is_limited_broadcast(const svm::Endpoint& e) noexcept { return e.is_ip4 && is_all(e, 255); }
bool is_any(const svm::Endpoint& e) noexcept { return is_all(e, 0); }

}  // namespace

// Under mutex_ and the process lock, as all that follow but the last.
void Session::wake(Wakes& due) noexcept {
  DatagramLink* link = std::exchange(due.link, nullptr);
  if (link && link->should_ring() && !link->ring())
    tell_link(svm::ToDaemon::kLinkRing, link->slot(),
              svm::link_word(link->serial(), svm::kLinkOpen));
  if (std::exchange(due.daemon, false) && tx_.should_notify()) tell(svm::ToDaemon::kTx);
}

// False: there is no link to that address, or it is broken: by the transport. UDP_SEGMENT is cut
// here; what the peer has no room for is dropped, as by Linux's loopback, and of one that is cut
// what comes behind it, too.
bool Session::send_by_link(const DatagramSend& d, const svm::Endpoint& to, svm::DatagramHeader h,
                           Wakes& due) {
  const DatagramOut& out = d.out;
  const size_t n = d.length;
  DatagramLink* link = nullptr;
  // Who answers has just read from it; more than one may lead there.
  for (uint32_t i = 0, count = static_cast<uint32_t>(links_.size()); i < count && !link; ++i)
    if (DatagramLink& l = *links_[(link_read_ + i) % count]; l.leads_to(to, out.source)) link = &l;
  if (!link || !link->may_be_written(tx_)) return false;
  if (out.tos < 0) h.tos = to.is_ip4 ? options_.dscp_tos : options_.ip6_class;
  if (!(h.flags & kDatagramTtl)) h.ttl = kDefaultTtl;
  h.gso_size = 0;
  const size_t most = out.gso_size != 0 ? out.gso_size : n;
  if (due.link != link) wake(due);
  auto sent = DatagramLink::Sent::kYes;
  size_t done = 0;
  do {
    h.length = static_cast<uint32_t>(std::min(most, n - done));
    sent = link->send(h, d.from, done);
    if (sent == DatagramLink::Sent::kDropped) {
      link->count_dropped(most == 0 ? 1 : static_cast<uint32_t>((n - done + most - 1) / most));
      break;
    }
    if (sent == DatagramLink::Sent::kYes) due.link = link;
    done += h.length;
  } while (done < n && sent != DatagramLink::Sent::kBroken);
  const bool is_broken = sent == DatagramLink::Sent::kBroken;
  links_over_ |= is_broken;
  return !is_broken;
}

// One attempt: header and payload together. 0, or a negative errno. Of those behind the first, an
// error of earlier ones stays to be told, and no room is asked for.
int Session::put_datagram(const DatagramSend& d, bool is_first, Wakes& due) {
  const DatagramOut& out = d.out;
  const size_t n = d.length;
  if (remote_.port != 0)
    if (const int error = datagram_error(is_first); error != 0) return -error;
  const svm::Endpoint& to = out.to ? *out.to : remote_;
  if (to.port == 0) return out.to ? -EINVAL : -EDESTADDRREQ;
  if (!reaches(to)) return -ENETUNREACH;
  if (out.to || out.source || out.interface != 0)
    if (const int e = know_way(out, to); e != 0) return e;
  if (to.is_ip4 && n > kMaxIp4Bytes && out.gso_size == 0) return -EMSGSIZE;
  const bool lacks_checksum = !to.is_ip4 && no_check6_tx.load(std::memory_order_relaxed);
  if (lacks_checksum && out.gso_size != 0) return -EINVAL;  // as Linux
  const bool is_group = is_multicast(to);
  if (is_limited_broadcast(to) && !options_.broadcast) return -EACCES;
  svm::Endpoint group_source{};  // IP_MULTICAST_IF by address
  group_source.is_ip4 = 1;
  std::memcpy(group_source.ip, options_.ip4_group_source, sizeof options_.ip4_group_source);
  const bool has_group_source = is_group && to.is_ip4 && !is_any(group_source);
  const svm::Endpoint* source = !out.source && has_group_source ? &group_source : out.source;
  svm::DatagramHeader h{};
  h.length = static_cast<uint32_t>(n);
  h.gso_size = out.gso_size;
  h.is_ip4 = to.is_ip4;
  // A source needs a destination of its family beside it, an interface one to look up.
  if (out.to || source || is_group || out.interface != 0) {
    h.flags |= kDatagramRemote;
    h.remote_port = to.port;
    std::memcpy(h.remote_ip, to.ip, sizeof h.remote_ip);
  }
  if (source) {
    if (source->is_ip4 != to.is_ip4) return -EINVAL;
    h.flags |= kDatagramLocal;
    if (source == &group_source) h.flags |= kDatagramLocalInterface;
    std::memcpy(h.local_ip, source->ip, sizeof h.local_ip);
  }
  if (out.interface != 0) {
    h.flags |= kDatagramInterface;
    h.interface = out.interface - 1;
  }
  if (out.tos >= 0) {
    h.flags |= kDatagramTos;
    h.tos = static_cast<uint8_t>(out.tos);
  }
  const uint8_t to_host = to.is_ip4 ? ttl : ip6_hop_limit;
  const int own_hops = is_group ? (to.is_ip4 ? ip4_group_hops : ip6_group_hops).load() : to_host;
  if (const int hops = out.ttl >= 0 ? out.ttl : own_hops; hops > 0 || is_group) {
    h.flags |= kDatagramTtl;
    h.ttl = static_cast<uint8_t>(hops);
  }
  const bool may_be_linked = !links_.empty() && out.interface == 0 && options_.interface == 0;
  if (may_be_linked && send_by_link(d, to, h, due)) return 0;
  if (lacks_checksum) h.flags |= kDatagramNoChecksum;  // which links do not have
  if (!to.is_ip4 && (out.whole >= 0 ? out.whole != 0 : options_.dont_fragment6 != 0))
    h.flags |= kDatagramWhole;
  const uint32_t total = kHeader + h.length;
  if (total > tx_.size()) return -EMSGSIZE;
  while (true) {
    switch (vcl::put_datagram(tx_, h, d.from, 0, [this] { return more_memory(); })) {
      case Put::kDone:
        due.daemon = true;
        return 0;
      case Put::kFull:
        if (!is_first || tx_.want_space(total)) return -EAGAIN;
        break;
      case Put::kNoMemory:
        return -ENOBUFS;
      case Put::kViolation:
        fail(EIO);
        return is_first ? cannot_send() : -EIO;
    }
  }
}

// How many, or the errno of the first. Under mutex_.
ssize_t Session::put_datagrams(std::span<const DatagramSend> all) {
  if (const int e = cannot_send(); e != 0) return e;
  const ProcessLock process_lock(*shared_);
  if (links_changed()) [[unlikely]]
    return kLinksChanged;
  become_owner();
  follow_sizes();
  Wakes due;
  size_t done = 0;
  int e = 0;
  while (done < all.size() && (e = put_datagram(all[done], done == 0, due)) == 0) ++done;
  if (done != 0) hides_port_ = false;
  wake(due);
  return done != 0 ? static_cast<ssize_t>(done) : e;
}

// What can be said of it before there is room. 0, or a negative errno.
int Session::cannot_leave(DatagramSend& d, int flags, const PathRules& rules, uint32_t& mtu) {
  if (d.out.gso_size == 0) d.out.gso_size = gso_size.load(std::memory_order_relaxed);
  if (flags & (MSG_OOB | MSG_MORE)) return -EOPNOTSUPP;
  d.length = length_of(d.from);
  if (d.length > kMaxDatagramBytes) return -EMSGSIZE;
  if (d.out.gso_size != 0 && d.length > size_t{d.out.gso_size} * svm::kMaxGsoSegments)
    return -EINVAL;
  return check_path(d, rules, mtu);
}

int Session::send_datagrams(std::span<DatagramSend> all, int flags) {
  const bool is_part = (flags & MSG_MORE) || holds_back.load(std::memory_order_relaxed);
  if (is_part && is_connectionless()) [[unlikely]]
    return send_corked(all, flags);
  return send_whole(all, flags);
}

// Each for itself.
int Session::send_whole(std::span<DatagramSend> all, int flags) {
  const PathRules rules = path_rules();
  uint32_t mtu = 0;
  int error = 0;
  size_t n = 0;  // that can leave
  while (n < all.size() && (error = cannot_leave(all[n], flags, rules, mtu)) == 0) ++n;
  size_t done = 0;
  TimeNs deadline = 0;
  bool has_deadline = false;
  while (done < n) {
    ssize_t outcome;
    {
      const std::lock_guard lock(mutex_);
      outcome = put_datagrams(all.subspan(done, n - done));
    }
    if (outcome == kLinksChanged) {
      settle_links();
      continue;
    }
    if (outcome == kWayUnknown) {
      ask_way(all[done].out);
      continue;
    }
    if (outcome > 0) {
      done += static_cast<size_t>(outcome);
      has_deadline = false;
      continue;
    }
    if (outcome == -EAGAIN) outcome = wait_writable(flags, deadline, has_deadline);
    if (outcome != 0) return static_cast<int>(done != 0 ? static_cast<ssize_t>(done) : outcome);
  }
  if (mtu != 0 && hears_errors_) add_local_error(all[n].out.to ? *all[n].out.to : remote(), mtu);
  return done != 0 ? static_cast<int>(done) : error;
}

ssize_t Session::send_datagram(std::span<const iovec> from, int flags, const DatagramOut& out) {
  DatagramSend d{from, out};
  const int n = send_datagrams({&d, 1}, flags);
  return n == 1 ? static_cast<ssize_t>(d.length) : n;
}

}  // namespace loom::vcl
