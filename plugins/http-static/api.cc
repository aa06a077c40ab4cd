// Module "http_static": what the commands do, over the binary API. Control thread.
#include <hostloom/api_server.h>

#include "http_static.api.h"
#include "server.h"

namespace loom::http {
namespace {

Servers& servers_of(void* context) { return *static_cast<Servers*>(context); }

int32_t answer(Servers& s, const char* message, const Result<void>& done) {
  if (done) return 0;
  s.host().log(LogLevel::kWarn, "http-static", std::string(message) + ": " + done.error().message);
  return api_retval(done.error().code);
}

api::HttpStaticEnableV5Reply enable(ApiCall&, const api::HttpStaticEnableV5& r, void* context) {
  Servers& servers = servers_of(context);
  ServerConfig c;
  c.uri = r.uri;
  c.www_root = r.www_root;
  if (r.fifo_size != 0) c.fifo_size = r.fifo_size;
  if (r.cache_size_limit != 0) c.cache_size = r.cache_size_limit;
  c.max_age = r.max_age;
  c.keepalive_timeout = r.keepalive_timeout;
  c.max_body_size = r.max_body_size;
  return {.retval = answer(servers, "http_static_enable_v5", servers.add(std::move(c)))};
}

api::HttpStaticServerDelReply del(ApiCall&, const api::HttpStaticServerDel& r, void* context) {
  Servers& servers = servers_of(context);
  return {.retval = answer(servers, "http_static_server_del", servers.remove(r.uri))};
}

// The cursor is a server's number: servers may come and go meanwhile.
ApiStep next_server(const api::HttpStaticServerDump&, uint64_t& cursor,
                    api::HttpStaticServerDetails& to, void* context) {
  const Server* s = servers_of(context).at_or_behind(cursor);
  if (!s) return ApiStep::kEnd;
  cursor = s->number + 1;
  const uint64_t closed = s->sum(kClosed);  // first: it is never above the other
  to.uri = s->config.uri;
  to.www_root = s->config.www_root;
  to.cache_size_limit = s->cache.limit();
  to.cache_bytes = s->cache.memory();
  to.cache_files = s->cache.files().size();
  to.cache_hits = s->sum(kCacheHits);
  to.cache_misses = s->sum(kCacheMisses);
  to.connections = s->sum(kOpened);
  to.open = to.connections - closed;
  to.requests = s->sum(kRequests);
  to.responses_2xx = s->sum(kStatus2xx);
  to.responses_3xx = s->sum(kStatus3xx);
  to.responses_4xx = s->sum(kStatus4xx);
  to.responses_5xx = s->sum(kStatus5xx);
  to.bytes_received = s->sum(kReceived);
  to.bytes_sent = s->sum(kSent);
  to.timeouts = s->sum(kTimeouts);
  return ApiStep::kItem;
}

}  // namespace

Result<void> add_api(Host& host, Servers& servers) {
  auto api = host.api();
  auto done = api.module(api::kHttpStaticModule);
  if (done)
    done = api.handle<api::HttpStaticEnableV5, api::HttpStaticEnableV5Reply>(enable, &servers);
  if (done)
    done = api.handle<api::HttpStaticServerDel, api::HttpStaticServerDelReply>(del, &servers);
  if (done)
    done = api.dump<api::HttpStaticServerDump, api::HttpStaticServerDetails>(next_server, &servers);
  return done;
}

}  // namespace loom::http
