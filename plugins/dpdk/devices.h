// The devices of the daemon: made when it starts, and what becomes of their links. Control thread.
#pragma once
#include <memory>
#include <vector>

#include <hostloom/driver_timer.h>

#include "device.h"
#include "eal.h"

namespace loom::dpdk {

class Devices {
 public:
  explicit Devices(Host& host)
      : host_(host),
        log_(host),
        mempools_(
            host, [](void* self) noexcept { static_cast<Devices*>(self)->look_soon(); }, this) {}
  Devices(const Devices&) = delete;

  Config config;  // what the stanza said

  // EAL, memory, mempools, then the devices. A device that cannot be is a line in the log, and the
  // others are made; everything else is the error. Nothing happens without a stanza.
  Result<void> start();
  void remove_all() noexcept;

  // A device of software at run time, its interface down. EAL adds and removes devices under locks
  // of its own, here as when it starts; a device is removed when no worker uses it any more. EAL
  // itself can be started before the buffers are in use only. Errors: kUnsupported, it was not;
  // kExists; kIo, DPDK's or its driver's reason.
  Result<IfIndex> create_vdev(const DeviceConfig&);
  // Also one that `dpdk { }` has made. Errors: kNotFound; kInvalid, it is not of software; kIo, the
  // interface is gone, but DPDK has not let go of the device.
  Result<void> remove_vdev(IfIndex);

  Host& host() noexcept { return host_; }
  const EalState& eal() const noexcept { return eal_; }
  const Mempools& mempools() const noexcept { return mempools_; }
  const std::vector<std::unique_ptr<Device>>& all() const noexcept { return devices_; }
  const Device* find(IfIndex) const noexcept;                    // null: none is
  const Device* next_from(uint64_t least_index) const noexcept;  // the lowest number of those
  bool is_started() const noexcept { return is_started_; }

  // Whether links are looked at twice a second, for want of news about one.
  bool is_ticking() const noexcept { return timer_.is_on(); }
  // Any thread: has the links looked at.
  void look_soon() noexcept;
  // DriverOps::destroy: no worker uses it.
  void dispose(Device*) noexcept;

 private:
  Result<void> place_buffers();
  Result<void> create(const DeviceConfig&);
  Result<void> open(Device&);
  Result<void> close(Device&);
  Result<void> forget(const DeviceConfig&);
  Result<void> add_interface(Device&);
  Result<void> watch_links();
  void look_at_links();
  bool needs_ticks(const Device&) const noexcept;
  void note_removed(Device&);
  void find_peers();

  Host& host_;
  EalLog log_;
  Mempools mempools_;
  EalState eal_;
  std::vector<std::unique_ptr<Device>> devices_;
  std::size_t buffer_bytes_ = 0;  // in EAL's memory
  UniqueFd news_, monitor_;       // of DPDK's; of the kernel's about its interfaces
  uint64_t news_watch_ = 0, monitor_watch_ = 0;
  static constexpr long kTickNs = 500'000'000;
  DriverTimer timer_{host_, kTickNs,
                     [](void* self) {
                       static_cast<Devices*>(self)->find_peers();
                       static_cast<Devices*>(self)->look_at_links();
                     },
                     this};
  bool is_started_ = false;
  Result<void> last_close_;  // of the device that was disposed of last
};

Result<void> register_commands(Host&, Devices&);
Result<void> add_api(Host&, Devices&);  // the messages of dpdk.api.json

}  // namespace loom::dpdk
