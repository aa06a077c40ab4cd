// The devices of the daemon: made when it starts, and what becomes of their links. Control thread.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/driver_timer.h>

#include "device.h"
#include "eal.h"

namespace loom::dpdk {

// Whether the device is without a peer that is to be found by starting it again, or by another port
// in its place.
bool seeks_peer(const Device&) noexcept;
constexpr uint32_t kMostRefused = 64;  // attempts in a row
// How long the control thread waits for a driver that waits for its peer, before it goes on.
constexpr std::chrono::milliseconds kPatience{2000};

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

  using Made = std::function<void(Result<IfIndex>)>;
  using Removed = std::function<void(Result<void>)>;
  // A device of software at run time, its interface down. EAL adds and removes devices under locks
  // of its own, here as when it starts; a device is removed when no worker uses it any more. EAL
  // itself can be started before the buffers are in use only.
  // `made` is called at once, or, for a device that waits for its peer, when it is there; with
  // kInProgress after a few seconds, and the interface appears when the peer does. Errors:
  // kUnsupported, EAL was not started; kExists; kIo, DPDK's or its driver's reason.
  void create_vdev(const DeviceConfig&, Made);
  // Also one that `dpdk { }` has made. `removed` is called at once, or a few seconds later: a peer
  // that does not answer is left without a farewell. Errors: kNotFound; kInvalid, it is not of
  // software; kIo, the interface is gone, but DPDK has not let go of the device.
  void remove_vdev(IfIndex, Removed);
  // Gives up one that still waits for its peer, by the name of its interface to be. False: there is
  // none.
  bool give_up(const std::string& name, Removed);

  // For who cannot be called back: as long as a few seconds, until they are there, or gone.
  void wait_a_little();

  // --- calls.cc. What the operator wants of a device; the interface's wishes are kept, also those
  // that its driver has no answer to yet.
  // kInProgress: its peer does not answer, and what is wanted is done when it does.
  Status set_admin(Device&, bool up);
  Status set_mtu(Device&, uint32_t mtu);
  Status set_mac(Device&, const MacAddress&);

  Host& host() noexcept { return host_; }
  const EalState& eal() const noexcept { return eal_; }
  const Mempools& mempools() const noexcept { return mempools_; }
  const std::vector<std::unique_ptr<Device>>& all() const noexcept { return devices_; }
  // Those that wait for their peers, and have no interface yet.
  const std::vector<std::unique_ptr<Device>>& making() const noexcept { return making_; }
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
  using List = std::vector<std::unique_ptr<Device>>;
  Result<void> place_buffers();
  Result<void> watch_links();
  void look_at_links();
  bool needs_ticks(const Device&) const noexcept;
  void note_removed(Device&);
  // Of a device that no call is under way of: notes where the kernel's end of it is. False: it is
  // gone.
  bool look_at_host(Device&);
  void tick();

  // --- making.cc: how a device comes to be, and how it goes.
  void create(const DeviceConfig&, Made);
  Result<void> ready_for_peer(Device&);
  void begin_probe(Device&, std::function<void()> then);
  Result<void> probe(Device&);
  Result<void> open(Device&);
  Result<void> open_again(Device&);
  Result<void> add_interface(Device&);
  void finish_making(Device&);
  void end_making(Device&, Result<IfIndex>);
  void close_port(Device&);
  void begin_closing_port(Device&, std::function<void()> then);
  void begin_close(Device&);
  void finish_close(Device&);
  Result<void> forget(Device&);
  void hear_events(Device&);
  void reopen(Device&);
  void probe_again(Device&);
  void finish_reopening(Device&);

  // --- calls.cc: how a device's driver is called.
  // Has `call` made on the device's thread, if it has one, and `then` here when it is over: at once
  // without a thread. `then` may be the end of the device.
  void call(Device&, std::function<void()> call, std::function<void()> then);
  void finish_call(Device&);
  void finish_calls();
  // Those there are. Who is told of one (Made, Removed) may make and remove others before it
  // returns: whoever goes through them asks of each whether it is still there.
  std::vector<Device*> known() const;
  bool is_known(const Device*) const noexcept;
  // Until no call is under way, or it takes too long: false.
  bool settle(Device&, CallThread::Clock::time_point end);
  void bring(Device&);
  void finish_bringing(Device&, bool is_latest);  // nothing else has been wished since
  Status outcome_of(Device&);
  void note_late(Device&);
  void find_peer(Device&);
  void end_calls();

  Host& host_;
  EalLog log_;
  Mempools mempools_;
  EalState eal_;
  List devices_, making_, closing_;
  std::vector<Piece> buffers_;  // the pools, in EAL's memory
  UniqueFd news_, monitor_;     // of DPDK's; of the kernel's about its interfaces
  uint64_t news_watch_ = 0, monitor_watch_ = 0;
  static constexpr long kTickNs = 500'000'000;
  DriverTimer timer_{host_, kTickNs, [](void* self) { static_cast<Devices*>(self)->tick(); }, this};
  bool is_started_ = false;
};

Result<void> register_commands(Host&, Devices&);
Result<void> add_api(Host&, Devices&);  // the messages of dpdk.api.json

}  // namespace loom::dpdk
