// Patterns of names.
#include <fnmatch.h>
#include <regex.h>

#include "stats/stats_reader.h"

namespace loom {

struct StatsFilter::Pattern {
  enum class Kind { kExact, kGlob, kRegex } kind;
  std::string text;
  regex_t compiled{};
  bool is_compiled = false;

  Pattern(Kind k, std::string t) : kind(k), text(std::move(t)) {}
  Pattern(const Pattern&) = delete;
  Pattern& operator=(const Pattern&) = delete;
  ~Pattern() {
    if (is_compiled) ::regfree(&compiled);
  }
};

StatsFilter StatsFilter::exactly(std::string name) {
  StatsFilter f;
  f.patterns_.push_back(std::make_shared<Pattern>(Pattern::Kind::kExact, std::move(name)));
  return f;
}

Result<StatsFilter> StatsFilter::glob(std::string pattern) {
  StatsFilter f;
  f.patterns_.push_back(std::make_shared<Pattern>(Pattern::Kind::kGlob, std::move(pattern)));
  return f;
}

Result<StatsFilter> StatsFilter::regex(const std::string& pattern) {
  auto p = std::make_shared<Pattern>(Pattern::Kind::kRegex, pattern);
  const int code = ::regcomp(&p->compiled, pattern.c_str(), REG_EXTENDED | REG_NOSUB);
  if (code != 0) {
    char why[128];
    ::regerror(code, &p->compiled, why, sizeof why);
    return error(Status::kInvalid, "pattern '" + pattern + "': " + why);
  }
  p->is_compiled = true;
  StatsFilter f;
  f.patterns_.push_back(std::move(p));
  return f;
}

StatsFilter StatsFilter::operator|(StatsFilter other) const {
  if (patterns_.empty() || other.patterns_.empty()) return all();
  StatsFilter f = *this;
  f.patterns_.insert(f.patterns_.end(), other.patterns_.begin(), other.patterns_.end());
  return f;
}

bool StatsFilter::matches(const char* name) const {
  if (patterns_.empty()) return true;
  for (const auto& p : patterns_) {
    switch (p->kind) {
      case Pattern::Kind::kExact:
        if (p->text == name) return true;
        break;
      case Pattern::Kind::kGlob:
        if (::fnmatch(p->text.c_str(), name, 0) == 0) return true;
        break;
      case Pattern::Kind::kRegex:
        if (::regexec(&p->compiled, name, 0, nullptr, 0) == 0) return true;
        break;
    }
  }
  return false;
}

}  // namespace loom
