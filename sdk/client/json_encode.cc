// The JSON -> wire half of json_codec.h.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "client/address_text.h"
#include "client/json_codec.h"
#include "client/json_excerpt.h"

namespace loom {
namespace {

using nlohmann::json;
using Kind = SchemaType::Kind;
using Shape = SchemaField::Shape;
using Text = SchemaType::Text;

// An error's message starts with the field it is about, grown from the inside: "route.paths[0].nh".
Result<void> inside(const std::string& name, Result<void> outcome) {
  if (outcome) return outcome;
  std::string rest = outcome.error().message;
  if (!rest.starts_with('[') && !rest.starts_with(':')) rest = "." + rest;
  return error(outcome.error().code, name + rest);
}
Error refused(const json& value, const std::string& why) {
  return error(Status::kInvalid, ": " + json_excerpt(value) + " " + why);
}

class Encoder {
 public:
  explicit Encoder(ApiWriter& out) : out_(out) {}

  // `ids`: of a message; null inside of one.
  Result<void> object(const std::vector<SchemaField>& fields, const json& values,
                      const ApiRequestIds* ids) {
    if (!values.is_object() && !values.is_null()) return refused(values, "is not an object");
    for (const auto& [name, value] : values.items()) {
      const auto f = std::find_if(fields.begin(), fields.end(),
                                  [&n = name](const SchemaField& x) { return x.name == n; });
      if (f == fields.end()) return error(Status::kInvalid, name + ": there is no such field");
      if (f->counts)
        return error(Status::kInvalid,
                     name + ": follows from the length of " + fields[*f->counts].name);
    }
    for (const SchemaField& f : fields) {
      auto encoded = inside(f.name, field(fields, f, values, ids));
      if (!encoded) return encoded;
    }
    return {};
  }

 private:
  static const json& given(const json& values, const SchemaField& f) {
    static const json kNone;
    if (values.is_object())
      if (const auto it = values.find(f.name); it != values.end()) return *it;
    return f.default_value ? *f.default_value : kNone;
  }

  Result<void> field(const std::vector<SchemaField>& fields, const SchemaField& f,
                     const json& values, const ApiRequestIds* ids) {
    if (ids && f.name == "client_index") return number(f.type->number, ids->client_index);
    if (ids && f.name == "context") return number(f.type->number, ids->context);
    if (ids && f.name == "cursor" && ids->cursor) return number(f.type->number, *ids->cursor);
    const json& value = given(values, f);
    if (f.counts) {
      const SchemaField& array = fields[*f.counts];
      const json& list = given(values, array);
      auto counted = number(f.type->number, elements(array, list));
      if (!counted) return refused(json(elements(array, list)), "elements are too many");
      return {};
    }
    if (f.shape == Shape::kVariableArray) return list(*f.type, elements(f, value), value);
    if (f.shape == Shape::kFixedArray) return list(*f.type, f.length, value);
    return one(*f.type, value);
  }

  static bool is_bytes(const SchemaType& element) {
    return element.kind == Kind::kNumber && element.number == ApiNumber::kU8;
  }
  static std::size_t elements(const SchemaField& array, const json& list) {
    if (list.is_string() && is_bytes(*array.type))
      return list.get_ref<const std::string&>().size() / 2;
    return list.is_array() ? list.size() : 0;
  }

  Result<void> list(const SchemaType& element, std::size_t n, const json& values) {
    if (values.is_string() && is_bytes(element)) return hex(n, values);
    if (!values.is_array() && !values.is_null()) return refused(values, "is not a list");
    if (values.size() > n)
      return refused(values, "has more than " + std::to_string(n) + " elements");
    static const json kNone;
    for (std::size_t i = 0; i < n; ++i) {
      const bool is_there = i < values.size();
      auto encoded = one(element, is_there ? values[i] : kNone);
      if (!encoded) return inside("[" + std::to_string(i) + "]", std::move(encoded));
    }
    return {};
  }

