// What a daemon's messages look like, from its *.api.json: the key to talking to it without
// generated code. A schema is checked as a whole when it is loaded (names, types, cycles, sizes),
// so that what encodes and decodes by it can rely on it. Immutable afterwards; any thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/status.h>

namespace loom {

enum class ApiNumber : uint8_t { kU8, kU16, kU32, kU64, kI8, kI16, kI32, kI64, kF64, kBool };
std::size_t size_of(ApiNumber number);

struct SchemaType;

struct SchemaField {
  enum class Shape : uint8_t { kOne, kFixedArray, kVariableArray };
  std::string name;
  const SchemaType* type = nullptr;
  Shape shape = Shape::kOne;
  std::size_t length = 0;                    // kFixedArray: elements
  std::optional<std::size_t> counts;         // a count field: the array's place among the fields
  std::optional<std::size_t> count_field;    // kVariableArray: its count's place
  std::optional<std::size_t> discriminator;  // a union: the place of the field that chooses
  std::string when;  // a union's member: the discriminator's enumerator for it; empty: not said
  std::optional<nlohmann::json> default_value;
};

struct SchemaType {
  enum class Kind : uint8_t { kNumber, kString, kEnum, kFlags, kStruct, kUnion, kArray };
  // Types that are text in JSON: "10.0.0.1", "fd00::/8", "02:fe:00:00:00:01".
  enum class Text : uint8_t {
    kNone,
    kIp4Address,
    kIp6Address,
    kMacAddress,
    kAddress,
    kIp4Prefix,
    kIp6Prefix,
    kPrefix
  };
  struct Enumerator {
    std::string name;
    int64_t value;
  };
  std::string name;  // "u32", "string[64]", "ip4_address"
  std::string comment;
  Kind kind = Kind::kNumber;
  Text text = Text::kNone;
  ApiNumber number = ApiNumber::kU8;    // kNumber, and the base of kEnum and kFlags
  std::vector<Enumerator> enumerators;  // kEnum, kFlags
  std::vector<SchemaField> fields;      // kStruct, kUnion
  const SchemaType* element = nullptr;  // kArray
  std::size_t length = 0;               // kArray: elements. kString: bytes, 0 = variable
  std::size_t least = 0;                // bytes on the wire, at least
  bool is_fixed = true;                 // `least` is exact
  std::size_t depth = 0;                // of types in types; 0: built in
  // What decoding or encoding one costs, in values: every member of a union, and structs without
  // bytes, too. Of a variable array it is the array itself; its elements are paid for in bytes.
  std::size_t cells = 1;
};

struct SchemaService {
  std::string reply;       // the reply; of a dump, its details
  std::string stream_msg;  // the details of a cursor-style request
  bool is_stream = false;
  std::vector<std::string> events;
};

struct SchemaMessage {
  std::string name, module, comment;
  std::optional<uint32_t> crc;      // files leave it to apigen to make one; daemons always say it
  std::vector<SchemaField> fields;  // behind the id
  ApiMessageInfo info() const { return {name.c_str(), crc.value_or(0)}; }
};

class ApiSchema {
 public:
  // The content of one *.api.json, or an array of such as get_api_json returns it. `origin` is for
  // error messages, which name file, message and field. Errors: kMalformed.
  static Result<std::shared_ptr<const ApiSchema>> from_json(std::string_view text,
                                                            const std::string& origin);
  // Files, or folders whose *.api.json are taken, with folders below them. Errors also: kNotFound.
  static Result<std::shared_ptr<const ApiSchema>> from_files(std::span<const std::string> paths);

  const SchemaMessage* find(std::string_view name) const;
  const SchemaService* service(std::string_view request) const;
  const std::map<std::string, SchemaMessage, std::less<>>& messages() const { return messages_; }
  const std::map<std::string, SchemaType, std::less<>>& types() const { return types_; }
  // The files as they were loaded, each with its "module" name added.
  const nlohmann::json& source() const { return source_; }

 private:
  friend class SchemaLoader;
  std::map<std::string, SchemaType, std::less<>> types_;  // nodes stay where they are
  std::map<std::string, SchemaMessage, std::less<>> messages_;
  std::map<std::string, SchemaService, std::less<>> services_;
  nlohmann::json source_;
};

}  // namespace loom
