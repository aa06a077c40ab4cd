// Putting the IP layer together: nodes, arcs, and what each worker is given.
#include "net/net.h"

#include "net/ethernet/nodes.h"
#include "net/group/group_wire.h"
#include "net/group/nodes.h"
#include "net/interface/nodes.h"
#include "net/ip/node_loop.h"
#include "net/ip4/nodes.h"
#include "net/ip6/nodes.h"
#include "net/neighbor/nodes.h"
#include "net/net_ops.h"
#include "net/reassembly/nodes.h"
#include "net/state.h"

namespace loom {
namespace {

const NodeInfo* const kNodes[] = {
    &kInterfaceInput,  &kEthernetInput, &kArpInput,    &kIp4Input,        &kIp4Lookup,
    &kIp4Local,        &kIp4Rewrite,    &kIp4Fragment, &kIcmp4Input,      &kIcmp4Error,
    &kIp6Input,        &kIp6Lookup,     &kIp6Local,    &kIp6Rewrite,      &kIp6Fragment,
    &kIcmp6Input,      &kIcmp6Neighbor, &kIcmp6Error,  &kNeighborResolve, &kNeighborTable,
    &kInterfaceOutput, &kTxOffload,     &kInterfaceTx, &kIp4Reassembly,   &kIp6Reassembly,
    &kIgmpInput,       &kMldInput};

Result<void> check(const NetConfig& c) {
  if (c.max_interfaces == 0 || c.max_interfaces > 65'536)
    return error(Status::kInvalid,
                 "max_interfaces " + std::to_string(c.max_interfaces) + " is not from 1 to 65536");
  if (c.max_neighbors < 4 || c.max_neighbors > 100'000)
    return error(Status::kInvalid,
                 "max_neighbors " + std::to_string(c.max_neighbors) + " is not from 4 to 100000");
  if (c.pending_per_neighbor == 0 || c.pending_per_neighbor > Neighbor::kMaxPending)
    return error(Status::kInvalid,
                 "pending_per_neighbor " + std::to_string(c.pending_per_neighbor) +
                     " is not from 1 to " + std::to_string(Neighbor::kMaxPending));
  return {};
}

}  // namespace

NetState::NetState(Engine& e, const NetConfig& c)
    : engine(e),
      config(c),
      interfaces(c.max_interfaces),
      routes([&e](std::function<void()> release) { e.after_grace(std::move(release)); }),
      neighbors(*this),
      neighbor_news(std::make_shared<NeighborNewsQueue>(e)),
      group_reports(*this),
      ping_runs(e) {}

NetState::~NetState() = default;

Net::Net(std::unique_ptr<NetState> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Net>> Net::create(Engine& engine, const NetConfig& config) {
  if (auto ok = check(config); !ok) return ok.error();
  auto state = std::make_unique<NetState>(engine, config);
  NetState& s = *state;
  if (auto ok = s.neighbors.init(config.max_neighbors); !ok) return ok.error();
  auto groups = GroupTable::create();
  if (!groups) return groups.error();
  s.groups = std::move(*groups);
  for (const bool is_ip6 : {false, true})
    if (auto main_table = s.routes.add_table(0, is_ip6, {}); !main_table) return main_table.error();

  for (const NodeInfo* info : kNodes)
    if (auto id = engine.add_node(*info); !id) return id.error();
  const auto id = [&](const char* name) { return engine.find_node(name); };
  s.nodes = {.interface_output = id("interface-output"),
             .ip4_lookup = id("ip4-lookup"),
             .ip6_lookup = id("ip6-lookup"),
             .ip4_rewrite = id("ip4-rewrite"),
             .ip6_rewrite = id("ip6-rewrite"),
             .ip4_local = id("ip4-local"),
             .ip6_local = id("ip6-local"),
             .icmp4_input = id("icmp4-input"),
             .icmp6_input = id("icmp6-input"),
             .icmp4_error = id("icmp4-error"),
             .icmp6_error = id("icmp6-error"),
             .ip4_reassembly = id("ip4-reassembly"),
             .ip6_reassembly = id("ip6-reassembly"),
             .neighbor_table = id("neighbor-table")};
  FeatureArcs& arcs = engine.features();
  s.arcs = {.device_input = &arcs.arc("device-input"),
            .ip4_unicast = &arcs.arc("ip4-unicast"),
            .ip6_unicast = &arcs.arc("ip6-unicast"),
            .ip4_local = &arcs.arc("ip4-local"),
            .ip6_local = &arcs.arc("ip6-local"),
            .ip4_output = &arcs.arc("ip4-output"),
            .ip6_output = &arcs.arc("ip6-output"),
            .interface_output = &arcs.arc("interface-output")};

  for (uint32_t i = 0; i < engine.n_workers(); ++i) {
    auto worker = std::make_unique<NetWorker>();
    static_cast<NetOps&>(*worker) = net_ops(s);
    worker->state = &s;
    worker->icmp4_errors = {.per_second = config.icmp_errors_per_second,
                            .burst = config.icmp_error_burst};
    worker->icmp6_errors = worker->icmp4_errors;
    make_reassembly(*worker);
    const HashSecret secret = HashSecret::random();
    worker->fragment_ids = {secret.words[0], secret.words[1]};
    engine.worker(i).net = worker.get();
    s.workers.push_back(std::move(worker));
  }
  // Who polls a queue never sleeps, and a look would save nothing.
  engine.add_sleep_hook({.before = may_sleep, .is_alone = may_sleep});
  std::unique_ptr<Net> net(new Net(std::move(state)));
  for (const bool is_ip6 : {false, true})
    if (auto ok = net->add_ip_protocol(is_ip6 ? kProtoIcmp6 : kProtoIcmp, is_ip6,
                                       is_ip6 ? "icmp6-input" : "icmp4-input");
        !ok)
      return ok.error();
  if (auto ok = net->add_ip_protocol(kProtoIgmp, false, "igmp-input"); !ok) return ok.error();
  return net;
}

Net::~Net() {
  NetState& s = *state_;
  std::vector<IfIndex> all;
  s.interfaces.for_each([&](Interface& f) { all.push_back(f.index); });
  for (const IfIndex i : all) (void)remove_interface(i);
  s.neighbor_news->watch({});
  s.ping_runs.cancel();
  s.engine.run_on_worker(0, [&](Worker& w) {
    s.neighbors.flush(w);
    s.group_reports.stop(w);
  });
  flush_reassembly(s, kNoIndex);
  for (uint32_t i = 0; i < s.engine.n_workers(); ++i) s.engine.worker(i).net = nullptr;
}

void Net::on_interface_event(InterfaceEvent callback) {
  state_->listeners.push_back(std::move(callback));
}
void Net::on_address_event(std::function<void(IfIndex)> callback) {
  state_->address_listeners.push_back(std::move(callback));
}

namespace {

Result<uint16_t> arc_to(Engine& engine, const char* from, const char* node) {
  const NodeId to = engine.find_node(node);
  if (to == kNoNode)
    return error(Status::kNotFound, "there is no node '" + std::string(node) + "'");
  return engine.add_next(engine.find_node(from), to);
}

}  // namespace

Result<void> Net::add_ip_protocol(uint8_t protocol, bool is_ip6, const char* node) {
  auto& table = is_ip6 ? state_->ip6_protocols : state_->ip4_protocols;
  if (table[protocol].load(std::memory_order_relaxed) != kNextDrop)
    return error(Status::kExists, "IP protocol " + std::to_string(protocol) + " is taken");
  const auto next = arc_to(state_->engine, is_ip6 ? "ip6-local" : "ip4-local", node);
  if (!next) return next.error();
  table[protocol].store(*next, std::memory_order_relaxed);
  return {};
}

Result<void> Net::add_icmp_error_handler(uint8_t protocol, bool is_ip6, const char* node) {
  auto& table = is_ip6 ? state_->icmp6_handlers : state_->icmp4_handlers;
  if (table[protocol].load(std::memory_order_relaxed) != kNextDrop)
    return error(Status::kExists,
                 "ICMP errors about IP protocol " + std::to_string(protocol) + " are taken");
  const auto next = arc_to(state_->engine, is_ip6 ? "icmp6-input" : "icmp4-input", node);
  if (!next) return next.error();
  table[protocol].store(*next, std::memory_order_relaxed);
  return {};
}

}  // namespace loom
