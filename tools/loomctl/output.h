// What goes to the user: answers to standard output, through a pager when they are longer than the
// terminal; errors to standard error. Colours and pager only on a terminal.
#pragma once
#include <string>
#include <string_view>

namespace loomctl {

enum class Colour { kAuto, kAlways, kNever };

class Output {
 public:
  Output(Colour colour, bool may_page);

  // An answer. It is paged when standard output is a terminal and has fewer rows than it.
  void answer(const std::string& text) const;
  void error(const std::string& text) const;
  bool is_coloured() const { return is_coloured_; }
  static std::size_t columns();
  static std::size_t rows();

 private:
  void page(const std::string& text) const;

  bool is_coloured_, errors_are_coloured_, may_page_;
};

// Rows of a terminal that is `columns` wide.
std::size_t rows_of(std::string_view text, std::size_t columns);

}  // namespace loomctl