  Result<void> hex(std::size_t n, const json& value) {
    const auto& digits = value.get_ref<const std::string&>();
    if (digits.size() % 2 != 0) return refused(value, "is not pairs of hex digits");
    if (digits.size() / 2 > n)
      return refused(value, "has more than " + std::to_string(n) + " bytes");
    for (std::size_t i = 0; i < n; ++i) {
      uint8_t byte = 0;
      if (2 * i < digits.size()) {
        const char* const at = digits.data() + 2 * i;
        const auto [end, e] = std::from_chars(at, at + 2, byte, 16);
        if (e != std::errc() || end != at + 2) return refused(value, "is not pairs of hex digits");
      }
      out_.number(byte);
    }
    return {};
  }

  // Null is the zero of a type.
  Result<void> one(const SchemaType& t, const json& value) {
    if (t.text != Text::kNone) return text(t, value);
    switch (t.kind) {
      case Kind::kNumber:
        return number(t.number, value);
      case Kind::kString:
        return string(t.length, value);
      case Kind::kEnum:
      case Kind::kFlags: {
        json numeric;
        auto found = enum_number(t, value, numeric);
        return found ? number(t.number, numeric) : found;
      }
      case Kind::kStruct:
        return object(t.fields, value, nullptr);
      case Kind::kUnion:
        return union_of(t, value);
      case Kind::kArray:
        return list(*t.element, t.length, value);
    }
    return {};
  }

  template <class T>
  Result<void> integer(const json& value) {
    const auto fits = [&](auto v) {
      if (!std::in_range<T>(v)) return false;
      out_.number(static_cast<T>(v));
      return true;
    };
    const bool is_in = value.is_null()              ? fits(uint64_t{0})
                       : value.is_boolean()         ? fits(uint64_t{value.get<bool>()})
                       : value.is_number_unsigned() ? fits(value.get<uint64_t>())
                       : value.is_number_integer()  ? fits(value.get<int64_t>())
                                                    : false;
    if (is_in) return {};
    if (!value.is_number_integer()) return refused(value, "is not an integer");
    return refused(value, "is outside of " + std::to_string(std::numeric_limits<T>::min()) + ".." +
                              std::to_string(std::numeric_limits<T>::max()));
  }

  Result<void> number(ApiNumber kind, const json& value) {
    switch (kind) {
      case ApiNumber::kU8:
        return integer<uint8_t>(value);
      case ApiNumber::kU16:
        return integer<uint16_t>(value);
      case ApiNumber::kU32:
        return integer<uint32_t>(value);
      case ApiNumber::kU64:
        return integer<uint64_t>(value);
      case ApiNumber::kI8:
        return integer<int8_t>(value);
      case ApiNumber::kI16:
        return integer<int16_t>(value);
      case ApiNumber::kI32:
        return integer<int32_t>(value);
      case ApiNumber::kI64:
        return integer<int64_t>(value);
      case ApiNumber::kF64:
        if (!value.is_null() && !value.is_number()) return refused(value, "is not a number");
        out_.number(value.is_null() ? 0.0 : value.get<double>());
        return {};
      case ApiNumber::kBool:
        if (!value.is_null() && !value.is_boolean() && value != 0 && value != 1)
          return refused(value, "is neither true nor false");
        out_.number(value == true || value == 1);
        return {};
    }
    return {};
  }

  Result<void> string(std::size_t length, const json& value) {
    if (!value.is_null() && !value.is_string()) return refused(value, "is not a string");
    static const std::string kEmpty;
    const auto& text = value.is_null() ? kEmpty : value.get_ref<const std::string&>();
    if (text.find('\0') != std::string::npos) return refused(value, "has a zero byte in it");
    if (length == 0) {
      out_.string(text);
      return {};
    }
    if (text.size() >= length)
      return refused(value, "is longer than " + std::to_string(length - 1) + " bytes");
    out_.fixed_string(text, length);
    return {};
  }

