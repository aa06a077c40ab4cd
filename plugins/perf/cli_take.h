// Arguments that several commands take.
#pragma once
#include <string>
#include <type_traits>

#include <hostloom/cli.h>

namespace loom::perf {

inline Result<std::string> take_uri(CliArgs& args) {
  if (!args.accept("uri")) return args.unknown();
  const auto uri = args.text("uri");
  if (!uri) return uri.error();
  return std::string(*uri);
}

// Takes `key N` when it is next.
Result<bool> take(CliArgs& args, std::string_view key, uint64_t least, uint64_t most, auto& out) {
  if (!args.accept(key)) return false;
  const auto n = args.number(key, least, most);
  if (!n) return n.error();
  out = static_cast<std::remove_reference_t<decltype(out)>>(*n);
  return true;
}

}  // namespace loom::perf
