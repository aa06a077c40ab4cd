#include "devices.h"

#include <net/if.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <hostloom/link_monitor.h>
#include <hostloom/waker.h>

namespace loom::dpdk {
namespace {

// Where the kernel's interface is that the device stands on, if it does: drivers do not notice that
// it has gone, and go on saying that the link is up. A net_tap's may be elsewhere, and nobody tells
// of it there.
HostEnd host_end_of(const Device& d) {
  char name[IF_NAMESIZE];
  if (d.info.if_index == 0) return HostEnd::kHere;
  if (d.host_end.is_known()) return d.host_end.where(d.info.if_index);
  return ::if_indextoname(d.info.if_index, name) ? HostEnd::kHere : HostEnd::kGone;
}

}  // namespace

Result<void> Devices::start() {
  if (!config.is_given) return {};
  if (auto placed = place_buffers(); !placed) return placed;
  if (auto made = mempools_.make(); !made) return made;
  if (auto watched = watch_links(); !watched) return watched;
  is_started_ = true;
  const auto end = CallThread::Clock::now() + kPatience;
  for (const DeviceConfig& c : config.devices) {
    create(c, [this](const Result<IfIndex>& made) {
      log_.drain();
      if (!made && made.error().code != Status::kInProgress)  // which is in the log already
        host_.log(LogLevel::kError, "dpdk", made.error().message);
    });
    if (!making_.empty()) (void)settle(*making_.back(), end);
  }
  return {};
}

// EAL starts when the core asks for the first pool's memory: it has agreed to move its buffers by
// then, and has given back the huge pages that they lay on. What is refused afterwards, for want of
// memory, leaves EAL started, and unused: it cannot be started again, nor its threads be ended.
Result<void> Devices::place_buffers() {
  BufferPoolInfo pool;
  for (uint32_t i = 0; host_.buffer_pool(i, pool) == Status::kOk; ++i)
    buffers_.push_back({pool.n_buffers * (pool.stride - pool.front + kFront), pool.numa_node});
  const auto provide = [](void* self, uint32_t index, std::size_t size, int numa_node,
                          std::span<std::byte>* out, uint64_t* page_size, std::string* message) {
    Devices& all = *static_cast<Devices*>(self);
    if (all.eal_.arguments.empty()) {
      auto state = start_eal(all.host_, all.config, all.buffers_, all.log_);
      if (!state) {
        *message = state.error().message;
        return state.error().code;
      }
      all.eal_ = std::move(*state);
    }
    return provide_buffers(nullptr, index, size, numa_node, out, page_size, message);
  };
  return host_.place_buffers({.front = kFront, .context = this, .provide = provide});
}

Result<void> Devices::watch_links() {
  news_ = open_eventfd();
  if (!news_) return error(Status::kIo, std::string("eventfd: ") + std::strerror(errno));
  news_watch_ = host_.watch_fd(
      news_.get(),
      [](void* self) {
        auto& all = *static_cast<Devices*>(self);
        uint64_t n;
        (void)!::read(all.news_.get(), &n, sizeof n);
        all.finish_calls();
        all.look_at_links();
      },
      this);
  monitor_ = open_link_monitor();
  if (monitor_)
    monitor_watch_ = host_.watch_fd(
        monitor_.get(),
        [](void* self) {
          auto& all = *static_cast<Devices*>(self);
          drain_link_news(all.monitor_.get());
          all.look_at_links();
        },
        this);
  return {};
}

void Devices::look_soon() noexcept {
  const uint64_t one = 1;
  (void)!::write(news_.get(), &one, sizeof one);
}

void Devices::look_at_links() {
  for (const auto& d : devices_) {
    if (d->is_called) continue;  // there is more to be seen when that is over
    if (!look_at_host(*d) || d->is_removed.load(std::memory_order_relaxed)) {
      if (!d->is_gone) note_removed(*d);
      continue;
    }
    // Stopped, it says nothing about the other end; until it is started again, the link is as it
    // was.
    if (!d->is_started.load(std::memory_order_relaxed)) continue;
    if (!d->is_elsewhere) (void)rte_eth_link_get_nowait(d->port, &d->link);
    const bool is_up =
        d->is_elsewhere ? d->host_end.is_up() : d->link.link_status == RTE_ETH_LINK_UP;
    if (is_up == d->is_link_up) continue;
    d->is_link_up = is_up;
    (void)host_.set_link(d->index, is_up);
  }
  mempools_.free_orphans();
  (void)timer_.set(!making_.empty() || !closing_.empty() ||
                   std::any_of(devices_.begin(), devices_.end(),
                               [&](const auto& d) { return needs_ticks(*d); }));
}

void Devices::tick() {
  for (Device* d : known())
    if (is_known(d) && d->is_called) note_late(*d);
  for (const auto& d : devices_) find_peer(*d);
  look_at_links();
}

// A daemon that has nothing to wait for is not woken: most links bring their news, and those of
// devices that are down cannot change.
bool Devices::needs_ticks(const Device& d) const noexcept {
  if (d.is_gone) return false;
  if (d.is_called || seeks_peer(d)) return true;
  if (!d.is_started.load(std::memory_order_relaxed) || d.traits.has_fixed_link) return false;
  if (d.is_elsewhere) return true;
  const bool has_news = d.info.if_index != 0 ? monitor_watch_ != 0 : d.has_link_interrupt;
  return !has_news;
}

bool Devices::look_at_host(Device& d) {
  const HostEnd end = host_end_of(d);
  const bool is_elsewhere = end == HostEnd::kElsewhere;
  if (end == HostEnd::kGone) return false;
  if (std::exchange(d.is_elsewhere, is_elsewhere) != is_elsewhere)
    host_.log(LogLevel::kNotice, "dpdk",
              d.name + ": the kernel's end is " +
                  (is_elsewhere ? "in another network namespace, or has another name" : "back"));
  return true;
}

// Whatever its link was: its descriptors would be readable for ever.
void Devices::note_removed(Device& d) {
  host_.log(LogLevel::kWarn, "dpdk", d.name + ": the device is gone");
  d.is_gone = true;
  d.is_removed.store(true, std::memory_order_relaxed);
  if (std::exchange(d.is_link_up, false)) (void)host_.set_link(d.index, false);
  bring(d);
}

const Device* Devices::next_from(uint64_t least_index) const noexcept {
  const Device* lowest = nullptr;
  for (const auto& d : devices_)
    if (d->index >= least_index && (!lowest || d->index < lowest->index)) lowest = d.get();
  return lowest;
}

const Device* Devices::find(IfIndex index) const noexcept {
  const Device* d = next_from(index);
  return d && d->index == index ? d : nullptr;
}

void Devices::remove_all() noexcept {
  while (!devices_.empty()) {
    const std::size_t n = devices_.size();
    Device& d = *devices_.back();
    if (host_.remove_interface(d.index) == Status::kOk && devices_.size() < n) continue;
    dispose(&d);
  }
  end_calls();
  if (news_watch_) host_.unwatch_fd(news_watch_);
  if (monitor_watch_) host_.unwatch_fd(monitor_watch_);
  news_watch_ = monitor_watch_ = 0;
  timer_.close();
}

}  // namespace loom::dpdk
