// show dpdk version | buffer | physmem | device, create and delete dpdk vdev. The first three are
// VPP's words.
#include <rte_memzone.h>
#include <rte_version.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <utility>

#include "devices.h"
#include "listing.h"

namespace loom::dpdk {
namespace {

// Where there is no `dpdk { }` in the start-up file there is nothing to list.
Result<void> ready(const Devices& all, CliArgs& args) {
  if (!args.done()) return args.unknown();
  if (!all.is_started() && all.config.is_given)
    return error(Status::kNotFound, "DPDK did not start; 'show log' has the reason");
  return {};
}

Result<void> show_version(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  if (!args.done()) return args.unknown();
  reply.field("version", rte_version());
  if (!all.is_started()) return {};
  reply.field("EAL arguments", all.eal().text());
  reply.field("buffers on", all.eal().memory);
  return {};
}

Result<void> show_buffer(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  if (auto ok = ready(all, args); !ok) return ok;
  auto& table = reply.table("mempools", {"name", "buffer pool", "socket", "buffers", "bytes each",
                                         "data bytes", "page size"});
  for (const auto& p : all.mempools().pools())
    table.rows.push_back({p->mempool->name, std::to_string(p->index),
                          p->info.numa_node < 0 ? "any" : std::to_string(p->info.numa_node),
                          std::to_string(p->info.n_buffers), std::to_string(p->info.stride),
                          std::to_string(p->info.data_size), std::to_string(p->info.page_size)});
  return {};
}

Result<void> show_physmem(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  if (auto ok = ready(all, args); !ok) return ok;
  auto& table =
      reply.table("zones", {"name", "address", "device address", "bytes", "page size", "socket"});
  if (!all.is_started()) return {};
  rte_memzone_walk(
      [](const rte_memzone* z, void* to) {
        const auto hex = [](uint64_t v) {
          char text[24];
          std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(v));
          return std::string(text);
        };
        static_cast<CliTable*>(to)->rows.push_back(
            {z->name, hex(z->addr_64), hex(z->iova), std::to_string(z->len),
             std::to_string(z->hugepage_sz), std::to_string(z->socket_id)});
      },
      &table);
  return {};
}

Result<void> show_device(Host& host, void* context, CliArgs& args, CliReply& reply) {
  const Devices& all = *static_cast<Devices*>(context);
  const std::string only(args.next());
  if (auto ok = ready(all, args); !ok) return ok;
  auto& table = reply.table(
      "devices", {"name", "device", "driver", "port", "link", "mtu", "rx queues", "tx queues",
                  "rx descriptors", "rx interrupts", "rx packets", "rx bytes", "rx errors",
                  "missed", "ring full", "tx errors", "tx copied"});
  for (const auto& d : all.making())
    if (only.empty() || d->name == only) {
      std::vector<std::string> row(table.columns.size(), "-");
      row[0] = d->name;
      row[1] = d->config.probe_text();
      row[4] = "waits for its peer";
      table.rows.push_back(std::move(row));
    }
  for (const auto& d : all.all()) {
    const std::string name = interface_label(host, d->name, d->index);
    if (!only.empty() && name != only) continue;
    const DeviceCounters c = counters_of(*d);
    const auto n = [](uint64_t v) { return std::to_string(v); };
    table.rows.push_back(
        {name, d->config.probe_text(), d->info.driver_name, is_readable(*d) ? n(d->port) : "-",
         d->is_link_up ? "up" : "down", n(d->mtu), n(d->queues.size()), n(d->n_tx_queues),
         is_readable(*d) ? n(d->n_rx_descriptors) : "-", d->queues.front()->ready ? "yes" : "no",
         n(c.rx.packets), n(c.rx.bytes), n(c.rx.errors), n(c.device.imissed), n(c.ring_full),
         n(c.tx_errors()), n(c.copied)});
  }
  if (!only.empty() && table.rows.empty())
    return error(Status::kNotFound, "there is no DPDK device '" + only + "'");
  return {};
}

// What a command comes to: at once, or later, for who can wait. A script waits a little.
template <class Outcome, class Begin, class Say>
Result<void> answer(Devices& all, CliReply& reply, Begin begin, Say say) {
  struct Answer {
    std::optional<Outcome> outcome;
    std::shared_ptr<CliLater> later;
  };
  const auto a = std::make_shared<Answer>();
  begin([a, say](Outcome o) {
    if (!a->later) {
      a->outcome = std::move(o);
      return;
    }
    const auto said = say(o, a->later->reply());
    std::exchange(a->later, nullptr)->finish(said);
  });
  if (!a->outcome && !(a->later = reply.later())) all.wait_a_little();
  if (a->later) return {};
  if (!a->outcome)
    return error(Status::kInProgress,
                 "its peer does not answer; `show log` will say what came of it");
  return say(*a->outcome, reply);
}

Result<void> create(Host&, void* context, CliArgs& args, CliReply& reply) {
  Devices& all = *static_cast<Devices*>(context);
  const auto text = args.text("a device like net_tap0,iface=dtap0");
  if (!text) return text.error();
  auto config = parse_vdev(*text, all.config.defaults);
  if (!config) return config.error();
  std::vector<std::string_view> words;
  while (!args.done()) words.push_back(args.next());
  if (auto read = read_words(words, *config); !read) return read;
  return answer<Result<IfIndex>>(
      all, reply, [&](auto done) { all.create_vdev(*config, done); },
      [&all](const Result<IfIndex>& made, CliReply& to) {
        if (!made) return Result<void>(made.error());
        to.line(all.find(*made)->name);
        return Result<void>();
      });
}

Result<void> remove(Host& host, void* context, CliArgs& args, CliReply& reply) {
  Devices& all = *static_cast<Devices*>(context);
  const auto name = args.text("a DPDK device's interface");
  if (!name) return name.error();
  if (!args.done()) return args.unknown();
  const Device* d = find_device<Device>(host, *name, kDriver);
  const auto removed = [](const Result<void>& outcome, CliReply&) { return outcome; };
  if (d)
    return answer<Result<void>>(
        all, reply, [&](auto done) { all.remove_vdev(d->index, done); }, removed);
  bool is_known = false;
  const auto given_up = answer<Result<void>>(
      all, reply,
      [&](auto done) {
        is_known = all.give_up(std::string(*name), done);
        if (!is_known) done(Result<void>());
      },
      removed);
  if (is_known) return given_up;
  return error(Status::kNotFound, "there is no DPDK device '" + std::string(*name) + "'");
}

}  // namespace

