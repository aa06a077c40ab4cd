#include "client/async_client.h"

#include <boost/asio.hpp>
#include <map>
#include <unordered_map>
#include <utility>

#include "client/frame.h"
#include "memclnt.api.h"

namespace loom {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
constexpr int32_t kEagain = -165;  // retval of a get whose cursor leads on

}  // namespace

struct AsyncClient::Impl : std::enable_shared_from_this<Impl> {
  using Shape = ApiExchange::Shape;

  // A request in flight. Shared, so that an exchange outlives the callbacks that cancel it.
  struct Flight {
    Flight(asio::io_context& io, ApiExchange x) : exchange(std::move(x)), timer(io) {}
    ApiExchange exchange;
    uint32_t context = 0, ping_context = 0;
    uint16_t reply_id = 0, details_id = 0;
    std::optional<uint32_t> cursor;
    asio::steady_timer timer;
    std::chrono::steady_clock::time_point deadline;
    bool is_over = false;
  };
  struct Subscriber {
    uint16_t id;
    std::shared_ptr<std::function<Result<void>(std::span<const std::byte>)>> on_message;
  };

  Impl(asio::io_context& io_, Options options_) : io(io_), options(std::move(options_)) {}

  void attach(std::shared_ptr<DaemonConnection> c) {
    connection = std::move(c);
    const auto& table = connection->table();
    ping_id = table.id_of(api::ControlPing::kInfo).value_or(0);
    ping_reply_id = table.id_of(api::ControlPingReply::kInfo).value_or(0);
    keepalive_id = table.id_of(api::MemclntKeepalive::kInfo).value_or(0);
    connection->start(
        [weak = weak_from_this()](std::span<const std::byte> m) {
          if (auto self = weak.lock()) self->take(m);
        },
        [weak = weak_from_this()](const Error& why) {
          if (auto self = weak.lock()) self->end(why);
        });
  }

  // --- Sending.

  Result<RequestId> start(ApiExchange exchange) {
    const auto& table = connection->table();
    const auto flight = std::make_shared<Flight>(io, std::move(exchange));
    const ApiExchange& x = flight->exchange;
    const auto find = [&](const ApiMessageInfo& message, uint16_t& id) -> Result<void> {
      const auto found = table.id_of(message);
      if (!found) return error(found.error().code, path() + ": " + found.error().message);
      id = *found;
      return {};
    };
    uint16_t request_id = 0;
    auto found = find(x.request, request_id);
    if (found && x.shape != Shape::kDump) found = find(x.reply, flight->reply_id);
    if (found && x.shape != Shape::kCall) found = find(x.details, flight->details_id);
    if (found && x.shape == Shape::kDump) found = find(api::ControlPing::kInfo, ping_id);
    if (found && x.shape == Shape::kDump) found = find(api::ControlPingReply::kInfo, ping_reply_id);
    if (!found) return found.error();
    auto sent = send(*flight, request_id);
    if (!sent) return sent.error();
    flights[flight->context] = flight;
    touch(*flight);
    watch(flight);
    return flight->context;
  }

  Result<void> send(Flight& flight, uint16_t request_id) {
    if (flight.context == 0) flight.context = new_context();
    auto frame = new_frame(request_id);
    ApiWriter w(frame);
    auto encoded =
        flight.exchange.encode(w, {connection->client_index(), flight.context, flight.cursor});
    if (encoded) encoded = finish_frame(frame);
    if (!encoded)
      return error(encoded.error().code,
                   std::string(flight.exchange.request.name) + ": " + encoded.error().message);
    auto sent = connection->send(std::move(frame));
    if (!sent || flight.exchange.shape != Shape::kDump) return sent;
    flight.ping_context = new_context();
    pings[flight.ping_context] = flight.context;
    auto ping = new_frame(ping_id);
    ApiWriter pw(ping);
    api::ControlPing request;
    encode_request(pw, request, {connection->client_index(), flight.ping_context, {}});
    (void)finish_frame(ping);  // 10 bytes
    sent = connection->send(std::move(ping));
    if (!sent) pings.erase(flight.ping_context);
    return sent;
  }

  uint32_t new_context() {
    do ++last_context;
    while (last_context == 0 || flights.contains(last_context) || pings.contains(last_context));
    return last_context;
  }

