// http static server, show http static server, show http static cache.
#include "date.h"
#include "server.h"

namespace loom::http {
namespace {

Servers& servers_of(void* context) { return *static_cast<Servers*>(context); }

Result<void> take_text(CliArgs& args, const char* key, std::string& out) {
  const auto text = args.text(key);
  if (!text) return text.error();
  out = *text;
  return {};
}

Result<void> server(Host&, void* context, CliArgs& args, CliReply&) {
  Servers& servers = servers_of(context);
  const bool is_delete = args.accept("delete");
  ServerConfig c;
  while (!args.done()) {
    Result<void> done;
    const auto number = [&](const char* key, uint64_t least, uint64_t most, auto& out) {
      const auto n = args.number(key, least, most);
      if (!n)
        done = n.error();
      else
        out = static_cast<std::remove_reference_t<decltype(out)>>(*n);
    };
    if (args.accept("uri"))
      done = take_text(args, "uri", c.uri);
    else if (is_delete)
      return args.unknown();
    else if (args.accept("www-root"))
      done = take_text(args, "www-root", c.www_root);
    else if (args.accept("cache-size"))
      number("cache-size", 0, kMostCache, c.cache_size);
    else if (args.accept("fifo-size"))
      number("fifo-size", kLeastFifo, kMostFifo, c.fifo_size);
    else if (args.accept("max-age"))
      number("max-age", 0, kMostMaxAge, c.max_age);
    else if (args.accept("keepalive-timeout"))
      number("keepalive-timeout", 1, kMostTimeout, c.keepalive_timeout);
    else if (args.accept("max-body-size"))
      number("max-body-size", 0, kMostBody, c.max_body_size);
    else
      return args.unknown();
    if (!done) return done;
  }
  if (c.uri.empty()) return error(Status::kInvalid, "uri is missing");
  return is_delete ? servers.remove(c.uri) : servers.add(std::move(c));
}

Result<void> show_server(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  CliTable& t = reply.table(
      "servers", {"uri", "www-root", "open", "connections", "requests", "2xx", "3xx", "4xx", "5xx",
                  "bytes received", "bytes sent", "hits", "misses", "timeouts"});
  for (const auto& s : servers_of(context).list()) {
    const uint64_t closed = s->sum(kClosed), opened = s->sum(kOpened);
    std::vector<std::string> row{s->config.uri, s->config.www_root, std::to_string(opened - closed),
                                 std::to_string(opened)};
    for (const Stat what : {kRequests, kStatus2xx, kStatus3xx, kStatus4xx, kStatus5xx, kReceived,
                            kSent, kCacheHits, kCacheMisses, kTimeouts})
      row.push_back(std::to_string(s->sum(what)));
    t.rows.push_back(std::move(row));
  }
  return {};
}

Result<void> show_cache(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const auto& servers = servers_of(context).list();
  CliTable& caches = reply.table("caches", {"uri", "files", "bytes", "limit", "dropped"});
  for (const auto& s : servers)
    caches.rows.push_back({s->config.uri, std::to_string(s->cache.files().size()),
                           std::to_string(s->cache.memory()), std::to_string(s->cache.limit()),
                           std::to_string(s->cache.dropped())});
  CliTable& files = reply.table("files", {"uri", "path", "size", "kept", "modified"});
  for (const auto& s : servers)
    for (const auto& f : s->cache.files())
      files.rows.push_back({s->config.uri, "/" + f->path, std::to_string(f->size()),
                            f->is_in_memory() ? "in memory" : "open", format_date(f->modified())});
  return {};
}

}  // namespace

Result<void> register_commands(Host& host, Servers& servers) {
  for (const CliCommand& c : {
           CliCommand{.path = "http static server",
          .syntax = "www-root PATH uri TRANSPORT://ADDRESS/PORT [cache-size N] "
                    "[fifo-size N] [max-age S] [keepalive-timeout S] "
                    "[max-body-size N] | delete uri TRANSPORT://ADDRESS/PORT",
          .help = "Starts or ends a server of the files below a folder (HTTP/1.1).",
          .context = &servers,
          .run = server},
           CliCommand{.path = "show http static server",
           .syntax = "",
           .help = "Static HTTP servers, and what they have done.",
           .context = &servers,
           .run = show_server},
           CliCommand{.path = "show http static cache",
           .syntax = "",
           .help = "Files that static HTTP servers keep.",
           .context = &servers,
           .run = show_cache},
       })
    if (auto r = host.add_cli_command(c); !r) return r;
  return {};
}

}  // namespace loom::http
