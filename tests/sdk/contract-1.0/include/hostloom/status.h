// How calls report failure: Status is the bare code (it crosses vtables), Result<T> adds a message
// for people.
#pragma once
#include <cstdint>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include <hostloom/check.h>

namespace loom {

// Values are part of the plugin ABI: append only.
enum class [[nodiscard]] Status : int32_t{
    kOk = 0,
    kInvalid,       // an argument is out of its domain
    kNotFound,      // no such object
    kExists,        // the name or key is taken
    kNoMemory,      // buffers, segment space or table space ran out
    kAgain,         // would block, try after the next event
    kInProgress,    // started; the outcome is reported later
    kNotConnected,  // no peer yet or any more
    kReset,         // the peer aborted the connection
    kRefused,       // the peer or a rule refused it
    kTimedOut,      // no answer in time
    kUnreachable,   // no route, or an ICMP hard error
    kInUse,         // address or port is taken
    kUnsupported,   // not offered by this transport, driver or version
    kPermission,    // the operating system or a policy forbids it
    kClosed,        // used after close or after shutdown of that direction
    kIo,            // a system call failed; the message has errno
    kMalformed,     // bytes from outside do not parse
};

constexpr const char* status_name(Status s) noexcept {
  constexpr const char* kNames[] = {
      "ok",        "invalid argument", "not found",      "already exists",   "out of memory",
      "again",     "in progress",      "not connected",  "connection reset", "refused",
      "timed out", "unreachable",      "already in use", "unsupported",      "not permitted",
      "closed",    "i/o error",        "malformed"};
  const auto i = static_cast<std::size_t>(s);
  return i < sizeof(kNames) / sizeof(kNames[0]) ? kNames[i] : "unknown status";
}

// A code to branch on and a sentence that names the refused value: "mtu 64 is below 68 (RFC 791)".
struct Error {
  Status code = Status::kInvalid;
  std::string message;
};

inline Error error(Status code, std::string message) { return {code, std::move(message)}; }

// std::expected's interface with a layout of our own, so that it does not depend on the compiler's
// library version.
template <class T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : has_value_(true) { new (&value_) T(std::move(value)); }
  Result(Error e) : has_value_(false) { new (&error_) Error(std::move(e)); }
  Result(Result&& o) noexcept : has_value_(o.has_value_) { construct(std::move(o)); }
  Result(const Result& o) : has_value_(o.has_value_) {
    if (has_value_)
      new (&value_) T(o.value_);
    else
      new (&error_) Error(o.error_);
  }
  Result& operator=(Result o) noexcept {
    destroy();
    has_value_ = o.has_value_;
    construct(std::move(o));
    return *this;
  }
  ~Result() { destroy(); }

  bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }
  T& value() & {
    LOOM_CHECK(has_value_);
    return value_;
  }
  const T& value() const& {
    LOOM_CHECK(has_value_);
    return value_;
  }
  T&& value() && {
    LOOM_CHECK(has_value_);
    return std::move(value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & {
    LOOM_CHECK(!has_value_);
    return error_;
  }
  const Error& error() const& {
    LOOM_CHECK(!has_value_);
    return error_;
  }
  Error&& error() && {
    LOOM_CHECK(!has_value_);
    return std::move(error_);
  }
  template <class U>
  T value_or(U&& alternative) const& {
    return has_value_ ? value_ : static_cast<T>(std::forward<U>(alternative));
  }

 private:
  void construct(Result&& o) {
    if (has_value_)
      new (&value_) T(std::move(o.value_));
    else
      new (&error_) Error(std::move(o.error_));
  }
  void destroy() {
    if (has_value_)
      value_.~T();
    else
      error_.~Error();
  }
  union {
    T value_;
    Error error_;
  };
  bool has_value_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error e) : error_(std::move(e)), has_value_(false) {}
  bool has_value() const noexcept { return has_value_; }
  explicit operator bool() const noexcept { return has_value_; }
  void value() const { LOOM_CHECK(has_value_); }
  Error& error() & {
    LOOM_CHECK(!has_value_);
    return error_;
  }
  const Error& error() const& {
    LOOM_CHECK(!has_value_);
    return error_;
  }
  Error&& error() && {
    LOOM_CHECK(!has_value_);
    return std::move(error_);
  }

 private:
  Error error_;
  bool has_value_ = true;
};

}  // namespace loom
