#include "client/schema_loader.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "client/frame.h"
#include "client/json_excerpt.h"

namespace loom {
namespace {

using nlohmann::json;
using Kind = SchemaType::Kind;
using Shape = SchemaField::Shape;
using Text = SchemaType::Text;

constexpr std::size_t kMaxDepth = 32;              // types in types
constexpr std::size_t kMaxSize = kMaxSentMessage;  // bytes of a type or message
constexpr std::size_t kMaxCells = 65536;           // values in a type or message
// Values in an element of a variable array, whose number of elements is the sender's choice. The
// daemon's own have 0.6 a byte at most (fib_path); a union of a few structs of a byte has more.
constexpr std::size_t kCellsPerByte = 8;
constexpr std::size_t kBytesPerCell = 64;  // of text, which is one value
constexpr std::size_t kMaxMembers = 1024;  // fields, or enumerators: each is looked up

struct NumberName {
  const char* name;
  ApiNumber number;
};
constexpr NumberName kNumbers[] = {{"u8", ApiNumber::kU8},   {"u16", ApiNumber::kU16},
                                   {"u32", ApiNumber::kU32}, {"u64", ApiNumber::kU64},
                                   {"i8", ApiNumber::kI8},   {"i16", ApiNumber::kI16},
                                   {"i32", ApiNumber::kI32}, {"i64", ApiNumber::kI64},
                                   {"f64", ApiNumber::kF64}, {"bool", ApiNumber::kBool}};

bool is_name(const json& value) {
  if (!value.is_string()) return false;
  const auto& text = value.get_ref<const std::string&>();
  return !text.empty() && text.size() <= 128 && !(text[0] >= '0' && text[0] <= '9') &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_';
         });
}

// An object's member, or null. For JSON of any kind.
const json& at(const json& object, const char* key) {
  static const json kNone;
  if (!object.is_object()) return kNone;
  const auto it = object.find(key);
  return it == object.end() ? kNone : *it;
}

std::string text_of(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }

std::optional<uint32_t> crc_of(const std::string& text) {
  uint32_t crc = 0;
  if (text.size() != 10 || !text.starts_with("0x")) return {};
  const auto [end, e] = std::from_chars(text.data() + 2, text.data() + text.size(), crc, 16);
  if (e != std::errc() || end != text.data() + text.size()) return {};
  return crc;
}

std::size_t saturated(std::size_t cells) { return std::min(cells, kMaxCells + 1); }

std::size_t array_cells(const SchemaType& element, std::size_t n) {
  const bool is_bytes = element.kind == Kind::kNumber && element.number == ApiNumber::kU8;
  return saturated(is_bytes ? 1 + n / kBytesPerCell : 1 + n * element.cells);
}

// Which types people write as text: recognized by name and layout, so that another type that
// happens to have such a name is left alone.
Text text_form(const SchemaType& t) {
  const auto bytes = [&](std::size_t n) {
    return t.kind == Kind::kArray && t.length == n && t.element->kind == Kind::kNumber &&
           t.element->number == ApiNumber::kU8;
  };
  if (t.name == "ip4_address" && bytes(4)) return Text::kIp4Address;
  if (t.name == "ip6_address" && bytes(16)) return Text::kIp6Address;
  if (t.name == "mac_address" && bytes(6)) return Text::kMacAddress;
  if (t.kind != Kind::kStruct || t.fields.size() != 2) return Text::kNone;
  const auto one = [&](std::size_t i) -> const SchemaType& {
    static const SchemaType kNone;
    return t.fields[i].shape == Shape::kOne ? *t.fields[i].type : kNone;
  };
  const SchemaType &first = one(0), &second = one(1);
  if (t.name == "address" && first.kind == Kind::kEnum && first.number == ApiNumber::kU8 &&
      second.kind == Kind::kUnion && second.least == 16)
    return Text::kAddress;
  if (second.kind != Kind::kNumber || second.number != ApiNumber::kU8) return Text::kNone;
  if (t.name == "ip4_prefix" && first.text == Text::kIp4Address) return Text::kIp4Prefix;
  if (t.name == "ip6_prefix" && first.text == Text::kIp6Address) return Text::kIp6Prefix;
  if (t.name == "prefix" && first.text == Text::kAddress) return Text::kPrefix;
  return Text::kNone;
}

}  // namespace

