#include "api/server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio.hpp>
#include <map>

#include "api/unix_listener.h"
#include "memclnt.api.h"

namespace loom {
namespace {

namespace asio = boost::asio;
using Socket = asio::local::stream_protocol::socket;
using boost::system::error_code;
constexpr std::size_t kReadBlock = 64u << 10;

uint32_t frame_length(const std::byte* header) {
  uint32_t length = 0;
  for (int i = 8; i < 12; ++i) length = length << 8 | std::to_integer<uint32_t>(header[i]);
  return length;
}

int32_t peer_pid(int fd) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0;
  return known ? credentials.pid : 0;
}

}  // namespace

// Connections keep themselves alive through their pending operations, and reach the server only
// while it is there: close() ends them all first.
struct ApiServer::Impl : std::enable_shared_from_this<Impl> {
  class Connection;

  Impl(asio::io_context& io_, ApiRegistry& registry_, Log log_, Limits limits_)
      : io(io_),
        registry(registry_),
        log(std::move(log_)),
        limits(limits_),
        acceptor(io_),
        retry(io_) {}

  void accept();
  void accept_later();
  void close();
  void add_handlers();

  asio::io_context& io;
  ApiRegistry& registry;
  Log log;
  Limits limits;
  asio::local::stream_protocol::acceptor acceptor;
  asio::steady_timer retry;
  std::string path;
  std::map<uint32_t, std::shared_ptr<Connection>> connections;  // by client index
  uint32_t next_index = 1;                                      // 0 is nobody
  Counters counters;
};

class ApiServer::Impl::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<Impl> server, Socket socket, uint32_t index)
      : server_(std::move(server)), socket_(std::move(socket)), index_(index) {
    pid_ = peer_pid(socket_.native_handle());
  }

  void read() {
    socket_.async_read_some(
        asio::buffer(block_), [self = shared_from_this()](error_code e, std::size_t n) {
          if (e) return self->close();
          self->in_.insert(self->in_.end(), self->block_.begin(),
                           self->block_.begin() + static_cast<std::ptrdiff_t>(n));
          self->take_frames();
          if (!self->socket_.is_open()) return;
          self->write();
          self->read();
        });
  }

  void close() {
    if (!socket_.is_open()) return;
    error_code ignored;
    socket_.close(ignored);
    server_->connections.erase(index_);
  }

  Client describe() const { return {index_, name_, pid_, messages_}; }
  void set_registered(std::string name) {
    is_registered_ = true;
    name_ = std::move(name);
  }
  void close_after_write() { is_closing_ = true; }

 private:
  enum Offence { kUnknown, kMalformed, kUnregistered, kFrame, kSlow, kOffences };

  void take_frames() {
    std::size_t at = 0;
    while (in_.size() - at >= kApiHeaderSize && !is_closing_) {
      const uint32_t length = frame_length(in_.data() + at);
      if (length == 0 || length > kMaxApiMessage) {
        ++server_->counters.bad_frames;
        complain(kFrame, "a frame of " + std::to_string(length) + " bytes; closed");
        return close();
      }
      if (in_.size() - at - kApiHeaderSize < length) break;
      take_message({in_.data() + at + kApiHeaderSize, length});
      if (!socket_.is_open()) return;
      at += kApiHeaderSize + length;
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(at));
  }

  void take_message(std::span<const std::byte> message) {
    ++messages_;
    ++server_->counters.messages;
    const unsigned id = message.size() < 2 ? 0
                                           : std::to_integer<unsigned>(message[0]) << 8 |
                                                 std::to_integer<unsigned>(message[1]);
    if (!is_registered_ && id != kFirstMessageId) {
      ++server_->counters.unregistered;
      return complain(kUnregistered,
                      "message " + std::to_string(id) + " before sockclnt_create; ignored");
    }
    ApiCall call(server_->registry, out_, index_);
    switch (server_->registry.dispatch(message, call)) {
      case ApiRegistry::Outcome::kAnswered:
        break;
      case ApiRegistry::Outcome::kUnknown:
        ++server_->counters.unknown;
        complain(kUnknown, "unknown message " + std::to_string(id) + "; ignored");
        break;
      case ApiRegistry::Outcome::kMalformed:
        ++server_->counters.malformed;
        complain(kMalformed, "malformed message " + std::to_string(id) + " of " +
                                 std::to_string(message.size()) + " bytes");
        break;
    }
    if (out_.size() + sending_.size() > server_->limits.queued_bytes) {
      ++server_->counters.slow_readers;
      complain(kSlow, "does not read its answers; closed");
      close();
    }
  }

  void write() {
    if (!sending_.empty()) return;
    if (out_.empty()) {
      if (is_closing_) close();
      return;
    }
    sending_.swap(out_);
    asio::async_write(socket_, asio::buffer(sending_),
                      [self = shared_from_this()](error_code e, std::size_t) {
                        self->sending_.clear();
                        if (e) return self->close();
                        if (self->socket_.is_open()) self->write();
                      });
  }

  void complain(Offence kind, const std::string& what) {
    if (has_complained_[kind]) return;
    has_complained_[kind] = true;
    server_->log(LogLevel::kWarn, "client " + std::to_string(index_) + " (" +
                                      (name_.empty() ? "unnamed" : name_) + ", pid " +
                                      std::to_string(pid_) + "): " + what);
  }

  std::shared_ptr<Impl> server_;
  Socket socket_;
  uint32_t index_;
  int32_t pid_ = 0;
  std::string name_;
  uint64_t messages_ = 0;
  bool is_registered_ = false;
  bool is_closing_ = false;  // after sockclnt_delete: once its reply is written
  std::array<bool, kOffences> has_complained_{};
  std::array<std::byte, kReadBlock> block_;
  std::vector<std::byte> in_;             // less than one frame, between reads
  std::vector<std::byte> out_, sending_;  // answers; sending_ is what the kernel is being given
};

