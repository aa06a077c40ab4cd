#include "client/client.h"

#include <boost/asio.hpp>
#include <optional>

#include "client/async_client.h"
#include "vlib.api.h"

namespace loom {

struct Client::Impl {
  // Runs handlers until the condition holds; somebody else's timer sees to it that it does.
  template <class Condition>
  void run_until(Condition condition) {
    while (!condition()) {
      if (io.stopped()) io.restart();
      io.run_one();
    }
  }

  boost::asio::io_context io{1};
  AsyncClient client;  // ends before the io_context
  uint64_t events = 0;
  std::optional<Error> ended;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::Client(Client&&) noexcept = default;
Client& Client::operator=(Client&&) noexcept = default;
Client::~Client() = default;

Result<Client> Client::connect(const std::string& path) { return connect(path, Options{}); }

Result<Client> Client::connect(const std::string& path, Options options) {
  auto impl = std::make_unique<Impl>();
  std::optional<Result<void>> outcome;
  AsyncClient::connect(impl->io, path, std::move(options), [&](Result<AsyncClient> c) {
    outcome = c ? Result<void>() : Result<void>(c.error());
    if (c) impl->client = std::move(*c);
  });
  impl->run_until([&] { return outcome.has_value(); });
  if (!*outcome) return outcome->error();
  impl->client.on_closed([raw = impl.get()](const Error& why) { raw->ended = why; });
  return Client(std::move(impl));
}

Result<std::vector<std::byte>> Client::exchange(ApiExchange x) {
  std::optional<Result<std::vector<std::byte>>> outcome;
  x.on_done = [&](Result<std::span<const std::byte>> fields) {
    if (fields)
      outcome = std::vector<std::byte>(fields->begin(), fields->end());
    else
      outcome = fields.error();
  };
  if (impl_->ended) return *impl_->ended;
  const auto started = impl_->client.start(std::move(x));
  if (!started) return started.error();
  impl_->run_until([&] { return outcome.has_value(); });
  return std::move(*outcome);
}

Result<void> Client::subscribe(const ApiMessageInfo& event,
                               std::function<Result<void>(std::span<const std::byte>)> on_message) {
  const auto id = impl_->client.subscribe(
      event,
      [raw = impl_.get(), on_message = std::move(on_message)](std::span<const std::byte> fields) {
        auto taken = on_message(fields);
        if (taken) ++raw->events;
        return taken;
      });
  if (!id) return id.error();
  return {};
}

Result<void> Client::wait_event(std::chrono::milliseconds timeout) {
  boost::asio::steady_timer timer(impl_->io, timeout);
  const auto is_late = std::make_shared<bool>(false);  // its handler may run after this call
  timer.async_wait([is_late](boost::system::error_code e) { *is_late = !e; });
  const uint64_t before = impl_->events;
  impl_->run_until([&] { return impl_->events != before || *is_late || impl_->ended; });
  timer.cancel();
  if (impl_->events != before) return {};
  if (impl_->ended) return *impl_->ended;
  return error(Status::kTimedOut,
               path() + ": no event within " + std::to_string(timeout.count()) + " ms");
}

Result<Client::CliResult> Client::cli(std::string_view line) {
  auto reply = call<api::CliInbandReply>(api::CliInband{.cmd = std::string(line)});
  if (!reply) return reply.error();
  return CliResult{reply->retval, std::move(reply->reply)};
}

bool Client::knows(const ApiMessageInfo& message) const { return impl_->client.knows(message); }
const MessageTable& Client::table() const { return impl_->client.table(); }
const std::string& Client::path() const { return impl_->client.path(); }

}  // namespace loom