  // --- Time. The deadline moves with each message, and the timer looks again when it goes off.

  std::chrono::milliseconds patience(const Flight& flight) const {
    return flight.exchange.timeout.count() > 0 ? flight.exchange.timeout : options.timeout;
  }
  void touch(Flight& flight) {
    flight.deadline = std::chrono::steady_clock::now() + patience(flight);
  }
  void watch(const std::shared_ptr<Flight>& flight) {
    flight->timer.expires_at(flight->deadline);
    flight->timer.async_wait([weak = weak_from_this(), flight](error_code e) {
      const auto self = weak.lock();
      if (e || !self || flight->is_over) return;
      if (std::chrono::steady_clock::now() < flight->deadline) return self->watch(flight);
      const auto& x = flight->exchange;
      self->finish(flight, error(Status::kTimedOut,
                                 self->path() + ": no answer to " + x.request.name + " within " +
                                     std::to_string(self->patience(*flight).count()) + " ms"));
    });
  }

  // --- Receiving.

  void take(std::span<const std::byte> message) {
    const auto keep = shared_from_this();
    const ApiHead head = api_head(message);
    const auto fields = message.subspan(2);
    if (const auto it = flights.find(head.context); it != flights.end()) {
      const auto flight = it->second;
      const Shape shape = flight->exchange.shape;
      if (shape != Shape::kCall && head.id == flight->details_id) return details(flight, fields);
      if (shape != Shape::kDump && head.id == flight->reply_id) return reply(flight, fields);
    }
    if (head.id == ping_reply_id && ping_reply_id != 0) {
      if (const auto it = pings.find(head.context); it != pings.end()) {
        const auto flight = flights.at(it->second);
        return finish(flight, std::span<const std::byte>());
      }
    }
    if (head.id == keepalive_id && keepalive_id != 0) return answer_keepalive(fields);
    event(head.id, fields);
  }

  void details(const std::shared_ptr<Flight>& flight, std::span<const std::byte> fields) {
    touch(*flight);
    auto taken = flight->exchange.on_details(fields);
    if (!taken && !flight->is_over)
      finish(flight, error(taken.error().code, path() + ": " + taken.error().message));
  }

  void reply(const std::shared_ptr<Flight>& flight, std::span<const std::byte> fields) {
    if (flight->exchange.shape == Shape::kGet) {
      ApiReader in(fields.subspan(4));
      const auto retval = in.number<int32_t>();
      const auto cursor = in.number<uint32_t>();
      if (in.ok() && retval == kEagain) return ask_on(flight, cursor);
    }
    finish(flight, fields);
  }

  void ask_on(const std::shared_ptr<Flight>& flight, uint32_t cursor) {
    const std::string name = flight->exchange.request.name;
    if (flight->cursor == cursor)
      return finish(flight, error(Status::kMalformed, path() + ": the cursor of " + name +
                                                          " stays at " + std::to_string(cursor)));
    flight->cursor = cursor;
    touch(*flight);
    const auto id = connection->table().id_of(flight->exchange.request);
    auto sent = id ? send(*flight, *id) : Result<void>(id.error());
    if (!sent) finish(flight, sent.error());
  }

  void answer_keepalive(std::span<const std::byte> fields) {
    const auto request = decode_message<api::MemclntKeepalive>(fields);
    const auto id = connection->table().id_of(api::MemclntKeepaliveReply::kInfo);
    if (!request || !id) return;
    auto frame = new_frame(*id);
    ApiWriter w(frame);
    encode(w, api::MemclntKeepaliveReply{.context = request->context});
    (void)finish_frame(frame);
    (void)connection->send(std::move(frame));  // when it does not fit, the daemon is not listening
  }

  void event(uint16_t id, std::span<const std::byte> fields) {
    // Those of this moment: a callback may subscribe and unsubscribe.
    std::vector<SubscriptionId> now;
    for (const auto& [number, subscriber] : subscribers)
      if (subscriber.id == id) now.push_back(number);
    if (now.empty()) ++counters.unmatched;
    for (const auto number : now) {
      const auto it = subscribers.find(number);
      if (it == subscribers.end()) continue;
      const auto on_message = it->second.on_message;
      if (!(*on_message)(fields)) ++counters.malformed_events;
    }
  }

