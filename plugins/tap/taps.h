// The TAPs of this daemon: made, listed and removed on the control thread.
#pragma once
#include <map>
#include <string>
#include <string_view>

#include "device.h"

namespace loom::tap {

class Taps {
 public:
  explicit Taps(Host& host) : host_(host) {}
  Taps(const Taps&) = delete;
  Taps& operator=(const Taps&) = delete;

  // Makes the TAP and its interface, down and without addresses on our side, and returns its name.
  // `config.id` kAnyId: the lowest whose name is free.
  Result<std::string> create(TapConfig config);
  static constexpr uint32_t kAnyId = ~0u;

  Result<void> remove(std::string_view name);
  Result<void> remove(IfIndex index);
  void remove_all() noexcept;
  // By the name that the interface has now; null: there is none, or it is no TAP.
  const Device* find(std::string_view name) const;
  Host& host() const noexcept { return host_; }
  const std::map<uint32_t, Device*>& all() const noexcept { return devices_; }

  // The interface is gone and no worker uses the device (DriverOps::destroy).
  void dispose(Device* device) noexcept;

 private:
  Result<void> complete(TapConfig& config) const;
  static void on_link_news(void* device);

  Host& host_;
  std::map<uint32_t, Device*> devices_;  // by id; owned by their interfaces
};

Result<void> register_commands(Host&, Taps&);
Result<void> add_api(Host&, Taps&);  // the messages of tapv2.api.json

}  // namespace loom::tap
