// One request and its answers, as the clients carry it; neither typed nor JSON. The typed templates
// of Client and AsyncClient and json_exchange() make these.
#pragma once
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>

#include <hostloom/api.h>
#include <hostloom/status.h>

namespace loom {

// What the client puts into a request when it sends it.
struct ApiRequestIds {
  uint32_t client_index = 0;
  uint32_t context = 0;
  std::optional<uint32_t> cursor;  // kGet, from the second round on: where the daemon stopped
};

struct ApiExchange {
  enum class Shape {
    kCall,  // one reply
    kDump,  // details until the reply to a control_ping that is sent behind the request
    kGet,   // details, then a reply {retval, cursor}; asked again while retval says EAGAIN
  };
  Shape shape = Shape::kCall;
  // The names live as long as the exchange.
  ApiMessageInfo request{};
  ApiMessageInfo reply{};    // kCall, kGet
  ApiMessageInfo details{};  // kDump, kGet
  // Appends the request's fields behind the id. An error is that of starting the exchange.
  std::function<Result<void>(ApiWriter&, const ApiRequestIds&)> encode;
  // One details message behind its id. An error ends the exchange and is its outcome.
  std::function<Result<void>(std::span<const std::byte>)> on_details;
  // The outcome, once: the reply behind its id (kDump: nothing), or why there is none. kMalformed
  // when it returns an error itself is up to the caller: the client does not look inside.
  std::function<void(Result<std::span<const std::byte>>)> on_done;
  // How long the daemon may be silent: until the reply, and for kDump and kGet between any two
  // messages. Zero: the client's own.
  std::chrono::milliseconds timeout{0};
};

// Encodes a generated message as a request, with the ids filled in.
template <class Message>
void encode_request(ApiWriter& w, Message& request, const ApiRequestIds& ids) {
  request.context = ids.context;
  if constexpr (requires { request.client_index; }) request.client_index = ids.client_index;
  if constexpr (requires { request.cursor; })
    if (ids.cursor) request.cursor = *ids.cursor;
  encode(w, request);
}

// Decodes a generated message from hostile bytes.
template <class Message>
Result<Message> decode_message(std::span<const std::byte> fields) {
  ApiReader in(fields);
  Message m;
  decode(in, m);
  if (!in.ok())
    return error(Status::kMalformed,
                 std::string("a ") + Message::kInfo.name + " that does not decode");
  return m;
}

// An exchange of a shape for generated messages; without answers' types and callbacks yet.
template <class Request>
ApiExchange typed_exchange(ApiExchange::Shape shape, Request request) {
  ApiExchange x;
  x.shape = shape;
  x.request = Request::kInfo;
  x.encode = [request = std::move(request)](ApiWriter& w,
                                            const ApiRequestIds& ids) mutable -> Result<void> {
    encode_request(w, request, ids);
    return {};
  };
  return x;
}

}  // namespace loom