  // Names, a list of them, "A|B", or the number itself.
  static Result<void> enum_number(const SchemaType& t, const json& value, json& numeric) {
    if (value.is_null() || value.is_number() || value.is_boolean()) {
      numeric = value;
      return {};
    }
    if (value.is_array() && t.kind == Kind::kFlags) {
      uint64_t bits = 0;
      for (const auto& e : value) {
        json one;
        if (e.is_array()) return refused(e, "is not a flag of " + t.name);
        auto found = enum_number(t, e, one);
        if (!found) return found;
        if (!one.is_number_integer()) return refused(e, "is not a flag of " + t.name);
        bits |= static_cast<uint64_t>(one.get<int64_t>());
      }
      numeric = bits;
      return {};
    }
    if (!value.is_string()) return refused(value, "is not a name or number of " + t.name);
    const auto& text = value.get_ref<const std::string&>();
    if (const auto bar = text.find('|'); bar != std::string::npos && t.kind == Kind::kFlags)
      return enum_number(t, json::array({text.substr(0, bar), text.substr(bar + 1)}), numeric);
    const auto first = text.find_first_not_of(' ');
    const auto name = first == std::string::npos
                          ? std::string()
                          : text.substr(first, text.find_last_not_of(' ') - first + 1);
    for (const auto& e : t.enumerators)
      if (e.name == name) {
        numeric = e.value;
        return {};
      }
    std::string names;
    for (const auto& e : t.enumerators)
      if (names.size() < 200) names += (names.empty() ? "" : ", ") + e.name;
    return refused(value, "is none of " + t.name + ": " + names);
  }

  void raw(std::span<const std::byte> bytes, std::size_t padded_to) {
    out_.bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    for (std::size_t i = bytes.size(); i < padded_to; ++i) out_.number(uint8_t{0});
  }

  Result<void> text(const SchemaType& t, const json& value) {
    if (value.is_null()) {
      raw({}, t.least);
      return {};
    }
    if (!value.is_string()) return refused(value, "is not text");
    const auto& given = value.get_ref<const std::string&>();
    switch (t.text) {
      case Text::kMacAddress: {
        const auto mac = mac_from_text(given);
        if (!mac) return refused(value, "is not a MAC address");
        raw(*mac, 6);
        return {};
      }
      case Text::kIp4Address:
      case Text::kIp6Address:
      case Text::kAddress: {
        const auto ip = ip_from_text(given);
        if (!ip || (t.text != Text::kAddress && ip->size() != t.least))
          return refused(value, std::string("is not an ") + family(t.text) + " address");
        if (t.text == Text::kAddress) out_.number(static_cast<uint8_t>(ip->size() == 16));
        raw(*ip, t.text == Text::kAddress ? 16 : t.least);
        return {};
      }
      default: {
        const auto prefix = prefix_from_text(given);
        if (!prefix || (t.text != Text::kPrefix && prefix->address.size() != t.least - 1))
          return refused(value, std::string("is not an ") + family(t.text) + " prefix");
        if (t.text == Text::kPrefix)
          out_.number(static_cast<uint8_t>(prefix->address.size() == 16));
        raw(prefix->address, t.text == Text::kPrefix ? 16 : t.least - 1);
        out_.number(prefix->length);
        return {};
      }
    }
  }
  static const char* family(Text text) {
    if (text == Text::kIp4Address || text == Text::kIp4Prefix) return "IPv4";
    return text == Text::kIp6Address || text == Text::kIp6Prefix ? "IPv6" : "IP";
  }

  Result<void> union_of(const SchemaType& t, const json& value) {
    if (value.is_null()) {
      raw({}, t.least);
      return {};
    }
    if (value.is_string() && t.name == "address_union" && t.least == 16) {
      const auto ip = ip_from_text(value.get_ref<const std::string&>());
      if (!ip) return refused(value, "is not an IP address");
      raw(*ip, t.least);
      return {};
    }
    if (!value.is_object() || value.size() != 1)
      return refused(value, "is not an object with one member of " + t.name);
    const auto f = std::find_if(t.fields.begin(), t.fields.end(), [&](const SchemaField& x) {
      return x.name == value.begin().key();
    });
    if (f == t.fields.end())
      return error(Status::kInvalid, value.begin().key() + ": " + t.name + " has no such member");
    std::vector<std::byte> bytes;
    ApiWriter w(bytes);
    auto encoded = inside(f->name, Encoder(w).field(t.fields, *f, value, nullptr));
    if (encoded) raw(bytes, t.least);
    return encoded;
  }

  ApiWriter& out_;
};

}  // namespace

Result<void> encode_json(const SchemaMessage& message, const json& values, const ApiRequestIds& ids,
                         ApiWriter& out) {
  return Encoder(out).object(message.fields, values, &ids);
}

}  // namespace loom