Result<void> register_commands(Host& host, Devices& all) {
  const CliCommand commands[] = {
      {.path = "show dpdk version",
       .help = "DPDK's version, and what it was started with.",
       .context = &all,
       .run = show_version},
      {.path = "show dpdk buffer",
       .help = "The buffer pools as DPDK sees them.",
       .context = &all,
       .run = show_buffer},
      {.path = "show dpdk physmem",
       .help = "What DPDK has reserved of its memory.",
       .context = &all,
       .run = show_physmem},
      {.path = "show dpdk device",
       .syntax = "[INTERFACE]",
       .help = "DPDK's devices with their counters.",
       .context = &all,
       .run = show_device},
      {.path = "create dpdk vdev",
       .syntax = "DEVICE[,KEY=VALUE...] [name NAME] [num-rx-queues N] [num-tx-queues N] "
                 "[num-rx-desc N] [num-tx-desc N] [rss { ipv4-tcp ... }] [tso on|off] "
                 "[vlan-strip-offload on|off] [no-rx-interrupts] [trust-peer]",
       .help = "Makes a device of software of DPDK's and its interface, which is down.",
       .context = &all,
       .run = create},
      {.path = "delete dpdk vdev",
       .syntax = "INTERFACE",
       .help = "Removes a device of software of DPDK's and its interface.",
       .context = &all,
       .run = remove},
  };
  for (const CliCommand& c : commands)
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::dpdk
