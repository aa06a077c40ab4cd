#include "config/core_config.h"

#include <gtest/gtest.h>

#include "config/parser.h"

namespace loom::config {
namespace {

Result<Core> read(std::string_view text) {
  const auto file = parse_config(text, "f");
  if (!file) return file.error();
  return read_core(*file);
}
std::string refusal(std::string_view text) {
  const auto r = read(text);
  return r ? "accepted" : r.error().message;
}

TEST(CoreConfig, AnEmptyFileGivesTheDefaults) {
  const auto c = read("");
  ASSERT_TRUE(c);
  EXPECT_FALSE(c->unix_.nodaemon);
  EXPECT_EQ(c->cpu.workers, 1u);
  EXPECT_EQ(c->session.event_queue_length, 2048u);
  EXPECT_EQ(c->stats.update_interval_s, 1);
  EXPECT_TRUE(c->stats.per_node_counters);
  EXPECT_EQ(c->logging.default_level, LogLevel::kInfo);
}

TEST(CoreConfig, EveryStanzaLandsInItsStruct) {
  const auto c = read(R"(
    unix { nodaemon log /l cli-listen /c runtime-dir /r startup-config /s1 exec /s2 pidfile /p gid 0 }
    api-segment { prefix x gid root }
    socksvr { socket-name /a }
    statseg { socket-name /st size 64m update-interval 0.5 per-node-counters off }
    cpu { main-core 1 corelist-workers 2-3,5 skip-cores 1 spin-us 20 }
    memory { main-heap-size 2g main-heap-page-size default-hugepage }
    buffers { buffers-per-numa 32768 default data-size 4096 page-size 2m }
    session { enable evt-q-length 1000 segment-size 512m add-segment-size 1g preallocated-sessions 1k spread-flows
              v4-session-table-buckets 20000 min-src-port 20000 max-src-port 30000 rt-backend sdl
              use-app-socket-api poll-main }
    logging { default-log-level debug })");
  ASSERT_TRUE(c) << c.error().message;
  EXPECT_TRUE(c->unix_.nodaemon);
  EXPECT_EQ(c->unix_.log, "/l");
  EXPECT_EQ(c->unix_.startup_files, (std::vector<std::string>{"/s1", "/s2"}));
  EXPECT_EQ(c->unix_.gid, 0u);
  EXPECT_EQ(c->sockets.api_gid, 0u);
  EXPECT_EQ(c->sockets.api, "/a");
  EXPECT_EQ(c->stats.size, 64u << 20);
  EXPECT_EQ(c->stats.update_interval_s, 0.5);
  EXPECT_FALSE(c->stats.per_node_counters);
  EXPECT_EQ(c->cpu.main_core, 1u);
  EXPECT_EQ(c->cpu.worker_cores, (std::vector<uint32_t>{2, 3, 5}));
  EXPECT_EQ(c->cpu.workers, 3u);
  EXPECT_EQ(c->cpu.spin_us, 20u);
  EXPECT_EQ(c->buffers.per_numa, 32768u);
  EXPECT_EQ(c->buffers.data_size, 4096u);
  EXPECT_EQ(c->buffers.page_size, 2u << 20);
  EXPECT_EQ(c->session.event_queue_length, 1024u);  // the next power of two
  EXPECT_EQ(c->session.segment_size, 512u << 20);
  EXPECT_EQ(c->session.v4_session_buckets, 32768u);
  EXPECT_EQ(c->session.min_src_port, 20000u);
  EXPECT_EQ(c->logging.default_level, LogLevel::kDebug);
}

TEST(CoreConfig, AnUnknownKeyIsNamedWithLineAndNearestName) {
  EXPECT_EQ(refusal("unix {\n  nodaemn\n}"),
            "f:2: unknown key 'nodaemn' in 'unix'; did you mean 'nodaemon'?");
  EXPECT_EQ(refusal("session { zzz }"), "f:1: unknown key 'zzz' in 'session'");
  EXPECT_EQ(refusal("cpu { workers 1 { } }"), "f:1: 'workers 1' takes no block");
}

TEST(CoreConfig, ValuesAreCheckedWhereTheyStand) {
  EXPECT_EQ(refusal("cpu {\n workers 17 }"), "f:2: 'workers 17': a number from 0 to 16 is needed");
  EXPECT_EQ(refusal("cpu { workers"), "f:1: '{' after 'cpu' is never closed");
  EXPECT_EQ(refusal("cpu { workers }"), "f:1: 'workers' needs a value");
  EXPECT_EQ(refusal("cpu { corelist-workers 2-x }"),
            "f:1: 'corelist-workers 2-x': a list of cores such as 2-5,8 is needed");
  EXPECT_EQ(refusal("cpu { corelist-workers 4,3-5 }"),
            "f:1: 'corelist-workers 4,3-5': core 4 is listed twice");
  EXPECT_EQ(refusal("cpu { workers 2 corelist-workers 1-3 }"),
            "f:1: 'workers' and 'corelist-workers' disagree");
  EXPECT_EQ(refusal("cpu { corelist-workers 1-3 workers 2 }"),
            "f:1: 'workers' and 'corelist-workers' disagree");
  EXPECT_EQ(refusal("cpu { spin-us 1001 }"), "f:1: 'spin-us 1001': a number from 0 to 1000 is needed");
  EXPECT_EQ(refusal("session { segment-size 12q }"),
            "f:1: 'segment-size 12q': a size from 1048576 to 1099511627776 bytes is needed (suffix "
            "k, m or g)");
  EXPECT_EQ(refusal("session {\n max-src-port 900 }"),
            "f:1: min-src-port 32768 is above max-src-port 900");
  EXPECT_EQ(refusal("session { max-src-port 900 min-src-port 800 }"), "accepted");
  EXPECT_EQ(refusal("session { rt-backend rule-tabel }"),
            "f:1: 'rt-backend rule-tabel': did you mean 'rule-table'?");
  EXPECT_EQ(refusal("statseg { per-node-counters maybe }"),
            "f:1: 'per-node-counters maybe': one of off, on is needed");
  EXPECT_EQ(refusal("statseg { update-interval nan }"),
            "f:1: 'update-interval nan': seconds from 0.1 to 3600 are needed");
  EXPECT_EQ(refusal("api-segment { gid no-such-group-here }"),
            "f:1: 'gid no-such-group-here': there is no such group");
  EXPECT_EQ(refusal("buffers { page-size 5000 }"), "f:1: 'page-size' is a power of two");
  EXPECT_EQ(refusal("unix { nodaemon { } }"), "f:1: 'nodaemon' takes no block");
}

TEST(CoreConfig, OtherStanzasAreLeftAlone) {
  EXPECT_EQ(refusal("tcp { anything at all } plugins { path /x }"), "accepted");
}

TEST(CoreConfig, StanzasGivenTwiceAreMerged) {
  const auto c = read("unix { nodaemon } unix { log /x }");
  ASSERT_TRUE(c);
  EXPECT_TRUE(c->unix_.nodaemon);
  EXPECT_EQ(c->unix_.log, "/x");
  const auto file = parse_config("plugins { a }\nx { }\nplugins { b }", "f");
  const auto merged = merged_stanza(*file, "plugins");
  ASSERT_EQ(merged.children.size(), 2u);
  EXPECT_EQ(merged.children[1].word, "b");
  EXPECT_EQ(merged.children[1].line, 3);
  EXPECT_TRUE(merged_stanza(*file, "none").children.empty());
}

}  // namespace
}  // namespace loom::config
