// How a device's driver is called, and what the operator's wishes come to. A driver that may wait
// for its peer is called on a thread of the device's own, one call after the other; what a call
// finds is seen to here, on the control thread.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "devices.h"

namespace loom::dpdk {
namespace {

constexpr uint32_t kTicksOfPatience = 4;  // of Devices::kTickNs

}  // namespace

void Devices::call(Device& d, std::function<void()> call, std::function<void()> then) {
  if (!d.thread) {
    call();
    return then();
  }
  d.is_called = true;
  d.n_ticks_called = 0;
  d.then = std::move(then);
  d.thread->begin(std::move(call));
  (void)timer_.set(true);
}

void Devices::finish_call(Device& d) {
  d.thread->take();
  d.is_called = false;
  std::exchange(d.then, nullptr)();
}

void Devices::finish_calls() {
  for (Device* d : known())
    if (is_known(d) && d->is_called && d->thread->is_over()) finish_call(*d);
  log_.drain();
}

std::vector<Device*> Devices::known() const {
  std::vector<Device*> all;
  for (const List* list : {&making_, &devices_, &closing_})
    for (const auto& d : *list) all.push_back(d.get());
  return all;
}

bool Devices::is_known(const Device* d) const noexcept {
  for (const List* list : {&making_, &devices_, &closing_})
    for (const auto& other : *list)
      if (other.get() == d) return true;
  return false;
}

bool Devices::settle(Device& d, CallThread::Clock::time_point end) {
  while (is_known(&d) && d.is_called) {
    if (!d.thread->is_over_by(end)) return false;
    finish_call(d);
  }
  return true;
}

void Devices::wait_a_little() {
  const auto end = CallThread::Clock::now() + kPatience;
  for (List* list : {&making_, &closing_}) {
    std::vector<Device*> all;
    for (const auto& d : *list) all.push_back(d.get());
    for (Device* d : all) (void)settle(*d, end);
  }
}

// What is asked for while a call is under way is seen to when that is over.
void Devices::bring(Device& d) {
  if (d.is_called) return;
  if (!d.has_port) {
    d.mtu = d.wanted_mtu;
    return;
  }
  const bool is_up = d.is_admin_up && !d.is_removed.load(std::memory_order_relaxed);
  const bool has_mtu = d.mtu != d.wanted_mtu;
  if (!has_mtu && is_up == d.is_started.load(std::memory_order_relaxed)) return;
  const bool was_started = quiesce_port(d);
  const bool is_to_configure = has_mtu || (is_up && !d.is_configured);
  d.mtu = d.wanted_mtu;
  const bool was_admin_up = d.is_admin_up;
  call(
      d,
      [&d, was_started, is_to_configure, is_up] {
        if (was_started) halt_port(d);
        d.outcome = is_to_configure ? configure_port(d) : Result<void>();
        if (!d.outcome || !is_up) return;
        d.outcome = start_port(d);
        if (d.traits.is_restarted) d.outcome = {};  // find_peer goes on
      },
      [this, &d, was_admin_up] {
        const bool is_latest = d.is_admin_up == was_admin_up && d.mtu == d.wanted_mtu;
        finish_bringing(d, is_latest);
        if (d.is_disposed) return begin_close(d);
        if (!is_latest) bring(d);
      });
}

void Devices::finish_bringing(Device& d, bool is_latest) {
  mempools_.free_orphans();
  d.n_ticks_down = 0;
  if (!d.outcome) {
    std::string what = d.outcome.error().message;
    if (is_latest && d.is_wish_late)
      what += "; the interface has mtu " + std::to_string(d.wanted_mtu) +
              ", and the device is stopped" +
              (seeks_peer(d) ? " until it has its peer with that" : "");
    host_.log(LogLevel::kError, "dpdk", what);
    if (is_latest && d.refusal) d.refusal = d.outcome;
  }
  if (std::exchange(d.is_mac_late, false) && !d.is_disposed) (void)set_mac(d, d.mac);
  look_soon();
}

// A device that has not answered for so long already is not waited for again.
Status Devices::outcome_of(Device& d) {
  const auto now = CallThread::Clock::now();
  if (settle(d, d.n_ticks_called < kTicksOfPatience ? now + kPatience : now))
    return d.refusal ? Status::kOk : d.refusal.error().code;
  d.n_ticks_called = std::max(d.n_ticks_called, kTicksOfPatience - 1);  // so that the log says it
  d.is_wish_late = true;
  return Status::kInProgress;
}

Status Devices::set_admin(Device& d, bool up) {
  if (d.is_admin_up == up) return Status::kOk;
  d.is_admin_up = up;
  if (!d.is_called) (void)look_at_host(d);
  d.refusal = {};
  d.is_wish_late = false;
  bring(d);
  const Status status = outcome_of(d);
  if (status != Status::kOk && status != Status::kInProgress) d.is_admin_up = !up;
  look_soon();
  return status;
}

Status Devices::set_mtu(Device& d, uint32_t mtu) {
  if (mtu > d.info.max_mtu || mtu < d.info.min_mtu) return Status::kInvalid;
  if (mtu == d.wanted_mtu) return Status::kOk;
  if (d.is_removed.load(std::memory_order_relaxed)) return Status::kNotFound;
  if (!d.is_called) (void)look_at_host(d);
  if (d.is_elsewhere) return Status::kUnsupported;  // the other end has its MTU from who has it
  const uint32_t before = std::exchange(d.wanted_mtu, mtu);
  d.refusal = {};
  d.is_wish_late = false;
  bring(d);
  const Status status = outcome_of(d);
  if (status == Status::kOk || status == Status::kInProgress) return status;
  d.wanted_mtu = before;  // the interface's
  bring(d);
  return status;
}

Status Devices::set_mac(Device& d, const MacAddress& mac) {
  if (d.traits.shares_mac || mac == MacAddress{}) return Status::kOk;  // it is promiscuous
  if (d.is_called || !d.has_port) {
    d.mac = mac;
    d.is_mac_late = true;
    return Status::kOk;
  }
  rte_ether_addr address;
  static_assert(sizeof address == sizeof mac.bytes);
  std::copy(std::begin(mac.bytes), std::end(mac.bytes), address.addr_bytes);
  const int code = rte_eth_dev_default_mac_addr_set(d.port, &address);
  if (code != 0 && code != -ENOTSUP) return Status::kIo;
  // One that cannot be told another receives what is sent to it if it receives everything.
  if (code != 0 && rte_eth_promiscuous_enable(d.port) != 0) return Status::kUnsupported;
  d.mac = mac;
  return Status::kOk;
}

void Devices::note_late(Device& d) {
  const uint32_t n = ++d.n_ticks_called;
  const bool is_making = d.index == kNoIndex;
  if (d.is_disposed && (is_making || n >= kTicksOfPatience)) (void)hang_up(d.peer.path);
  if (n != kTicksOfPatience || d.is_disposed) return;
  const std::string what = is_making && d.peer.is_ours
                               ? d.name + " waits for its peer, which connects to " + d.peer.path
                               : d.name + ": its peer at " + d.peer.path + " does not answer";
  host_.log(LogLevel::kWarn, "dpdk", what);
  if (const auto on_made = std::exchange(d.on_made, nullptr))
    on_made(error(Status::kInProgress, what + "; the interface appears when it does"));
}

// One that is still without a link half a second after it was started: not while it shakes hands,
// as the driver's own thread does that. One that refuses us is asked more and more seldom: each
// attempt costs descriptors that the driver does not close.
void Devices::find_peer(Device& d) {
  if (d.is_called || !seeks_peer(d)) return;
  if (++d.n_ticks_down < 2u << std::min(d.n_refused, 6u)) return;
  if (d.traits.is_restarted) {
    const bool was_started = quiesce_port(d);
    d.n_ticks_down = 0;
    return call(
        d,
        [&d, was_started] {
          if (was_started) halt_port(d);
          (void)start_port(d);
        },
        [this] { mempools_.free_orphans(); });
  }
  // One that is here already, but with whom the device could not be started, is to come again.
  const bool is_started = d.is_started.load(std::memory_order_relaxed);
  if (d.listener ? !is_started || d.listener->has_guest() : is_bound(d.peer.path)) reopen(d);
}

bool seeks_peer(const Device& d) noexcept {
  const bool has_others = !d.peer.path.empty() && d.n_refused < kMostRefused;
  return (d.traits.is_restarted || has_others) && d.is_admin_up &&
         !(d.is_link_up && d.is_started.load(std::memory_order_relaxed));
}

// The daemon ends: whoever waits for a peer is given a moment, and its peer is left. A thread that
// does not come back even so (from a connect(2) that the peer does not take) ends with the process.
void Devices::end_calls() {
  for (const auto& d : making_) {
    d->is_disposed = true;
    d->on_made = nullptr;
    (void)hang_up(d->peer.path);
  }
  for (const bool is_last : {false, true}) {
    const auto end = CallThread::Clock::now() + kPatience;
    for (List* list : {&making_, &closing_}) {
      std::vector<Device*> all;
      for (const auto& d : *list) all.push_back(d.get());
      for (Device* d : all) (void)settle(*d, end);
      for (const auto& d : *list) {
        (void)hang_up(d->peer.path);
        if (is_last) d->thread.reset();
      }
    }
  }
  for (List* list : {&making_, &closing_}) {
    for (auto& d : *list) (void)d.release();  // a thread of ours is in there
    list->clear();
  }
}

}  // namespace loom::dpdk
