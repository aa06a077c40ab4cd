// show tls
#include "tls.h"

namespace loom::tls {
namespace {

Result<void> show(Host&, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  for (std::size_t i = 0; i < kStatCount; ++i) {
    uint64_t n = 0;
    for (const auto& t : shared().workers)
      if (t) n += t->stats[i];
    reply.field(kStats[i].name, std::to_string(n));
  }
  return {};
}

Result<void> reload_files(Host&, void*, CliArgs& args, CliReply&) {
  if (!args.done()) return args.unknown();
  return reload();
}

constexpr CliCommand kReload{
    .path = "tls reload",
    .help =
        "Reads certificate, key, trusted certificates and CRL of the start-up file again. Open "
        "sessions go on; certificates that applications gave are theirs.",
    .run = reload_files};

constexpr CliCommand kShow{.path = "show tls",
                           .help = "Handshakes, connections, bytes and failures of all workers.",
                           .run = show};

}  // namespace

Result<void> register_commands(Host& host) {
  if (auto r = host.add_cli_command(kReload); !r) return r;
  return host.add_cli_command(kShow);
}

}  // namespace loom::tls
