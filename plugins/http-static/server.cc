#include "server.h"

#include <algorithm>

#include <hostloom/app.h>

#include "connection.h"

namespace loom::http {

const std::array<const char*, kStatCount> kStatNames{
    "connections-opened", "connections-closed", "requests",      "responses-2xx",
    "responses-3xx",      "responses-4xx",      "responses-5xx", "bytes-received",
    "bytes-sent",         "cache-hits",         "cache-misses",  "timeouts"};

std::size_t Shelf::bucket(std::string_view path) noexcept {
  return std::hash<std::string_view>{}(path) % kBuckets;
}

Entry* Shelf::find(std::string_view path) const noexcept {
  Entry* e = buckets_[bucket(path)];
  while (e && e->file->path != path) e = e->next;
  return e;
}

void Shelf::add(Entry& e) noexcept {
  Entry*& first = buckets_[bucket(e.file->path)];
  e.next = first;
  first = &e;
  e.is_listed = true;
}

Entry* Shelf::take(const File& file) noexcept {
  for (Entry** at = &buckets_[bucket(file.path)]; *at; at = &(*at)->next)
    if (Entry* const e = *at; e->file.get() == &file) {
      *at = e->next;
      e->is_listed = false;
      return e;
    }
  return nullptr;
}

Entry* Shelf::take_any() noexcept {
  for (Entry*& first : buckets_)
    if (Entry* const e = first) {
      first = e->next;
      e->is_listed = false;
      return e;
    }
  return nullptr;
}

Server::Server(Host& h, Totals& t, ServerConfig c, Fd root)
    : host(h),
      totals(t),
      config(std::move(c)),
      piece(std::min(config.fifo_size / 2, 256u << 10)),
      name("http static server " + config.uri),
      cache(std::move(root), config.cache_size, config.max_age,
            [this](const FilePtr& file) { forget(file); }) {
  for (uint32_t i = 0; i < host.n_workers(); ++i) parts.push_back(std::make_unique<Part>());
}

// Its connections are gone, and nobody uses an entry.
Server::~Server() {
  for (const auto& p : parts)
    while (const Entry* e = p->shelf.take_any()) delete e;
}

void Server::count(const Worker& w, Stat what, uint64_t n) noexcept {
  part(w).stats.values[what] += n;
  totals.of(w.index).values[what] += n;
}

uint64_t Server::sum(Stat what) const noexcept {
  uint64_t n = 0;
  for (const auto& p : parts) n += p->stats.values[what];
  return n;
}

void Server::forget(const FilePtr& file) {
  for (uint32_t i = 0; i < parts.size(); ++i)
    host.run_on_worker(i, [&](Worker& w) {
      const Entry* e = part(w).shelf.take(*file);
      if (e && e->users == 0) delete e;  // the caller has the file: only the entry goes here
    });
}

Result<void> add_statistics(Host& host, Totals& totals) {
  static const auto kInfos = [] {
    std::vector<StatInfo> infos;
    for (const char* name : kStatNames) infos.push_back({.name = name});
    infos.push_back({.name = "connections-open", .kind = StatKind::kGauge});
    return infos;
  }();
  return host.add_stats(
      {.prefix = "/sys/http-static",
       .stats = kInfos,
       .context = &totals,
       .read = [](void* context, uint32_t worker, std::span<uint64_t> out) noexcept {
         const Stats& s = static_cast<Totals*>(context)->of(worker);
         const uint64_t closed = s.values[kClosed];  // first: it is never above the other
         for (std::size_t i = 0; i < kStatCount; ++i) out[i] = s.values[i];
         out[kStatCount] = s.values[kOpened] - closed;
       }});
}

namespace {

Result<void> check(const ServerConfig& c) {
  const auto within = [](const char* what, uint64_t n, uint64_t least,
                         uint64_t most) -> Result<void> {
    if (n >= least && n <= most) return {};
    return error(Status::kInvalid, std::string(what) + " " + std::to_string(n) + " is not from " +
                                       std::to_string(least) + " to " + std::to_string(most));
  };
  if (c.www_root.empty() || c.www_root.find('\0') != std::string::npos)
    return error(Status::kInvalid, "www-root is missing");
  auto done = within("cache-size", c.cache_size, 0, kMostCache);
  if (done) done = within("fifo-size", c.fifo_size, kLeastFifo, kMostFifo);
  if (done) done = within("max-age", c.max_age, 0, kMostMaxAge);
  if (done) done = within("keepalive-timeout", c.keepalive_timeout, 1, kMostTimeout);
  if (done) done = within("max-body-size", c.max_body_size, 0, kMostBody);
  return done;
}

}  // namespace

Result<void> Servers::add(ServerConfig config) {
  const auto endpoint = parse_app_uri(config.uri);
  if (!endpoint) return endpoint.error();
  if (auto r = check(config); !r) return r;
  auto root = open_root(config.www_root);
  if (!root) return root.error();
  const auto server = std::make_shared<Server>(host_, totals, std::move(config), std::move(*root));
  AppOps ops = kConnectionOps;
  ops.name = server->name.c_str();
  AppConfig fifos;
  fifos.rx_fifo_size = fifos.tx_fifo_size = server->config.fifo_size;
  const auto app = host_.add_application(ops, fifos);
  if (!app) return app.error();
  server->app = *app;
  if (const auto l = host_.app_listen(*app, *endpoint, server.get()); !l) {
    host_.remove_application(*app);
    return l.error();
  }
  server->number = n_added_++;
  servers_.push_back(server);
  return {};
}

void Servers::end(Server& s) {
  host_.remove_application(s.app);
  s.is_gone = true;
}

Result<void> Servers::remove(std::string_view uri) {
  const auto it = std::find_if(servers_.begin(), servers_.end(),
                               [&](const auto& s) { return s->config.uri == uri; });
  if (it == servers_.end())
    return error(Status::kNotFound, "no static HTTP server at '" + std::string(uri) + "'");
  end(**it);
  servers_.erase(it);
  return {};
}

void Servers::remove_all() {
  for (const auto& s : servers_) end(*s);
  servers_.clear();
}

const Server* Servers::at_or_behind(uint64_t number) const {
  const auto it = std::lower_bound(servers_.begin(), servers_.end(), number,
                                   [](const auto& s, uint64_t below) { return s->number < below; });
  return it == servers_.end() ? nullptr : it->get();
}

}  // namespace loom::http
