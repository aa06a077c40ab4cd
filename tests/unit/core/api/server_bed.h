// A server with the core's messages and a few commands to call. For tests.
#pragma once
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "api/core_handlers.h"
#include "cli/tree.h"
#include "server_fixture.h"

namespace loom {

inline Result<void> say(Host&, void*, CliArgs& args, CliReply& reply) {
  reply.field("said", std::string(args.next()));
  return {};
}
inline Result<void> flood(Host&, void*, CliArgs&, CliReply& reply) {
  reply.line(std::string(900'000, 'x'));
  return {};
}
inline Result<void> pour(Host&, void*, CliArgs& args, CliReply& reply) {
  const auto n = args.number("rows", 0, 900'000);
  if (!n) return n.error();
  CliTable& t = reply.table("rows", {"numbered"});
  for (uint64_t i = 0; i < *n; ++i)
    t.rows.push_back({std::string(94, '-') + std::to_string(100'000 + i)});
  return {};
}
inline const CliCommand kSay{.path = "say", .syntax = "WORD", .help = "Says it.", .run = say};
inline const CliCommand kFlood{.path = "flood", .run = flood};
inline const CliCommand kPour{
    .path = "pour", .syntax = "N", .help = "N rows of 100 characters.", .run = pour};
// What "dawdle" has begun, for the test to finish; the server's thread's.
inline std::vector<std::shared_ptr<CliLater>> dawdling;
inline Result<void> dawdle(Host&, void*, CliArgs&, CliReply& reply) {
  dawdling.push_back(reply.later());
  return {};
}
inline const CliCommand kDawdle{.path = "dawdle", .run = dawdle};
inline const CliCommand kTumble{.path = "tumble",
                                .run = [](Host&, void*, CliArgs&, CliReply&) -> Result<void> {
                                  throw std::runtime_error("a core command's mistake");
                                }};

inline std::vector<std::string> said;  // by core handlers; the server's thread's

class ApiServerTest : public ServerFixture {
 protected:
  void SetUp() override {
    ASSERT_TRUE(cli_.add(kSay));
    ASSERT_TRUE(cli_.add(kFlood));
    ASSERT_TRUE(cli_.add(kPour));
    ASSERT_TRUE(cli_.add(kDawdle));
    ASSERT_TRUE(cli_.add(kTumble));
    ASSERT_TRUE(add_core_modules(registry_));
    add_core_handlers(registry_,
                      {.host = host_,
                       .cli = cli_,
                       .version = "1.2.3",
                       .build_date = "",
                       .uptime_s = [] { return 2.5; },
                       .find_node = [](const std::string& n) { return n == "drop" ? 4u : ~0u; },
                       .node = [](uint32_t i) -> std::optional<CoreApiParts::Node> {
                         if (i >= 600) return std::nullopt;
                         return CoreApiParts::Node{"node-" + std::to_string(i), {i + 1, ~0u}};
                       },
                       .threads =
                           [] {
                             return std::vector<CoreApiParts::Thread>{
                                 {"loom_main", "", 12, ~0u}, {"loom_wk_0", "workers", 13, 2}};
                           },
                       .log_lines =
                           [] {
                             return std::vector<CoreApiParts::LogLine>{
                                 {1.0, LogLevel::kInfo, "a", "first"},
                                 {2.0, LogLevel::kWarn, "b", "second"}};
                           },
                       .log = [](LogLevel, const std::string& text) { said.push_back(text); }});
    said.clear();
  }
  CliTree cli_;
  Host host_;
};

}  // namespace loom
