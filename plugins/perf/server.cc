#include "server.h"

#include <algorithm>

#include <hostloom/app.h>

#include "service.h"

namespace loom::perf {

const char* name_of(ServerKind k) noexcept {
  constexpr const char* kNames[] = {"perf", "echo", "source"};
  return kNames[static_cast<std::size_t>(k)];
}

Result<void> check_fifo_size(uint32_t bytes) {
  if (bytes == 0 || (bytes >= kLeastFifo && bytes <= kMostFifo)) return {};
  return error(Status::kInvalid, "fifo size " + std::to_string(bytes) + " is not from " +
                                     std::to_string(kLeastFifo) + " to " +
                                     std::to_string(kMostFifo));
}

Result<void> Servers::add(ServerKind kind, std::string_view uri, uint32_t fifo_size) {
  const auto endpoint = parse_app_uri(uri);
  if (!endpoint) return endpoint.error();
  if (auto r = check_fifo_size(fifo_size); !r) return r;
  auto server = std::make_unique<Server>();
  server->kind = kind;
  server->uri = uri;
  server->name = name_of(kind) + (" server " + server->uri);
  server->counters = std::vector<Counters>(host_.n_workers());
  for (uint32_t i = 0; i < host_.n_workers(); ++i) {
    server->served.push_back(std::make_unique<ServedPool>());
    host_.run_on_worker(i, [&](Worker& w) { server->served[i]->use(w); });
  }
  AppOps ops;
  ops.name = server->name.c_str();
  set_service(ops);
  AppConfig config;
  config.rx_fifo_size = config.tx_fifo_size = fifo_size;
  const auto app = host_.add_application(ops, config);
  if (!app) {
    end(*server);
    return app.error();
  }
  server->app = *app;
  if (const auto listener = host_.app_listen(*app, *endpoint, server.get()); !listener) {
    end(*server);
    return listener.error();
  }
  server->number = n_added_++;
  servers_.push_back(std::move(server));
  return {};
}

// What it keeps on workers goes there.
void Servers::end(Server& server) {
  if (server.app) host_.remove_application(server.app);
  for (uint32_t i = 0; i < server.served.size(); ++i)
    host_.run_on_worker(i, [&](Worker&) { server.served[i].reset(); });
}

Result<void> Servers::remove(ServerKind kind, std::string_view uri) {
  const auto it = std::find_if(servers_.begin(), servers_.end(),
                               [&](const auto& s) { return s->kind == kind && s->uri == uri; });
  if (it == servers_.end())
    return error(Status::kNotFound,
                 std::string("no ") + name_of(kind) + " server at '" + std::string(uri) + "'");
  end(**it);
  servers_.erase(it);
  return {};
}

const Server* Servers::at_or_behind(uint64_t number) const {
  const auto it = std::lower_bound(servers_.begin(), servers_.end(), number,
                                   [](const auto& s, uint64_t below) { return s->number < below; });
  return it == servers_.end() ? nullptr : it->get();
}

void Servers::remove_all() {
  for (const auto& s : servers_) end(*s);
  servers_.clear();
}

}  // namespace loom::perf
