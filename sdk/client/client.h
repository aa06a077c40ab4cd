// A control connection to one running daemon: the binary API, one request at a time. Not
// thread-safe.
//
//   auto c = loom::Client::connect(loom::default_api_socket());
//   auto v = c->call<loom::api::ShowVersionReply>(loom::api::ShowVersion{});
//
// The messages are the structs that apigen makes from *.api.json ("vpe.api.h" and so on). Messages
// are found by name and CRC in the daemon's table, so that a daemon that lacks one, or has another
// layout of it, is an error of that call and not of the connection. It is AsyncClient with a loop
// of its own; callbacks run inside call(), dump(), get(), exchange() and wait_event().
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/runtime_dir.h>
#include <hostloom/status.h>

#include "client/connection.h"
#include "client/exchange.h"

namespace loom {

class AsyncClient;

class Client {
 public:
  using Options = ClientOptions;
  // Errors: kNotConnected, nothing listens at the path, and the message names it; kPermission;
  // kTimedOut; kMalformed, whatever listens does not speak this protocol.
  static Result<Client> connect(const std::string& path);
  static Result<Client> connect(const std::string& path, Options options);
  Client(Client&&) noexcept;
  Client& operator=(Client&&) noexcept;
  ~Client();

  // Sends the request and waits for its reply. client_index and context are filled in. A reply
  // whose retval says no is not an error here. Errors: kUnsupported, the daemon has no such
  // message or another layout of it; kTimedOut; kClosed, the daemon went away; kMalformed.
  // timeout: of this request; zero, that of the options.
  template <class Reply, class Request>
  Result<Reply> call(Request request, std::chrono::milliseconds timeout = {}) {
    auto x = typed_exchange(ApiExchange::Shape::kCall, std::move(request));
    x.reply = Reply::kInfo;
    x.timeout = timeout;
    return decoded<Reply>(exchange(std::move(x)));
  }
  // Sends a dump request and collects its details until the reply to a control_ping sent after it.
  template <class Details, class Request>
  Result<std::vector<Details>> dump(Request request) {
    auto x = typed_exchange(ApiExchange::Shape::kDump, std::move(request));
    std::vector<Details> all;
    collect_into(x, all);
    const auto done = exchange(std::move(x));
    if (!done) return done.error();
    return all;
  }
  // A cursor-style request, asked again from where the daemon stopped until it is through. The
  // last reply goes to *reply unless that is null.
  template <class Reply, class Details, class Request>
  Result<std::vector<Details>> get(Request request, Reply* reply = nullptr) {
    auto x = typed_exchange(ApiExchange::Shape::kGet, std::move(request));
    x.reply = Reply::kInfo;
    std::vector<Details> all;
    collect_into(x, all);
    auto last = decoded<Reply>(exchange(std::move(x)));
    if (!last) return last.error();
    if (reply) *reply = std::move(*last);
    return all;
  }

  // Calls `each` for every event of a kind that arrives while the client waits, after the request
  // for them (want_X_events) was made by call().
  template <class Event>
  Result<void> on_event(std::function<void(const Event&)> each) {
    return subscribe(Event::kInfo,
                     [each = std::move(each)](std::span<const std::byte> fields) -> Result<void> {
                       const auto event = decode_message<Event>(fields);
                       if (!event) return event.error();
                       each(*event);
                       return {};
                     });
  }
  Result<void> subscribe(const ApiMessageInfo& event,
                         std::function<Result<void>(std::span<const std::byte>)> on_message);
  // Waits until a subscriber was called. Errors: kTimedOut, kClosed.
  Result<void> wait_event(std::chrono::milliseconds timeout);

  // Runs a command line; `text` is its output, or why it failed.
  struct CliResult {
    int32_t retval = 0;  // 0 = the command succeeded
    std::string text;
  };
  Result<CliResult> cli(std::string_view line);

  // What call(), dump() and get() are made of: the reply behind its id. x.on_done is not called.
  Result<std::vector<std::byte>> exchange(ApiExchange x);

  bool knows(const ApiMessageInfo& message) const;  // the daemon has this name with this CRC
  const MessageTable& table() const;
  const std::string& path() const;

 private:
  struct Impl;
  explicit Client(std::unique_ptr<Impl> impl);

  template <class Reply>
  Result<Reply> decoded(const Result<std::vector<std::byte>>& fields) {
    if (!fields) return fields.error();
    auto reply = decode_message<Reply>(*fields);
    if (!reply) return error(reply.error().code, path() + ": " + reply.error().message);
    return reply;
  }
  template <class Details>
  static void collect_into(ApiExchange& x, std::vector<Details>& all) {
    x.details = Details::kInfo;
    x.on_details = [&all](std::span<const std::byte> fields) -> Result<void> {
      auto details = decode_message<Details>(fields);
      if (!details) return details.error();
      all.push_back(std::move(*details));
      return {};
    };
  }

  std::unique_ptr<Impl> impl_;
};

}  // namespace loom
