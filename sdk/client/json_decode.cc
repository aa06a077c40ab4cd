// The wire -> JSON half of json_codec.h.
#include <algorithm>
#include <array>

#include "client/address_text.h"
#include "client/json_codec.h"

namespace loom {
namespace {

using nlohmann::json;
using Kind = SchemaType::Kind;
using Shape = SchemaField::Shape;
using Text = SchemaType::Text;

class Decoder {
 public:
  Decoder(std::span<const std::byte> fields, EnumStyle style) : in_(fields), style_(style) {}

  bool ok() const { return in_.ok() && why_.empty(); }
  // What is wrong beyond bytes that are missing.
  const std::string& why() const { return why_; }
  const std::string& field() const { return field_; }

  json object(const std::vector<SchemaField>& fields, bool is_message) {
    json values = json::object();
    std::vector<uint64_t> counts(fields.size());
    std::vector<int64_t> chosen(fields.size());
    for (std::size_t i = 0; i < fields.size() && ok(); ++i) {
      const SchemaField& f = fields[i];
      if (f.counts) {
        counts[i] = count(f.type->number, fields[*f.counts].type->least);
      } else if (f.discriminator) {
        values[f.name] =
            union_of(*f.type, enumerator(*fields[*f.discriminator].type, chosen[*f.discriminator]));
      } else {
        json value = this->value(f, f.count_field ? counts[*f.count_field] : 0, &chosen[i]);
        if (!is_message || (f.name != "client_index" && f.name != "context"))
          values[f.name] = std::move(value);
      }
      if (!ok() && field_.empty()) field_ = f.name;
    }
    return values;
  }

 private:
  void fail(std::string why) {
    if (why_.empty()) why_ = std::move(why);
  }

  json value(const SchemaField& f, std::size_t count, int64_t* number) {
    if (f.shape == Shape::kOne) return one(*f.type, number);
    return array(*f.type, f.shape == Shape::kFixedArray ? f.length : count);
  }

  json array(const SchemaType& element, std::size_t n) {
    if (element.kind == Kind::kNumber && element.number == ApiNumber::kU8) return hex(n);
    json list = json::array();
    for (std::size_t i = 0; i < n && ok(); ++i) list.push_back(one(element, nullptr));
    return list;
  }

  // `number` also gets what an enum has on the wire.
  json one(const SchemaType& t, int64_t* number) {
    if (t.text != Text::kNone) return text(t);
    switch (t.kind) {
      case Kind::kNumber:
        return this->number(t.number);
      case Kind::kString:
        return utf8(t.length ? in_.fixed_string(t.length) : in_.string());
      case Kind::kEnum:
      case Kind::kFlags: {
        const json raw = this->number(t.number);
        const auto wire = raw.get<int64_t>();
        if (number) *number = wire;
        if (style_ == EnumStyle::kNumbers) return raw;
        return t.kind == Kind::kEnum ? enum_name(t, raw) : flag_names(t, raw);
      }
      case Kind::kStruct:
        return object(t.fields, false);
      case Kind::kUnion:
        return union_of(t, "");
      case Kind::kArray:
        return array(*t.element, t.length);
    }
    return {};
  }

  json number(ApiNumber kind) {
    switch (kind) {
      case ApiNumber::kU8:
        return in_.number<uint8_t>();
      case ApiNumber::kU16:
        return in_.number<uint16_t>();
      case ApiNumber::kU32:
        return in_.number<uint32_t>();
      case ApiNumber::kU64:
        return in_.number<uint64_t>();
      case ApiNumber::kI8:
        return in_.number<int8_t>();
      case ApiNumber::kI16:
        return in_.number<int16_t>();
      case ApiNumber::kI32:
        return in_.number<int32_t>();
      case ApiNumber::kI64:
        return in_.number<int64_t>();
      case ApiNumber::kF64:
        return in_.number<double>();
      case ApiNumber::kBool:
        return in_.number<bool>();
    }
    return {};
  }

  std::size_t count(ApiNumber kind, std::size_t least) {
    if (kind == ApiNumber::kU8) return in_.count<uint8_t>(least);
    if (kind == ApiNumber::kU16) return in_.count<uint16_t>(least);
    return in_.count<uint32_t>(least);
  }

  std::vector<std::byte> bytes(std::size_t n) {
    std::vector<std::byte> raw;
    if (n > in_.remaining()) {
      in_.fail();
      return std::vector<std::byte>(0);
    }
    raw.reserve(n);
    for (std::size_t i = 0; i < n; ++i) raw.push_back(std::byte{in_.number<uint8_t>()});
    return raw;
  }

