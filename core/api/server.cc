#include "api/server.h"

#include <unistd.h>

#include "api/connection.h"
#include "api/unix_listener.h"
#include "memclnt.api.h"

namespace loom {

namespace asio = boost::asio;
using boost::system::error_code;

struct ApiServer::Impl : std::enable_shared_from_this<Impl> {
  Impl(asio::io_context& io, ApiRegistry& registry, Log log, Limits limits)
      : state{io, registry, std::move(log), limits}, acceptor(io), retry(io) {}

  void accept();
  void accept_later();
  void close();
  void add_handlers();

  ApiServerState state;
  asio::local::stream_protocol::acceptor acceptor;
  asio::steady_timer retry;
  std::string path;
  uint32_t next_index = 1;  // 0 is nobody
};

void ApiServer::Impl::accept() {
  acceptor.async_accept([self = shared_from_this()](error_code e, ApiConnection::Socket socket) {
    if (!self->acceptor.is_open()) return;
    if (e) return self->accept_later();
    auto& state = self->state;
    auto& connections = state.connections;
    if (connections.size() >= state.limits.clients) {
      if (state.counters.refused++ == 0)
        state.log(LogLevel::kWarn,
                  "more than " + std::to_string(state.limits.clients) + " clients; refused");
    } else {
      while (self->next_index == 0 || connections.contains(self->next_index)) ++self->next_index;
      const uint32_t index = self->next_index++;
      auto connection = std::make_shared<ApiConnection>(self->state, std::move(socket), index);
      connections[index] = connection;
      ++state.counters.accepted;
      connection->read();
    }
    self->accept();
  });
}

// Out of file descriptors, most likely: the connection stays in the backlog, and trying at once
// would spin.
void ApiServer::Impl::accept_later() {
  retry.expires_after(std::chrono::milliseconds(100));
  retry.async_wait([self = shared_from_this()](error_code e) {
    if (!e && self->acceptor.is_open()) self->accept();
  });
}

void ApiServer::Impl::close() {
  error_code ignored;
  retry.cancel(ignored);
  if (acceptor.is_open()) {
    acceptor.close(ignored);
    ::unlink(path.c_str());
  }
  while (!state.connections.empty()) {
    const auto connection = state.connections.begin()->second;
    connection->close();
  }
  state.registry.subscriptions().set_reach({});
}

void ApiServer::Impl::add_handlers() {
  auto& registry = state.registry;
  registry.handle<api::SockclntCreate, api::SockclntCreateReply>(
      [this](ApiCall& call, const api::SockclntCreate& request) {
        api::SockclntCreateReply reply;
        reply.client_index = reply.index = call.client_index();
        const auto& entries = state.registry.entries();
        for (std::size_t i = 0; i < entries.size(); ++i)
          if (!entries[i].is_removed)
            reply.message_table.push_back(
                {static_cast<uint16_t>(kFirstMessageId + i), api_table_name(entries[i].info)});
        state.connections.at(call.client_index())->set_registered(request.name);
        return reply;
      });
  registry.handle<api::SockclntDelete, api::SockclntDeleteReply>(
      [this](ApiCall& call, const api::SockclntDelete&) {
        state.connections.at(call.client_index())->close_after_write();
        return api::SockclntDeleteReply{};
      });
  registry.subscriptions().set_reach(
      [this](uint32_t client_index, const std::function<void(ApiCall&)>& fn) {
        const auto it = state.connections.find(client_index);
        if (it == state.connections.end()) return;
        const auto connection = it->second;  // fn may end it
        connection->reach(fn);
      });
}

ApiServer::ApiServer(asio::io_context& io, ApiRegistry& registry, Log log)
    : ApiServer(io, registry, std::move(log), Limits{}) {}

ApiServer::ApiServer(asio::io_context& io, ApiRegistry& registry, Log log, Limits limits)
    : impl_(std::make_shared<Impl>(io, registry, std::move(log), limits)) {
  impl_->add_handlers();
}

ApiServer::~ApiServer() { close(); }

Result<void> ApiServer::listen(const std::string& path, std::optional<uint32_t> gid) {
  const auto fd = open_unix_listener(path, gid);
  if (!fd) return fd.error();
  impl_->path = path;
  impl_->acceptor.assign(asio::local::stream_protocol(), *fd);
  impl_->accept();
  return {};
}

void ApiServer::close() { impl_->close(); }
const ApiServer::Counters& ApiServer::counters() const { return impl_->state.counters; }
const ApiServer::Limits& ApiServer::limits() const { return impl_->state.limits; }
ApiTrace& ApiServer::trace() { return impl_->state.trace; }
void ApiServer::on_request(Requested fn) { impl_->state.requested = std::move(fn); }

std::vector<ApiServer::Client> ApiServer::clients() const {
  std::vector<Client> all;
  for (const auto& [index, connection] : impl_->state.connections)
    all.push_back(connection->describe());
  return all;
}

}  // namespace loom
