#include "api/core_handlers.h"

#include <unistd.h>

#include <memory>
#include <optional>
#include <utility>

#include "api/unanswered.h"
#include "cli/tree.h"
#include "ethernet_types.api.h"
#include "fib_types.api.h"
#include "interface_types.api.h"
#include "ip_types.api.h"
#include "memclnt.api.h"
#include "vlib.api.h"
#include "vpe.api.h"

namespace loom {
namespace {

constexpr int32_t kNoSuchNode = -63;
constexpr uint32_t kNotPinned = ~0u;

api::LogLevel to_api(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return api::LogLevel::kVpeApiLogLevelDebug;
    case LogLevel::kInfo:
      return api::LogLevel::kVpeApiLogLevelInfo;
    case LogLevel::kNotice:
      return api::LogLevel::kVpeApiLogLevelNotice;
    case LogLevel::kWarn:
      return api::LogLevel::kVpeApiLogLevelWarning;
    case LogLevel::kError:
      break;
  }
  return api::LogLevel::kVpeApiLogLevelErr;
}

// memclnt: what the daemon speaks.
void add_memclnt(ApiRegistry& registry) {
  registry.handle<api::GetFirstMsgId, api::GetFirstMsgIdReply>(
      [&registry](ApiCall&, const api::GetFirstMsgId& request) {
        api::GetFirstMsgIdReply reply{.retval = kApiInvalidValue, .first_msg_id = 0xffff};
        for (const auto& m : registry.modules())
          if (!m.module->messages.empty() &&
              (request.name == m.module->name ||
               request.name.starts_with(m.module->name + std::string("_"))))
            reply = {.retval = 0, .first_msg_id = m.first_id};
        return reply;
      });
  registry.handle<api::ApiVersions, api::ApiVersionsReply>(
      [&registry](ApiCall&, const api::ApiVersions&) {
        api::ApiVersionsReply reply;
        for (const auto& m : registry.modules())
          reply.api_versions.push_back(
              {m.module->version[0], m.module->version[1], m.module->version[2], m.module->name});
        return reply;
      });
  registry.handle<api::ControlPing, api::ControlPingReply>(
      [](ApiCall& call, const api::ControlPing&) {
        return api::ControlPingReply{.client_index = call.client_index(),
                                     .vpe_pid = static_cast<uint32_t>(::getpid())};
      });
  registry.handle<api::MemclntKeepalive, api::MemclntKeepaliveReply>(
      [](ApiCall&, const api::MemclntKeepalive&) { return api::MemclntKeepaliveReply{}; });
  registry.handle<api::GetApiJson, api::GetApiJsonReply>(
      [&registry](ApiCall&, const api::GetApiJson&) {
        api::GetApiJsonReply reply;
        for (const auto& m : registry.modules()) {
          reply.json += reply.json.empty() ? '[' : ',';
          reply.json += m.module->json;
        }
        reply.json += ']';
        return reply;
      });
}

using Parts = std::shared_ptr<const CoreApiParts>;

// The log as it was when it was asked for: it goes on while it is sent.
struct LogWalk {
  api::LogDump request;
  std::vector<CoreApiParts::LogLine> lines;
  std::size_t at = 0;

  ApiStep next(ApiCall& call) {
    if (at == lines.size()) return ApiStep::kEnd;
    const auto& line = lines[at++];
    if (line.time_s < request.start_timestamp) return ApiStep::kSkip;
    call.send(api::LogDetails{.context = request.context,
                              .timestamp = line.time_s,
                              .level = to_api(line.level),
                              .msg_class = line.who,
                              .message = line.text});
    return ApiStep::kItem;
  }
};

// vpe: what runs.
void add_vpe(ApiRegistry& registry, const Parts& parts) {
  registry.handle<api::ShowVersion, api::ShowVersionReply>(
      [parts](ApiCall&, const api::ShowVersion&) {
        return api::ShowVersionReply{
            .program = "hostloom", .version = parts->version, .build_date = parts->build_date};
      });
  registry.handle<api::ShowVpeSystemTime, api::ShowVpeSystemTimeReply>(
      [parts](ApiCall&, const api::ShowVpeSystemTime&) {
        return api::ShowVpeSystemTimeReply{.vpe_system_time = parts->uptime_s()};
      });
  registry.walk<api::LogDump>([parts](const api::LogDump& request) {
    return LogWalk{request, parts->log_lines()};
  });
}

// An answer has to fit into one message. Half of a JSON value is none, so of that there is all or
// an error; text ends behind a whole line.
void fit(CliOutcome& o) {
  constexpr std::size_t kMost = kMaxApiMessage - 64, kNote = 512;
  if (o.text.size() <= kMost) return;
  const std::string size = std::to_string(o.text.size()) + " bytes";
  std::string advice = "ask for less of it";
  if (!o.usage.empty()) advice += ": " + o.usage.substr(0, kNote / 2);
  if (o.is_json) {
    o.status = Status::kNoMemory;
    o.text = "the command was carried out, but its answer is too long for JSON, " + size +
             " where " + std::to_string(kMost) + " may be; " + advice + "\n";
    return;
  }
  const std::size_t line = o.text.rfind('\n', kMost - kNote);
  o.text.resize(line == o.text.npos ? kMost - kNote : line + 1);
  o.text += (line == o.text.npos ? "\n[cut: " : "[cut: ") + size + "; " + advice + "]\n";
}

// A command over the API. Some take their time; the client's next requests wait for it.
struct CommandWalk {
  Parts parts;
  std::string line;
  // Outlives the walk when the client leaves first.
  std::shared_ptr<std::optional<CliOutcome>> outcome{};