void ApiServer::Impl::accept() {
  acceptor.async_accept([self = shared_from_this()](error_code e, Socket socket) {
    if (!self->acceptor.is_open()) return;
    if (e) return self->accept_later();
    if (self->connections.size() >= self->limits.clients) {
      if (self->counters.refused++ == 0)
        self->log(LogLevel::kWarn,
                  "more than " + std::to_string(self->limits.clients) + " clients; refused");
    } else {
      while (self->next_index == 0 || self->connections.contains(self->next_index))
        ++self->next_index;
      const uint32_t index = self->next_index++;
      auto connection = std::make_shared<Connection>(self, std::move(socket), index);
      self->connections[index] = connection;
      ++self->counters.accepted;
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
  while (!connections.empty()) connections.begin()->second->close();
}

void ApiServer::Impl::add_handlers() {
  registry.handle<api::SockclntCreate, api::SockclntCreateReply>(
      [this](ApiCall& call, const api::SockclntCreate& request) {
        api::SockclntCreateReply reply;
        reply.client_index = reply.index = call.client_index();
        const auto& entries = registry.entries();
        for (std::size_t i = 0; i < entries.size(); ++i)
          reply.message_table.push_back(
              {static_cast<uint16_t>(kFirstMessageId + i), api_table_name(entries[i].info)});
        connections.at(call.client_index())->set_registered(request.name);
        return reply;
      });
  registry.handle<api::SockclntDelete, api::SockclntDeleteReply>(
      [this](ApiCall& call, const api::SockclntDelete&) {
        connections.at(call.client_index())->close_after_write();
        return api::SockclntDeleteReply{};
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
const ApiServer::Counters& ApiServer::counters() const { return impl_->counters; }

std::vector<ApiServer::Client> ApiServer::clients() const {
  std::vector<Client> all;
  for (const auto& [index, connection] : impl_->connections) all.push_back(connection->describe());
  return all;
}

}  // namespace loom
