#include "net/api/net_messages.h"

#include "interface.api.h"
#include "ip.api.h"
#include "ip_neighbor.api.h"
#include "ping.api.h"

namespace loom {

Result<void> add_net_messages(ApiRegistry& messages, Net& net) {
  for (const auto* module :
       {&api::kInterfaceModule, &api::kIpModule, &api::kIpNeighborModule, &api::kPingModule})
    if (auto added = messages.add_module(*module); !added) return added;
  add_interface_messages(messages, net);
  add_interface_settings(messages, net);
  add_sub_interface_messages(messages, net);
  add_address_messages(messages, net);
  add_table_messages(messages, net);
  add_route_messages(messages, net);
  add_neighbor_messages(messages, net);
  add_ping_messages(messages, net);
  return {};
}

}  // namespace loom
