#include "vcl/cut_through.h"

#include <algorithm>
#include <cerrno>

#include "vcl/sys.h"

namespace loom::vcl {

std::shared_ptr<CutThroughPair> CutThroughPair::open(Attachment& attachment, uint32_t id) {
  std::shared_ptr<CutThroughPair> pair(new CutThroughPair(attachment, id));
  auto got = attachment.get_segment(id, id);
  if (!got || !pair->map(*got) || pair->segments_.empty() || pair->segments_[0]->id() != id)
    return nullptr;
  // Chunks of an arena that the other end asked for.
  pair->table_.set_loader(
      [](void* self, uint32_t segment) {
        auto& p = *static_cast<CutThroughPair*>(self);
        auto more = p.attachment_.get_segment(p.id_, segment);
        return more && p.map(*more);
      },
      pair.get());
  return pair;
}

CutThroughPair::~CutThroughPair() {
  for (auto& end : doorbells_)
    for (auto& fd : end)
      if (const int n = fd.load(std::memory_order_relaxed); n > 0) sys::close_internal(n);
  for (const int fd : own_doorbell_) {
    // The daemon has it open, too: closing it would not take it out.
    if (fd >= 0) sys::epoll_ctl(bells_fd_, EPOLL_CTL_DEL, fd, nullptr);
    sys::close_internal(fd);
  }
  // The segment closes its descriptor through libc: it must not be a protected one by then.
  for (const auto& s : segments_) sys::hooks.internal_fd(s->fd(), false);
}

bool CutThroughPair::map(WorkerEnds& ends) {
  const std::lock_guard lock(mutex_);
  for (uint32_t i = 0; i < ends.reply.n_segments; ++i) {
    const svm::SegmentInfo& info = ends.reply.segments[i];
    const int fd = std::exchange(ends.segment_fds[i], -1);
    if (std::any_of(segments_.begin(), segments_.end(),
                    [&](const auto& s) { return s->id() == info.id; })) {
      sys::close_internal(fd);
      continue;
    }
    sys::hooks.internal_fd(fd, false);  // a segment that cannot be closes it, through libc
    auto segment = svm::Segment::map(fd, info.id, info.kind, info.size);
    if (!segment) return false;
    sys::hooks.internal_fd(fd, true);
    segments_.push_back(std::move(*segment));
    const svm::Segment& s = *segments_.back();
    if (!table_.add(s)) return false;
    if (info.kind == svm::SegmentKind::kAppArena && !arena_.add_segment(s)) return false;
  }
  return true;
}

bool CutThroughPair::more_memory() {
  // Who has been refused does not ask for each datagram.
  const TimeNs now = sys::now();
  if (now < ask_memory_again_at_.load(std::memory_order_relaxed)) return false;
  auto got = attachment_.add_arena(id_);
  if (got && map(*got)) return true;
  ask_memory_again_at_.store(now + kAskAgain, std::memory_order_relaxed);
  return false;
}

bool CutThroughPair::ring(svm::BellShared& bell, uint32_t end, uint32_t worker,
                          uint32_t bit) noexcept {
  if (worker >= svm::kMaxAppWorkers) return true;  // not accepted yet: whoever does will look
  svm::BellRow& row = bell.rows[end][worker];
  if (!svm::bell::ring(row, bit)) return true;
  std::atomic<int>& place = doorbells_[end][worker];
  int fd = place.load(std::memory_order_acquire);
  if (fd <= 0) [[unlikely]] {
    const TimeNs now = sys::now();
    if (now < ask_again_at_.load(std::memory_order_relaxed) ||
        !attachment_.bell_push(id_, end, worker, fd)) {  // no descriptors left, say
      if (now >= ask_again_at_.load(std::memory_order_relaxed))
        ask_again_at_.store(now + kAskAgain, std::memory_order_relaxed);
      svm::bell::announce_sleep(row);
      return false;
    }
    int none = 0;
    if (!place.compare_exchange_strong(none, fd, std::memory_order_acq_rel)) {
      sys::close_internal(fd);
      fd = none;
    }
  }
  (void)!sys::write(fd, "", 1);
  return true;
}

// Whoever finds it in bells_fd reads it (data.fd): it would be full one day.
bool CutThroughPair::listen_at(uint32_t end, int bells_fd) {
  if (own_doorbell_[end] >= 0) return true;
  const int fd = attachment_.doorbell(id_, end, attachment_.worker_index());
  if (fd < 0) return false;
  epoll_event e{};
  e.events = EPOLLIN;
  e.data.fd = fd;
  if (sys::epoll_ctl(bells_fd, EPOLL_CTL_ADD, fd, &e) != 0) {
    sys::close_internal(fd);
    return false;
  }
  own_doorbell_[end] = fd;
  bells_fd_ = bells_fd;
  return true;
}

bool CutThroughPair::enter(svm::Ref ref, uint32_t end, uint32_t bit, Session& session,
                           int bells_fd) {
  auto* shared = table_.resolve_as<svm::BellShared>(ref);
  if (!shared || end > 1 || bit >= svm::kBellSessions || !listen_at(end, bells_fd)) return false;
  auto h = std::find_if(heard_.begin(), heard_.end(),
                        [&](const Heard& x) { return x.ref == ref && x.end == end; });
  if (h == heard_.end()) h = heard_.insert(h, Heard{.shared = shared, .ref = ref, .end = end});
  h->n_sessions += h->sessions[bit] == nullptr;
  h->sessions[bit] = &session;
  return true;
}

void CutThroughPair::leave(svm::Ref ref, uint32_t end, uint32_t bit, Session& session) noexcept {
  for (auto h = heard_.begin(); h != heard_.end(); ++h) {
    if (h->ref != ref || h->end != end || h->sessions[bit] != &session) continue;
    h->sessions[bit] = nullptr;
    if (--h->n_sessions == 0) {
      svm::bell::end_sleep(row(*h));
      heard_.erase(h);
    }
    return;
  }
}

void CutThroughPair::after_fork() noexcept {
  new (&mutex_) std::mutex;
  for (int& fd : own_doorbell_) sys::close_internal(std::exchange(fd, -1));
}

}  // namespace loom::vcl
