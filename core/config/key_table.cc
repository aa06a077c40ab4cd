#include "config/key_table.h"

#include <grp.h>

#include <algorithm>

namespace loom::config {
namespace {
constexpr uint32_t kMaxCore = 1023;  // CPU_SETSIZE - 1
}

Result<std::size_t> take_choice(ConfigReader& in, const ConfigNode& key,
                                const std::vector<std::string_view>& names) {
  const auto word = in.text(key);
  if (!word) return word.error();
  const auto it = std::ranges::find(names, *word);
  if (it != names.end()) return static_cast<std::size_t>(it - names.begin());
  std::string message = "'" + key.word + " " + *word + "': ";
  const auto near = nearest_name(*word, names);
  if (!near.empty()) return key.fail(message + "did you mean '" + std::string(near) + "'?");
  for (std::size_t i = 0; i < names.size(); ++i)
    message += (i ? ", " : "one of ") + std::string(names[i]);
  return key.fail(message + " is needed");
}

Result<uint32_t> take_group(ConfigReader& in, const ConfigNode& key) {
  const auto word = in.text(key);
  if (!word) return word.error();
  if (const auto number = parse_number(*word); number && *number < ~0u)
    return static_cast<uint32_t>(*number);
  std::vector<char> space(16384);
  group entry{};
  group* found = nullptr;
  if (getgrnam_r(word->c_str(), &entry, space.data(), space.size(), &found) != 0 || !found)
    return key.fail("'" + key.word + " " + *word + "': there is no such group");
  return static_cast<uint32_t>(found->gr_gid);
}

Result<std::vector<uint32_t>> take_core_list(ConfigReader& in, const ConfigNode& key,
                                             uint32_t most_cores) {
  const auto word = in.text(key);
  if (!word) return word.error();
  const auto refuse = [&](std::string why) {
    return key.fail("'" + key.word + " " + *word + "': " + std::move(why));
  };
  std::vector<uint32_t> cores;
  for (std::string_view rest = *word;;) {
    const std::string_view item = rest.substr(0, rest.find(','));
    const std::size_t dash = item.find('-');
    const auto first = parse_number(item.substr(0, dash));
    const auto last = dash == item.npos ? first : parse_number(item.substr(dash + 1));
    if (!first || !last || *first > *last || *last > kMaxCore)
      return refuse("a list of cores such as 2-5,8 is needed");
    for (uint64_t core = *first; core <= *last; ++core) {
      if (std::ranges::find(cores, core) != cores.end())
        return refuse("core " + std::to_string(core) + " is listed twice");
      cores.push_back(static_cast<uint32_t>(core));
    }
    if (cores.size() > most_cores)
      return refuse("more than " + std::to_string(most_cores) + " cores");
    if (item.size() == rest.size()) return cores;
    rest.remove_prefix(item.size() + 1);
  }
}

}  // namespace loom::config