Error SchemaLoader::wrong(const Place& place, const std::string& field, const std::string& why) {
  return error(Status::kMalformed, place.definition->origin + ": " + place.definition->what + " " +
                                       place.name + (field.empty() ? "" : ", field " + field) +
                                       ": " + why);
}

Result<void> SchemaLoader::add(json file, const std::string& origin) {
  if (!file.is_object()) return error(Status::kMalformed, origin + ": not a JSON object");
  std::string module = text_of(at(file, "module"));
  if (module.empty()) {
    module = origin.substr(origin.rfind('/') + 1);
    if (module.ends_with(".api.json")) module.resize(module.size() - 9);
  }
  const auto& aliases = at(file, "aliases");
  if (!aliases.is_null() && !aliases.is_object())
    return error(Status::kMalformed, origin + ": aliases is not an object");
  json alias_list = json::array();
  for (const auto& [name, body] : aliases.items()) alias_list.push_back({name, body});
  const json with_list = {{"aliases", std::move(alias_list)}};
  struct Section {
    const json& from;
    const char *key, *what;
    std::map<std::string, Definition>& into;
  };
  for (const Section& s : {Section{with_list, "aliases", "alias", types_},
                           {file, "enums", "enum", types_},
                           {file, "enumflags", "enumflag", types_},
                           {file, "types", "type", types_},
                           {file, "unions", "union", types_},
                           {file, "messages", "message", messages_}}) {
    auto collected = collect(s.from, s.key, s.what, origin, module, s.into);
    if (!collected) return collected;
  }
  const auto& services = at(file, "services");
  if (!services.is_null() && !services.is_object())
    return error(Status::kMalformed, origin + ": services is not an object");
  for (const auto& [request, body] : services.items()) services_[request] = {body, origin};
  file["module"] = module;
  schema_->source_.push_back(std::move(file));
  return {};
}

// A type may be defined in several files, which import each other, as long as it is the same.
Result<void> SchemaLoader::collect(const json& file, const char* section, const char* what,
                                   const std::string& origin, const std::string& module,
                                   std::map<std::string, Definition>& into) {
  const auto& list = at(file, section);
  if (list.is_null()) return {};
  if (!list.is_array())
    return error(Status::kMalformed, origin + ": " + section + " is not a list");
  for (const auto& body : list) {
    if (!body.is_array() || body.empty() || !is_name(body[0]))
      return error(Status::kMalformed,
                   origin + ": " + section + ": " + json_excerpt(body) + " is not [name, ...]");
    const auto name = body[0].get<std::string>();
    const auto [it, is_new] = into.try_emplace(name, Definition{what, origin, module, body});
    if (!is_new && (it->second.what != what || it->second.body != body))
      return error(Status::kMalformed, origin + ": " + what + " " + name +
                                           " is defined differently in " + it->second.origin);
  }
  return {};
}

Result<std::shared_ptr<const ApiSchema>> SchemaLoader::finish() {
  for (const auto& [name, number] : kNumbers) {
    SchemaType& type = schema_->types_[name];
    type.name = name;
    type.number = number;
    type.least = size_of(number);
  }
  for (const auto& [name, definition] : types_) {
    const auto type = define(name);
    if (!type) return type.error();
  }
  for (const auto& [name, definition] : messages_) {
    auto defined = define_message(name, definition);
    if (!defined) return defined.error();
  }
  for (const auto& [request, service] : services_) {
    auto added = add_service(request, service.first, service.second);
    if (!added) return added.error();
  }
  if (schema_->source_.is_null()) schema_->source_ = json::array();
  return std::shared_ptr<const ApiSchema>(std::move(schema_));
}

// --- Types.

Result<const SchemaType*> SchemaLoader::resolve(const Place& place, const std::string& field,
                                                const json& name) {
  std::string text = text_of(name);
  if (text.starts_with("vl_api_") && text.ends_with("_t") && text.size() > 9)
    text = text.substr(7, text.size() - 9);
  else if (!schema_->types_.contains(text) || types_.contains(text))
    return wrong(place, field, "unknown type " + json_excerpt(name));
  if (!types_.contains(text) && !schema_->types_.contains(text))
    return wrong(place, field, "unknown type " + json_excerpt(name));
  if (being_defined_.contains(text))
    return wrong(place, field, "its types refer to each other in a circle");
  return define(text);
}

