#include "client/connection.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <boost/asio.hpp>
#include <cerrno>
#include <utility>

#include "client/exchange.h"
#include "client/frame.h"
#include "memclnt.api.h"

namespace loom {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Socket = asio::local::stream_protocol::socket;
using Opened = std::function<void(Result<std::shared_ptr<DaemonConnection>>)>;

constexpr uint16_t kCreateId = 15, kCreateReplyId = 16;
constexpr std::size_t kReadBlock = 64u << 10;
constexpr std::chrono::milliseconds kBacklogRetry{5};

class Connection final : public DaemonConnection {
 public:
  Connection(asio::io_context& io, const std::string& path, ClientOptions options)
      : options_(std::move(options)), socket_(io), timer_(io) {
    path_ = path;
  }

  void open(Opened done) {
    opened_ = std::move(done);
    sockaddr_un limits;
    if (path_.empty() || path_.size() >= sizeof limits.sun_path) {
      asio::post(timer_.get_executor(), [self = self()] {
        self->fail(Status::kInvalid, "socket path '" + self->path_ + "' is empty or too long");
      });
      return;
    }
    deadline_ = std::chrono::steady_clock::now() + options_.timeout;
    connect();
  }

  void start(OnMessage on_message, OnEnd on_end) override {
    on_message_ = std::move(on_message);
    on_end_ = std::move(on_end);
    asio::post(timer_.get_executor(), [self = self()] { self->take_messages(); });
  }

  Result<void> send(std::vector<std::byte> frame) override {
    if (!is_open()) return error(Status::kClosed, path_ + ": the connection is closed");
    if (waiting_.size() + sending_.size() + frame.size() > options_.queued_bytes)
      return error(Status::kAgain, path_ + ": the daemon does not read; " +
                                       std::to_string(waiting_.size() + sending_.size()) +
                                       " bytes of requests wait");
    waiting_.insert(waiting_.end(), frame.begin(), frame.end());
    write();
    return {};
  }

  void close() override {
    on_message_ = nullptr;
    on_end_ = nullptr;
    opened_ = nullptr;
    shut();
  }

  bool is_open() const override { return socket_.is_open(); }

 private:
  std::shared_ptr<Connection> self() {
    return std::static_pointer_cast<Connection>(shared_from_this());
  }

  // --- Opening.

  // A Unix socket connects at once or not at all. Not by asio, which takes a full backlog (EAGAIN)
  // for a connection in progress.
  void connect() {
    const asio::local::stream_protocol::endpoint where(path_);
    error_code e;
    socket_.open(where.protocol(), e);
    if (!e) socket_.non_blocking(true, e);
    if (!e &&
        ::connect(socket_.native_handle(), where.data(), static_cast<socklen_t>(where.size())) != 0)
      e = error_code(errno, boost::system::system_category());
    asio::post(timer_.get_executor(), [self = self(), e] { self->connected(e); });
  }

  void connected(error_code e) {
    if (!opened_) return;
    if (e == asio::error::try_again) {
      if (std::chrono::steady_clock::now() >= deadline_) return late();
      // The listener's backlog is full; the kernel does not tell when it no longer is.
      error_code ignored;
      socket_.close(ignored);
      timer_.expires_after(kBacklogRetry);
      timer_.async_wait([self = self()](error_code) {
        if (self->opened_) self->connect();
      });
      return;
    }
    if (e == boost::system::errc::no_such_file_or_directory || e == asio::error::connection_refused)
      return fail(Status::kNotConnected,
                  "nothing listens at " + path_ + " (" + e.message() + "); is hostloom running?");
    if (e)
      return fail(e == asio::error::access_denied ? Status::kPermission : Status::kIo,
                  path_ + ": connect: " + e.message());
    timer_.expires_at(deadline_);
    timer_.async_wait([self = self()](error_code waited) {
      if (!waited && self->opened_) self->late();
    });
    greet();
    read();
  }

  void greet() {
    api::SockclntCreate request;
    request.context = 1;
    request.name = options_.name;
    auto frame = new_frame(kCreateId);
    ApiWriter w(frame);
    encode(w, request);
    (void)finish_frame(frame);  // 86 bytes
    waiting_ = std::move(frame);
    write();
  }

  void take_greeting(std::span<const std::byte> message) {
    const auto reply = decode_message<api::SockclntCreateReply>(message.subspan(2));
    if (!reply || api_head(message).id != kCreateReplyId)
      return fail(Status::kMalformed, path_ + ": what answers does not speak the binary API");
    if (reply->response != 0)
      return fail(Status::kRefused,
                  path_ + ": refused with code " + std::to_string(reply->response));
    client_index_ = reply->client_index;
    for (const auto& entry : reply->message_table) table_.add(entry.name, entry.index);
    timer_.cancel();
    std::exchange(opened_, nullptr)(std::shared_ptr<DaemonConnection>(self()));
  }

  // --- Both ways.

  void read() {
    const auto space = frames_.space(kReadBlock);
    socket_.async_read_some(asio::buffer(space.data(), space.size()),
                            [self = self()](error_code e, std::size_t n) {
                              if (!self->is_open()) return;
                              if (e) return self->lost("receive", e);
                              self->frames_.filled(n);
                              self->take_messages();
                            });
  }

  // Between the greeting and start() messages stay where they are, and nothing more is read.
  void take_messages() {
    const OnMessage on_message = on_message_;  // a copy, since it may call close()
    while (is_open() && (opened_ || on_message)) {
      const auto message = frames_.next();
      if (!message) return fail(Status::kMalformed, path_ + ": " + message.error().message);
      if (!*message) return read();
      if (opened_)
        take_greeting(**message);
      else
        on_message(**message);
    }
  }

  void write() {
    if (!sending_.empty() || waiting_.empty()) return;
    sending_.swap(waiting_);
    asio::async_write(socket_, asio::buffer(sending_), [self = self()](error_code e, std::size_t) {
      self->sending_.clear();
      if (!self->is_open()) return;
      // What the daemon wrote before it closed may still be there to read: that decides.
      if (!e) self->write();
    });
  }

  // --- The end.

  void lost(const char* what, error_code e) {
    if (e == asio::error::eof)
      return fail(Status::kClosed, path_ + ": the daemon closed the connection");
    fail(Status::kClosed, path_ + ": " + what + ": " + e.message());
  }

  void late() {
    fail(Status::kTimedOut,
         path_ + ": no answer within " + std::to_string(options_.timeout.count()) + " ms");
  }

  void fail(Status code, std::string message) {
    shut();
    const Error why = error(code, std::move(message));
    auto opened = std::exchange(opened_, nullptr);
    auto on_end = std::exchange(on_end_, nullptr);
    on_message_ = nullptr;
    if (opened) opened(why);
    if (on_end) on_end(why);
  }

  void shut() {
    error_code ignored;
    timer_.cancel(ignored);
    socket_.close(ignored);
  }

  ClientOptions options_;
  Socket socket_;
  asio::steady_timer timer_;
  std::chrono::steady_clock::time_point deadline_;
  FrameReader frames_;
  std::vector<std::byte> waiting_, sending_;
  Opened opened_;  // until it is called
  OnMessage on_message_;
  OnEnd on_end_;
};

}  // namespace

void DaemonConnection::open(asio::io_context& io, const std::string& path, ClientOptions options,
                            Opened done) {
  std::make_shared<Connection>(io, path, std::move(options))->open(std::move(done));
}

}  // namespace loom
