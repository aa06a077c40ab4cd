// Commands of the CLI: registered by core parts and plugins, run on the control thread, answered as
// data that is rendered as text or JSON. The command tree is core/cli/.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <hostloom/status.h>

namespace loom {

class Host;
class CliLater;

// Rows under named columns: text is aligned, JSON is an array of objects.
struct CliTable {
  std::string name;  // JSON key; in text a heading, when the reply has more than one table
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

// What a command answers, in order.
class CliReply {
 public:
  struct Field {
    std::string name, value;
  };
  using Item = std::variant<std::string, Field, CliTable>;

  void line(std::string text) { items_.emplace_back(std::move(text)); }
  void field(std::string name, std::string value) {
    items_.emplace_back(Field{std::move(name), std::move(value)});
  }
  // The reference is good until the next call.
  CliTable& table(std::string name, std::vector<std::string> columns) {
    items_.emplace_back(CliTable{std::move(name), std::move(columns), {}});
    return std::get<CliTable>(items_.back());
  }
  const std::vector<Item>& items() const { return items_; }

  // For a command whose answer takes its time: it takes this, returns success at once, and finishes
  // the answer later; what it has put into this reply by then is not shown. Null when who asked
  // cannot wait (a script): then it begins, and says where to look. Since ABI 1.1.
  std::shared_ptr<CliLater> later();

  using Done = std::function<void(Result<void>, const CliReply&)>;
  void allow_later(Done done) { done_ = std::move(done); }  // the host's
  bool is_later() const { return is_later_; }

  // Whether a program reads it: then figures have columns, where people get lines of text. Not for
  // the reply of a CliLater. Since ABI 1.1.
  bool is_json() const { return is_json_; }
  void set_json() { is_json_ = true; }  // the host's

 private:
  std::vector<Item> items_;
  Done done_;
  bool is_later_ = false;
  bool is_json_ = false;  // where older plugins have padding
};

// An answer under way. Control thread. Let go without finish(), it is an error.
class CliLater {
 public:
  explicit CliLater(CliReply::Done done) : done_(std::move(done)) {}
  ~CliLater() { finish(error(Status::kClosed, "the command was given up")); }
  CliLater(const CliLater&) = delete;
  CliLater& operator=(const CliLater&) = delete;
  CliReply& reply() { return reply_; }
  // Once; later calls do nothing.
  void finish(Result<void> outcome = {}) {
    if (const auto done = std::exchange(done_, nullptr)) done(std::move(outcome), reply_);
  }

 private:
  CliReply::Done done_;
  CliReply reply_;
};

inline std::shared_ptr<CliLater> CliReply::later() {
  if (!done_) return nullptr;
  is_later_ = true;
  return std::make_shared<CliLater>(std::exchange(done_, nullptr));
}

// The words after the command's own, taken from left to right. Errors name the word and its
// position in the line.
class CliArgs {
 public:
  CliArgs(std::span<const std::string_view> words, std::size_t consumed)
      : words_(words), at_(consumed) {}
  bool done() const { return at_ >= words_.size(); }
  std::string_view peek() const { return done() ? std::string_view{} : words_[at_]; }
  std::string_view next() { return done() ? std::string_view{} : words_[at_++]; }
  // Takes the word if it is `word`.
  bool accept(std::string_view word) {
    if (peek() != word || done()) return false;
    ++at_;
    return true;
  }
  Result<std::string_view> text(std::string_view what) {
    if (done()) return error(Status::kInvalid, "missing " + std::string(what) + " at the end");
    return next();
  }
  Result<uint64_t> number(std::string_view what, uint64_t least, uint64_t most);
  // "unknown word 'x' at position 4"
  Error unknown() const {
    return {Status::kInvalid, done() ? "incomplete command"
                                     : "unknown word '" + std::string(peek()) + "' at position " +
                                           std::to_string(at_ + 1)};
  }

 private:
  std::span<const std::string_view> words_;
  std::size_t at_;
};

// Plain data with static lifetime.
struct CliCommand {
  uint32_t struct_size = sizeof(CliCommand);
  const char* path = nullptr;    // "show tcp stats"
  const char* syntax = nullptr;  // arguments, for help: "[verbose]"
  const char* help = nullptr;    // a sentence
  void* context = nullptr;
  Result<void> (*run)(Host&, void* context, CliArgs&, CliReply&) = nullptr;
};

}  // namespace loom

#include <hostloom/detail/cli_inl.h>
