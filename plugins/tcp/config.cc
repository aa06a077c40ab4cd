// The stanza `tcp { }`.
#include "config.h"

#include <limits>

#include "pool.h"

namespace loom::tcp {

const char kConfigHelp[] =
    "cc-algo NAME                 congestion controller, default cubic\n"
    "mtu N                        upper bound for the MTU that routes give\n"
    "max-rx-fifo SIZE             window scale of accepted connections covers it\n"
    "no-tx-pacing                 ignore the controller's pacing rate\n"
    "tso | no-tso                 chains of many segments, or one a segment\n"
    "max-gso-size N               bytes of such a chain\n"
    "no-csum-offload              compute checksums in this plugin\n"
    "initial-cwnd-multiplier N    initial window in segments (RFC 6928)\n"
    "max-connections N            a worker, 16 to 8388607\n"
    "timewait-time S  closewait-time S  finwait1-time S  finwait2-time S\n"
    "keepalive-time S  keepalive-interval S  keepalive-probes N\n"
    "min-rto-ms N  max-delack-ms N\n"
    "max-retransmits N  max-syn-retransmits N\n"
    "no-timestamps  no-sack  no-window-scaling";

namespace {
// A key without value: sets `*flag` to `value`.
struct Switch {
  const char* key;
  bool Config::*flag;
  bool value;
};
constexpr Switch kSwitches[] = {
    {"no-tx-pacing", &Config::pacing, false},
    {"tso", &Config::gso, true},
    {"no-tso", &Config::gso, false},
    {"no-csum-offload", &Config::csum_offload, false},
    {"no-timestamps", &Config::timestamps, false},
    {"no-sack", &Config::sack, false},
    {"no-window-scaling", &Config::window_scaling, false},
};

struct Number {
  const char* key;
  uint32_t Config::*value;
  uint64_t least, most;
};
constexpr Number kNumbers[] = {
    {"mtu", &Config::mtu, 68, 65535},  // RFC 791's minimum
    {"max-rx-fifo", &Config::max_rx_fifo, 4096, 1u << 30},
    {"max-gso-size", &Config::max_gso_size, 576, 65535},
    {"initial-cwnd-multiplier", &Config::initial_cwnd, 1, 1000},
    {"max-connections", &Config::max_connections, 16, kIdIndexMask},
    {"keepalive-probes", &Config::keepcnt, 1, 255},
    {"max-retransmits", &Config::max_retransmits, 3, 64},
    {"max-syn-retransmits", &Config::max_syn_retransmits, 1, 64},
};

struct Time {
  const char* key;
  TimeNs Config::*value;
  TimeNs unit;
  uint64_t least, most;
};
constexpr Time kTimes[] = {
    {"timewait-time", &Config::timewait_time, kSecond, 0, 3600},
    {"closewait-time", &Config::closewait_time, kSecond, 0, 86400},
    {"finwait1-time", &Config::finwait1_time, kSecond, 1, 86400},
    {"finwait2-time", &Config::finwait2_time, kSecond, 1, 86400},
    {"keepalive-time", &Config::keepidle, kSecond, 1, 86400},
    {"keepalive-interval", &Config::keepintvl, kSecond, 1, 86400},
    {"min-rto-ms", &Config::min_rto, kMillisecond, 1, 60'000},
    {"max-delack-ms", &Config::max_delack, kMillisecond, 1, 500},  // RFC 9293 section 3.8.6.3
};

std::vector<std::string_view> known_keys() {
  std::vector<std::string_view> keys{"cc-algo"};
  for (const auto& k : kSwitches) keys.emplace_back(k.key);
  for (const auto& k : kNumbers) keys.emplace_back(k.key);
  for (const auto& k : kTimes) keys.emplace_back(k.key);
  return keys;
}

// True when `word` was one of the tables' keys and has been applied.
Result<bool> apply_key(Config& c, ConfigReader& in, const ConfigNode& word) {
  for (const auto& k : kSwitches)
    if (word.word == k.key) {
      c.*k.flag = k.value;
      return true;
    }
  for (const auto& k : kNumbers)
    if (word.word == k.key) {
      const auto v = in.size(word, k.least, k.most);
      if (!v) return v.error();
      c.*k.value = static_cast<uint32_t>(*v);
      return true;
    }
  for (const auto& k : kTimes)
    if (word.word == k.key) {
      const auto v = in.number(word, k.least, k.most);
      if (!v) return v.error();
      c.*k.value = static_cast<TimeNs>(*v) * k.unit;
      return true;
    }
  return false;
}
}  // namespace

Result<void> apply_config(void* context, const ConfigNode& stanza) {
  Config& c = *static_cast<Config*>(context);
  ConfigReader in(stanza);
  while (const ConfigNode* word = in.next()) {
    if (word->word == "cc-algo") {
      auto name = in.text(*word);
      if (!name) return name.error();
      if (name->size() > 15) return word->fail("'cc-algo " + *name + "': at most 15 characters");
      c.cc_algo = *name;
      continue;
    }
    const auto known = apply_key(c, in, *word);
    if (!known) return known.error();
    if (!*known) return in.unknown(*word, known_keys());
  }
  return {};
}

}  // namespace loom::tcp