Result<const SchemaType*> SchemaLoader::string_type(std::size_t length) {
  const std::string name = length ? "string[" + std::to_string(length) + "]" : "string";
  SchemaType& type = schema_->types_[name];
  type.name = name;
  type.kind = Kind::kString;
  type.length = length;
  type.least = length ? length : 4;
  type.is_fixed = length != 0;
  type.cells = 1 + length / kBytesPerCell;
  return &type;
}

Result<const SchemaType*> SchemaLoader::define(const std::string& name) {
  if (const auto it = schema_->types_.find(name); it != schema_->types_.end()) return &it->second;
  const Definition& definition = types_.at(name);
  const Place place{&definition, name};
  if (being_defined_.size() >= kMaxDepth) return wrong(place, "", "types are nested too deeply");
  being_defined_.insert(name);
  SchemaType type;
  type.name = name;
  Result<void> defined;
  if (definition.what == "alias") {
    defined = define_alias(place, type);
  } else if (definition.what == "enum" || definition.what == "enumflag") {
    defined = define_enum(place, type);
  } else {
    type.kind = definition.what == "union" ? Kind::kUnion : Kind::kStruct;
    defined = define_fields(place, 1, type.fields);
    if (defined) defined = size_fields(place, type);
  }
  being_defined_.erase(name);
  ++type.depth;
  if (defined) defined = check_bounds(place, type);
  if (!defined) return defined.error();
  if (type.text == Text::kNone) type.text = text_form(type);
  type.comment = text_of(at(definition.body.back(), "comment"));
  return &(schema_->types_[name] = std::move(type));
}

Result<void> SchemaLoader::define_alias(const Place& place, SchemaType& type) {
  const json& body = place.definition->body[1];
  const auto target = resolve(place, "", at(body, "type"));
  if (!target) return target.error();
  const json& length = at(body, "length");
  if (length.is_null() || length == 0) {
    type = **target;
    type.name = place.name;
    return {};
  }
  if (!length.is_number_unsigned() || length.get<uint64_t>() > kMaxSize || (*target)->least == 0 ||
      (*target)->least * length.get<std::size_t>() > kMaxSize)
    return wrong(place, "",
                 "length " + json_excerpt(length) + " is not a number that fits a message");
  type.kind = Kind::kArray;
  type.element = *target;
  type.length = length.get<std::size_t>();
  type.least = (*target)->least * type.length;
  type.is_fixed = (*target)->is_fixed;
  type.depth = (*target)->depth;
  type.cells = array_cells(**target, type.length);
  return {};
}

Result<void> SchemaLoader::define_enum(const Place& place, SchemaType& type) {
  const json& body = place.definition->body;
  const json& last = body.back();
  const std::string base =
      last.is_object() ? last.value("enumtype", json("u32")).dump() : "\"u32\"";
  const auto* number = std::find_if(std::begin(kNumbers), std::end(kNumbers), [&](const auto& n) {
    return base == "\"" + std::string(n.name) + "\"";
  });
  if (number == std::end(kNumbers) || number->number >= ApiNumber::kF64)
    return wrong(place, "", "enumtype " + base + " is not an integer type");
  // Some of VPP's flags are described as plain enumerations, by a name that says what they are.
  const bool is_flags = place.definition->what == "enumflag" || place.name.ends_with("_flags");
  type.kind = is_flags ? Kind::kFlags : Kind::kEnum;
  type.number = number->number;
  type.least = size_of(type.number);
  for (std::size_t i = 1; i < body.size(); ++i) {
    const json& e = body[i];
    if (e.is_object()) continue;
    if (!e.is_array() || e.size() < 2 || !is_name(e[0]) || !e[1].is_number_integer() ||
        (e[1].is_number_unsigned() && e[1].get<uint64_t>() > uint64_t{1} << 62))
      return wrong(place, "", json_excerpt(e) + " is not [NAME, number]");
    if (type.enumerators.size() == kMaxMembers)
      return wrong(place, "", "has more than " + std::to_string(kMaxMembers) + " enumerators");
    type.enumerators.push_back({e[0].get<std::string>(), e[1].get<int64_t>()});
  }
  return {};
}

