#include "connection.h"

#include <signal.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <utility>

#include "client/json_client.h"

namespace loom::python {

using nlohmann::json;

namespace {
Error is_closed() { return error(Status::kClosed, "the connection is closed"); }
}  // namespace

Connection::Connection(std::string path, ClientOptions options,
                       std::function<void(Result<void>)> ready)
    : pid_(::getpid()) {
  AsyncClient::connect(io_, path, std::move(options),
                       [this, ready = std::move(ready)](Result<AsyncClient> client) {
                         connected(std::move(client), ready);
                       });
  thread_ = std::thread([this] { run(); });
}

Connection::~Connection() { close(); }

// Signals are for the interpreter's main thread.
void Connection::run() {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
  io_.run();
}

void Connection::connected(Result<AsyncClient> client,
                           const std::function<void(Result<void>)>& ready) {
  if (!client) return ready(client.error());
  client_ = std::move(*client);
  client_.on_closed([this](const Error& why) { end_all(why); });
  const auto asked =
      fetch_schema(client_, [this, ready](Result<std::shared_ptr<const ApiSchema>> schema) {
        if (!schema) return ready(schema.error());
        schema_ = std::move(*schema);
        table_ = client_.table().entries();
        ready({});
      });
  if (!asked) ready(asked.error());
}

template <class F>
bool Connection::post(F f) {
  const std::lock_guard lock(mutex_);
  if (!is_closed_) boost::asio::post(io_, std::move(f));
  return !is_closed_;
}

void Connection::end_all(const Error& why) {
  for (auto& [ticket, request] : std::exchange(requests_, {})) (*request.done)(why);
  for (auto& [ticket, subscription] : std::exchange(subscriptions_, {})) subscription.failed(why);
}

Connection::Ticket Connection::start(std::string request, json values,
                                     std::chrono::milliseconds timeout, Done done) {
  const Ticket ticket = ++last_ticket_;
  const bool is_posted = post([this, ticket, request = std::move(request),
                               values = std::move(values), timeout, done]() mutable {
    start_here(ticket, request, std::move(values), timeout, std::move(done));
  });
  if (!is_posted) done(is_closed());
  return ticket;
}

void Connection::start_here(Ticket ticket, const std::string& request, json values,
                            std::chrono::milliseconds timeout, Done done) {
  const auto answer = std::make_shared<Answer>();
  const auto finish = std::make_shared<Done>(std::move(done));
  auto x = json_exchange(
      schema_, request, std::move(values),
      [answer](json details) { answer->details.push_back(std::move(details)); },
      [this, ticket, answer, finish](Result<json> reply) {
        requests_.erase(ticket);
        if (!reply) return (*finish)(reply.error());
        answer->reply = std::move(*reply);
        (*finish)(std::move(*answer));
      },
      EnumStyle::kNumbers);
  if (!x) return (*finish)(x.error());
  x->timeout = timeout;
  const auto id = client_.start(std::move(*x));
  if (!id) return (*finish)(id.error());
  requests_[ticket] = {*id, finish};
}

void Connection::cancel(Ticket ticket) {
  post([this, ticket] {
    if (const auto it = requests_.find(ticket); it != requests_.end()) {
      client_.cancel(it->second.id);
      requests_.erase(it);
    }
  });
}

Connection::Ticket Connection::subscribe(std::string event, std::function<void(json)> each,
                                         std::function<void(const Error&)> failed) {
  const Ticket ticket = ++last_ticket_;
  const bool is_posted =
      post([this, ticket, event = std::move(event), each = std::move(each), failed]() mutable {
        subscribe_here(ticket, event, std::move(each), std::move(failed));
      });
  if (!is_posted) failed(is_closed());
  return ticket;
}

void Connection::subscribe_here(Ticket ticket, const std::string& event,
                                std::function<void(json)> each,
                                std::function<void(const Error&)> failed) {
  const auto message = find_message(*schema_, event);
  if (!message) return failed(message.error());
  if (!client_.is_open()) return failed(is_closed());
  const auto id = client_.subscribe(
      (*message)->info(), json_event(schema_, **message, std::move(each), EnumStyle::kNumbers));
  if (!id) return failed(id.error());
  subscriptions_[ticket] = {*id, std::move(failed)};
}

void Connection::unsubscribe(Ticket ticket) {
  post([this, ticket] {
    if (const auto it = subscriptions_.find(ticket); it != subscriptions_.end()) {
      client_.unsubscribe(it->second.id);
      subscriptions_.erase(it);
    }
  });
}

void Connection::close() {
  if (::getpid() != pid_) {  // the thread only exists in the parent
    if (thread_.joinable()) thread_.detach();
    return;
  }
  {
    const std::lock_guard lock(mutex_);
    if (!std::exchange(is_closed_, true))
      boost::asio::post(io_, [this] {
        client_ = AsyncClient();
        end_all(is_closed());
        io_.stop();
      });
  }
  const std::lock_guard lock(joining_);
  if (thread_.joinable()) thread_.join();
}

}  // namespace loom::python
