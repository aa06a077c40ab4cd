// Turns a start-up file into a tree of words that know their file and line.
//
//   file   = { word [ block ] | block }
//   block  = "{" { word [ block ] | block } "}"
//   word   = characters up to white space, "{", "}" or a double quote
//          | '"' characters '"'      on one line; \" and \\ stand for themselves, spaces and braces
//          count
//   A "#" where a word could start begins a comment that ends with the line.
//
// What the words mean is the readers' business (core_config.h, and plugins' stanzas): a word that
// takes a value is not distinguished from its value here. Control thread; text from outside: size,
// depth and characters are bounded.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include <hostloom/config.h>

namespace loom {

constexpr std::size_t kMaxConfigBytes = 4u << 20;
constexpr int kMaxConfigDepth = 32;

// The root: word "", its children are the file's stanzas. Errors name file and line: "x.conf:3:
// ...". `file` is what messages call the text.
Result<ConfigNode> parse_config(std::string_view text, const std::string& file);
// The text of a file; kIo with the reason when it cannot be read.
Result<std::string> read_config_text(const std::string& path);
Result<ConfigNode> read_config_file(const std::string& path);

}  // namespace loom