  json hex(std::size_t n) {
    constexpr char kDigits[] = "0123456789abcdef";
    std::string digits;
    for (const std::byte b : bytes(n)) {
      digits += kDigits[std::to_integer<unsigned>(b) >> 4];
      digits += kDigits[std::to_integer<unsigned>(b) & 15];
    }
    return digits;
  }

  // JSON and Python want valid text; nlohmann does the replacing when it writes.
  static std::string utf8(std::string text) {
    if (std::all_of(text.begin(), text.end(), [](char c) { return c >= 0; })) return text;
    return json::parse(json(std::move(text)).dump(-1, ' ', false, json::error_handler_t::replace))
        .get<std::string>();
  }

  static std::string enumerator(const SchemaType& t, int64_t value) {
    for (const auto& e : t.enumerators)
      if (e.value == value) return e.name;
    return {};
  }
  static json enum_name(const SchemaType& t, const json& raw) {
    auto name = enumerator(t, raw.get<int64_t>());
    return name.empty() ? raw : json(std::move(name));  // a newer daemon has one more
  }
  // Single bits that are set, by name; what has none stays a number.
  static json flag_names(const SchemaType& t, const json& raw) {
    json names = json::array();
    auto rest = static_cast<uint64_t>(raw.get<int64_t>());
    for (const auto& e : t.enumerators) {
      const auto bits = static_cast<uint64_t>(e.value);
      if (bits == 0 || (bits & (bits - 1)) != 0 || (rest & bits) == 0) continue;
      names.push_back(e.name);
      rest &= ~bits;
    }
    if (rest != 0) names.push_back(rest);
    return names;
  }

  json text(const SchemaType& t) {
    switch (t.text) {
      case Text::kIp4Address:
        return address(4);
      case Text::kIp6Address:
        return address(16);
      case Text::kMacAddress:
        return address(6);
      case Text::kIp4Prefix:
        return prefix(address(4), 32);
      case Text::kIp6Prefix:
        return prefix(address(16), 128);
      case Text::kAddress:
        return any_address().first;
      case Text::kPrefix: {
        auto [shown, bits] = any_address();
        return prefix(std::move(shown), bits);
      }
      case Text::kNone:
        break;
    }
    return {};
  }
  std::string address(std::size_t n) {
    const auto raw = bytes(n);
    return raw.size() == n ? address_to_text(raw) : std::string();
  }
  // Family, then 16 bytes of which an IPv4 address uses the first four.
  std::pair<std::string, unsigned> any_address() {
    const auto family = in_.number<uint8_t>();
    const auto raw = bytes(16);
    if (!in_.ok()) return {};
    if (family > 1) {
      fail("address family " + std::to_string(family) + " is neither 0 (IPv4) nor 1 (IPv6)");
      return {};
    }
    const std::size_t n = family == 0 ? 4 : 16;
    return {address_to_text(std::span(raw).first(n)), static_cast<unsigned>(n * 8)};
  }
  std::string prefix(std::string shown, unsigned most) {
    const auto length = in_.number<uint8_t>();
    if (in_.ok() && length > most)
      fail("prefix length " + std::to_string(length) + " is above " + std::to_string(most));
    return shown + "/" + std::to_string(length);
  }

  // Each member reads the same bytes.
  json union_of(const SchemaType& t, const std::string& chosen) {
    const auto raw = bytes(t.least);
    json members = json::object();
    if (!in_.ok()) return members;
    const bool is_said = std::any_of(t.fields.begin(), t.fields.end(), [&](const auto& f) {
      return !chosen.empty() && f.when == chosen;
    });
    for (const SchemaField& f : t.fields) {
      if (is_said && f.when != chosen) continue;
      Decoder member(raw, style_);
      json value = member.value(f, 0, nullptr);
      // Nothing says that these bytes are meant for this member: it may make no sense of them.
      if (member.ok())
        members[f.name] = std::move(value);
      else if (is_said)
        fail(member.why());
    }
    return members;
  }

  ApiReader in_;
  EnumStyle style_;
  std::string why_, field_;
};

}  // namespace

Result<json> decode_json(const SchemaMessage& message, std::span<const std::byte> fields,
                         EnumStyle style) {
  Decoder decoder(fields, style);
  json values = decoder.object(message.fields, true);
  if (decoder.ok()) return values;
  return error(Status::kMalformed,
               "a " + message.name + " that does not decode: field " + decoder.field() + ": " +
                   (decoder.why().empty() ? "beyond the message's end" : decoder.why()));
}

}  // namespace loom
