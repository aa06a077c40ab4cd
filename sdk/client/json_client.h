// Requests by name and JSON: what an ApiSchema adds to the clients. Any message that the daemon
// has, also one of a plugin that this program was not built with.
//
//   auto api = JsonClient::connect(path);
//   auto reply = api->request("sw_interface_set_flags", {{"sw_if_index", 1}, {"flags", 1}});
#pragma once
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/status.h>

#include "client/async_client.h"
#include "client/client.h"
#include "client/json_codec.h"
#include "client/schema.h"

namespace loom {

// A message that can be spoken of with a daemon. Errors: kUnsupported, there is none of that name,
// or its file names no CRC, by which daemons tell layouts apart.
Result<const SchemaMessage*> find_message(const ApiSchema& schema, std::string_view name);

// The exchange for a request, its shape by the schema's services: a call, a dump, or a cursor-style
// get, which starts at 4294967295 when `values` names no cursor. `each` gets the details, `done`
// the reply (null for a dump). To be handed to AsyncClient::start(). Keeps the schema alive.
// Errors: kUnsupported, as find_message(), or the message is not a request.
Result<ApiExchange> json_exchange(std::shared_ptr<const ApiSchema> schema, std::string_view request,
                                  nlohmann::json values, std::function<void(nlohmann::json)> each,
                                  std::function<void(Result<nlohmann::json>)> done,
                                  EnumStyle style = EnumStyle::kNames);

// For AsyncClient::subscribe() and Client::subscribe().
std::function<Result<void>(std::span<const std::byte>)> json_event(
    std::shared_ptr<const ApiSchema> schema, const SchemaMessage& event,
    std::function<void(nlohmann::json)> each, EnumStyle style = EnumStyle::kNames);

// Asks the daemon for its schema.
Result<std::shared_ptr<const ApiSchema>> fetch_schema(Client& client);
Result<AsyncClient::RequestId> fetch_schema(
    AsyncClient& client, std::function<void(Result<std::shared_ptr<const ApiSchema>>)> done);

// A Client and a schema.
class JsonClient {
 public:
  // With the daemon's own schema, or one loaded from files.
  static Result<JsonClient> connect(const std::string& path, ClientOptions options = {});
  JsonClient(Client client, std::shared_ptr<const ApiSchema> schema)
      : client_(std::move(client)), schema_(std::move(schema)) {}

  struct Answer {
    nlohmann::json reply;                 // null for a dump
    std::vector<nlohmann::json> details;  // of a dump or a cursor-style get
  };
  // Errors: as Client::call(); kInvalid, a value that does not fit, named with its field.
  Result<Answer> request(std::string_view name, nlohmann::json values = nullptr);
  // Errors: kUnsupported, there is no such message, or this daemon has none.
  Result<void> on_event(std::string_view name, std::function<void(nlohmann::json)> each);

  Client& client() { return client_; }
  const std::shared_ptr<const ApiSchema>& schema() const { return schema_; }

 private:
  Client client_;
  std::shared_ptr<const ApiSchema> schema_;
};

}  // namespace loom
