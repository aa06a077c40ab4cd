// The binary API of the IP layer, in a file for each kind of thing. Every function registers the
// handlers of its messages, whose module is registered already; handlers run on the control thread
// and call what the commands call. `net` and `registry` outlive the handlers' calls.
#pragma once
#include "api/registry.h"
#include "net/net.h"

namespace loom {

void add_interface_messages(ApiRegistry& registry, Net& net);  // which there are; loopbacks
void add_interface_settings(ApiRegistry& registry, Net& net);  // what one is told to be
void add_sub_interface_messages(ApiRegistry& registry, Net& net);
void add_address_messages(ApiRegistry& registry, Net& net);
void add_table_messages(ApiRegistry& registry, Net& net);
void add_route_messages(ApiRegistry& registry, Net& net);
void add_neighbor_messages(ApiRegistry& registry, Net& net);
void add_ping_messages(ApiRegistry& registry, Net& net);

}  // namespace loom
