// set nsim, nsim output-feature enable-disable, show nsim. Words as VPP's, and `seed`.
#include <cstdio>

#include "nsim.h"
#include "units.h"

namespace loom::nsim {
namespace {

Nsim& nsim_of(void* context) { return *static_cast<Nsim*>(context); }

// One key with its value. False: the next word is none.
Result<bool> take_key(CliArgs& args, Config& c) {
  if (args.accept("poll-main-thread")) return true;  // the control thread carries no packets here
  if (args.accept("delay")) {
    const auto delay = take_delay(args);
    if (!delay) return delay.error();
    c.delay = *delay;
    return true;
  }
  if (args.accept("bandwidth")) {
    const auto bandwidth = take_bandwidth(args);
    if (!bandwidth) return bandwidth.error();
    c.bandwidth = *bandwidth;
    return true;
  }
  if (args.accept("packet-size")) {
    const auto size = args.number("packet-size", 1, 65'535);
    if (!size) return size.error();
    c.packet_size = static_cast<uint32_t>(*size);
    return true;
  }
  if (args.accept("seed")) {
    const auto seed = args.number("seed", 0, ~0ull);
    if (!seed) return seed.error();
    c.seed = *seed;
    return true;
  }
  for (auto [per, fraction, out] :
       {std::tuple{"packets-per-drop", "drop-fraction", &c.drop_fraction},
        {"packets-per-reorder", "reorder-fraction", &c.reorder_fraction}}) {
    if (args.accept(per)) {
      const auto n = args.number(per, 1, ~0u);
      if (!n) return n.error();
      *out = 1.0 / static_cast<double>(*n);
      return true;
    }
    if (args.accept(fraction)) {
      const auto f = take_fraction(args);
      if (!f) return f.error();
      *out = *f;
      return true;
    }
  }
  return false;
}

Result<void> set(Host&, void* context, CliArgs& args, CliReply&) {
  Config config;
  while (!args.done()) {
    const auto taken = take_key(args, config);
    if (!taken) return taken.error();
    if (!*taken) return args.unknown();
  }
  if (config.delay == 0) return error(Status::kInvalid, "`delay` is missing, or 0");
  if (config.bandwidth == 0) return error(Status::kInvalid, "`bandwidth` is missing, or 0");
  return nsim_of(context).configure(config);
}

Result<void> enable(Host& host, void* context, CliArgs& args, CliReply&) {
  IfIndex index = kNoIndex;
  std::string name;
  if (args.accept("sw_if_index")) {
    const auto n = args.number("sw_if_index", 0, kNoIndex - 1);
    if (!n) return n.error();
    index = static_cast<IfIndex>(*n);
  } else {
    const auto word = args.text("name of an interface");
    if (!word) return word.error();
    name = *word;
    index = host.find_interface(name.c_str());
    if (index == kNoIndex) return error(Status::kNotFound, "there is no interface '" + name + "'");
  }
  const bool is_disable = args.accept("disable");
  if (!args.done()) return args.unknown();
  return nsim_of(context).enable(index, name, !is_disable);
}

std::string number(const char* format, double v) {
  char text[48];
  std::snprintf(text, sizeof text, format, v);
  return text;
}

Result<void> show(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  Nsim& nsim = nsim_of(context);
  if (!nsim.config()) {
    reply.field("state", "not configured");
    return {};
  }
  const Config& c = *nsim.config();
  reply.field("delay", number("%.10g ms", static_cast<double>(c.delay) / kMillisecond));
  reply.field("bandwidth", std::to_string(c.bandwidth) + " bit/s");
  reply.field("packet size", std::to_string(c.packet_size));
  reply.field("drop fraction", number("%.10g", c.drop_fraction));
  reply.field("reorder fraction", number("%.10g", c.reorder_fraction));
  reply.field("seed", std::to_string(*c.seed));
  std::string names;
  for (const auto& name : nsim.interfaces()) names += (names.empty() ? "" : ", ") + name;
  reply.field("interfaces", names.empty() ? "none" : names);
  CliTable& table = reply.table(
      "workers", {"worker", "places", "waiting", "delayed", "dropped", "reordered", "overflow"});
  for (uint32_t i = 0; i < nsim.lines().size(); ++i) {
    auto& row = table.rows.emplace_back();
    row = {std::to_string(i), std::to_string(nsim.places()),
           std::to_string(nsim.lines()[i]->n_waiting())};
    for (const Fate f : {kDelayed, kDropped, kReordered, kOverflow})
      row.push_back(std::to_string(nsim.counter(i, f)));
  }
  return {};
}

}  // namespace

Result<void> register_commands(Host& host, Nsim& nsim) {
  const CliCommand commands[] = {
      {.path = "set nsim",
       .syntax = "delay TIME bandwidth RATE [packet-size N] [packets-per-drop N | drop-fraction F] "
                 "[packets-per-reorder N | reorder-fraction F] [seed N] [poll-main-thread]",
       .help = "Configures the network that is simulated: delay 20 ms bandwidth 1 gbit ...",
       .context = &nsim,
       .run = set},
      {.path = "nsim output-feature enable-disable",
       .syntax = "INTERFACE|sw_if_index N [disable]",
       .help = "Sends what leaves by the interface through the simulated network, or no more.",
       .context = &nsim,
       .run = enable},
      {.path = "show nsim",
       .syntax = "",
       .help = "The simulated network: settings, interfaces, and what became of packets.",
       .context = &nsim,
       .run = show},
  };
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::nsim
