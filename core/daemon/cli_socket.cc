#include "daemon/cli_socket.h"

#include <unistd.h>

#include <utility>  // Boost 1.74's asio/awaitable.hpp uses std::exchange without including it

#include <boost/asio.hpp>
#include <set>

#include "api/unix_listener.h"
#include "cli/tree.h"

namespace loom {

namespace asio = boost::asio;
using boost::system::error_code;
using Socket = asio::local::stream_protocol::socket;

struct CliSocket::Impl : std::enable_shared_from_this<Impl> {
  // One at a time: the next line is read when the answer to the last has been written, so that a
  // client that does not read holds one answer and no more.
  struct Talk : std::enable_shared_from_this<Talk> {
    Talk(std::shared_ptr<Impl> o, Socket s) : owner(std::move(o)), socket(std::move(s)) {}
    void write(std::string text) {
      if (!socket.is_open()) return;  // an answer that came too late
      out = std::move(text) + kPrompt;
      asio::async_write(socket, asio::buffer(out),
                        [self = shared_from_this()](error_code e, std::size_t) {
                          e ? self->close() : self->read();
                        });
    }
    void read() {
      asio::async_read_until(socket, asio::dynamic_buffer(in, kMaxCliLine), '\n',
                             [self = shared_from_this()](error_code e, std::size_t n) {
                               e ? self->close() : self->take(n);  // e: also a line without an end
                             });
    }
    void take(std::size_t n) {
      std::string line = in.substr(0, n);
      in.erase(0, n);
      while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
      if (line == "quit" || line == "exit") return close();
      owner->tree.run(owner->host, line, [self = shared_from_this()](CliOutcome outcome) {
        self->write((outcome.status == Status::kOk ? "" : "error: ") + std::move(outcome.text));
      });
    }
    void close() {
      error_code ignored;
      socket.close(ignored);
      owner->talks.erase(shared_from_this());
    }
    std::shared_ptr<Impl> owner;
    Socket socket;
    std::string in, out;
  };

  Impl(asio::io_context& io, const CliTree& t, Host& h)
      : tree(t), host(h), acceptor(io), retry(io) {}

  void accept() {
    acceptor.async_accept([self = shared_from_this()](error_code e, Socket socket) {
      if (!self->acceptor.is_open()) return;
      if (e) return self->accept_later();
      if (self->talks.size() < kMaxClients) {
        const auto talk = std::make_shared<Talk>(self, std::move(socket));
        self->talks.insert(talk);
        talk->write("");
      }
      self->accept();
    });
  }
  // Out of file descriptors, most likely; trying at once would spin.
  void accept_later() {
    retry.expires_after(std::chrono::milliseconds(100));
    retry.async_wait([self = shared_from_this()](error_code e) {
      if (!e && self->acceptor.is_open()) self->accept();
    });
  }

  const CliTree& tree;
  Host& host;
  asio::local::stream_protocol::acceptor acceptor;
  asio::steady_timer retry;
  std::string path;
  std::set<std::shared_ptr<Talk>> talks;
};

CliSocket::CliSocket(asio::io_context& io, const CliTree& tree, Host& host)
    : impl_(std::make_shared<Impl>(io, tree, host)) {}

CliSocket::~CliSocket() {
  error_code ignored;
  impl_->retry.cancel(ignored);
  if (impl_->acceptor.is_open()) {
    impl_->acceptor.close(ignored);
    ::unlink(impl_->path.c_str());
  }
  while (!impl_->talks.empty()) (*impl_->talks.begin())->close();
}

Result<void> CliSocket::listen(const std::string& path, std::optional<uint32_t> gid) {
  const auto fd = open_unix_listener(path, gid);
  if (!fd) return fd.error();
  impl_->path = path;
  impl_->acceptor.assign(asio::local::stream_protocol(), *fd);
  impl_->accept();
  return {};
}

}  // namespace loom
