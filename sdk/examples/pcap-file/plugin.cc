// Registration and commands.
//
//   create pcap-file NAME [rx FILE] [tx FILE] [mac ADDRESS]
//   delete pcap-file NAME
#include <netinet/ether.h>

#include <hostloom/plugin.h>

#include <cstring>

#include "device.h"

namespace pcap_file {
namespace {

Result<void> run_create(Host& host, void*, CliArgs& args, CliReply& reply) {
  Config config;
  const auto name = args.text("name of the new interface");
  if (!name) return name.error();
  config.name = *name;
  while (!args.done()) {
    if (args.accept("mac")) {
      const auto text = args.text("address");
      if (!text) return text.error();
      ether_addr mac;
      if (!ether_aton_r(std::string(*text).c_str(), &mac))
        return error(Status::kInvalid, "'" + std::string(*text) + "' is no MAC address");
      std::memcpy(config.mac.bytes.data(), &mac, sizeof mac);
      continue;
    }
    std::string* file = args.accept("rx")   ? &config.rx_file
                        : args.accept("tx") ? &config.tx_file
                                            : nullptr;
    if (!file) return args.unknown();
    const auto path = args.text("name of a file");
    if (!path) return path.error();
    *file = *path;
  }
  if (auto r = create(host, config); !r) return r;
  reply.line(config.name);
  return {};
}

Result<void> run_delete(Host& host, void*, CliArgs& args, CliReply&) {
  const auto name = args.text("name of the interface");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  return remove(host, std::string(*name));
}

Result<void> init(Host& host) {
  if (auto node = host.add_node(kInputNode); !node) return node.error();
  if (auto r = host.add_cli_command(
          {.path = "create pcap-file",
           .syntax = "NAME [rx FILE] [tx FILE] [mac ADDRESS]",
           .help = "An interface that receives the frames of one capture and sends into another.",
           .run = run_create});
      !r)
    return r;
  return host.add_cli_command({.path = "delete pcap-file",
                               .syntax = "NAME",
                               .help = "Removes such an interface and completes its capture.",
                               .run = run_delete});
}

void stop(Host& host) { remove_all(host); }

}  // namespace
}  // namespace pcap_file

extern "C" LOOM_EXPORT const loom::PluginInfo hostloom_plugin = {
    .name = "pcap-file",
    .version = "1.0",
    .summary = "interfaces that receive and send pcap files",
    .init = pcap_file::init,
    .stop = pcap_file::stop,
};
