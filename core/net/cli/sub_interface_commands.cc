// create sub-interfaces, delete sub-interface. The words are VPP's. Those that ask for another kind
// of sub-interface than there is, one of exactly one VLAN id, are refused by name.
#include <algorithm>

#include "net/cli/net_commands.h"

namespace loom {
namespace {

Error other_kind(std::string_view word, const char* why) {
  return error(Status::kUnsupported, "'" + std::string(word) + "' is not supported: " + why);
}

// Behind "dot1q".
Result<uint16_t> parse_vlan(CliArgs& args) {
  if (args.accept("any")) return other_kind("dot1q any", "what is sent needs a tag that is known");
  const auto id = args.number("dot1q", 1, 4094);
  if (!id) return id.error();
  return static_cast<uint16_t>(*id);
}

Result<void> create(Host&, void* context, CliArgs& args, CliReply& reply) {
  Net& net = net_of(context);
  const auto parent = parse_interface(net, args);
  if (!parent) return parent.error();
  const auto sub_id = args.number("sub-interface id", 0, ~0u);
  if (!sub_id) return sub_id.error();
  uint16_t vlan_id = static_cast<uint16_t>(std::min<uint64_t>(*sub_id, 0xffff));
  while (!args.done()) {
    if (args.accept("dot1q")) {
      const auto id = parse_vlan(args);
      if (!id) return id.error();
      vlan_id = *id;
    } else if (args.accept("exact-match")) {
      // They all are: a frame with a second tag is no sub-interface's.
    } else if (args.accept("dot1ad")) {
      return other_kind("dot1ad", "tags are of 802.1Q");
    } else if (args.accept("inner-dot1q")) {
      return other_kind("inner-dot1q", "a frame has one tag");
    } else if (args.accept("untagged")) {
      return other_kind("untagged", "frames without a tag are the interface's own");
    } else if (args.accept("default")) {
      return other_kind("default", "what is sent needs a tag that is known");
    } else {
      return args.unknown();
    }
  }
  const auto index = net.create_sub_interface(*parent, static_cast<uint32_t>(*sub_id), vlan_id);
  if (!index) return index.error();
  const auto made = net.interface(*index);
  if (made) reply.line(made->name);
  return {};
}

Result<void> remove(Host&, void* context, CliArgs& args, CliReply&) {
  Net& net = net_of(context);
  IfIndex index = kNoIndex;
  if (args.accept("sw_if_index")) {
    const auto n = args.number("sw_if_index", 0, kNoIndex - 1);
    if (!n) return n.error();
    index = static_cast<IfIndex>(*n);
  } else {
    const auto named = parse_interface(net, args);
    if (!named) return named.error();
    index = *named;
  }
  if (auto ok = expect_end(args); !ok) return ok;
  return net.delete_sub_interface(index);
}

constexpr CliCommand kCommands[] = {
    {.path = "create sub-interfaces",
     .syntax = "INTERFACE ID [dot1q VLAN] [exact-match]",
     .help = "Makes INTERFACE.ID, of the frames with a tag of that VLAN; of VLAN ID without dot1q.",
     .run = create},
    {.path = "delete sub-interface",
     .syntax = "INTERFACE | sw_if_index N",
     .help = "Removes a sub-interface with its addresses, routes and neighbours.",
     .run = remove},
};

}  // namespace

std::span<const CliCommand> sub_interface_commands() { return kCommands; }

}  // namespace loom
