// The start-up file as a tree, and how a plugin takes its own stanza from it. The parser is
// core/config/.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/status.h>

namespace loom {

// `tcp { cc-algo cubic mtu 1500 }`: one node "tcp" whose children are words; which words take a
// value is the reader's knowledge, so the children of a stanza are a flat list of words and nested
// blocks in order.
struct ConfigNode {
  std::string word;                  // "" for a bare { } block
  std::vector<ConfigNode> children;  // content of the braces that follow the word
  bool has_block = false;
  std::string file;
  int line = 0;

  // "startup.conf:12: message"
  Error fail(std::string message) const {
    return {Status::kInvalid, file + ":" + std::to_string(line) + ": " + std::move(message)};
  }
};

// Walks a stanza's words: `while (auto* w = in.next()) { if (w->word == "mtu") in.number(...) ...
// else return in.unknown(*w, kKeys); }`
class ConfigReader {
 public:
  explicit ConfigReader(const ConfigNode& stanza) : stanza_(stanza) {}
  const ConfigNode* next() {
    return at_ < stanza_.children.size() ? &stanza_.children[at_++] : nullptr;
  }
  const ConfigNode* peek() const {
    return at_ < stanza_.children.size() ? &stanza_.children[at_] : nullptr;
  }
  // The word after `key`, as text, number (decimal or 0x) or size (suffix k, m, g). Errors name
  // key, value and line.
  Result<std::string> text(const ConfigNode& key);
  Result<uint64_t> number(const ConfigNode& key, uint64_t least, uint64_t most);
  Result<uint64_t> size(const ConfigNode& key, uint64_t least, uint64_t most);
  // The error for a key that is not known, with the nearest known one.
  Error unknown(const ConfigNode& word, const std::vector<std::string_view>& known) const;

 private:
  const ConfigNode& stanza_;
  std::size_t at_ = 0;
};

// "1.5k" is refused, "64k" is 65536. Shared by start-up file, vcl.conf and CLI.
Result<uint64_t> parse_number(std::string_view text);
Result<uint64_t> parse_size(std::string_view text);
// The closest of `known` (Damerau-Levenshtein distance at most a third of its length), or "".
std::string_view nearest_name(std::string_view word, const std::vector<std::string_view>& known);

// Plain data with static lifetime.
struct ConfigStanza {
  uint32_t struct_size = sizeof(ConfigStanza);
  const char* name = nullptr;  // "tcp"
  const char* help = nullptr;  // the keys, one a line, for --help and documentation
  void* context = nullptr;
  Result<void> (*apply)(void* context,
                        const ConfigNode&) = nullptr;  // control thread, before workers start
};

}  // namespace loom

#include <hostloom/detail/config_inl.h>
