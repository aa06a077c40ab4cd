// Builds and checks an ApiSchema from the content of *.api.json files. All definitions are
// collected first and resolved together, because a type may be used in a file before, or in another
// than, the one that defines it.
//
// The files are the other side's: whatever is wrong with one is an error that names file, message
// and field, and no definition makes encoding or decoding recurse deeply, or take much time or
// memory for few bytes.
#pragma once
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "client/schema.h"

namespace loom {

class SchemaLoader {
 public:
  // Takes the content of one file; its definitions are looked at by finish(), its shape now.
  Result<void> add(nlohmann::json file, const std::string& origin);
  Result<std::shared_ptr<const ApiSchema>> finish();

 private:
  struct Definition {
    std::string what;  // "alias", "enum", "enumflag", "type", "union", "message"
    std::string origin, module;
    nlohmann::json body;  // as in the file
  };
  // Where an error is: "vpe.api.json: message show_version, field retval".
  struct Place {
    const Definition* definition;
    std::string name;
  };

  Result<void> collect(const nlohmann::json& file, const char* section, const char* what,
                       const std::string& origin, const std::string& module,
                       std::map<std::string, Definition>& into);
  static Error wrong(const Place& place, const std::string& field, const std::string& why);

  Result<const SchemaType*> resolve(const Place& place, const std::string& field,
                                    const nlohmann::json& name);
  Result<const SchemaType*> string_type(std::size_t length);
  Result<const SchemaType*> define(const std::string& name);
  Result<void> define_alias(const Place& place, SchemaType& type);
  Result<void> define_enum(const Place& place, SchemaType& type);
  Result<void> define_fields(const Place& place, std::size_t first,
                             std::vector<SchemaField>& fields);
  Result<SchemaField> define_field(const Place& place, const nlohmann::json& item,
                                   const std::vector<SchemaField>& before);
  Result<void> set_options(const Place& place, const nlohmann::json& options,
                           const std::vector<SchemaField>& before, SchemaField& field);
  Result<void> size_fields(const Place& place, SchemaType& type);
  static Result<void> check_bounds(const Place& place, const SchemaType& type);
  Result<void> define_message(const std::string& name, const Definition& definition);
  Result<void> add_service(const std::string& request, const nlohmann::json& body,
                           const std::string& origin);

  std::shared_ptr<ApiSchema> schema_ = std::make_shared<ApiSchema>();
  std::map<std::string, Definition> types_, messages_;
  std::map<std::string, std::pair<nlohmann::json, std::string>> services_;  // body, origin
  std::set<std::string> being_defined_;
};

}  // namespace loom
