// Reading a stanza by a table of its keys: what is not in the table is refused with its line and
// the nearest key that is.
#pragma once
#include <span>
#include <string_view>

#include <hostloom/config.h>

namespace loom::config {

template <class Target>
struct Key {
  std::string_view name;
  // Takes the key's value, if it has one, from the reader. Null: a word without value or effect.
  Result<void> (*read)(ConfigReader& in, const ConfigNode& key, Target& to) = nullptr;
};

template <class Target>
Result<void> read_stanza(const ConfigNode& stanza, std::span<const Key<Target>> keys, Target& to) {
  ConfigReader in(stanza);
  while (const ConfigNode* word = in.next()) {
    const Key<Target>* key = nullptr;
    for (const auto& k : keys)
      if (k.name == word->word) key = &k;
    if (!key) {
      std::vector<std::string_view> known;
      for (const auto& k : keys) known.push_back(k.name);
      return in.unknown(*word, known);
    }
    if (word->has_block) return word->fail("'" + word->word + "' takes no block");
    if (!key->read) continue;
    auto taken = key->read(in, *word, to);
    if (!taken) return taken;
  }
  return {};
}

// The common kinds of value. `least` and `most` are inclusive.
template <class T>
Result<void> take_number(ConfigReader& in, const ConfigNode& key, T& to, uint64_t least,
                         uint64_t most) {
  const auto value = in.number(key, least, most);
  if (!value) return value.error();
  to = static_cast<T>(*value);
  return {};
}
template <class T>
Result<void> take_size(ConfigReader& in, const ConfigNode& key, T& to, uint64_t least,
                       uint64_t most) {
  const auto value = in.size(key, least, most);
  if (!value) return value.error();
  to = static_cast<T>(*value);
  return {};
}
inline Result<void> take_text(ConfigReader& in, const ConfigNode& key, std::string& to) {
  auto value = in.text(key);
  if (!value) return value.error();
  to = std::move(*value);
  return {};
}
// One of `names`; the result is its index.
Result<std::size_t> take_choice(ConfigReader& in, const ConfigNode& key,
                                const std::vector<std::string_view>& names);
// A group's name or number.
Result<uint32_t> take_group(ConfigReader& in, const ConfigNode& key);
// "2-5,8": ascending ranges and single numbers, no number twice.
Result<std::vector<uint32_t>> take_core_list(ConfigReader& in, const ConfigNode& key,
                                             uint32_t most_cores);

}  // namespace loom::config
