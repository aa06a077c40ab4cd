// The head of an answer, and the whole of one that has no file. Written into memory of a fixed
// size: all that is variable in it is bounded beforehand.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace loom::http {

constexpr uint32_t kMostAnswer = 2048;    // bytes of a head, or of an answer without a file
constexpr uint32_t kMostLocation = 1000;  // of the value of Location

struct Answer {
  std::array<char, kMostAnswer> text;
  uint32_t size = 0;

  void add(std::string_view s) noexcept;
  void add(uint64_t n) noexcept;
  std::string_view view() const noexcept { return {text.data(), size}; }
};

std::string_view reason(uint16_t status) noexcept;  // "Not Found"

struct Ending {
  bool keep_alive = true;
  bool says_so = false;  // to a client of HTTP/1.0, which has asked for it
};

// Status line, Date and Connection; fields and the empty line are still to come. Replaces what is
// in `to`.
void begin_answer(Answer& to, uint16_t status, std::string_view date, Ending) noexcept;
// An answer that is its own explanation. location: of a redirection, else empty.
void write_refusal(Answer& to, uint16_t status, std::string_view date, Ending, bool is_head,
                   std::string_view location = {}) noexcept;

}  // namespace loom::http
