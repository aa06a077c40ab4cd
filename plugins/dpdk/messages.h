// What the messages say of a device that is to be made. Control thread.
#pragma once
#include "config.h"
#include "dpdk.api.h"

namespace loom::dpdk {

// What a message leaves at 0, empty or false is as `defaults` (`dev default { }`) has it.
Result<DeviceConfig> config_of(const api::DpdkVdevCreate&, const DeviceConfig& defaults);
Result<DeviceConfig> config_of(const api::DpdkVdevCreateV2&, const DeviceConfig& defaults);

}  // namespace loom::dpdk
