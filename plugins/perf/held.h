// Held sessions: opens many to echo servers and keeps them, idle, until they are to exchange a few
// bytes or to end. What a session costs, how fast they come and go, and whether many make each
// other slow is measured with them (tests/bench/sessions). An in-process application of its own.
//
// Threads: split by workers, as client.h is. One order at a time: open, exchange, close; each is
// the control thread's, and answered when the last part has done its share.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include <hostloom/app.h>
#include <hostloom/cli.h>
#include <hostloom/host.h>

namespace loom::perf {

constexpr TimeNs kOrderTimeout = 600 * kSecond;  // unless the order says another

struct HeldConfig {
  std::vector<AppEndpoint> to;  // in turn
  uint32_t n = 1;               // sessions
  uint32_t fifo_size = 0;       // 0: the host's default
};

// `sessions` of those that are open, spread evenly, each send `bytes` and wait for them to come
// back, `rounds` times; at most kMostAtOnce (held.cc) at a time.
struct ExchangeConfig {
  uint32_t sessions = 1000, rounds = 1, bytes = 64;
  TimeNs timeout = kOrderTimeout;
};

// One at a time: a worker knows only its part of the latest.
class Held : public std::enable_shared_from_this<Held> {
 public:
  static void init(Host& host);  // once, before the first
  Held(Host& host, HeldConfig config);
  ~Held();

  // `later`: who waits for the outcome, or null. What has not come by the time-out has failed, and
  // `later` hears kTimedOut. Errors: kAgain, another order is under way.
  Result<void> open(TimeNs timeout, std::shared_ptr<CliLater> later);
  Result<void> exchange(const ExchangeConfig& config, std::shared_ptr<CliLater> later);
  Result<void> close(TimeNs timeout, std::shared_ptr<CliLater> later);
  // Now: sessions are reset. Nobody waits for it.
  void end();

  bool is_busy() const { return parts_left_ != 0; }
  bool is_over() const { return app_ == nullptr; }  // nothing is left to be closed
  void describe(CliReply& reply) const;             // the last order
  const std::vector<AppEndpoint>& targets() const { return config_.to; }

  struct Part;  // of one worker; held.cc
  void part_done(Part& part) noexcept;

 private:
  Result<void> order(const char* what, TimeNs timeout, std::shared_ptr<CliLater> later,
                     void (*begin)(Part&));
  Result<void> in_time() const;
  void on_part_done();

  Host& host_;
  HeldConfig config_;
  Application* app_ = nullptr;
  std::vector<std::unique_ptr<Part>> parts_;
  const char* order_ = "";
  uint32_t parts_left_ = 0;
  std::shared_ptr<CliLater> later_;
};

}  // namespace loom::perf
