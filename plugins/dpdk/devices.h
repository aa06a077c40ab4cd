// The devices of the daemon: made when it starts, and what becomes of their links. Control thread.
#pragma once
#include <memory>
#include <vector>

#include "device.h"
#include "eal.h"

namespace loom::dpdk {

class Devices {
 public:
  explicit Devices(Host& host) : host_(host), log_(host), mempools_(host) {}
  Devices(const Devices&) = delete;

  Config config;  // what the stanza said

  // EAL, memory, mempools, then the devices. A device that cannot be is a line in the log, and the
  // others are made; everything else is the error. Nothing happens without a stanza.
  Result<void> start();
  void remove_all() noexcept;

  Host& host() noexcept { return host_; }
  const EalState& eal() const noexcept { return eal_; }
  const Mempools& mempools() const noexcept { return mempools_; }
  const std::vector<std::unique_ptr<Device>>& all() const noexcept { return devices_; }
  bool is_started() const noexcept { return is_started_; }

  // Any thread: has the links looked at.
  void look_soon() noexcept;
  // DriverOps::destroy: it is stopped and no worker uses it.
  void forget(Device&) noexcept;

 private:
  Result<void> place_buffers();
  Result<void> create(const DeviceConfig&);
  Result<void> open(Device&);
  Result<void> add_interface(Device&);
  Result<void> watch_links();
  void look_at_links();
  void note_removed(Device&);
  void find_peers();

  Host& host_;
  EalLog log_;
  Mempools mempools_;
  EalState eal_;
  std::vector<std::unique_ptr<Device>> devices_;
  UniqueFd news_, timer_;
  uint64_t news_watch_ = 0, timer_watch_ = 0;
  bool is_started_ = false;
};

Result<void> register_commands(Host&, Devices&);

}  // namespace loom::dpdk
