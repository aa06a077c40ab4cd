// The last requests of the API's clients, while tracing is on: to look at (`show api trace`), and
// to save and replay. Off, it costs a branch a request.
//
// Bounded by a number of records and by 16 MB; the oldest go first. What a message's description
// says is secret (certificates' keys, namespaces' secrets) is kept as zeros; other texts, as those
// of commands, may hold secrets, too: a saved file is for its owner only. sockclnt_create
// and sockclnt_delete are not traced: a replay has no connection. Control thread.
#pragma once
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <deque>
#include <span>
#include <string>
#include <vector>

#include <hostloom/status.h>

#include "api/registry.h"

namespace loom {

struct ApiTraceRecord {
  double time_s;  // since tracing began
  uint32_t client_index;
  std::string message;          // "show_version_51077d14"
  std::vector<std::byte> body;  // what is behind the id
};

class ApiTrace {
 public:
  static constexpr std::size_t kDefaultRecords = 1000, kMostRecords = 100'000;
  static constexpr std::size_t kMostBytes = 16u << 20;

  void start(std::size_t n_records);  // anew
  void stop() { is_on_ = false; }     // what there is stays
  bool is_on() const { return is_on_; }
  void add(uint32_t client_index, const ApiMessageInfo& message, std::span<const std::byte> body,
           ApiSecret secret = {});
  const std::deque<ApiTraceRecord>& records() const { return records_; }
  uint64_t n_dropped() const { return n_dropped_; }  // records that had to make room

 private:
  bool is_on_ = false;
  std::size_t n_records_ = kDefaultRecords, bytes_ = 0;
  uint64_t n_dropped_ = 0;
  std::chrono::steady_clock::time_point began_;
  std::deque<ApiTraceRecord> records_;
};

// A text file: "hostloom api trace 1", then a line a record: seconds, client, NAME_CRC, body in
// hex.
Result<void> save_api_trace(const ApiTrace& trace, const std::string& path);
// Errors name file and line. Files over 64 MB are refused.
Result<std::vector<ApiTraceRecord>> load_api_trace(const std::string& path);

// Those of the bytes behind a message's id that are secret.
template <class Byte>
std::span<Byte> secret_of(std::span<Byte> body, ApiSecret secret) {
  const std::span<Byte> rest = body.subspan(std::min<std::size_t>(secret.at, body.size()));
  return rest.first(std::min<std::size_t>(secret.size, rest.size()));
}

std::string to_hex(std::span<const std::byte> bytes);

}  // namespace loom
