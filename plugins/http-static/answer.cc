#include "answer.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include <hostloom/check.h>

namespace loom::http {

void Answer::add(std::string_view s) noexcept {
  LOOM_CHECK(s.size() <= text.size() - size);
  std::memcpy(text.data() + size, s.data(), s.size());
  size += static_cast<uint32_t>(s.size());
}

void Answer::add(uint64_t n) noexcept {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, n).ptr;
  add(std::string_view(digits, static_cast<std::size_t>(end - digits)));
}

std::string_view reason(uint16_t status) noexcept {
  switch (status) {
    case 200:
      return "OK";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 304:
      return "Not Modified";
    case 400:
      return "Bad Request";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 503:
      return "Service Unavailable";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Unknown";
  }
}

void begin_answer(Answer& to, uint16_t status, std::string_view date, Ending ending) noexcept {
  to.size = 0;
  to.add("HTTP/1.1 ");
  to.add(uint64_t{status});
  to.add(" ");
  to.add(reason(status));
  to.add("\r\nDate: ");
  to.add(date);
  to.add("\r\n");
  if (!ending.keep_alive)
    to.add("Connection: close\r\n");
  else if (ending.says_so)
    to.add("Connection: keep-alive\r\n");
}

void write_refusal(Answer& to, uint16_t status, std::string_view date, Ending ending, bool is_head,
                   std::string_view location) noexcept {
  begin_answer(to, status, date, ending);
  if (status == 405) to.add("Allow: GET, HEAD\r\n");
  if (!location.empty()) {
    to.add("Location: ./");
    to.add(location.substr(0, kMostLocation));
    to.add("/\r\n");
  }
  const auto text = reason(status);
  to.add("Content-Type: text/plain\r\nContent-Length: ");
  to.add(uint64_t{text.size() + 5});
  to.add("\r\n\r\n");
  if (is_head) return;
  to.add(uint64_t{status});
  to.add(" ");
  to.add(text);
  to.add("\n");
}

}  // namespace loom::http
