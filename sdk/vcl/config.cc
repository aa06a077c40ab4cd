#include "vcl/config.h"

#include <hostloom/config.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "vcl/include/vcl/vppcom.h"

namespace loom::vcl {
namespace {

const std::vector<std::string_view> kKeys = {"add-segment-size",
                                             "api-socket-name",
                                             "app-proxy-transport-tcp",
                                             "app-proxy-transport-udp",
                                             "app-scope-global",
                                             "app-scope-local",
                                             "app-socket-api",
                                             "app-timeout",
                                             "app_original_dst",
                                             "event-log-path",
                                             "event-queue-size",
                                             "gid",
                                             "heapsize",
                                             "huge_page",
                                             "max-workers",
                                             "multi-thread-workers",
                                             "namespace-id",
                                             "namespace-secret",
                                             "preallocated-fifo-pairs",
                                             "require-stack",
                                             "rx-fifo-size",
                                             "segment-baseva",
                                             "segment-size",
                                             "session-timeout",
                                             "spin-us",
                                             "tls-engine",
                                             "tx-fifo-size",
                                             "uid",
                                             "use-mq-eventfd"};

// Words, braces and comments of the file as a tree; a word that a brace follows gets the block.
class Parser {
 public:
  Parser(const std::string& file, const std::string& text) : file_(file), rest_(text) {}

  Result<ConfigNode> parse() {
    ConfigNode root = node("");
    if (auto done = block(root, 0); !done) return done.error();
    return root;
  }

 private:
  ConfigNode node(std::string word) const {
    ConfigNode n;
    n.word = std::move(word);
    n.file = file_;
    n.line = line_;
    return n;
  }

  Result<void> block(ConfigNode& parent, int depth) {
    while (true) {
      const std::string_view token = next();
      if (token.empty()) {
        if (depth > 0) return parent.fail("'{' is never closed");
        return {};
      }
      if (token == "}") {
        if (depth == 0) return node("").fail("'}' without '{'");
        return {};
      }
      if (token == "{") {
        if (depth >= 16) return node("").fail("blocks are nested more than 16 deep");
        if (parent.children.empty() || parent.children.back().has_block)
          parent.children.push_back(node(""));
        parent.children.back().has_block = true;
        if (auto done = block(parent.children.back(), depth + 1); !done) return done;
      } else {
        parent.children.push_back(node(std::string(token)));
      }
    }
  }

  // "" at the end.
  std::string_view next() {
    size_t i = 0;
    while (i < rest_.size()) {
      if (rest_[i] == '#')
        while (i < rest_.size() && rest_[i] != '\n') ++i;
      else if (rest_[i] == '\n' || is_space(rest_[i]))
        line_ += rest_[i++] == '\n';
      else
        break;
    }
    rest_.remove_prefix(i);
    size_t n = 0;
    if (!rest_.empty() && (rest_[0] == '{' || rest_[0] == '}'))
      n = 1;
    else
      while (n < rest_.size() && !is_space(rest_[n]) && rest_[n] != '\n' && rest_[n] != '{' &&
             rest_[n] != '}')
        ++n;
    const std::string_view token = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return token;
  }
  static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

