#include "client/schema.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "client/schema_loader.h"

namespace loom {

std::size_t size_of(ApiNumber number) {
  constexpr std::array<std::size_t, 10> kSizes = {1, 2, 4, 8, 1, 2, 4, 8, 8, 1};
  return kSizes[static_cast<std::size_t>(number)];
}

const SchemaMessage* ApiSchema::find(std::string_view name) const {
  const auto it = messages_.find(name);
  return it == messages_.end() ? nullptr : &it->second;
}

const SchemaService* ApiSchema::service(std::string_view request) const {
  const auto it = services_.find(request);
  return it == services_.end() ? nullptr : &it->second;
}

namespace {

using Loaded = Result<std::shared_ptr<const ApiSchema>>;

constexpr int kMaxNesting = 64;  // a description needs six; copying and comparing values recurse

// Whether brackets nest deeper than that. Text that is not JSON may be misjudged, and is refused
// either way.
bool nests_too_deeply(std::string_view text) {
  int depth = 0;
  bool is_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (is_string && c == '\\')
      ++i;
    else if (c == '"')
      is_string = !is_string;
    else if (!is_string && (c == '[' || c == '{') && ++depth > kMaxNesting)
      return true;
    else if (!is_string && (c == ']' || c == '}'))
      --depth;
  }
  return false;
}

Result<nlohmann::json> parse(std::string_view text, const std::string& origin) {
  if (nests_too_deeply(text))
    return error(Status::kMalformed, origin + ": its JSON is nested too deeply");
  auto data = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (data.is_discarded()) return error(Status::kMalformed, origin + ": not JSON");
  return data;
}

}  // namespace

Loaded ApiSchema::from_json(std::string_view text, const std::string& origin) {
  auto parsed = parse(text, origin);
  if (!parsed) return parsed.error();
  nlohmann::json& data = *parsed;
  SchemaLoader loader;
  if (data.is_object()) data = nlohmann::json::array({std::move(data)});
  if (!data.is_array())
    return error(Status::kMalformed, origin + ": neither a description of messages nor an array");
  std::size_t number = 0;
  for (auto& file : data) {
    // A daemon does not say what its files are called; its modules have a name when it does.
    std::string name = origin;
    if (data.size() > 1) name += " [" + std::to_string(number) + "]";
    ++number;
    auto added = loader.add(std::move(file), name);
    if (!added) return added.error();
  }
  return loader.finish();
}

Loaded ApiSchema::from_files(std::span<const std::string> paths) {
  namespace fs = std::filesystem;
  std::vector<fs::path> files;
  for (const auto& path : paths) {
    std::error_code e;
    if (!fs::is_directory(path, e)) {
      files.emplace_back(path);
      continue;
    }
    const std::size_t before = files.size();
    for (fs::recursive_directory_iterator it(path, e), end; !e && it != end; it.increment(e))
      if (it->path().string().ends_with(".api.json")) files.push_back(it->path());
    if (e) return error(Status::kIo, path + ": " + e.message());
    if (files.size() == before) return error(Status::kNotFound, path + ": holds no *.api.json");
    std::sort(files.begin() + static_cast<std::ptrdiff_t>(before), files.end());
  }
  SchemaLoader loader;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    if (!in) return error(Status::kNotFound, file.string() + ": cannot be read");
    const std::string text((std::istreambuf_iterator<char>(in)), {});
    auto data = parse(text, file.string());
    if (!data) return data.error();
    auto added = loader.add(std::move(*data), file.string());
    if (!added) return added.error();
  }
  return loader.finish();
}

}  // namespace loom
