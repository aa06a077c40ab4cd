#include "server.h"

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <optional>

#include "metrics.h"

namespace loom {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using tcp = asio::ip::tcp;
using error_code = boost::system::error_code;

constexpr std::size_t kMaxConnections = 64;  // more are closed as they come
constexpr auto kPatience = std::chrono::seconds(10);
constexpr std::uint32_t kMaxHeader = 8192;  // bytes
constexpr std::uint64_t kMaxBody = 0;       // a request has none

using Response = http::response<http::string_body>;

Response answer(http::verb method, std::string_view target,
                const std::function<std::string()>& metrics) {
  Response r;
  const auto page = [&](http::status status, const char* type, std::string body) {
    r.result(status);
    r.set(http::field::content_type, type);
    r.body() = std::move(body);
  };
  const std::string_view path = target.substr(0, target.find('?'));
  if (method != http::verb::get && method != http::verb::head) {
    page(http::status::method_not_allowed, "text/plain", "GET or HEAD\n");
    r.set(http::field::allow, "GET, HEAD");
  } else if (path == "/metrics") {
    page(http::status::ok, kMetricsContentType, metrics());
  } else if (path == "/") {
    page(http::status::ok, "text/html", "<a href=\"/metrics\">Hostloom metrics</a>\n");
  } else {
    page(http::status::not_found, "text/plain", "see /metrics\n");
  }
  return r;
}

}  // namespace

struct MetricsServer::Impl {
  asio::io_context io{1};
  tcp::acceptor acceptor{io};
  std::function<std::string()> metrics;
  std::size_t n_connections = 0;

  void accept();
};

namespace {

// One connection, alive as long as an operation of it is under way.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(tcp::socket socket, const std::function<std::string()>& metrics, std::size_t& count)
      : stream_(std::move(socket)), metrics_(metrics), count_(count) {
    ++count_;
  }
  ~Connection() { --count_; }

  void read() {
    parser_.emplace();
    parser_->header_limit(kMaxHeader);
    parser_->body_limit(kMaxBody);
    stream_.expires_after(kPatience);
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code e, std::size_t) {
                       if (!e) return self->write();
                       self->close();  // gone, too slow, too large, or not HTTP
                     });
  }

 private:
  void write() {
    const auto& request = parser_->get();
    response_ =
        answer(request.method(), {request.target().data(), request.target().size()}, metrics_);
    response_.version(request.version());
    response_.keep_alive(request.keep_alive());
    response_.prepare_payload();
    stream_.expires_after(kPatience);
    const auto done = [self = shared_from_this()](error_code e, std::size_t) {
      if (e || !self->response_.keep_alive()) return self->close();
      self->read();
    };
    if (request.method() == http::verb::head) {
      head_.emplace(response_);
      http::async_write_header(stream_, *head_, done);
    } else {
      http::async_write(stream_, response_, done);
    }
  }

  void close() {
    error_code ignored;
    stream_.socket().shutdown(tcp::socket::shutdown_both, ignored);
  }

  beast::tcp_stream stream_;
  const std::function<std::string()>& metrics_;
  std::size_t& count_;
  beast::flat_buffer buffer_{kMaxHeader};
  std::optional<http::request_parser<http::string_body>> parser_;
  Response response_;
  std::optional<http::response_serializer<http::string_body>> head_;
};

}  // namespace

void MetricsServer::Impl::accept() {
  acceptor.async_accept([this](error_code e, tcp::socket socket) {
    if (e == asio::error::operation_aborted) return;
    if (!e && n_connections < kMaxConnections)
      std::make_shared<Connection>(std::move(socket), metrics, n_connections)->read();
    accept();
  });
}

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsServer::~MetricsServer() = default;

Result<std::unique_ptr<MetricsServer>> MetricsServer::listen(const std::string& address,
                                                             uint16_t port,
                                                             std::function<std::string()> metrics) {
  auto impl = std::make_unique<Impl>();
  impl->metrics = std::move(metrics);
  error_code e;
  const auto ip = asio::ip::make_address(address, e);
  if (e) return error(Status::kInvalid, "'" + address + "' is no address");
  const tcp::endpoint end(ip, port);
  impl->acceptor.open(end.protocol(), e);
  if (!e) impl->acceptor.set_option(tcp::acceptor::reuse_address(true), e);
  if (!e) impl->acceptor.bind(end, e);
  if (!e) impl->acceptor.listen(asio::socket_base::max_listen_connections, e);
  if (e)
    return error(e == asio::error::address_in_use  ? Status::kInUse
                 : e == asio::error::access_denied ? Status::kPermission
                                                   : Status::kIo,
                 address + " port " + std::to_string(port) + ": " + e.message());
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl)));
}

uint16_t MetricsServer::port() const {
  error_code e;
  return impl_->acceptor.local_endpoint(e).port();
}

void MetricsServer::run() {
  asio::signal_set signals(impl_->io, SIGINT, SIGTERM);
  signals.async_wait([this](error_code, int) { impl_->io.stop(); });
  impl_->accept();
  impl_->io.run();
}

}  // namespace loom
