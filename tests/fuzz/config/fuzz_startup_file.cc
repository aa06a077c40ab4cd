// Fuzz target: the start-up file, from its text to the core's typed configuration, the plugins
// stanza and a plugin's own.
//   input   the file's text
// Whatever is refused is refused with a sentence that names the file. Crashes and sanitizer reports
// are findings, and an error without a place.
#include <cstdlib>

#include "config/core_config.h"
#include "config/parser.h"
#include "config/stanza_registry.h"
#include "fuzz.h"
#include "plugin/plugin_config.h"

namespace {

using namespace loom;

// A stanza that reads every kind of value.
Result<void> apply(void*, const ConfigNode& node) {
  ConfigReader in(node);
  while (const ConfigNode* w = in.next()) {
    if (w->word == "size") {
      if (const auto value = in.size(*w, 1, 1u << 30); !value) return value.error();
    } else if (w->word == "name") {
      if (const auto value = in.text(*w); !value) return value.error();
    } else {
      return in.unknown(*w, {"size", "name"});
    }
  }
  return {};
}
const ConfigStanza kStanza{.name = "fuzz", .help = "", .apply = apply};

template <class T>
bool is_refused(const Result<T>& r) {
  if (r) return false;
  if (r.error().message.find("x.conf") == std::string::npos) std::abort();
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  const auto file = parse_config({reinterpret_cast<const char*>(data), size}, "x.conf");
  if (is_refused(file)) return 0;
  StanzaRegistry stanzas;
  if (!stanzas.add(kStanza)) std::abort();
  (void)is_refused(config::read_core(*file));
  (void)is_refused(parse_plugin_config(config::merged_stanza(*file, "plugins")));
  if (!is_refused(stanzas.check(*file))) (void)is_refused(stanzas.apply(*file));
  return 0;
}

void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  constexpr std::string_view kFiles[] = {
      "",
      "# nothing\n",
      "unix { nodaemon log /tmp/x.log cli-listen /run/x/cli.sock runtime-dir /run/x pidfile /p }\n",
      "unix { startup-config /etc/x.cli exec y gid 0 interactive poll-sleep-usec 10 }\n",
      "api-segment { prefix x gid 0 }\nsocksvr { socket-name /run/x/api.sock }\n",
      "statseg { socket-name /s size 32m update-interval 5 per-node-counters on }\n",
      "cpu { main-core 1 workers 1 corelist-workers 2-5,7 skip-cores 1 }\n",
      "memory { main-heap-size 1g main-heap-page-size 2m }\n",
      "buffers { buffers-per-numa 16384 default data-size 2048 page-size default }\n",
      "plugins { path /a:/b plugin default { disable } plugin tap.so { enable } "
      "plugin tcp { required } }\n",
      "session { enable evt-q-length 4096 segment-size 256m preallocated-sessions 1k "
      "min-src-port 1024 max-src-port 65535 use-app-socket-api poll-main }\n",
      "logging { default-log-level debug }\n",
      "fuzz { size 12k name \"a b\" } fuzz { size 0x10 }\n",
      "a { b { c { d } } } \"quoted \\\" word\" { x }\n",
      "unix { log \"unfinished\n",
      "cpu { workers 99999999999999999999 }\n",
  };
  for (const auto text : kFiles) give(text);
  std::string deep;
  for (int i = 0; i < 40; ++i) deep += "a { ";
  give(deep + std::string(40, '}'));
}
