#include "api/trace.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "config/private_file.h"

namespace loom {
namespace {

constexpr const char* kFirstLine = "hostloom api trace 1";
constexpr std::size_t kMostFileBytes = 64u << 20;

// False when `text` is not pairs of hexadecimal digits.
bool from_hex(std::string_view text, std::vector<std::byte>& out) {
  if (text.size() % 2 != 0 || text.size() / 2 > kMaxApiMessage) return false;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    unsigned value = 0;
    const char* end = text.data() + i + 2;
    const auto [at, e] = std::from_chars(text.data() + i, end, value, 16);
    if (e != std::errc{} || at != end) return false;
    out.push_back(static_cast<std::byte>(value));
  }
  return true;
}

}  // namespace

void ApiTrace::start(std::size_t n_records) {
  records_.clear();
  bytes_ = 0;
  n_dropped_ = 0;
  n_records_ = n_records;
  began_ = std::chrono::steady_clock::now();
  is_on_ = true;
}

void ApiTrace::add(uint32_t client_index, const ApiMessageInfo& message,
                   std::span<const std::byte> body, ApiSecret secret) {
  if (!is_on_ || std::string_view(message.name).starts_with("sockclnt_")) return;
  const std::chrono::duration<double> age = std::chrono::steady_clock::now() - began_;
  const auto is_secret = secret_of(body, secret);
  const auto begin = is_secret.data() - body.data();
  std::vector<std::byte> kept(body.size());
  std::copy(body.begin(), body.begin() + begin, kept.begin());
  std::copy(body.begin() + begin + std::ssize(is_secret), body.end(),
            kept.begin() + begin + std::ssize(is_secret));
  records_.push_back({age.count(), client_index, api_table_name(message), std::move(kept)});
  bytes_ += body.size();
  while (records_.size() > n_records_ || bytes_ > kMostBytes) {
    bytes_ -= records_.front().body.size();
    records_.pop_front();
    ++n_dropped_;
  }
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  out.reserve(bytes.size() * 2);
  for (const std::byte b : bytes) {
    out += kDigits[std::to_integer<unsigned>(b) >> 4];
    out += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return out;
}

Result<void> save_api_trace(const ApiTrace& trace, const std::string& path) {
  const auto failed = [&] { return error(Status::kIo, path + ": " + std::strerror(errno)); };
  const auto opened = open_private_file(path);
  if (!opened) return opened.error();
  const int fd = *opened;
  std::string text = std::string(kFirstLine) + "\n";
  for (const auto& r : trace.records()) {
    char head[64];
    std::snprintf(head, sizeof head, "%.6f %u ", r.time_s, r.client_index);
    text += head + r.message + " " + to_hex(r.body) + "\n";
  }
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t n = ::write(fd, rest.data(), rest.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      const auto why = failed();
      ::close(fd);
      return why;
    }
    rest.remove_prefix(static_cast<std::size_t>(n));
  }
  if (::close(fd) != 0) return failed();
  return {};
}

Result<std::vector<ApiTraceRecord>> load_api_trace(const std::string& path) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) return error(Status::kIo, path + ": " + std::strerror(errno));
  if (!S_ISREG(s.st_mode) || static_cast<std::size_t>(s.st_size) > kMostFileBytes)
    return error(Status::kInvalid, path + " is not a file of at most 64 MB");
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line) || line != kFirstLine)
    return error(Status::kMalformed, path + ":1: does not start with '" + kFirstLine + "'");
  std::vector<ApiTraceRecord> records;
  for (std::size_t n = 2; std::getline(file, line); ++n) {
    if (line.empty()) continue;
    std::istringstream words(line);
    ApiTraceRecord r{};
    std::string hex, more;
    if (!(words >> r.time_s >> r.client_index >> r.message))
      return error(Status::kMalformed,
                   path + ":" + std::to_string(n) + ": not 'SECONDS CLIENT MESSAGE HEX'");
    words >> hex;
    if (!from_hex(hex, r.body) || words >> more)
      return error(Status::kMalformed, path + ":" + std::to_string(n) +
                                           ": what follows the message is not one word of hex");
    records.push_back(std::move(r));
  }
  return records;
}

}  // namespace loom
