#include "cli/syntax.h"

#include <algorithm>
#include <functional>

namespace loom {
namespace {

// A command line comes from a client, and a syntax from a plugin: together they may not keep the
// control thread for long. Every syntax in use takes a few hundred steps.
constexpr int kMaxSteps = 20'000;

struct Part {
  enum Kind { kWord, kAny, kSequence, kOneOf, kOptionals } kind = kSequence;
  std::string text;         // kWord
  std::vector<Part> parts;  // kOptionals: each may be there or not
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Part alternatives() {
    Part all{Part::kOneOf, {}, {}};
    do {
      all.parts.push_back(sequence());
    } while (take('|'));
    return all.parts.size() == 1 ? std::move(all.parts[0]) : all;
  }

 private:
  Part sequence() {
    Part all;
    for (skip(); at_ < text_.size() && !std::string_view("]}|").contains(text_[at_]); skip()) {
      if (take('[')) {
        if (all.parts.empty() || all.parts.back().kind != Part::kOptionals)
          all.parts.push_back({Part::kOptionals, {}, {}});
        all.parts.back().parts.push_back(group(']'));
      } else if (take('{')) {
        all.parts.push_back(group('}'));
      } else {
        all.parts.push_back(words());
      }
    }
    return all;
  }
  // Groups nest as deep as the syntax does, which is a string of the program's.
  Part group(char end) {
    Part inside = alternatives();
    take(end);
    return inside;
  }
  // a|b|C without space
  Part words() {
    Part all{Part::kOneOf, {}, {}};
    do {
      const std::size_t from = at_;
      at_ = std::min(text_.find_first_of(" []{}|,", at_), text_.size());
      std::string word(text_.substr(from, at_ - from));
      all.parts.push_back({word == "..." ? Part::kAny : Part::kWord, std::move(word), {}});
      if (at_ == from) ++at_;  // never without a step
    } while (at_ + 1 < text_.size() && text_[at_] == '|' && text_[at_ + 1] != ' ' && ++at_);
    return all;
  }
  void skip() { at_ = std::min(text_.find_first_not_of(" ,", at_), text_.size()); }
  bool take(char c) {
    skip();
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// Walks every way through the syntax that the words allow.
class Matcher {
 public:
  explicit Matcher(std::span<const std::string_view> words) : words_(words) {}
  CliExpected run(const Part& part) {
    match(part, 0, [this](std::size_t at) { expected_.may_end |= at == words_.size(); });
    return std::move(expected_);
  }

 private:
  using Then = std::function<void(std::size_t at)>;

  void match(const Part& part, std::size_t at, const Then& then) {
    if (++steps_ > kMaxSteps) return;
    switch (part.kind) {
      case Part::kWord:
        return word(part.text, at, then);
      case Part::kAny:
        for (std::size_t i = at; i <= words_.size(); ++i) then(i);
        return;
      case Part::kSequence:
        return sequence(part.parts, at, then);
      case Part::kOneOf:
        for (const Part& p : part.parts) match(p, at, then);
        return;
      case Part::kOptionals:
        return optionals(part, std::vector<bool>(part.parts.size()), at, then);
    }
  }
  void word(const std::string& text, std::size_t at, const Then& then) {
    if (at == words_.size()) {
      if (std::find(expected_.next.begin(), expected_.next.end(), text) == expected_.next.end())
        expected_.next.push_back(text);
    } else if (is_placeholder(text) || words_[at] == text) {
      then(at + 1);
    }
  }
  void sequence(std::span<const Part> parts, std::size_t at, const Then& then) {
    if (parts.empty()) return then(at);
    match(parts[0], at, [&, parts](std::size_t next) { sequence(parts.subspan(1), next, then); });
  }
  void optionals(const Part& part, const std::vector<bool>& used, std::size_t at,
                 const Then& then) {
    for (std::size_t i = 0; i < used.size(); ++i) {
      if (used[i]) continue;
      match(part.parts[i], at, [&, i](std::size_t next) {
        if (next == at) return;  // nothing of it is there, which is what leaving it out means
        auto with = used;
        with[i] = true;
        optionals(part, with, next, then);
      });
    }
    then(at);
  }

  std::span<const std::string_view> words_;
  CliExpected expected_;
  int steps_ = 0;
};

}  // namespace

CliExpected expected_words(std::string_view syntax, std::span<const std::string_view> words) {
  return Matcher(words).run(Parser(syntax).alternatives());
}

}  // namespace loom
