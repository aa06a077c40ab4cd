// Which congestion controller connections use: module "congestion", `show congestion-control` and
// `set congestion-control`. Control thread; the registry is read by workers at any time.
#include "api/registry.h"
#include "congestion.api.h"
#include "session/api.h"
#include "session/control.h"

namespace loom {

using namespace session;

namespace {

constexpr int32_t kInvalidSessionId = -148;

Result<void> no_controller(std::string_view name) {
  return error(Status::kNotFound, "there is no congestion controller '" + std::string(name) + "'");
}

Result<void> set_default(CcRegistry& controllers, std::string_view name) {
  if (name.empty() || !controllers.find(name)) return no_controller(name);
  controllers.set_default(std::string(name));
  return {};
}

// kNotFound is about the session: the controller is looked for before.
Status set_connection(Impl& l, SessionHandle handle, const CcOps& cc) {
  return with_session(l, handle, [&](SessionWorker& sw, Session& s) {
    if (!(s.flags & kTransportUp)) return Status::kNotConnected;
    const TransportOps* ops = ops_of(sw, s);
    return ops->set_congestion ? ops->set_congestion(*sw.worker, s.conn, cc.name)
                               : Status::kUnsupported;
  });
}

struct Commands {
  Impl* layer;
  CcRegistry* controllers;
};

Result<void> show(Host&, void* context, CliArgs& args, CliReply& reply) {
  if (!args.done()) return args.unknown();
  const CcRegistry& controllers = *static_cast<Commands*>(context)->controllers;
  CliTable& t = reply.table("congestion controllers", {"name", "default", "summary"});
  for (const CcOps* cc : controllers.list())
    t.rows.push_back(
        {cc->name, cc == controllers.default_ops() ? "yes" : "", cc->summary ? cc->summary : ""});
  return {};
}

Result<void> set(Host&, void* context, CliArgs& args, CliReply&) {
  const Commands& c = *static_cast<Commands*>(context);
  const auto name = args.text("the controller's name");
  if (!name) return name.error();
  if (args.done()) return set_default(*c.controllers, *name);
  if (!args.accept("session")) return args.unknown();
  const auto word = args.text("session handle");
  if (!word) return word.error();
  if (!args.done()) return args.unknown();
  const auto handle = parse_number("0x" + std::string(*word));
  if (!handle)
    return error(Status::kInvalid, "'" + std::string(*word) +
                                       "' is not a session handle; see 'show session verbose'");
  const CcOps* cc = c.controllers->find(*name);
  if (!cc) return no_controller(*name);
  if (const Status s = set_connection(*c.layer, *handle, *cc); s != Status::kOk)
    return error(s, "session " + std::string(*word) + ": " + status_name(s));
  return {};
}

}  // namespace

Result<void> add_congestion_api(ApiRegistry& registry, SessionLayer& layer,
                                CcRegistry& controllers) {
  if (auto added = registry.add_module(api::kCongestionModule); !added) return added;
  Impl& l = layer.impl();
  registry.dump<api::CcDump, api::CcDetails>(
      [&controllers](const api::CcDump&, uint64_t& cursor, api::CcDetails& details) {
        const auto all = controllers.list();
        if (cursor >= all.size()) return ApiStep::kEnd;
        const CcOps& cc = *all[cursor++];
        details.name = cc.name;
        details.summary = cc.summary ? cc.summary : "";
        details.is_default = &cc == controllers.default_ops();
        return ApiStep::kItem;
      });
  registry.handle<api::CcSetDefault, api::CcSetDefaultReply>(
      [&controllers](ApiCall&, const api::CcSetDefault& request) {
        const auto done = set_default(controllers, request.name);
        return api::CcSetDefaultReply{.retval = done ? 0 : api_retval(done.error().code)};
      });
  registry.handle<api::CcSetConnection, api::CcSetConnectionReply>(
      [&l, &controllers](ApiCall&, const api::CcSetConnection& request) {
        api::CcSetConnectionReply reply;
        const CcOps* cc = request.name.empty() ? nullptr : controllers.find(request.name);
        if (!cc) {
          reply.retval = api_retval(Status::kNotFound);
          return reply;
        }
        const Status s = set_connection(l, request.session_handle, *cc);
        reply.retval = s == Status::kNotFound ? kInvalidSessionId : api_retval(s);
        return reply;
      });
  return {};
}

Result<void> register_congestion_commands(Host& host, SessionLayer& layer,
                                          CcRegistry& controllers) {
  // The commands keep a pointer to them; they live as long as the layer does.
  auto kept = std::make_shared<Commands>(Commands{&layer.impl(), &controllers});
  layer.impl().kept.push_back(kept);
  const CliCommand commands[] = {
      {.path = "show congestion-control",
       .syntax = "",
       .help = "The congestion controllers, and which is the default.",
       .context = kept.get(),
       .run = show},
      {.path = "set congestion-control",
       .syntax = "NAME [session HANDLE]",
       .help = "The controller of new connections that ask for none, or of one that is open.",
       .context = kept.get(),
       .run = set},
  };
  for (const CliCommand& c : commands)
    if (auto added = host.add_cli_command(c); !added) return added;
  return {};
}

}  // namespace loom
