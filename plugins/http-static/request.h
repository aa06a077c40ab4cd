// The head of a request, from its bytes: RFC 9112 sections 2 to 6, RFC 9110 sections 7 and 10.
// Pure, allocates nothing, looks at nothing but the bytes: views in Request point into them.
//
// Strict where leniency lets two parties see different requests (request smuggling, RFC 9112
// section 11.2): lines end with CRLF, no white space before a colon, no folded lines, no bare CR,
// one Host, one Content-Length of digits alone, and never together with Transfer-Encoding.
#pragma once
#include <cstdint>
#include <string_view>

namespace loom::http {

constexpr uint32_t kMostHead = 16384;    // bytes of a head, its empty line included
constexpr uint32_t kMostLine = 8192;     // of the request line
constexpr uint32_t kMostFields = 100;    // lines of a header
constexpr uint32_t kMostEmptyLines = 4;  // before the request line (RFC 9112 section 2.2)

enum class Method : uint8_t { kGet, kHead, kOther };  // kOther: known, and not allowed here

struct Request {
  Method method = Method::kOther;
  std::string_view target;
  uint8_t minor = 1;       // HTTP/1.minor; above 1 counts as 1
  bool keep_alive = true;  // what the client asks for
  bool says_keep_alive = false;
  bool expects_continue = false;
  bool has_body = false;
  uint64_t content_length = 0;
  // Values of fields, empty when they are not there. Of a field in several lines the last counts.
  std::string_view if_match, if_none_match, if_modified_since, if_unmodified_since, range, if_range;
};

struct Parsed {
  uint32_t size = 0;     // of the head; 0: it is not all there yet
  uint16_t refusal = 0;  // status of the answer to what is no request; the connection is to end
};

// `bytes` begin where a request begins. A prefix of them gets the same answer, or that there is too
// little: more bytes never change what was said. kMostHead bytes always get an answer.
Parsed parse_request(std::string_view bytes, Request& out) noexcept;

}  // namespace loom::http
