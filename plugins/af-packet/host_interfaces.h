// The host interfaces of this daemon: made, listed and removed on the control thread, and told what
// becomes of the kernel's.
#pragma once
#include <map>
#include <string>
#include <string_view>

#include <hostloom/driver_timer.h>

#include "device.h"

namespace loom::af_packet {

class HostInterfaces {
 public:
  explicit HostInterfaces(Host& host) : host_(host) {}
  HostInterfaces(const HostInterfaces&) = delete;
  HostInterfaces& operator=(const HostInterfaces&) = delete;
  ~HostInterfaces();

  // Makes the interface, down and without addresses, and returns its name.
  Result<std::string> create(HostInterfaceConfig config);
  // By the name that the kernel's interface has now, or that it was made for.
  Result<void> remove(std::string_view host_name);
  Result<void> remove(IfIndex index);
  void remove_all() noexcept;
  // By the name that the interface has now; null: there is none, or it is another driver's.
  Device* find(std::string_view name) const;
  Host& host() const noexcept { return host_; }
  HostLinks& links() noexcept { return links_; }
  using Map = std::map<std::string, Device*, std::less<>>;
  const Map& all() const noexcept { return devices_; }  // by config.host_name

  // Links of the kernel have changed: all devices are looked at.
  void on_link_news();
  // The interface is gone and no worker uses the device (DriverOps::destroy).
  void dispose(Device* device) noexcept;

 private:
  Result<void> complete(HostInterfaceConfig& config) const;
  void watch_links();
  void update_timer();
  void on_tick();
  void do_without_rings(Device&);
  void update(Device&);
  void look_for(Device&);
  void follow_mtu(Device&);
  void note_failure(Device&, const Error&);

  Host& host_;
  Map devices_;  // owned by their interfaces
  UniqueFd monitor_;
  uint64_t watch_ = 0;
  HostLinks links_;
  static constexpr long kTickNs = 500'000'000;
  // Runs while a ring may stop, or a look is to be tried again.
  DriverTimer timer_{host_, kTickNs,
                     [](void* self) { static_cast<HostInterfaces*>(self)->on_tick(); }, this};
};

Result<void> register_commands(Host&, HostInterfaces&);
Result<void> add_api(Host&, HostInterfaces&);  // the messages of af_packet.api.json

}  // namespace loom::af_packet
