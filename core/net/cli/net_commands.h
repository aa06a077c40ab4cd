// The CLI of the IP layer, in files of command functions. `context` of each command is the Net.
#pragma once
#include <array>
#include <cstdio>
#include <span>

#include <hostloom/cli.h>

#include "net/net.h"

namespace loom {

std::span<const CliCommand> interface_commands();  // without context
std::span<const CliCommand> sub_interface_commands();
std::span<const CliCommand> unnumbered_commands();
std::span<const CliCommand> ip_commands();

inline Net& net_of(void* context) { return *static_cast<Net*>(context); }

// The word as an interface's name.
inline Result<IfIndex> parse_interface(Net& net, CliArgs& args) {
  const auto name = args.text("interface name");
  if (!name) return name.error();
  const IfIndex index = net.find_interface(*name);
  if (index == kNoIndex)
    return error(Status::kNotFound, "there is no interface '" + std::string(*name) + "'");
  return index;
}

inline Result<void> expect_end(CliArgs& args) {
  if (!args.done()) return args.unknown();
  return {};
}

// The last word, if there is one, as an interface's name; kNoIndex: none, which means all.
inline Result<IfIndex> parse_last_interface(Net& net, CliArgs& args) {
  if (args.done()) return kNoIndex;
  const auto index = parse_interface(net, args);
  if (!index) return index.error();
  if (auto ok = expect_end(args); !ok) return ok.error();
  return *index;
}

inline Result<IpPrefix> parse_prefix(CliArgs& args) {
  const auto word = args.text("prefix");
  if (!word) return word.error();
  const auto prefix = IpPrefix::parse(*word);
  if (!prefix)
    return error(Status::kInvalid, "'" + std::string(*word) + "' is not an address/length");
  return *prefix;
}

inline Result<IpAddress> parse_address(CliArgs& args) {
  const auto word = args.text("address");
  if (!word) return word.error();
  const auto address = IpAddress::parse(*word);
  if (!address) return error(Status::kInvalid, "'" + std::string(*word) + "' is not an IP address");
  return *address;
}

inline Result<MacAddress> parse_mac(CliArgs& args) {
  const auto word = args.text("MAC address");
  if (!word) return word.error();
  const std::string text(*word);
  std::array<unsigned, 6> v{};
  int used = 0;
  if (std::sscanf(text.c_str(), "%2x:%2x:%2x:%2x:%2x:%2x%n", &v[0], &v[1], &v[2], &v[3], &v[4],
                  &v[5], &used) != 6 ||
      static_cast<std::size_t>(used) != text.size())
    return error(Status::kInvalid, "'" + text + "' is not a MAC address");
  MacAddress mac;
  for (std::size_t i = 0; i < 6; ++i) mac.bytes[i] = static_cast<uint8_t>(v[i]);
  return mac;
}

}  // namespace loom