Result<void> SchemaLoader::define_fields(const Place& place, std::size_t first,
                                         std::vector<SchemaField>& fields) {
  const json& body = place.definition->body;
  for (std::size_t i = first; i < body.size(); ++i) {
    if (body[i].is_object()) continue;
    if (fields.size() == kMaxMembers)
      return wrong(place, "", "has more than " + std::to_string(kMaxMembers) + " fields");
    auto field = define_field(place, body[i], fields);
    if (!field) return field.error();
    if (field->count_field) fields[*field->count_field].counts = fields.size();
    fields.push_back(std::move(*field));
  }
  return {};
}

Result<SchemaField> SchemaLoader::define_field(const Place& place, const json& item,
                                               const std::vector<SchemaField>& before) {
  if (!item.is_array() || item.size() < 2 || !is_name(item[1]))
    return wrong(place, "", json_excerpt(item) + " is not [type, field, ...]");
  SchemaField field;
  field.name = item[1].get<std::string>();
  const auto place_of = [&](const std::string& name) {
    const auto it = std::find_if(before.begin(), before.end(),
                                 [&](const SchemaField& f) { return f.name == name; });
    return static_cast<std::size_t>(it - before.begin());
  };
  if (place_of(field.name) != before.size()) return wrong(place, field.name, "named twice");
  const bool has_options = item.back().is_object();
  const std::size_t rest = item.size() - 2 - (has_options ? 1 : 0);
  const json& length = rest >= 1 ? item[2] : at({}, "");
  if (rest > 2 || (rest >= 1 && (!length.is_number_unsigned() || length > kMaxSize)) ||
      (rest == 2 && (!is_name(item[3]) || length != 0)))
    return wrong(place, field.name, json_excerpt(item) + " has no length N or 0, \"count\"");
  const std::size_t n = rest >= 1 ? length.get<std::size_t>() : 0;

  const bool is_string = item[0] == "string";
  const auto type = is_string ? string_type(n) : resolve(place, field.name, item[0]);
  if (!type) return type.error();
  field.type = *type;
  if (is_string && rest == 2) return wrong(place, field.name, "a string has no count field");
  if (!is_string && rest >= 1) {
    if (field.type->least == 0) return wrong(place, field.name, "an array of nothing");
    field.length = n;
    field.shape = n ? Shape::kFixedArray : Shape::kVariableArray;
    if (n == 0) {
      const std::size_t count = rest == 2 ? place_of(item[3].get<std::string>()) : before.size();
      if (count == before.size() || before[count].shape != Shape::kOne ||
          before[count].type->kind != Kind::kNumber || before[count].counts ||
          before[count].type->number > ApiNumber::kU32)
        return wrong(place, field.name,
                     "its count is not an unsigned field before it that counts nothing else");
      if (field.type->cells > kCellsPerByte * field.type->least)
        return wrong(place, field.name, "its elements have too many values for their bytes");
      field.count_field = count;
    }
  }
  if (has_options) {
    auto set = set_options(place, item.back(), before, field);
    if (!set) return set.error();
  }
  return field;
}

Result<void> SchemaLoader::set_options(const Place& place, const json& options,
                                       const std::vector<SchemaField>& before, SchemaField& field) {
  field.when = text_of(at(options, "case"));
  if (const auto chooser = text_of(at(options, "discriminator")); !chooser.empty()) {
    const auto it = std::find_if(before.begin(), before.end(),
                                 [&](const SchemaField& f) { return f.name == chooser; });
    if (it == before.end() || it->shape != Shape::kOne || it->type->kind != Kind::kEnum ||
        field.type->kind != Kind::kUnion)
      return wrong(place, field.name, "discriminator '" + chooser + "' is not an enum before it");
    field.discriminator = static_cast<std::size_t>(it - before.begin());
  }
  json value = at(options, "default");
  if (value.is_null()) return {};
  if (value == "true" || value == "false") value = value == "true";
  if (value.is_string() && field.type->kind == Kind::kNumber) {
    const auto text = value.get<std::string>();
    const bool is_hex = text.starts_with("0x");
    uint64_t number = 0;
    const auto [end, e] = std::from_chars(text.data() + (is_hex ? 2 : 0), text.data() + text.size(),
                                          number, is_hex ? 16 : 10);
    if (e != std::errc() || end != text.data() + text.size())
      return wrong(place, field.name, "default " + json_excerpt(value) + " is not a number");
    value = number;
  }
  const bool is_simple = field.shape == Shape::kOne && field.type->kind <= Kind::kFlags;
  if (!is_simple || value.is_structured())
    return wrong(place, field.name,
                 "default " + json_excerpt(value) + " is not one for this field");
  field.default_value = std::move(value);
  return {};
}

