// session rule add|del, session sdl add|del, show session rules, show session sdl.
#include <algorithm>
#include <charconv>

#include "session/app_api.h"
#include "session/control.h"

namespace loom::session {
namespace {

constexpr std::size_t kMostShown = 1000;  // sources; the API lists any number

std::string action_text(uint32_t action) {
  if (action == kActionDrop) return "drop";
  if (action == kActionAllow) return "allow";
  return std::to_string(action);
}

// drop, allow, the index of an application; also -2 and -3, as VPP has them.
Result<uint32_t> take_action(CliArgs& args) {
  const auto word = args.text("action");
  if (!word) return word.error();
  if (*word == "drop" || *word == "deny" || *word == "-2") return kActionDrop;
  if (*word == "allow" || *word == "-3") return kActionAllow;
  const auto number = parse_number(*word);
  if (number && *number < kActionAllow) return static_cast<uint32_t>(*number);
  return error(Status::kInvalid, "action '" + std::string(*word) +
                                     "' is not drop, allow or the index of an application");
}

// By name, or by index.
Result<uint32_t> take_namespace(const Impl& l, CliArgs& args) {
  const auto word = args.text("application namespace");
  if (!word) return word.error();
  if (const Namespace* ns = find_namespace(l, *word)) return ns->index;
  const auto number = parse_number(*word);
  if (number && *number < kActionAllow && l.filters->has_namespace(static_cast<uint32_t>(*number)))
    return static_cast<uint32_t>(*number);
  return error(Status::kNotFound, "no application namespace '" + std::string(*word) + "'");
}

Result<IpPrefix> take_prefix(CliArgs& args) {
  const auto word = args.text("prefix");
  if (!word) return word.error();
  const auto prefix = IpPrefix::parse(*word);
  if (!prefix) return error(Status::kInvalid, "'" + std::string(*word) + "' is not ADDRESS/LENGTH");
  return *prefix;
}

Result<TransportId> take_transport(const Impl& l, CliArgs& args) {
  const auto word = args.text("transport");
  if (!word) return word.error();
  const TransportId id = l.transports.find_name(*word);
  if (id == kNoTransport)
    return error(Status::kNotFound, "no transport '" + std::string(*word) + "'");
  return id;
}

// The words of a rule, in any order; the four of the match are in one piece.
Result<void> take_rule(const Impl& l, CliArgs& args, RuleSpec& spec, bool& both, bool& has_match) {
  while (!args.done()) {
    if (args.accept("proto")) {
      const auto id = take_transport(l, args);
      if (!id) return id.error();
      spec.transport = *id;
    } else if (args.accept("action")) {
      const auto action = take_action(args);
      if (!action) return action.error();
      spec.action = *action;
    } else if (args.accept("appns")) {
      const auto appns = take_namespace(l, args);
      if (!appns) return appns.error();
      spec.appns = *appns;
    } else if (args.accept("scope")) {
      both = args.accept("all");
      const bool local = !both && args.accept("local");
      if (!both && !local && !args.accept("global")) return args.unknown();
      spec.scope = local ? RuleScope::kLocal : RuleScope::kGlobal;
    } else if (args.accept("tag")) {
      const auto tag = args.text("tag");
      if (!tag) return tag.error();
      spec.tag = *tag;
    } else {
      if (has_match || !IpPrefix::parse(args.peek())) return args.unknown();
      const auto local = take_prefix(args);
      if (!local) return local.error();
      const auto local_port = args.number("local port", 0, 65535);
      if (!local_port) return local_port.error();
      const auto remote = take_prefix(args);
      if (!remote) return remote.error();
      const auto remote_port = args.number("remote port", 0, 65535);
      if (!remote_port) return remote_port.error();
      spec.match = {.local = *local,
                    .remote = *remote,
                    .local_port = static_cast<uint16_t>(*local_port),
                    .remote_port = static_cast<uint16_t>(*remote_port)};
      has_match = true;
    }
  }
  return {};
}

template <bool is_add>
Result<void> session_rule(Host&, void* context, CliArgs& args, CliReply&) {
  Impl& l = *static_cast<Impl*>(context);
  RuleSpec spec;
  bool both = false, has_match = false;
  if (auto taken = take_rule(l, args, spec, both, has_match); !taken) return taken;
  if (spec.transport == kNoTransport)
    return error(Status::kInvalid, "which transport? say proto NAME");
  if (!has_match && (is_add || spec.tag.empty()))
    return error(Status::kInvalid,
                 "which connections? say LOCAL/LENGTH PORT REMOTE/LENGTH PORT, port 0 for any");
  if (is_add && spec.action == kActionNone)
    return error(Status::kInvalid, "missing action drop, allow or the index of an application");
  spec.has_match = has_match;
  if (both) return change_both(*l.filters, spec, is_add);
  return is_add ? l.filters->add(spec) : l.filters->del(spec);
}

template <bool is_add>
Result<void> session_sdl(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Impl& l = *static_cast<Impl*>(context);
  Filters& filters = *l.filters;
  std::vector<IpPrefix> prefixes;
  uint32_t appns = 0, action = kActionDrop;
  std::string tag;
  while (!args.done()) {
    if (args.accept("action")) {
      const auto taken = take_action(args);
      if (!taken) return taken.error();
      action = *taken;
    } else if (args.accept("appns")) {
      const auto taken = take_namespace(l, args);
      if (!taken) return taken.error();
      appns = *taken;
    } else if (args.accept("tag")) {
      const auto taken = args.text("tag");
      if (!taken) return taken.error();
      tag = *taken;
    } else {
      const auto prefix = IpPrefix::parse(args.peek());
      if (!prefix) return args.unknown();
      args.next();
      prefixes.push_back(*prefix);
    }
  }
  if (!is_add && !tag.empty()) {
    if (!prefixes.empty()) return error(Status::kInvalid, "either sources or a tag, not both");
    const auto gone = filters.del_sources_with(appns, tag);
    if (!gone) return gone.error();
    reply.field("deleted", std::to_string(*gone));
    return {};
  }
  if (prefixes.empty())
    return error(Status::kInvalid,
                 is_add ? "missing ADDRESS/LENGTH" : "missing ADDRESS/LENGTH or tag");
  if (!is_add) return filters.del_sources(appns, prefixes);
  std::vector<DenyEntry> entries;
  for (const IpPrefix& p : prefixes) entries.push_back({p, action, tag});
  return filters.add_sources(appns, entries);
}

Result<void> show_rules(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Impl& l = *static_cast<Impl*>(context);
  TransportId transport = kNoTransport;
  std::optional<RuleScope> scope;
  std::optional<uint32_t> appns;
  std::optional<std::string> tag;
  while (!args.done()) {
    if (args.accept("scope")) {
      const bool local = args.accept("local");
      if (!local && !args.accept("global")) return args.unknown();
      scope = local ? RuleScope::kLocal : RuleScope::kGlobal;
    } else if (args.accept("appns")) {
      const auto taken = take_namespace(l, args);
      if (!taken) return taken.error();
      appns = *taken;
    } else if (args.accept("tag")) {
      const auto word = args.text("tag");
      if (!word) return word.error();
      tag = *word;
    } else {
      (void)args.accept("proto");
      const auto id = take_transport(l, args);
      if (!id) return id.error();
      transport = *id;
    }
  }
  reply.field("redirected to nobody", std::to_string(l.filters->redirects_to_nobody()));
  CliTable& t = reply.table("rules", {"proto", "scope", "appns", "local", "local port", "remote",
                                      "remote port", "action", "tag", "hits"});
  for (uint32_t i = 0; i < l.filters->n_numbers(); ++i) {
    const RuleSpec* r = l.filters->rule(i);
    if (!r || (transport != kNoTransport && r->transport != transport) ||
        (scope && r->scope != *scope) || (tag && r->tag != *tag))
      continue;
    const auto namespaces = l.filters->namespaces_of(i);
    if (appns && std::find(namespaces.begin(), namespaces.end(), *appns) == namespaces.end())
      continue;
    std::string all;
    for (const uint32_t n : namespaces) (all += all.empty() ? "" : ",") += std::to_string(n);
    const auto port = [](uint16_t p) { return p ? std::to_string(p) : std::string("*"); };
    t.rows.push_back({l.transports.get(r->transport)->name,
                      r->scope == RuleScope::kGlobal ? "global" : "local", all,
                      r->match.local.str(), port(r->match.local_port), r->match.remote.str(),
                      port(r->match.remote_port),
                      action_text(r->action) + (l.filters->has_target(i) ? "" : " (gone)"), r->tag,
                      std::to_string(l.filters->hits(i))});
  }
  return {};
}

Result<void> show_sdl(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Impl& l = *static_cast<Impl*>(context);
  const Filters& filters = *l.filters;
  uint32_t appns = 0;
  std::optional<IpAddress> one;
  while (!args.done()) {
    if (args.accept("appns")) {
      const auto taken = take_namespace(l, args);
      if (!taken) return taken.error();
      appns = *taken;
    } else {
      one = IpAddress::parse(args.peek());
      if (!one) return args.unknown();
      args.next();
    }
  }
  const auto size = [&](bool is_ip4) {
    const DenyList* list = filters.sources(appns, is_ip4);
    return list ? list->size(is_ip4) : 0;
  };
  if (!one) {
    reply.field("IPv4 sources", std::to_string(size(true)));
    reply.field("IPv6 sources", std::to_string(size(false)));
    reply.field("denied packets", std::to_string(filters.denied_sources()));
    if (size(true) + size(false) > kMostShown)
      reply.field("shown", "the first " + std::to_string(kMostShown));
  }
  CliTable& t = reply.table("sources", {"source", "action", "tag"});
  const auto add = [&t](const DenyEntry& e) {
    t.rows.push_back({e.prefix.str(), action_text(e.action), e.tag});
  };
  for (const bool is_ip4 : {true, false}) {
    const DenyList* list = filters.sources(appns, is_ip4);
    if (!list) continue;
    if (one) {
      const auto e = one->is_ip4 == is_ip4 ? list->find(*one) : std::nullopt;
      if (e) add(*e);
      continue;
    }
    // IPv4 comes first in a list.
    std::optional<IpPrefix> last;
    if (!is_ip4) last = IpPrefix{Ip4Address{{255, 255, 255, 255}}, 32};
    while (t.rows.size() < kMostShown) {
      const auto e = list->next(last);
      if (!e || e->prefix.address.is_ip4 != is_ip4) break;
      add(*e);
      last = e->prefix;
    }
  }
  return {};
}

constexpr const char* kRuleSyntax =
    "proto NAME LOCAL/LENGTH LOCAL-PORT REMOTE/LENGTH REMOTE-PORT action drop|allow|APP-INDEX "
    "[scope global|local|all] [appns NAME] [tag TAG]";

const CliCommand kCommands[] = {
    {.path = "session rule add",
     .syntax = kRuleSyntax,
     .help = "Drops, allows or redirects new connections: of peers (global) or of applications "
             "(local). Port 0 is any; the longest match decides.",
     .run = session_rule<true>},
    {.path = "session rule del",
     .syntax = "proto NAME [LOCAL/LENGTH LOCAL-PORT REMOTE/LENGTH REMOTE-PORT] [scope "
               "global|local|all] [appns NAME] [tag TAG]",
     .help = "Deletes the rule with that tag, or with that match.",
     .run = session_rule<false>},
    {.path = "session sdl add",
     .syntax = "SOURCE/LENGTH... [action drop|allow] [appns NAME] [tag TAG]",
     .help = "Denies new connections from sources, or excepts them from a shorter prefix.",
     .run = session_sdl<true>},
    {.path = "session sdl del",
     .syntax = "{SOURCE/LENGTH... | tag TAG} [appns NAME]",
     .help = "Deletes sources from the deny list, or all with a tag and says how many.",
     .run = session_sdl<false>},
    {.path = "show session rules",
     .syntax = "[NAME] [scope global|local] [appns NAME] [tag TAG]",
     .help =
         "Session rules, those that the words leave, and how many new connections each decided.",
     .run = show_rules},
    {.path = "show session sdl",
     .syntax = "[ADDRESS] [appns NAME]",
     .help = "The source deny list, or its entry that an address goes by.",
     .run = show_sdl},
};

}  // namespace

std::span<const CliCommand> rule_commands() { return kCommands; }

}  // namespace loom::session
