#include "config/parser.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

namespace loom {
namespace {

// One pass over the text, one line counter, an explicit stack of open blocks.
class Parser {
 public:
  Parser(std::string_view text, const std::string& file) : text_(text), file_(file) {}

  Result<ConfigNode> run() {
    ConfigNode root;
    root.has_block = true;
    root.file = file_;
    root.line = 1;
    open_.push_back(&root);
    while (skip_space()) {
      const auto step = one();
      if (!step) return step.error();
    }
    if (open_.size() > 1) {
      const ConfigNode& block = *open_.back();
      return fail(block.line, "'{' after '" + block.word + "' is never closed");
    }
    return root;
  }

 private:
  Error fail(int line, std::string message) const {
    return {Status::kInvalid, file_ + ":" + std::to_string(line) + ": " + std::move(message)};
  }
  bool at_end() const { return at_ >= text_.size(); }
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
  static bool ends_word(char c) { return is_space(c) || c == '{' || c == '}' || c == '"'; }

  // To the next word or brace, over white space and comments. False at the end.
  bool skip_space() {
    while (!at_end()) {
      if (text_[at_] == '#') {
        while (!at_end() && text_[at_] != '\n') ++at_;
      } else if (is_space(text_[at_])) {
        line_ += text_[at_++] == '\n';
      } else {
        return true;
      }
    }
    return false;
  }

  Result<void> one() {
    if (text_[at_] == '{') return open_block();
    if (text_[at_] == '}') return close_block();
    auto word = text_[at_] == '"' ? quoted() : plain();
    if (!word) return word.error();
    ConfigNode node;
    node.word = std::move(*word);
    node.file = file_;
    node.line = line_;
    open_.back()->children.push_back(std::move(node));
    block_follows_ = true;
    return {};
  }

  // A block belongs to the word before it; two blocks in a row, or one at a block's start, are
  // bare.
  Result<void> open_block() {
    if (open_.size() > kMaxConfigDepth)
      return fail(line_, "blocks are nested deeper than " + std::to_string(kMaxConfigDepth));
    auto& siblings = open_.back()->children;
    if (!block_follows_) {
      siblings.emplace_back();
      siblings.back().file = file_;
      siblings.back().line = line_;
    }
    siblings.back().has_block = true;
    open_.push_back(&siblings.back());
    block_follows_ = false;
    ++at_;
    return {};
  }

  Result<void> close_block() {
    if (open_.size() == 1) return fail(line_, "'}' without a '{'");
    open_.pop_back();
    block_follows_ = false;
    ++at_;
    return {};
  }

  Result<std::string> plain() {
    const std::size_t from = at_;
    for (; !at_end() && !ends_word(text_[at_]); ++at_)
      if (is_control(text_[at_])) return control_character();
    return std::string(text_.substr(from, at_ - from));
  }

  Result<std::string> quoted() {
    std::string word;
    for (++at_; !at_end() && text_[at_] != '\n'; ++at_) {
      char c = text_[at_];
      if (c == '"') {
        ++at_;
        return word;
      }
      if (c == '\\' && at_ + 1 < text_.size() && (text_[at_ + 1] == '"' || text_[at_ + 1] == '\\'))
        c = text_[++at_];
      if (is_control(c)) return control_character();
      word += c;
    }
    return fail(line_, "a quote is not closed on its line");
  }

  static bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }
  Error control_character() const {
    char hex[8];
    std::snprintf(hex, sizeof hex, "0x%02x", static_cast<unsigned char>(text_[at_]));
    return fail(line_, std::string("control character ") + hex);
  }

  std::string_view text_;
  const std::string& file_;
  std::size_t at_ = 0;
  int line_ = 1;
  // Pointers stay good: a parent gets no new child while one of its blocks is open.
  std::vector<ConfigNode*> open_;
  bool block_follows_ = false;  // the last thing read was a word, so a "{" is its block
};

}  // namespace

Result<ConfigNode> parse_config(std::string_view text, const std::string& file) {
  if (text.size() > kMaxConfigBytes)
    return error(Status::kInvalid,
                 file + ": larger than " + std::to_string(kMaxConfigBytes) + " bytes");
  return Parser(text, file).run();
}

Result<std::string> read_config_text(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> in(std::fopen(path.c_str(), "re"),
                                                           &std::fclose);
  const auto io_error = [&] { return error(Status::kIo, path + ": " + std::strerror(errno)); };
  if (!in) return io_error();
  std::string text;
  char block[16384];
  while (const std::size_t n = std::fread(block, 1, sizeof block, in.get())) {
    text.append(block, n);
    if (text.size() > kMaxConfigBytes) break;  // parse_config() says so
  }
  if (std::ferror(in.get())) return io_error();
  return text;
}

Result<ConfigNode> read_config_file(const std::string& path) {
  const auto text = read_config_text(path);
  if (!text) return text.error();
  return parse_config(*text, path);
}

}  // namespace loom
