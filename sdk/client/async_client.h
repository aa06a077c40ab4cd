// The binary API with many requests in flight, on an io_context of the caller's.
//
//   AsyncClient::connect(io, loom::default_api_socket(), {}, [&](Result<AsyncClient> c) {
//     client = std::move(*c);
//     client.call<api::ShowVersionReply>(api::ShowVersion{}, [](Result<api::ShowVersionReply> r)
//     {}); client.dump<api::SwInterfaceDetails>(api::SwInterfaceDump{}, on_one, on_done);
//     client.on_event<api::SwInterfaceEvent>([](const api::SwInterfaceEvent& e) {});
//   });
//
// Answers are matched by context, so they may come in any order. Use it on the io_context's thread.
// No callback runs inside the call that it is given to; callbacks may start, cancel, close and
// destroy. After cancel() or the client's end a callback is not called any more; when the daemon
// goes away every request in flight ends with kClosed, then on_closed is called, and it is the
// caller's to connect anew.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/runtime_dir.h>
#include <hostloom/status.h>

#include "client/connection.h"
#include "client/exchange.h"

namespace loom {

class AsyncClient {
 public:
  using Options = ClientOptions;
  using RequestId = uint32_t;       // of this client's run; 0 is none
  using SubscriptionId = uint32_t;  // likewise

  // Errors as DaemonConnection::open(). io outlives the client.
  static void connect(boost::asio::io_context& io, const std::string& path, Options options,
                      std::function<void(Result<AsyncClient>)> done);
  AsyncClient() = default;  // of no use until one that connect() made is moved into it
  AsyncClient(AsyncClient&&) noexcept;
  AsyncClient& operator=(AsyncClient&&) noexcept;
  ~AsyncClient();

  // Sends a request and hands its reply to `done`. A reply whose retval says no is not an error
  // here. Errors: kUnsupported, the daemon lacks the message or has another layout of it, and the
  // text names it; kClosed; kAgain, too many bytes wait to be sent. Errors of `done`: kTimedOut,
  // kClosed, kMalformed.
  template <class Reply, class Request>
  Result<RequestId> call(Request request, std::function<void(Result<Reply>)> done,
                         std::chrono::milliseconds timeout = {}) {
    auto x = typed_exchange(ApiExchange::Shape::kCall, std::move(request));
    x.reply = Reply::kInfo;
    x.timeout = timeout;
    x.on_done = decoding<Reply>(std::move(done));
    return start(std::move(x));
  }

  // Sends a dump request; each of its details goes to `each`, the end to `done`.
  template <class Details, class Request>
  Result<RequestId> dump(Request request, std::function<void(Details)> each,
                         std::function<void(Result<void>)> done,
                         std::chrono::milliseconds timeout = {}) {
    auto x = typed_exchange(ApiExchange::Shape::kDump, std::move(request));
    x.details = Details::kInfo;
    x.timeout = timeout;
    x.on_details = decoding_each<Details>(std::move(each));
    x.on_done = [done = std::move(done)](Result<std::span<const std::byte>> r) {
      done(r ? Result<void>() : Result<void>(r.error()));
    };
    return start(std::move(x));
  }

  // A cursor-style request, asked again from where the daemon stopped until it is through: `done`
  // gets the last reply. The request's cursor says where to begin.
  template <class Reply, class Details, class Request>
  Result<RequestId> get(Request request, std::function<void(Details)> each,
                        std::function<void(Result<Reply>)> done,
                        std::chrono::milliseconds timeout = {}) {
    auto x = typed_exchange(ApiExchange::Shape::kGet, std::move(request));
    x.reply = Reply::kInfo;
    x.details = Details::kInfo;
    x.timeout = timeout;
    x.on_details = decoding_each<Details>(std::move(each));
    x.on_done = decoding<Reply>(std::move(done));
    return start(std::move(x));
  }

  // Calls `each` for every event of a kind, after the request for them (want_X_events) was sent by
  // call(). Errors: kUnsupported.
  template <class Event>
  Result<SubscriptionId> on_event(std::function<void(const Event&)> each) {
    return subscribe(Event::kInfo,
                     [each = std::move(each)](std::span<const std::byte> fields) -> Result<void> {
                       const auto event = decode_message<Event>(fields);
                       if (!event) return event.error();
                       each(*event);
                       return {};
                     });
  }

  // What the templates above are made of, and json_exchange() is made for. An error that the
  // subscriber returns is counted.
  Result<RequestId> start(ApiExchange exchange);
  Result<SubscriptionId> subscribe(
      const ApiMessageInfo& event,
      std::function<Result<void>(std::span<const std::byte>)> on_message);
  void unsubscribe(SubscriptionId id);

  // False when the request is not in flight (any more).
  bool cancel(RequestId id);
  void on_closed(std::function<void(const Error&)> closed);
  void close();
  bool is_open() const;

  bool knows(const ApiMessageInfo& message) const;  // the daemon has this name with this CRC
  const MessageTable& table() const;
  const std::string& path() const;
  struct Counters {
    uint64_t unmatched = 0;         // answers that nobody waits for, events without a subscriber
    uint64_t malformed_events = 0;  // events that do not decode
  };
  const Counters& counters() const;
  std::size_t in_flight() const;

 private:
  struct Impl;
  explicit AsyncClient(std::shared_ptr<Impl> impl);

  template <class Reply>
  static std::function<void(Result<std::span<const std::byte>>)> decoding(
      std::function<void(Result<Reply>)> done) {
    return [done = std::move(done)](Result<std::span<const std::byte>> fields) {
      done(fields ? decode_message<Reply>(*fields) : Result<Reply>(fields.error()));
    };
  }
  template <class Details>
  static std::function<Result<void>(std::span<const std::byte>)> decoding_each(
      std::function<void(Details)> each) {
    return [each = std::move(each)](std::span<const std::byte> fields) -> Result<void> {
      auto details = decode_message<Details>(fields);
      if (!details) return details.error();
      each(std::move(*details));
      return {};
    };
  }

  std::shared_ptr<Impl> impl_;
};

}  // namespace loom
