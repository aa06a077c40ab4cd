// Module "memif": what the commands do, over the binary API. Control thread.
#include <hostloom/api_server.h>

#include <bit>

#include "memif.api.h"
#include "memifs.h"

namespace loom::memif {
namespace {

constexpr int32_t kInvalidSwIfIndex = -2;

Memifs& memifs(void* context) { return *static_cast<Memifs*>(context); }

int32_t refused(Memifs& m, const char* request, const Error& e) {
  m.host().log(LogLevel::kWarn, "memif", std::string(request) + ": " + e.message);
  return api_retval(e.code);
}

api::MemifSocketFilenameAddDelV2Reply change_socket(ApiCall&,
                                                    const api::MemifSocketFilenameAddDelV2& r,
                                                    void* context) {
  Memifs& m = memifs(context);
  constexpr const char* kName = "memif_socket_filename_add_del_v2";
  if (!r.is_add) {
    const auto done = m.remove_socket(r.socket_id);
    return {.retval = done ? 0 : refused(m, kName, done.error()), .socket_id = r.socket_id};
  }
  const auto id = m.add_socket(r.socket_id, r.socket_filename);
  return {.retval = id ? 0 : refused(m, kName, id.error()), .socket_id = id ? *id : r.socket_id};
}

Result<MemifConfig> config_of(const api::MemifCreateV2& r) {
  MemifConfig c;
  c.id = r.id;
  c.socket_id = r.socket_id;
  c.is_master = r.role == api::MemifRole::kMemifRoleApiMaster;
  if (!c.is_master && r.role != api::MemifRole::kMemifRoleApiSlave)
    return error(Status::kInvalid, "role is neither master nor slave");
  if (r.mode != api::MemifMode::kMemifModeApiEthernet && r.mode != api::MemifMode::kMemifModeApiIp)
    return error(Status::kUnsupported, "mode is neither ethernet nor ip");
  c.mode = static_cast<Mode>(static_cast<uint32_t>(r.mode));
  if (r.rx_queues) c.n_rx_queues = r.rx_queues;
  if (r.tx_queues) c.n_tx_queues = r.tx_queues;
  if (r.ring_size) {
    if (!std::has_single_bit(r.ring_size) || r.ring_size > 1u << kMaxLog2RingSize)
      return error(Status::kInvalid, "ring_size " + std::to_string(r.ring_size) +
                                         " is not a power of two up to " +
                                         std::to_string(1u << kMaxLog2RingSize));
    c.log2_ring_size = static_cast<uint8_t>(std::countr_zero(r.ring_size));
  }
  if (r.buffer_size) c.buffer_size = r.buffer_size;
  c.mac = MacAddress{r.hw_addr};
  if (c.mac.is_multicast())
    return error(Status::kInvalid, "hw_addr " + c.mac.str() + " is not a unicast one");
  c.secret = r.secret;
  return c;
}

api::MemifCreateV2Reply create(ApiCall&, const api::MemifCreateV2& request, void* context) {
  Memifs& m = memifs(context);
  auto config = config_of(request);
  const auto name = config ? m.create(std::move(*config)) : Result<std::string>(config.error());
  if (!name)
    return {.retval = refused(m, "memif_create_v2", name.error()), .sw_if_index = kNoIndex};
  return {.sw_if_index = m.find(*name)->index};
}

api::MemifDeleteReply remove(ApiCall&, const api::MemifDelete& request, void* context) {
  const auto removed = memifs(context).remove(IfIndex{request.sw_if_index});
  if (removed) return {};
  const Status why = removed.error().code;
  return {.retval = why == Status::kNotFound ? kInvalidSwIfIndex : api_retval(why)};
}

// The cursors are keys behind the last one: sockets and interfaces may come and go meanwhile.
ApiStep next_socket(const api::MemifSocketFilenameDump&, uint64_t& cursor,
                    api::MemifSocketFilenameDetails& details, void* context) {
  const auto& all = memifs(context).sockets();
  const auto at = cursor > ~0u ? all.end() : all.lower_bound(static_cast<uint32_t>(cursor));
  if (at == all.end()) return ApiStep::kEnd;
  cursor = uint64_t{at->first} + 1;
  details.socket_id = at->first;
  details.socket_filename = at->second.file;
  return ApiStep::kItem;
}

void describe(const Device& d, api::MemifDetails& to) {
  const MemifConfig& c = d.config;
  to.sw_if_index = d.index;
  to.hw_addr = d.mac.bytes;
  to.id = c.id;
  to.role = c.is_master ? api::MemifRole::kMemifRoleApiMaster : api::MemifRole::kMemifRoleApiSlave;
  to.mode = static_cast<api::MemifMode>(static_cast<uint32_t>(c.mode));
  to.socket_id = c.socket_id;
  to.ring_size = 1u << c.log2_ring_size;
  to.buffer_size = c.buffer_size;
  uint32_t flags = 0;
  if (d.is_admin_up) flags |= static_cast<uint32_t>(api::IfStatusFlags::kIfStatusApiFlagAdminUp);
  if (d.owned_link) flags |= static_cast<uint32_t>(api::IfStatusFlags::kIfStatusApiFlagLinkUp);
  to.flags = static_cast<api::IfStatusFlags>(flags);
  to.if_name = d.name;
}

const Device* next_device(const Memifs& m, uint64_t& cursor) {
  const auto& all = m.all();
  const auto at =
      all.lower_bound({static_cast<uint32_t>(cursor >> 32), static_cast<uint32_t>(cursor)});
  // The very last key has none behind it.
  if (at == all.end() || cursor == ~uint64_t{0}) return nullptr;
  cursor = (uint64_t{at->first.first} << 32 | at->first.second) + 1;
  return at->second;
}

ApiStep next(const api::MemifDump&, uint64_t& cursor, api::MemifDetails& details, void* context) {
  const Device* d = next_device(memifs(context), cursor);
  if (!d) return ApiStep::kEnd;
  describe(*d, details);
  return ApiStep::kItem;
}

ApiStep next_link(const api::MemifLinkDump& wanted, uint64_t& cursor, api::MemifLinkDetails& to,
                  void* context) {
  const Device* d;
  do d = next_device(memifs(context), cursor);
  while (d && wanted.sw_if_index != kNoIndex && wanted.sw_if_index != d->index);
  if (!d) return ApiStep::kEnd;
  to.sw_if_index = d->index;
  to.num_connected = d->n_connected;
  to.reason = d->last_reason;
  to.is_connected = d->owned_link != nullptr;
  if (!to.is_connected) return ApiStep::kItem;
  to.num_rx_rings = static_cast<uint16_t>(d->owned_link->rx.size());
  to.num_tx_rings = static_cast<uint16_t>(d->owned_link->tx.size());
  to.peer = d->peer_name;
  to.peer_interface = d->peer_interface;
  return ApiStep::kItem;
}

api::MemifCountersGetReply counters(ApiCall&, const api::MemifCountersGet& request, void* context) {
  const auto* d =
      static_cast<const Device*>(memifs(context).host().device(request.sw_if_index, kDriver));
  if (!d) return {.retval = kInvalidSwIfIndex};
  const auto n = [](const std::atomic<uint64_t>& v) { return v.load(std::memory_order_relaxed); };
  const InterfaceCounters rx = d->rx_totals.sum();
  const TxCounters& t = d->tx_counters;
  const auto fault = [&](Fault f) { return n(t.faults[static_cast<std::size_t>(f)]); };
  return {.rx_packets = rx.packets,
          .rx_bytes = rx.bytes,
          .rx_errors = rx.errors,
          .held = n(t.held),
          .ring_full = n(t.ring_full),
          .too_long = n(t.too_long),
          .bad_headers = n(t.bad_headers),
          .no_peer = n(t.no_peer),
          .no_memory = n(t.no_memory),
          .stopped = n(t.stopped),
          .bad_cursor = fault(Fault::kCursor),
          .bad_chain = fault(Fault::kChain),
          .bad_region = fault(Fault::kRegion),
          .bad_range = fault(Fault::kRange),
          .bad_length = fault(Fault::kLength)};
}

}  // namespace

Result<void> add_api(Host& host, Memifs& m) {
  auto api = host.api();
  auto done = api.module(api::kMemifModule);
  if (done)
    done = api.handle<api::MemifSocketFilenameAddDelV2, api::MemifSocketFilenameAddDelV2Reply>(
        change_socket, &m);
  if (done) done = api.handle<api::MemifCreateV2, api::MemifCreateV2Reply>(create, &m);
  if (done) done = api.handle<api::MemifDelete, api::MemifDeleteReply>(remove, &m);
  if (done)
    done = api.dump<api::MemifSocketFilenameDump, api::MemifSocketFilenameDetails>(next_socket, &m);
  if (done) done = api.dump<api::MemifDump, api::MemifDetails>(next, &m);
  if (done) done = api.dump<api::MemifLinkDump, api::MemifLinkDetails>(next_link, &m);
  if (done) done = api.handle<api::MemifCountersGet, api::MemifCountersGetReply>(counters, &m);
  return done;
}

}  // namespace loom::memif
