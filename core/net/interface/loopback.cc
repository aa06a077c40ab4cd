// Loopback interfaces: addresses of this host that belong to no wire. Packets to their own
// addresses are local like any others; what a route sends out by one is dropped and counted there.
#include "net/net.h"
#include "net/state.h"

namespace loom {
namespace {

uint32_t loopback_tx(Worker&, void*, uint16_t, std::span<Buffer* const>) noexcept {
  return 0;  // the caller drops and counts them
}

constexpr uint32_t kMostInstance = 16'383;

const DriverOps kLoopbackDriver{.name = "loopback", .tx = loopback_tx};

}  // namespace

Result<IfIndex> Net::create_loopback(const MacAddress& mac, std::optional<uint32_t> instance) {
  NetState& s = *state_;
  const auto is_taken = [&](uint32_t n) {
    return s.interfaces.find_by_name("loop" + std::to_string(n)) != kNoIndex;
  };
  uint32_t n = instance.value_or(0);
  if (n > kMostInstance)
    return error(Status::kInvalid, "loopback instance " + std::to_string(n) + " is above " +
                                       std::to_string(kMostInstance));
  if (instance && is_taken(n)) return error(Status::kInUse, "loop" + std::to_string(n) + " exists");
  while (is_taken(n)) ++n;
  InterfaceConfig c;
  c.name = "loop" + std::to_string(n);
  c.mac = mac;
  c.mtu = 9000;
  c.max_mtu = 65'535;
  c.caps = kCapTxIp4Checksum | kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;
  c.is_ethernet = false;
  c.ops = &kLoopbackDriver;
  auto index = add_interface(c);
  if (index) s.interfaces.find(*index)->is_loopback = true;
  return index;
}

Result<void> Net::delete_loopback(IfIndex index) {
  const Interface* f = state_->interfaces.find(index);
  if (!f) return error(Status::kNotFound, "there is no interface " + std::to_string(index));
  if (!f->is_loopback) return error(Status::kInvalid, f->name + " is not a loopback interface");
  (void)remove_interface(index);
  return {};
}

}  // namespace loom