  const std::string& file_;
  std::string_view rest_;
  int line_ = 1;
};

// Seconds, with a fraction: "600.0", "1.5".
Result<double> seconds(ConfigReader& in, const ConfigNode& key) {
  const auto word = in.text(key);
  if (!word) return word.error();
  double value = 0;
  const char* end = word->data() + word->size();
  const auto [at, ec] = std::from_chars(word->data(), end, value);
  if (ec != std::errc{} || at != end || !(value >= 0 && value < 1e9))
    return key.fail("'" + key.word + " " + *word + "': a time in seconds is needed");
  return value;
}

Result<TimeNs> microseconds(ConfigReader& in, const ConfigNode& key, uint64_t most) {
  const auto value = in.number(key, 0, most);
  if (!value) return value.error();
  return static_cast<TimeNs>(*value) * kMicrosecond;
}

constexpr uint64_t kMega = 1ull << 20, kGiga = 1ull << 30;
constexpr uint64_t kMostSpin = 1000;  // us

Result<void> apply(const ConfigNode& stanza, Config& c) {
  ConfigReader in(stanza);
  // Stores a checked value, or keeps the first error and ends the loop.
  Result<void> outcome;
  const auto store = [&outcome](auto& field, auto&& result) {
    if (result)
      field = static_cast<std::remove_reference_t<decltype(field)>>(*result);
    else
      outcome = result.error();
  };
  uint64_t ignored = 0;
  std::string ignored_text;
  while (const ConfigNode* w = outcome ? in.next() : nullptr) {
    const std::string& key = w->word;
    if (key == "heapsize")
      store(c.heap_size, in.size(*w, 0, 1024 * kGiga));
    else if (key == "max-workers")
      store(c.max_workers, in.number(*w, 1, 64));
    else if (key == "app-socket-api")
      store(c.app_socket, in.text(*w));
    else if (key == "segment-size")
      store(c.segment_size, in.size(*w, kMega, 64 * kGiga));
    else if (key == "add-segment-size")
      store(c.add_segment_size, in.size(*w, kMega, 64 * kGiga));
    else if (key == "rx-fifo-size")
      store(c.rx_fifo_size, in.size(*w, 4096, kGiga));
    else if (key == "tx-fifo-size")
      store(c.tx_fifo_size, in.size(*w, 4096, kGiga));
    else if (key == "event-queue-size")
      store(c.event_queue_size, in.number(*w, 16, 1 << 20));
    else if (key == "app-timeout")
      store(c.app_timeout, seconds(in, *w));
    else if (key == "session-timeout")
      store(c.session_timeout, seconds(in, *w));
    else if (key == "spin-us")
      store(c.spin, microseconds(in, *w, kMostSpin));
    else if (key == "namespace-id")
      store(c.namespace_id, in.text(*w));
    else if (key == "namespace-secret")
      store(c.namespace_secret, in.number(*w, 0, ~0ull));
    else if (key == "tls-engine")
      store(c.tls_engine, in.number(*w, 0, 255));
    else if (key == "require-stack")
      c.require_stack = true;
    else if (key == "app-proxy-transport-tcp")
      c.proxy_transport_tcp = true;
    else if (key == "app-proxy-transport-udp")
      c.proxy_transport_udp = true;
    else if (key == "app-scope-local")
      c.scope_local = true;
    else if (key == "app-scope-global")
      c.scope_global = true;
    else if (key == "multi-thread-workers")
      c.multi_thread_workers = true;
    else if (key == "huge_page")
      c.huge_page = true;
    else if (key == "app_original_dst")
      c.original_dst = true;
    else if (key == "use-mq-eventfd")
      continue;
    else if (key == "preallocated-fifo-pairs" || key == "uid" || key == "gid" ||
             key == "segment-baseva")
      store(ignored, in.number(*w, 0, ~0ull));
    else if (key == "api-socket-name" || key == "event-log-path")
      store(ignored_text, in.text(*w));
    else
      outcome = in.unknown(*w, kKeys);
  }
  return outcome;
}

Result<bool> flag(const char* name, const char* value) {
  const std::string_view v = value;
  if (v.empty() || v == "0" || v == "no" || v == "false" || v == "off") return false;
  if (v == "1" || v == "yes" || v == "true" || v == "on") return true;
  return error(Status::kInvalid, std::string(name) + "=" + value + ": 0 or 1 is needed");
}

std::string default_path() {
  for (const char* path : {HOSTLOOM_VCL_CONF_DEFAULT, VPPCOM_CONF_DEFAULT})
    if (std::unique_ptr<FILE, int (*)(FILE*)> f{std::fopen(path, "re"), std::fclose}) return path;
  return {};
}

Result<std::string> read_file(const std::string& path) {
  const std::unique_ptr<FILE, int (*)(FILE*)> f{std::fopen(path.c_str(), "re"), std::fclose};
  if (!f) return error(Status::kNotFound, path + ": " + std::strerror(errno));
  std::string text;
  char part[4096];
  while (const size_t n = std::fread(part, 1, sizeof part, f.get())) {
    text.append(part, n);
    if (text.size() > kMega) return error(Status::kInvalid, path + " is larger than 1 MB");
  }
  return text;
}

}  // namespace

Result<void> parse_config(const std::string& file, const std::string& text, Config& config) {
  auto tree = Parser(file, text).parse();
  if (!tree) return tree.error();
  for (const ConfigNode& stanza : tree->children) {
    if (stanza.word != "vcl" || !stanza.has_block)
      return stanza.fail("'" + stanza.word + "': only 'vcl { ... }' is known here");
    if (auto done = apply(stanza, config); !done) return done;
  }
  return {};
}

Result<void> apply_environment(Config& c) {
  const auto number = [](const char* name, uint64_t most, auto& field) -> Result<void> {
    const char* text = std::getenv(name);
    if (!text) return {};
    const auto value = parse_number(text);
    if (!value || *value > most)
      return error(Status::kInvalid, std::string(name) + "=" + text + ": a number up to " +
                                         std::to_string(most) + " is needed");
    field = static_cast<std::remove_reference_t<decltype(field)>>(*value);
    return {};
  };
  if (const char* id = std::getenv(VPPCOM_ENV_APP_NAMESPACE_ID)) c.namespace_id = id;
  if (const char* path = std::getenv(VPPCOM_ENV_VPP_SAPI_SOCKET)) c.app_socket = path;
  if (auto r = number(VPPCOM_ENV_APP_NAMESPACE_SECRET, ~0ull, c.namespace_secret); !r) return r;
  if (auto r = number(VPPCOM_ENV_DEBUG, 9, c.debug); !r) return r;
  struct Flag {
    const char* name;
    bool* field;
  };
  for (const auto [name, field] : {Flag{VPPCOM_ENV_APP_SCOPE_LOCAL, &c.scope_local},
                                   Flag{VPPCOM_ENV_APP_SCOPE_GLOBAL, &c.scope_global},
                                   Flag{VPPCOM_ENV_APP_PROXY_TRANSPORT_TCP, &c.proxy_transport_tcp},
                                   Flag{VPPCOM_ENV_APP_PROXY_TRANSPORT_UDP, &c.proxy_transport_udp},
                                   Flag{"VCL_REQUIRE_STACK", &c.require_stack}}) {
    const char* text = std::getenv(name);
    if (!text) continue;
    const auto value = flag(name, text);
    if (!value) return value.error();
    *field = *value;
  }
  return {};
}

Result<Config> load_config() {
  Config config;
  const char* asked = std::getenv(VPPCOM_ENV_CONF);
  const std::string path = asked && *asked ? asked : default_path();
  if (!path.empty()) {
    const auto text = read_file(path);
    if (!text) return text.error();
    if (auto done = parse_config(path, *text, config); !done) return done.error();
  }
  if (auto done = apply_environment(config); !done) return done.error();
  return config;
}

}  // namespace loom::vcl
