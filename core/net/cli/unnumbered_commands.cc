// set interface unnumbered; enable and disable ip6 interface.
#include "net/cli/net_commands.h"

namespace loom {
namespace {

Result<void> set_unnumbered(Host&, void* context, CliArgs& args, CliReply&) {
  Net& net = net_of(context);
  const bool is_del = args.accept("del");
  const auto index = parse_interface(net, args);
  if (!index) return index.error();
  if (is_del) {
    if (auto ok = expect_end(args); !ok) return ok;
    return net.clear_unnumbered(*index);
  }
  if (!args.accept("use")) return args.unknown();
  const auto lender = parse_last_interface(net, args);
  if (!lender) return lender.error();
  if (*lender == kNoIndex) return error(Status::kInvalid, "missing an interface behind 'use'");
  return net.set_unnumbered(*index, *lender);
}

template <bool is_enabled>
Result<void> set_ip6(Host&, void* context, CliArgs& args, CliReply&) {
  const auto index = parse_interface(net_of(context), args);
  if (!index) return index.error();
  if (auto ok = expect_end(args); !ok) return ok;
  return net_of(context).set_ip6_enabled(*index, is_enabled);
}

constexpr CliCommand kCommands[] = {
    {.path = "set interface unnumbered",
     .syntax = "INTERFACE use INTERFACE | del INTERFACE",
     .help = "Lets an interface without addresses borrow those of another.",
     .run = set_unnumbered},
    {.path = "enable ip6 interface",
     .syntax = "INTERFACE",
     .help = "Gives an interface IPv6, with its link-local address.",
     .run = set_ip6<true>},
    {.path = "disable ip6 interface",
     .syntax = "INTERFACE",
     .help =
         "Takes IPv6 from an interface that has no other such address; its packets are dropped.",
     .run = set_ip6<false>},
};

}  // namespace

std::span<const CliCommand> unnumbered_commands() { return kCommands; }

}  // namespace loom
