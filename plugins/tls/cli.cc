// show tls, show dtls, show tls connections, show tls listeners, tls reload
#include <time.h>

#include <cstdio>

#include "gcm_provider.h"
#include "listing.h"

namespace loom::tls {
namespace {

constexpr std::size_t kMostRows = 10'000;  // of a listing; the messages have no end

// As `show session` writes them.
std::string handle_text(SessionHandle h) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(h));
  return text;
}
std::string endpoint_text(const IpAddress& a, uint16_t port) {
  return (a.is_ip4 ? a.str() : "[" + a.str() + "]") + ":" + std::to_string(port);
}

void put(CliReply& reply, const StatInfo* stats, const std::vector<uint64_t>& values) {
  for (std::size_t i = 0; i < values.size(); ++i)
    reply.field(stats[i].name, std::to_string(values[i]));
}

Result<void> show(Host&, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  put(reply, kStats, counters());
  reply.field("aes-gcm", shared().config.fast_gcm && use_fast_gcm() ? "ipsec-mb" : "openssl");
  return {};
}

Result<void> show_dtls(Host&, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  put(reply, dtls::kStats, dtls_counters());
  return {};
}

Result<ConnectionFilter> filter_of(CliArgs& args) {
  using State = Connection::State;
  ConnectionFilter f;
  while (!args.done()) {
    const bool is_local = args.accept("local-port");
    if (is_local || args.accept("remote-port")) {
      const auto port = args.number("port", 1, 65535);
      if (!port) return port.error();
      (is_local ? f.local_port : f.remote_port) = static_cast<uint16_t>(*port);
    } else if (args.accept("state")) {
      for (const State s : {State::kConnecting, State::kHandshake, State::kOpen, State::kEnding})
        if (args.peek() == state_name(s)) f.state = s;
      if (!f.state || args.peek() != state_name(*f.state)) return args.unknown();
      args.next();
    } else {
      return args.unknown();
    }
  }
  return f;
}

// "server resumed verified"
std::string traits_of(const ConnectionRow& r) {
  return std::string(r.is_server ? "server" : "client") + (r.is_resumed ? " resumed" : "") +
         (r.is_verified ? " verified" : "");
}

Result<void> show_connections(Host&, void*, CliArgs& args, CliReply& reply) {
  const auto filter = filter_of(args);
  if (!filter) return filter.error();
  std::vector<ConnectionRow> rows;
  const bool is_cut = list_connections(*filter, kMostRows, rows);
  CliTable& t = reply.table("connections", {"session", "worker", "state", "local", "remote", "is",
                                            "version", "cipher", "protocol", "for", "peer"});
  for (const ConnectionRow& r : rows)
    t.rows.push_back({r.session == kNoHandle ? "-" : handle_text(r.session),
                      std::to_string(r.worker), state_name(r.state),
                      endpoint_text(r.ends.local, r.ends.local_port),
                      endpoint_text(r.ends.remote, r.ends.remote_port), traits_of(r), r.version,
                      r.cipher, r.alpn, r.server_name, r.peer});
  if (is_cut) reply.line("and more; say which ports or state, or ask by tls_connection_dump");
  return {};
}

std::string date_of(uint64_t seconds) {
  const auto at = static_cast<time_t>(seconds);
  tm parts{};
  char text[32] = "-";
  if (seconds != 0 && gmtime_r(&at, &parts))
    (void)std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

const char* verify_name(Verify v) noexcept {
  return v == Verify::kOff ? "off" : v == Verify::kOptional ? "optional" : "required";
}

Result<void> show_listeners(Host&, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  CliTable& t = reply.table("listeners", {"lower", "certificates", "subject", "until (UTC)",
                                          "verify-client", "protocols", "profile", "handshakes"});
  const auto add = [&](const ListenerRow& r) {
    t.rows.push_back({handle_text(r.lower), std::to_string(r.certificates), r.subject,
                      date_of(r.not_after), verify_name(r.verify), r.alpn, r.profile,
                      std::to_string(r.handshakes)});
  };
  for (const auto& [id, l] : shared().listeners) add(describe(*l));
  for (const auto& [id, l] : dtls::shared().listeners) add(describe(*l));
  return {};
}

// A script does not wait for its turns.
Result<void> reload_files(Host&, void*, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const auto later = reply.later();
  if (!later) return shared().reload.now();
  shared().reload.ask([later](const Result<void>& outcome) { later->finish(outcome); });
  return {};
}

constexpr CliCommand kCommands[] = {
    {.path = "tls reload",
     .help =
         "Reads certificate, key, trusted certificates and CRL of the start-up file again. Open "
         "sessions go on; certificates that applications gave are theirs.",
     .run = reload_files},
    {.path = "show tls",
     .help = "Handshakes, connections, bytes and failures of all workers.",
     .run = show},
    {.path = "show dtls", .help = "The same of DTLS, in datagrams.", .run = show_dtls},
    {.path = "show tls connections",
     .syntax = "[state connecting|handshake|open|ending] [local-port N] [remote-port N]",
     .help = "Connections, those of DTLS too: what was agreed on, and with whom.",
     .run = show_connections},
    {.path = "show tls listeners",
     .syntax = "",
     .help =
         "Listeners: their certificates, and what they ask of clients. lower: the listener that "
         "connections come from, of DTLS the session.",
     .run = show_listeners},
};

}  // namespace

Result<void> register_commands(Host& host) {
  for (const CliCommand& c : kCommands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::tls
