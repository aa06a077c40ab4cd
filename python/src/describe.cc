#include "describe.h"

#include "client/message_table.h"

namespace loom::python {
namespace {

using nlohmann::json;
using Kind = SchemaType::Kind;
using Shape = SchemaField::Shape;

const char* kind_name(const SchemaType& t) {
  switch (t.kind) {
    case Kind::kNumber:
      if (t.number == ApiNumber::kBool) return "bool";
      return t.number == ApiNumber::kF64 ? "float" : "int";
    case Kind::kString:
      return "str";
    case Kind::kEnum:
      return "enum";
    case Kind::kFlags:
      return "flags";
    case Kind::kStruct:
      return "struct";
    case Kind::kUnion:
      return "union";
    case Kind::kArray:
      return "array";
  }
  return "";
}

const char* text_name(SchemaType::Text text) {
  constexpr const char* kNames[] = {"",        "ip4_address", "ip6_address", "mac_address",
                                    "address", "ip4_prefix",  "ip6_prefix",  "prefix"};
  return kNames[static_cast<std::size_t>(text)];
}

json describe_fields(const std::vector<SchemaField>& fields) {
  json list = json::array();
  for (const auto& f : fields) {
    json d = {{"name", f.name}, {"type", f.type->name}};
    if (f.shape != Shape::kOne) d["shape"] = f.shape == Shape::kFixedArray ? "fixed" : "variable";
    if (f.shape == Shape::kFixedArray) d["length"] = f.length;
    if (f.counts) d["is_count"] = true;
    if (f.default_value) d["default"] = *f.default_value;
    list.push_back(std::move(d));
  }
  return list;
}

json describe_type(const SchemaType& t) {
  json d = {{"kind", kind_name(t)}};
  if (t.text != SchemaType::Text::kNone) d["text"] = text_name(t.text);
  if (!t.comment.empty()) d["comment"] = t.comment;
  if (t.kind == Kind::kEnum || t.kind == Kind::kFlags) {
    d["enumerators"] = json::array();
    for (const auto& e : t.enumerators) d["enumerators"].push_back({e.name, e.value});
  }
  if (t.kind == Kind::kStruct || t.kind == Kind::kUnion) d["fields"] = describe_fields(t.fields);
  if (t.kind == Kind::kArray) d["element"] = t.element->name;
  if (t.length) d["length"] = t.length;
  return d;
}

}  // namespace

json describe(const ApiSchema& schema) {
  json types = json::object(), messages = json::object(), services = json::object();
  for (const auto& [name, type] : schema.types()) types[name] = describe_type(type);
  for (const auto& [name, message] : schema.messages()) {
    messages[name] = {{"module", message.module},
                      {"comment", message.comment},
                      {"entry", message.crc ? api_table_entry(message.info()) : ""},
                      {"fields", describe_fields(message.fields)}};
    if (const SchemaService* s = schema.service(name))
      services[name] = {{"reply", s->reply},
                        {"stream_msg", s->stream_msg},
                        {"is_stream", s->is_stream},
                        {"events", s->events}};
  }
  return {{"types", types}, {"messages", messages}, {"services", services}};
}

}  // namespace loom::python