  // --- Ending.

  void forget(Flight& flight) {
    flight.is_over = true;
    flight.timer.cancel();
    flights.erase(flight.context);
    if (flight.ping_context != 0) pings.erase(flight.ping_context);
  }
  // By value: what refers to it, as `flights` does, forgets it.
  void finish(std::shared_ptr<Flight> flight, Result<std::span<const std::byte>> outcome) {
    forget(*flight);
    flight->exchange.on_done(std::move(outcome));
  }
  bool cancel(RequestId id) {
    const auto it = flights.find(id);
    if (it == flights.end()) return false;
    const auto flight = it->second;
    forget(*flight);
    return true;
  }
  void end(const Error& why) {
    const auto keep = shared_from_this();
    while (!flights.empty() && !is_closed) finish(flights.begin()->second, why);
    if (const auto closed = std::exchange(on_closed, nullptr); closed && !is_closed) closed(why);
  }
  void close() {
    is_closed = true;
    connection->close();
    while (!flights.empty()) {
      const auto flight = flights.begin()->second;
      forget(*flight);
    }
    subscribers.clear();
  }
  const std::string& path() const { return connection->path(); }

  asio::io_context& io;
  Options options;
  std::shared_ptr<DaemonConnection> connection;
  uint16_t ping_id = 0, ping_reply_id = 0, keepalive_id = 0;
  uint32_t last_context = 1;                                      // the greeting's
  std::unordered_map<uint32_t, std::shared_ptr<Flight>> flights;  // by context
  std::unordered_map<uint32_t, uint32_t> pings;                   // context -> the dump's
  std::map<SubscriptionId, Subscriber> subscribers;
  SubscriptionId last_subscription = 0;
  std::function<void(const Error&)> on_closed;
  Counters counters;
  bool is_closed = false;
};

void AsyncClient::connect(asio::io_context& io, const std::string& path, Options options,
                          std::function<void(Result<AsyncClient>)> done) {
  auto impl = std::make_shared<Impl>(io, options);
  DaemonConnection::open(
      io, path, std::move(options),
      [impl, done = std::move(done)](Result<std::shared_ptr<DaemonConnection>> c) {
        if (!c) return done(c.error());
        impl->attach(std::move(*c));
        done(AsyncClient(impl));
      });
}

AsyncClient::AsyncClient(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
AsyncClient::AsyncClient(AsyncClient&&) noexcept = default;
AsyncClient& AsyncClient::operator=(AsyncClient&& o) noexcept {
  if (this != &o) {
    if (impl_) impl_->close();
    impl_ = std::move(o.impl_);
  }
  return *this;
}
AsyncClient::~AsyncClient() {
  if (impl_) impl_->close();
}

Result<AsyncClient::RequestId> AsyncClient::start(ApiExchange exchange) {
  return impl_->start(std::move(exchange));
}

Result<AsyncClient::SubscriptionId> AsyncClient::subscribe(
    const ApiMessageInfo& event,
    std::function<Result<void>(std::span<const std::byte>)> on_message) {
  const auto id = table().id_of(event);
  if (!id) return error(id.error().code, path() + ": " + id.error().message);
  using Callback = std::function<Result<void>(std::span<const std::byte>)>;
  impl_->subscribers[++impl_->last_subscription] = {
      *id, std::make_shared<Callback>(std::move(on_message))};
  return impl_->last_subscription;
}

void AsyncClient::unsubscribe(SubscriptionId id) { impl_->subscribers.erase(id); }
bool AsyncClient::cancel(RequestId id) { return impl_->cancel(id); }
void AsyncClient::on_closed(std::function<void(const Error&)> closed) {
  impl_->on_closed = std::move(closed);
}
void AsyncClient::close() { impl_->close(); }
bool AsyncClient::is_open() const { return impl_ && impl_->connection->is_open(); }
bool AsyncClient::knows(const ApiMessageInfo& message) const { return table().knows(message); }
const MessageTable& AsyncClient::table() const { return impl_->connection->table(); }
const std::string& AsyncClient::path() const { return impl_->connection->path(); }
const AsyncClient::Counters& AsyncClient::counters() const { return impl_->counters; }
std::size_t AsyncClient::in_flight() const { return impl_->flights.size(); }

}  // namespace loom
