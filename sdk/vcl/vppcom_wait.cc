// libvppcom: select, poll and epoll.
#include <cerrno>
#include <vector>

#include "vcl/multi_wait.h"
#include "vcl/vppcom_app.h"

using namespace loom::vcl;

namespace {

loom::TimeNs ns_of_seconds(double s) noexcept {
  if (!(s >= 0)) return -1;
  return s > 1e9 ? -1 : loom::from_seconds(s);
}

// Objects to wait for, each with its reference.
struct Waits {
  std::vector<WaitEntry> entries;
  std::vector<Held<Object>> held;

  void add(Held<Object> o, uint32_t wanted) {
    entries.push_back({o.get(), wanted, 0});
    held.push_back(std::move(o));
  }
  int wait(loom::TimeNs timeout) {
    VppcomWorker* w = vppcom_worker(vppcom_current());
    if (!w) return VPPCOM_EINVAL;
    pollfd none[1];
    return wait_many(w->core, entries, none, 0, timeout, nullptr);
  }
};

constexpr uint32_t kWordBits = 8 * sizeof(vcl_si_set);

bool is_set(const vcl_si_set* map, uint32_t i) {
  return map && (map[i / kWordBits] >> (i % kWordBits) & 1);
}
void change(vcl_si_set* map, uint32_t i, bool on) {
  if (!map) return;
  const vcl_si_set bit = vcl_si_set{1} << (i % kWordBits);
  map[i / kWordBits] = on ? map[i / kWordBits] | bit : map[i / kWordBits] & ~bit;
}

}  // namespace

int vppcom_select(int n_bits, vcl_si_set* rd, vcl_si_set* wr, vcl_si_set* ex, double seconds) {
  if (n_bits < 0) return VPPCOM_EINVAL;
  Waits waits;
  std::vector<uint32_t> indices;
  const uint32_t worker = vppcom_current();
  for (uint32_t i = 0; i < static_cast<uint32_t>(n_bits); ++i) {
    const bool in = is_set(rd, i), out = is_set(wr, i);
    if (!in && !out) continue;
    Held<Object> o = vppcom_object(make_vppcom_handle(worker, i));
    if (!o) return VPPCOM_EBADFD;
    waits.add(std::move(o), (in ? POLLIN : 0u) | (out ? POLLOUT : 0u));
    indices.push_back(i);
  }
  const int n = waits.wait(ns_of_seconds(seconds));
  if (n < 0) return n;
  int bits = 0;
  for (size_t k = 0; k < indices.size(); ++k) {
    const uint32_t ready = waits.entries[k].ready, wanted = waits.entries[k].wanted;
    const bool in = (wanted & POLLIN) && (ready & (POLLIN | POLLHUP | POLLERR));
    const bool out = (wanted & POLLOUT) && (ready & (POLLOUT | POLLERR));
    change(rd, indices[k], in);
    change(wr, indices[k], out);
    bits += in + out;
  }
  for (uint32_t i = 0; ex && i < static_cast<uint32_t>(n_bits); ++i) change(ex, i, false);
  return bits;
}

int vppcom_poll(vcl_poll_t* vp, uint32_t n_sids, double seconds) {
  if (!vp && n_sids) return VPPCOM_EINVAL;
  Waits waits;
  std::vector<uint32_t> indices;
  int invalid = 0;
  for (uint32_t i = 0; i < n_sids; ++i) {
    vp[i].revents = 0;
    if (vp[i].sh == INVALID_SESSION_ID) continue;
    Held<Object> o = vppcom_object(vp[i].sh);
    if (!o) {
      vp[i].revents = POLLNVAL;
      ++invalid;
      continue;
    }
    waits.add(std::move(o), static_cast<uint16_t>(vp[i].events));
    indices.push_back(i);
  }
  const int n = waits.wait(invalid ? 0 : ns_of_seconds(seconds));
  if (n < 0) return n;
  for (size_t k = 0; k < indices.size(); ++k)
    vp[indices[k]].revents = static_cast<short>(waits.entries[k].ready);
  return n + invalid;
}

int vppcom_epoll_create(void) {
  const uint32_t worker = vppcom_current();
  VppcomWorker* w = vppcom_worker(worker);
  if (!w) return VPPCOM_EINVAL;
  EpollSet* set = w->core.new_epoll_set(-1);
  const int index = w->insert(set);
  if (index < 0) {
    set->unref();
    return VPPCOM_ENOMEM;
  }
  return static_cast<int>(make_vppcom_handle(worker, static_cast<uint32_t>(index)));
}

namespace {
Held<EpollSet> epoll_set(uint32_t handle) {
  Held<Object> o = vppcom_object(handle);
  if (!o || o->kind() != Object::Kind::kEpollSet) return {};
  return Held<EpollSet>(static_cast<EpollSet*>(o.release()));
}
}  // namespace

int vppcom_epoll_ctl(uint32_t vep, int op, uint32_t handle, struct epoll_event* event) {
  const Held<EpollSet> set = epoll_set(vep);
  const Held<Object> target = vppcom_object(handle);
  if (!set || !target) return VPPCOM_EBADFD;
  // Events reach the worker that owns the session; a set of another worker would not hear them.
  if (vppcom_worker_of(vep) != vppcom_worker_of(handle)) return VPPCOM_EINVAL;
  if (!event && op != EPOLL_CTL_DEL) return VPPCOM_EFAULT;
  switch (op) {
    case EPOLL_CTL_ADD:
      return set->add(static_cast<int>(handle), *target, *event);
    case EPOLL_CTL_MOD:
      return set->modify(static_cast<int>(handle), *target, *event);
    case EPOLL_CTL_DEL:
      return set->remove(static_cast<int>(handle), *target);
    default:
      return VPPCOM_EINVAL;
  }
}

int vppcom_epoll_wait(uint32_t vep, struct epoll_event* events, int max, double milliseconds) {
  const Held<EpollSet> set = epoll_set(vep);
  if (!set) return VPPCOM_EBADFD;
  if (!events) return VPPCOM_EFAULT;
  return set->wait(events, max, ns_of_seconds(milliseconds / 1000), nullptr);
}