Result<void> SchemaLoader::size_fields(const Place& place, SchemaType& type) {
  for (const auto& f : type.fields) {
    const std::size_t times = f.shape == Shape::kOne ? 1 : f.length;  // variable: none at least
    if (times > 0 && f.type->least > kMaxSize / times)
      return wrong(place, f.name, "is longer than a message can be");
    const std::size_t size = f.type->least * times;
    const bool is_fixed = f.type->is_fixed && f.shape != Shape::kVariableArray;
    if (type.kind == Kind::kUnion && !is_fixed)
      return wrong(place, f.name, "a union's member has a fixed size");
    type.is_fixed = type.is_fixed && is_fixed;
    type.least = type.kind == Kind::kUnion ? std::max(type.least, size) : type.least + size;
    if (type.least > kMaxSize) return wrong(place, f.name, "is longer than a message can be");
    type.depth = std::max(type.depth, f.type->depth);
    const bool is_array = f.shape != Shape::kOne;
    type.cells = saturated(type.cells + (is_array ? array_cells(*f.type, times) : f.type->cells));
  }
  return {};
}

// Sizes do not tell: a union's members share their bytes, and a struct may have none.
Result<void> SchemaLoader::check_bounds(const Place& place, const SchemaType& type) {
  if (type.depth > kMaxDepth) return wrong(place, "", "types are nested too deeply");
  if (type.cells > kMaxCells)
    return wrong(place, "", "has more than " + std::to_string(kMaxCells) + " values");
  return {};
}

// --- Messages.

Result<void> SchemaLoader::define_message(const std::string& name, const Definition& definition) {
  const Place place{&definition, name};
  SchemaMessage message;
  message.name = name;
  message.module = definition.module;
  const json& last = definition.body.back();
  message.comment = text_of(at(last, "comment"));
  if (const json& given = at(last, "crc"); !given.is_null()) {
    message.crc = crc_of(text_of(given));
    if (!message.crc)
      return wrong(place, "", "crc " + json_excerpt(given) + " is not 0x and 8 hex digits");
  }
  if (definition.body.size() < 2 || !definition.body[1].is_array() ||
      definition.body[1] != json({"u16", "_vl_msg_id"}))
    return wrong(place, "_vl_msg_id", "must come first, as u16");
  auto defined = define_fields(place, 2, message.fields);
  if (!defined) return defined;
  SchemaType whole;
  whole.kind = Kind::kStruct;
  whole.fields = message.fields;
  auto sized = size_fields(place, whole);
  if (!sized) return sized;
  ++whole.depth;
  auto bounded = check_bounds(place, whole);
  if (!bounded) return bounded;
  schema_->messages_[name] = std::move(message);
  return {};
}

Result<void> SchemaLoader::add_service(const std::string& request, const json& body,
                                       const std::string& origin) {
  const auto failed = [&](const std::string& why) {
    return error(Status::kMalformed, origin + ": service " + request + ": " + why);
  };
  if (!body.is_object()) return failed("an object is needed");
  SchemaService service;
  service.reply = text_of(at(body, "reply"));
  if (service.reply == "null") service.reply.clear();
  service.stream_msg = text_of(at(body, "stream_msg"));
  service.is_stream = at(body, "stream") == true && service.stream_msg.empty();
  for (const auto& event : at(body, "events")) service.events.push_back(text_of(event));
  std::vector<std::string> used = service.events;
  used.insert(used.end(), {request, service.reply, service.stream_msg});
  for (const auto& message : used)
    if (!message.empty() && !schema_->messages_.contains(message))
      return failed("unknown message '" + message + "'");
  // Callers count on what a shape needs: a request's context, a cursor's place.
  const auto starts = [&](const std::string& message, std::initializer_list<const char*> names) {
    const auto& fields = schema_->messages_.at(message).fields;
    std::size_t i = 0;
    for (const char* name : names)
      if (i >= fields.size() || fields[i++].name != name) return false;
    return true;
  };
  if (!service.stream_msg.empty() && !starts(service.reply, {"context", "retval", "cursor"}))
    return failed("the reply of a cursor-style request starts with context, retval, cursor");
  schema_->services_[request] = std::move(service);
  return {};
}

}  // namespace loom
