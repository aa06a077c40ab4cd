#include "api/unanswered.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace loom {
namespace {

using Json = nlohmann::json;

constexpr int kMostNesting = 16;  // of types

bool is_field(const Json& definition, std::size_t i, const char* type, const char* name) {
  return i < definition.size() && definition[i].is_array() && definition[i].size() >= 2 &&
         definition[i][0] == type && definition[i][1] == name;
}

}  // namespace

// Parsed descriptions of all modules: a message may use another one's types.
struct UnansweredRequests::Descriptions {
  std::vector<ApiRegistry::Module> of;
  std::vector<Json> modules;

  explicit Descriptions(const ApiRegistry& registry) : of(registry.modules()) {
    for (const auto& m : of) {
      modules.push_back(Json::parse(m.module->json, nullptr, false));
      if (!modules.back().is_object()) modules.pop_back();
    }
  }
  bool are_of(const ApiRegistry& registry) const {
    return std::equal(of.begin(), of.end(), registry.modules().begin(), registry.modules().end(),
                      [](const ApiRegistry::Module& x, const ApiRegistry::Module& y) {
                        return x.module == y.module && x.first_id == y.first_id;
                      });
  }
  // The entry of that name in a list of [name, ...]; null when there is none.
  const Json* named(const char* list, const std::string& name) const {
    for (const Json& m : modules)
      if (const auto all = m.find(list); all != m.end())
        for (const Json& d : *all)
          if (d.is_array() && !d.empty() && d[0] == name) return &d;
    return nullptr;
  }
  const Json* in_object(const char* object, const std::string& name) const {
    for (const Json& m : modules)
      if (const auto all = m.find(object); all != m.end())
        if (const auto it = all->find(name); it != all->end()) return &*it;
    return nullptr;
  }

  // Bytes of a value that is all zeros; empty when it is described by nothing that we know.
  std::optional<std::size_t> size_of(const std::string& type, int depth = 0) const {
    if (type == "bool") return 1;
    static constexpr std::pair<const char*, std::size_t> kScalars[] = {
        {"u8", 1},  {"i8", 1},  {"u16", 2}, {"i16", 2}, {"u32", 4},
        {"i32", 4}, {"u64", 8}, {"i64", 8}, {"f64", 8}};
    for (const auto& [name, size] : kScalars)
      if (type == name) return size;
    if (depth == kMostNesting || !type.starts_with("vl_api_") || !type.ends_with("_t")) return {};
    const std::string name = type.substr(7, type.size() - 9);
    if (const Json* alias = in_object("aliases", name)) {
      const auto one = size_of(alias->value("type", ""), depth + 1);
      return one ? *one * alias->value("length", std::size_t{1}) : one;
    }
    for (const char* list : {"enums", "enumflags"})
      if (const Json* e = named(list, name))
        return e->back().is_object() ? size_of(e->back().value("enumtype", "u32"), depth + 1)
                                     : std::nullopt;
    if (const Json* t = named("types", name)) return size_of_fields(*t, 1, false, depth + 1);
    if (const Json* u = named("unions", name)) return size_of_fields(*u, 1, true, depth + 1);
    return {};
  }
  // Of fields [type, name], [type, name, length], [type, name, 0, count] from `first` on.
  std::optional<std::size_t> size_of_fields(const Json& definition, std::size_t first,
                                            bool is_union, int depth = 0) const {
    std::size_t sum = 0, most = 0;
    for (std::size_t i = first; i < definition.size(); ++i) {
      const Json& field = definition[i];
      if (!field.is_array()) continue;  // options
      if (field.size() < 2 || !field[0].is_string()) return {};
      const auto type = field[0].get<std::string>();
      const bool is_array = field.size() > 2 && field[2].is_number_unsigned();
      const std::size_t length = is_array ? field[2].get<std::size_t>() : 1;
      if (length > kMaxApiMessage) return {};
      // A string without a fixed length is its length and nothing behind.
      const auto one =
          type == "string" ? std::optional(length == 0 ? std::size_t{4} : 1) : size_of(type, depth);
      if (!one) return {};
      const std::size_t size = type == "string" && length == 0 ? *one : *one * length;
      sum += size;
      most = std::max(most, size);
      if (sum > kMaxApiMessage) return {};
    }
    return is_union ? most : sum;
  }
};

UnansweredRequests::UnansweredRequests(const ApiRegistry& registry) : registry_(registry) {}
UnansweredRequests::~UnansweredRequests() = default;

std::optional<UnansweredRequests::Answer> UnansweredRequests::describe(const ApiMessageInfo& info) {
  if (!descriptions_ || !descriptions_->are_of(registry_))
    descriptions_ = std::make_unique<const Descriptions>(registry_);
  const Descriptions& all = *descriptions_;
  const Json* service = all.in_object("services", info.name);
  const Json* request = all.named("messages", info.name);
  if (!service || !service->is_object() || !request) return {};
  const auto name = service->value("reply", "");
  const Json* reply = all.named("messages", name);
  const auto entry = std::find_if(
      registry_.entries().begin(), registry_.entries().end(),
      [&](const ApiRegistry::Entry& e) { return !e.is_removed && name == e.info.name; });
  // [name, _vl_msg_id, context, retval, ...]
  if (!reply || entry == registry_.entries().end() || !is_field(*reply, 2, "u32", "context") ||
      !is_field(*reply, 3, "i32", "retval"))
    return {};
  const auto rest = all.size_of_fields(*reply, 4, false);
  const bool has_client = is_field(*request, 2, "u32", "client_index");
  if (!rest || !is_field(*request, has_client ? 3 : 2, "u32", "context")) return {};
  UnansweredRequests::Answer answer{entry->info, has_client ? std::size_t{4} : 0, {}};
  ApiWriter w(answer.body);
  w.number(uint32_t{0});
  w.number(kApiUnimplemented);
  answer.body.resize(answer.body.size() + *rest);
  return answer;
}

const UnansweredRequests::Answer* UnansweredRequests::find(uint16_t request_id) {
  const ApiRegistry::Entry* entry = registry_.find(request_id);
  if (!entry || entry->is_removed) return nullptr;
  auto it = known_.find(request_id);
  if (it == known_.end()) {
    std::optional<Answer> answer;
    // Throws for a description that is JSON of another shape: the same as none.
    detail::api_guarded([&] { answer = describe(entry->info); });
    it = known_.emplace(request_id, std::move(answer)).first;
  }
  return it->second ? &*it->second : nullptr;
}

}  // namespace loom
