#include "options.h"

#include "pacer.h"
#include "server.h"

namespace loom::perf {
namespace {

constexpr TimeNs kDefaultRunTime = 10 * kSecond;

Result<void> refuse(std::string why) { return error(Status::kInvalid, std::move(why)); }

Result<void> check_bound(const char* what, uint64_t n, uint64_t most) {
  if (n <= most) return {};
  return refuse(std::string(what) + " " + std::to_string(n) + " is above " + std::to_string(most));
}

Result<void> check_bounds(const RunConfig& c) {
  if (c.n_clients == 0 || c.n_clients > kMostClients)
    return refuse(std::to_string(c.n_clients) + " clients are not from 1 to " +
                  std::to_string(kMostClients));
  const auto seconds = [](TimeNs t) { return static_cast<uint64_t>(t / kSecond); };
  auto done = check_bound("run-time", seconds(c.run_time), kMostSeconds);
  if (done) done = check_bound("over", seconds(c.over), kMostSeconds);
  if (done) done = check_bound("rate", c.rate, kMostRate);
  if (done) done = check_bound("request", c.request, kMostMessage);
  if (done) done = check_bound("response", c.response, kMostMessage);
  if (done) done = check_bound("requests-per-second", c.requests_per_second, kMostRate);
  if (done) done = check_fifo_size(c.fifo_size);
  return done;
}

// What makes no sense together.
Result<void> check_mix(const RunConfig& c) {
  if ((c.run_time != 0) + (c.bytes != 0) + (c.requests != 0) > 1)
    return refuse("run-time, bytes and requests exclude each other");
  if (c.run_time != 0 && c.over > c.run_time) return refuse("over is longer than the run-time");
  if (c.reverse && (c.echo || c.request != 0))
    return refuse("reverse excludes echo-bytes and request");
  if (c.rate != 0 && (c.reverse || c.request != 0))
    return refuse("rate is of a stream that the client sends: no reverse, no request");
  if (c.request == 0 && (c.response != 0 || c.requests != 0 || c.requests_per_second != 0))
    return refuse("response, requests and requests-per-second need request");
  if (c.request != 0 && c.bytes != 0) return refuse("request goes with requests, not with bytes");
  if (c.request != 0 && c.echo && c.response != 0 && c.response != c.request)
    return refuse("with echo-bytes a response is as long as its request");
  if (c.verify && !c.reverse && c.request == 0) return refuse("verify needs reverse or request");
  return {};
}

}  // namespace

Result<void> complete(RunConfig& c) {
  const auto endpoint = parse_app_uri(c.uri);
  if (!endpoint) return endpoint.error();
  c.endpoint = *endpoint;
  auto done = check_bounds(c);
  if (done) done = check_mix(c);
  if (!done) return done;
  if (c.run_time == 0 && c.bytes == 0 && c.requests == 0) c.run_time = c.over + kDefaultRunTime;
  if (c.request != 0 && c.response == 0) c.response = c.request;
  return {};
}

}  // namespace loom::perf