  ApiStep next(ApiCall& call, api::CliInbandReply& reply) {
    if (!outcome) {
      outcome = std::make_shared<std::optional<CliOutcome>>();
      parts->cli.run(parts->host, line, [to = outcome, wake = call.waker()](CliOutcome result) {
        *to = std::move(result);
        wake();
      });
    }
    if (!*outcome) return ApiStep::kWait;
    fit(**outcome);
    reply.retval = api_retval((*outcome)->status);
    reply.reply = std::move((*outcome)->text);
    return ApiStep::kEnd;
  }
};

// vlib: the CLI, the graph and its threads.
void add_vlib(ApiRegistry& registry, const Parts& parts) {
  registry.handle_in_steps<api::CliInband, api::CliInbandReply>(
      [parts](const api::CliInband& request) {
        return CommandWalk{parts, request.cmd};
      });
  registry.handle<api::Cli, api::CliReply>([parts, is_said = false](ApiCall&,
                                                                    const api::Cli&) mutable {
    if (!std::exchange(is_said, true) && parts->log)
      parts->log(LogLevel::kWarn,
                 "API message cli refused: it points into memory that client and daemon would have "
                 "to share; cli_inband carries the command itself");
    return api::CliReply{.retval = kApiUnimplemented};
  });
  registry.handle<api::CliComplete, api::CliCompleteReply>(
      [parts](ApiCall&, const api::CliComplete& request) {
        auto found = parts->cli.complete(request.line, request.cursor);
        if (!found)
          return api::CliCompleteReply{.retval = api_retval(found.error().code),
                                       .start = request.cursor,
                                       .help = std::move(found.error().message)};
        api::CliCompleteReply reply{.start = static_cast<uint32_t>(found->start),
                                    .is_whole = found->is_whole,
                                    .usage = std::move(found->usage),
                                    .help = std::move(found->help)};
        for (auto& c : found->candidates)
          reply.candidates.push_back({std::move(c.word), std::move(c.help), c.is_value});
        return reply;
      });
  registry.handle<api::GetNodeIndex, api::GetNodeIndexReply>(
      [parts](ApiCall&, const api::GetNodeIndex& request) {
        const uint32_t index = parts->find_node(request.node_name);
        return api::GetNodeIndexReply{.retval = index == ~0u ? kNoSuchNode : 0,
                                      .node_index = index};
      });
  registry.handle<api::GetNodeGraph, api::GetNodeGraphReply>(
      [](ApiCall&, const api::GetNodeGraph&) {
        return api::GetNodeGraphReply{.retval = api_retval(Status::kUnsupported)};
      });
  registry.cursor<api::NodeGraphGet, api::NodeGraphGetReply, api::NodeGraphDetails>(
      [parts](const api::NodeGraphGet&, uint32_t& cursor, api::NodeGraphDetails& details) {
        auto node = parts->node(cursor);
        if (!node) return ApiStep::kEnd;
        details.node_index = cursor++;
        details.name = std::move(node->name);
        details.next_nodes = std::move(node->next);
        return ApiStep::kItem;
      });
  registry.handle<api::ShowThreads, api::ShowThreadsReply>(
      [parts](ApiCall&, const api::ShowThreads&) {
        api::ShowThreadsReply reply;
        for (const auto& t : parts->threads()) {
          const auto id = static_cast<uint32_t>(reply.thread_data.size());
          reply.thread_data.push_back({id, t.name, t.type, t.pid, t.cpu, t.cpu, kNotPinned});
        }
        return reply;
      });
}

}  // namespace

Result<void> add_core_modules(ApiRegistry& registry) {
  // Those without messages are what the others' types come from: get_api_json has them, too.
  for (const auto* module :
       {&api::kMemclntModule, &api::kVpeModule, &api::kVlibModule, &api::kInterfaceTypesModule,
        &api::kEthernetTypesModule, &api::kIpTypesModule, &api::kFibTypesModule}) {
    auto added = registry.add_module(*module);
    if (!added) return added;
  }
  return {};
}

void add_core_handlers(ApiRegistry& registry, CoreApiParts parts) {
  const auto shared = std::make_shared<const CoreApiParts>(std::move(parts));
  add_memclnt(registry);
  add_vpe(registry, shared);
  add_vlib(registry, shared);
}

}  // namespace loom
