#include "event_log/event_log.h"

#include <algorithm>
#include <iterator>

namespace loom {
namespace {

constexpr uint32_t bit(EventKind k) { return 1u << static_cast<unsigned>(k); }
constexpr uint32_t kEveryKind = bit(EventKind::kCount) - 1;
// By EventTrace.
constexpr uint32_t kKindsOf[] = {bit(EventKind::kApi), bit(EventKind::kCli),
                                 bit(EventKind::kBarrier),
                                 bit(EventKind::kSleep) | bit(EventKind::kWake),
                                 bit(EventKind::kSessionOpen) | bit(EventKind::kSessionAccept) |
                                     bit(EventKind::kSessionConnected) |
                                     bit(EventKind::kSessionClose) | bit(EventKind::kSessionReset) |
                                     bit(EventKind::kSessionMove) | bit(EventKind::kSessionFree)};

}  // namespace

// Requests and sessions are not kept unless somebody asks for them: there may be thousands a
// second, and they would push everything else out.
EventLog::EventLog(uint32_t n_workers, uint32_t size) : first_(1 + n_workers) {
  for (uint32_t i = 0; i <= n_workers; ++i) {
    rings_.push_back(std::make_unique<EventRing>(size));
    LOOM_CHECK(rings_.back()->has_memory());
  }
  for (const EventTrace t : {EventTrace::kCli, EventTrace::kBarrier, EventTrace::kDispatch})
    set_trace(t, true);
}

void EventLog::update() noexcept {
  uint32_t on = kEveryKind;
  for (unsigned t = 0; t < static_cast<unsigned>(EventTrace::kCount); ++t)
    if (!(traced_ >> t & 1)) on &= ~kKindsOf[t];
  on_.store(is_stopped_ ? 0 : on, std::memory_order_relaxed);
}

void EventLog::set_trace(EventTrace t, bool on) noexcept {
  const uint32_t mask = 1u << static_cast<unsigned>(t);
  traced_ = on ? traced_ | mask : traced_ & ~mask;
  update();
}

void EventLog::clear() {
  for (std::size_t i = 0; i < rings_.size(); ++i) first_[i] = rings_[i]->count();
}

Result<void> EventLog::resize(uint32_t size, const WhileStill& while_still) {
  if (size < kLeastSize || size > kMostSize)
    return error(Status::kInvalid, std::to_string(size) + " events a thread are not from " +
                                       std::to_string(kLeastSize) + " to " +
                                       std::to_string(kMostSize));
  std::vector<std::unique_ptr<EventRing>> rings;
  for (std::size_t i = 0; i < rings_.size(); ++i) {
    rings.push_back(std::make_unique<EventRing>(size));
    if (!rings.back()->has_memory())
      return error(Status::kNoMemory, "no memory for " + std::to_string(size) + " events a thread");
  }
  while_still([&] {
    rings_.swap(rings);
    std::fill(first_.begin(), first_.end(), 0);
  });
  return {};
}

// Each ring is in the order of time, and none's older events can be among the latest `most` of all.
std::vector<LoggedEvent> EventLog::read(std::size_t most) const {
  std::vector<LoggedEvent> all;
  for (uint32_t i = 0; i < rings_.size(); ++i) {
    const uint64_t end = rings_[i]->count();
    std::vector<LoggedEvent> own, merged;
    rings_[i]->read(end - std::min<uint64_t>(end - first_[i], most), i, own);
    merged.reserve(all.size() + own.size());
    std::merge(std::make_move_iterator(all.begin()), std::make_move_iterator(all.end()),
               std::make_move_iterator(own.begin()), std::make_move_iterator(own.end()),
               std::back_inserter(merged),
               [](const LoggedEvent& x, const LoggedEvent& y) { return x.time < y.time; });
    all.swap(merged);
    if (all.size() > most) all.erase(all.begin(), all.end() - static_cast<std::ptrdiff_t>(most));
  }
  return all;
}

uint64_t EventLog::n_written() const {
  uint64_t n = 0;
  for (std::size_t i = 0; i < rings_.size(); ++i) n += rings_[i]->count() - first_[i];
  return n;
}

uint64_t EventLog::n_kept() const {
  uint64_t n = 0;
  for (std::size_t i = 0; i < rings_.size(); ++i)
    n += std::min<uint64_t>(rings_[i]->count() - first_[i], rings_[i]->size());
  return n;
}

}  // namespace loom
