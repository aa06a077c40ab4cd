#include "client/json_client.h"

#include <utility>

#include "memclnt.api.h"

namespace loom {
namespace {

using nlohmann::json;
using SchemaPtr = std::shared_ptr<const ApiSchema>;

Result<SchemaPtr> schema_of(const std::string& path, const api::GetApiJsonReply& reply) {
  const std::string origin = path + ": get_api_json";
  if (reply.retval != 0)
    return error(Status::kUnsupported, origin + ": retval " + std::to_string(reply.retval));
  return ApiSchema::from_json(reply.json, origin);
}

}  // namespace

Result<const SchemaMessage*> find_message(const ApiSchema& schema, std::string_view name) {
  const SchemaMessage* message = schema.find(name);
  if (!message) return error(Status::kUnsupported, "the API has no message " + std::string(name));
  if (!message->crc)
    return error(Status::kUnsupported, std::string(name) +
                                           " has no crc in the description of module " +
                                           message->module + "; the daemon's own description has");
  return message;
}

Result<ApiExchange> json_exchange(SchemaPtr schema, std::string_view request, json values,
                                  std::function<void(json)> each,
                                  std::function<void(Result<json>)> done, EnumStyle style) {
  const auto found = find_message(*schema, request);
  if (!found) return found.error();
  const SchemaMessage* message = *found;
  const SchemaService* service = schema->service(request);
  if (!service || service->reply.empty())
    return error(Status::kUnsupported, std::string(request) + " is not a request with an answer");
  const auto answer = find_message(*schema, service->reply);
  if (!answer) return answer.error();
  const SchemaMessage* reply = *answer;
  ApiExchange x;
  x.request = message->info();
  const SchemaMessage* details = nullptr;
  if (!service->stream_msg.empty()) {
    const auto streamed = find_message(*schema, service->stream_msg);
    if (!streamed) return streamed.error();
    x.shape = ApiExchange::Shape::kGet;
    details = *streamed;
    x.reply = reply->info();
    for (const auto& f : message->fields)
      if (f.name == "cursor" && !f.default_value && !values.contains("cursor"))
        values["cursor"] = 0xffffffffu;
  } else if (service->is_stream) {
    x.shape = ApiExchange::Shape::kDump;
    details = std::exchange(reply, nullptr);
  } else {
    x.reply = reply->info();
  }
  if (details) x.details = details->info();
  x.encode = [schema, message, values = std::move(values)](ApiWriter& w, const ApiRequestIds& ids) {
    return encode_json(*message, values, ids, w);
  };
  if (details)
    x.on_details = [schema, details, style,
                    each = std::move(each)](std::span<const std::byte> fields) -> Result<void> {
      auto value = decode_json(*details, fields, style);
      if (!value) return value.error();
      each(std::move(*value));
      return {};
    };
  x.on_done = [schema, reply, style,
               done = std::move(done)](Result<std::span<const std::byte>> fields) {
    if (!fields) return done(fields.error());
    done(reply ? decode_json(*reply, *fields, style) : Result<json>(json()));
  };
  return x;
}

std::function<Result<void>(std::span<const std::byte>)> json_event(SchemaPtr schema,
                                                                   const SchemaMessage& event,
                                                                   std::function<void(json)> each,
                                                                   EnumStyle style) {
  return [schema = std::move(schema), &event, each = std::move(each),
          style](std::span<const std::byte> fields) -> Result<void> {
    auto value = decode_json(event, fields, style);
    if (!value) return value.error();
    each(std::move(*value));
    return {};
  };
}

Result<SchemaPtr> fetch_schema(Client& client) {
  const auto reply = client.call<api::GetApiJsonReply>(api::GetApiJson{});
  if (!reply) return reply.error();
  return schema_of(client.path(), *reply);
}

Result<AsyncClient::RequestId> fetch_schema(AsyncClient& client,
                                            std::function<void(Result<SchemaPtr>)> done) {
  return client.call<api::GetApiJsonReply>(
      api::GetApiJson{},
      [path = client.path(), done = std::move(done)](Result<api::GetApiJsonReply> reply) {
        done(reply ? schema_of(path, *reply) : Result<SchemaPtr>(reply.error()));
      });
}

Result<JsonClient> JsonClient::connect(const std::string& path, ClientOptions options) {
  auto client = Client::connect(path, std::move(options));
  if (!client) return client.error();
  auto schema = fetch_schema(*client);
  if (!schema) return schema.error();
  return JsonClient(std::move(*client), std::move(*schema));
}

Result<JsonClient::Answer> JsonClient::request(std::string_view name, json values) {
  Answer answer;
  auto x = json_exchange(
      schema_, name, std::move(values),
      [&](json details) { answer.details.push_back(std::move(details)); }, [](Result<json>) {});
  if (!x) return error(x.error().code, client_.path() + ": " + x.error().message);
  const auto fields = client_.exchange(std::move(*x));
  if (!fields) return fields.error();
  const SchemaService& service = *schema_->service(name);
  if (service.is_stream) return answer;
  auto reply = decode_json(*schema_->find(service.reply), *fields);
  if (!reply) return error(reply.error().code, client_.path() + ": " + reply.error().message);
  answer.reply = std::move(*reply);
  return answer;
}

Result<void> JsonClient::on_event(std::string_view name, std::function<void(json)> each) {
  const auto event = find_message(*schema_, name);
  if (!event) return event.error();
  return client_.subscribe((*event)->info(), json_event(schema_, **event, std::move(each)));
}

}  // namespace loom
