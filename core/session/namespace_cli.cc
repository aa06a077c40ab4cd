// app ns add, app ns del, show app ns.
#include <grp.h>
#include <pwd.h>

#include <hostloom/config.h>

#include <charconv>
#include <cstdio>

#include "net/net.h"
#include "session/control.h"

namespace loom::session {
namespace {

// What is said of a namespace, over what there is of it already.
struct Wanted {
  NamespaceArgs args;
  NamespaceQuota quota;
  NamespaceAccess access;
  bool has_tables = false;
};

template <class T>
Result<void> take_number(CliArgs& args, const char* what, uint64_t most, T& out) {
  const auto n = args.number(what, 0, most);
  if (!n) return n.error();
  out = static_cast<T>(*n);
  return {};
}

Result<void> take_text(CliArgs& args, const char* what, std::string& out) {
  const auto text = args.text(what);
  if (!text) return text.error();
  out = *text;
  return {};
}

Result<void> take_size(CliArgs& args, uint64_t& out) {
  const auto text = args.text("size");
  if (!text) return text.error();
  const auto size = parse_size(*text);
  if (!size) return size.error();
  out = *size;
  return {};
}

Result<void> take_mode(CliArgs& args, uint32_t& out) {
  const auto text = args.text("mode");
  if (!text) return text.error();
  const auto [end, ec] = std::from_chars(text->data(), text->data() + text->size(), out, 8);
  if (ec != std::errc{} || end != text->data() + text->size() || out > 0777)
    return error(Status::kInvalid,
                 "'" + std::string(*text) + "' is not a mode: an octal number up to 777");
  return {};
}

// A number, or a name that the system's databases have.
template <class Find>
Result<void> take_id(CliArgs& args, const char* what, Find find, uint32_t& out) {
  const auto text = args.text(what);
  if (!text) return text.error();
  const auto number = parse_number(*text);
  if (number && *number < ~0u) {
    out = static_cast<uint32_t>(*number);
    return {};
  }
  if (find(std::string(*text), out)) return {};
  return error(Status::kNotFound, "no " + std::string(what) + " '" + std::string(*text) + "'");
}

Result<void> take_user(CliArgs& args, uid_t& out) {
  return take_id(
      args, "user",
      [](const std::string& name, uint32_t& id) {
        const passwd* p = ::getpwnam(name.c_str());
        if (p) id = p->pw_uid;
        return p != nullptr;
      },
      out);
}

Result<void> take_group(CliArgs& args, gid_t& out) {
  return take_id(
      args, "group",
      [](const std::string& name, uint32_t& id) {
        const ::group* g = ::getgrnam(name.c_str());
        if (g) id = g->gr_gid;
        return g != nullptr;
      },
      out);
}

Result<void> take_interface(const Impl& l, CliArgs& args, IfIndex& out) {
  const auto name = args.text("interface");
  if (!name) return name.error();
  out = l.net ? l.net->find_interface(*name) : kNoIndex;
  if (out == kNoIndex) return error(Status::kNotFound, "no interface '" + std::string(*name) + "'");
  return {};
}

Result<void> take_word(const Impl& l, CliArgs& args, Wanted& w) {
  NamespaceArgs& a = w.args;
  if (args.accept("secret")) return take_number(args, "secret", ~0ull, a.secret);
  if (args.accept("sw_if_index")) return take_number(args, "interface index", ~0u, a.interface);
  if (args.accept("if")) return take_interface(l, args, a.interface);
  if (args.accept("ip4-fib-id")) {
    w.has_tables = true;
    return take_number(args, "table", ~0u, a.ip4_table);
  }
  if (args.accept("ip6-fib-id")) {
    w.has_tables = true;
    return take_number(args, "table", ~0u, a.ip6_table);
  }
  if (args.accept("sock-name")) return take_text(args, "socket", a.socket_name);
  if (args.accept("uid")) return take_user(args, w.access.uid);
  if (args.accept("gid")) return take_group(args, w.access.gid);
  if (args.accept("mode")) return take_mode(args, w.access.mode);
  if (args.accept("max-apps")) return take_number(args, "number", ~0u, w.quota.applications);
  if (args.accept("max-sessions")) return take_number(args, "number", ~0u, w.quota.sessions);
  if (args.accept("max-memory")) return take_size(args, w.quota.memory);
  return args.unknown();
}

Result<void> take_id_of_namespace(CliArgs& args, std::string& id) {
  if (!args.accept("id"))
    return args.done() ? error(Status::kInvalid, "missing 'id' and the namespace's id")
                       : args.unknown();
  return take_text(args, "the namespace's id", id);
}

Result<void> add(Host&, void* context, CliArgs& args, CliReply& reply) {
  Impl& l = *static_cast<Impl*>(context);
  Wanted w;
  w.access = {.uid = ::geteuid(), .gid = ::getegid()};
  if (auto ok = take_id_of_namespace(args, w.args.id); !ok) return ok;
  Namespace* const old = find_namespace(l, w.args.id);
  if (old) {
    w.args.secret = old->secret;
    w.args.interface = old->interface.load(std::memory_order_relaxed);
    w.args.ip4_table = old->ip4_table;
    w.args.ip6_table = old->ip6_table;
    w.quota = old->quota;
    w.access = old->access;
  }
  const NamespaceArgs before = w.args;
  while (!args.done())
    if (auto ok = take_word(l, args, w); !ok) return ok;
  w.args.keeps_place = old && !w.has_tables && w.args.interface == before.interface;
  if (w.has_tables && w.args.interface != kNoIndex)
    return error(Status::kInvalid, "an interface brings its own tables");
  // All of it or nothing. Of one that is there the access comes first: it can be taken back.
  const NamespaceAccess access = old ? old->access : w.access;
  if (old && access != w.access)
    if (auto ok = set_access(*old, w.access); !ok) return ok;
  const auto ns = add_namespace(l, w.args);
  if (!ns) {
    if (old && access != w.access) (void)set_access(*old, access);
    return ns.error();
  }
  if (!old && (*ns)->access != w.access) {
    if (auto ok = set_access(**ns, w.access); !ok) {
      (void)delete_namespace(l, w.args.id);
      return ok;
    }
  }
  set_quota(**ns, w.quota);
  reply.field("index", std::to_string((*ns)->index));
  reply.field("socket", (*ns)->socket.name);
  return {};
}

Result<void> del(Host&, void* context, CliArgs& args, CliReply&) {
  std::string id;
  if (auto ok = take_id_of_namespace(args, id); !ok) return ok;
  if (!args.done()) return args.unknown();
  return delete_namespace(*static_cast<Impl*>(context), id);
}

std::string limit_text(uint64_t most) { return most ? std::to_string(most) : "none"; }

std::string octal(uint32_t mode) {
  char text[16];
  std::snprintf(text, sizeof text, "%04o", mode);
  return text;
}

void show_one(const Impl& l, const Namespace& ns, CliReply& reply) {
  const auto field = [&](const char* name, uint64_t n) { reply.field(name, std::to_string(n)); };
  field("index", ns.index);
  reply.field("id", ns.id);
  reply.field("secret", ns.secret ? "yes" : "no");
  const std::string interface = interface_name(l, ns);
  reply.field("interface", interface.empty() ? "none" : interface);
  field("ip4 table", ns.ip4_table);
  field("ip6 table", ns.ip6_table);
  reply.field("socket", ns.socket.name + (ns.socket.fd ? "" : " (closed)"));
  reply.field("access", "uid " + std::to_string(ns.access.uid) + ", gid " +
                            std::to_string(ns.access.gid) + ", mode " + octal(ns.access.mode));
  field("applications", n_applications(l, ns));
  reply.field("max applications", limit_text(ns.quota.applications));
  field("sessions", ns.n_sessions.load(std::memory_order_relaxed));
  reply.field("max sessions", limit_text(ns.quota.sessions));
  field("memory", ns.memory);
  reply.field("max memory", limit_text(ns.quota.memory));
  field("wrong secrets", ns.wrong_secret);
  field("refused users", ns.refused_users);
  field("refused applications", ns.refused_applications);
  field("refused sessions", ns.refused_sessions.load(std::memory_order_relaxed));
  field("refused segments", ns.refused_segments);
  field("refused settings", ns.refused_settings);
  CliTable& t = reply.table("members", {"index", "name", "sessions", "state"});
  for (const auto& a : l.apps)
    if (a && a->ns.get() == &ns)
      t.rows.push_back({std::to_string(a->index), a->name,
                        std::to_string(a->n_sessions.load(std::memory_order_relaxed)),
                        app_state(*a)});
}

Result<void> show(Host&, void* context, CliArgs& args, CliReply& reply) {
  const Impl& l = *static_cast<Impl*>(context);
  if (!args.done() && !args.accept("table")) {
    std::string id;
    if (auto ok = take_id_of_namespace(args, id); !ok) return ok;
    if (!args.done()) return args.unknown();
    const Namespace* ns = find_namespace(l, id);
    if (!ns) return error(Status::kNotFound, "no namespace '" + id + "'");
    show_one(l, *ns, reply);
    return {};
  }
  if (!args.done()) return args.unknown();
  reply.field("attaches to unknown namespaces", std::to_string(l.unknown_namespaces));
  CliTable& t =
      reply.table("namespaces", {"index", "id", "secret", "interface", "ip4 table", "ip6 table",
                                 "applications", "sessions", "memory", "socket"});
  for (const auto& ns : l.namespaces) {
    if (!ns) continue;
    const std::string interface = interface_name(l, *ns);
    t.rows.push_back({std::to_string(ns->index), ns->id, ns->secret ? "yes" : "no",
                      interface.empty() ? "none" : interface, std::to_string(ns->ip4_table),
                      std::to_string(ns->ip6_table), std::to_string(n_applications(l, *ns)),
                      std::to_string(ns->n_sessions.load(std::memory_order_relaxed)),
                      std::to_string(ns->memory), ns->socket.name});
  }
  return {};
}

constexpr CliCommand kCommands[] = {
    {.path = "app ns add",
     .syntax = "id ID [secret N] [sw_if_index INDEX | if INTERFACE | [ip4-fib-id TABLE] "
               "[ip6-fib-id TABLE]] [sock-name PATH|NAME|@NAME] [uid USER] [gid GROUP] "
               "[mode OCTAL] [max-apps N] [max-sessions N] [max-memory SIZE]",
     .help = "Adds a namespace for applications, or changes what is said of one.",
     .run = add},
    {.path = "app ns del",
     .syntax = "id ID",
     .help = "Deletes a namespace and ends its applications.",
     .run = del},
    {.path = "show app ns",
     .syntax = "[table | id ID]",
     .help = "The namespaces of applications; of one, its limits, counters and applications.",
     .run = show},
};

}  // namespace

std::span<const CliCommand> namespace_commands() { return kCommands; }

}  // namespace loom::session
