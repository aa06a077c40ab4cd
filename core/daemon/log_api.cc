#include "daemon/log_api.h"

#include "api/registry.h"
#include "daemon/log.h"
#include "logging.api.h"

namespace loom {
namespace {

struct Level {
  LogLevel ours;
  api::LogLevel theirs;
};
constexpr Level kLevels[] = {
    {LogLevel::kDebug, api::LogLevel::kVpeApiLogLevelDebug},
    {LogLevel::kInfo, api::LogLevel::kVpeApiLogLevelInfo},
    {LogLevel::kNotice, api::LogLevel::kVpeApiLogLevelNotice},
    {LogLevel::kWarn, api::LogLevel::kVpeApiLogLevelWarning},
    {LogLevel::kError, api::LogLevel::kVpeApiLogLevelErr},
};

}  // namespace

Result<void> add_log_api(ApiRegistry& registry, DaemonLog& log) {
  if (auto added = registry.add_module(api::kLoggingModule); !added) return added;
  registry.handle<api::LogLevelGet, api::LogLevelGetReply>(
      [&log](ApiCall&, const api::LogLevelGet&) {
        api::LogLevelGetReply reply;
        for (const Level& l : kLevels)
          if (l.ours == log.level()) reply.level = l.theirs;
        return reply;
      });
  registry.handle<api::LogLevelSet, api::LogLevelSetReply>(
      [&log](ApiCall&, const api::LogLevelSet& request) {
        for (const Level& l : kLevels) {
          if (l.theirs != request.level) continue;
          log.set_level(l.ours);
          return api::LogLevelSetReply{};
        }
        return api::LogLevelSetReply{.retval = kApiInvalidValue};
      });
  return {};
}

}  // namespace loom
