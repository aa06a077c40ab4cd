// Module "dpdk": what the commands do and show, over the binary API. Control thread.
#include <hostloom/api_server.h>
#include <rte_version.h>

#include <memory>
#include <optional>
#include <utility>

#include "devices.h"
#include "listing.h"
#include "messages.h"

namespace loom::dpdk {
namespace {

constexpr int32_t kNoSuchInterface = -2;  // INVALID_SW_IF_INDEX
constexpr uint16_t kNoPort = 0xffff;      // RTE_MAX_ETHPORTS is less

Devices& devices(void* context) { return *static_cast<Devices*>(context); }

int32_t noted(Devices& all, const char* request, const Error& e) {
  all.host().log(LogLevel::kWarn, "dpdk", std::string(request) + ": " + e.message);
  return api_retval(e.code);
}

api::DpdkVersionGetReply version(ApiCall&, const api::DpdkVersionGet&, void* context) {
  const Devices& all = devices(context);
  api::DpdkVersionGetReply reply{};
  reply.version = rte_version();
  reply.is_started = all.is_started();
  if (!reply.is_started) return reply;
  reply.has_huge_pages = all.eal().has_huge_pages;
  reply.eal_arguments = all.eal().text();
  return reply;
}

ApiStep next_device(const api::DpdkDeviceDump& wanted, uint64_t& cursor, api::DpdkDeviceDetails& to,
                    void* context) {
  const bool wants_all = wanted.sw_if_index == kNoIndex;
  const Device* d = devices(context).next_from(wants_all ? cursor : wanted.sw_if_index);
  if (!d || d->index < cursor || (!wants_all && d->index != wanted.sw_if_index))
    return ApiStep::kEnd;
  cursor = uint64_t{d->index} + 1;
  to.sw_if_index = d->index;
  const bool is_whole = is_readable(*d);
  to.port = is_whole ? d->port : kNoPort;
  to.is_virtual = d->config.is_virtual;
  to.is_started = d->is_started.load(std::memory_order_relaxed);
  to.is_removed = d->is_removed.load(std::memory_order_relaxed);
  to.is_link_up = d->is_link_up;
  to.is_full_duplex = d->is_link_up && d->link.link_duplex;
  to.has_rx_interrupts = static_cast<bool>(d->queues.front()->ready);
  to.link_speed = d->link.link_speed;  // RTE_ETH_SPEED_NUM_NONE is 0, and _UNKNOWN the largest
  to.mtu = d->mtu;
  to.max_mtu = d->info.max_mtu;
  to.num_rx_queues = static_cast<uint16_t>(d->queues.size());
  to.num_tx_queues = d->n_tx_queues;
  to.num_rx_desc = is_whole ? d->n_rx_descriptors : 0;
  to.num_tx_desc = is_whole ? d->n_tx_descriptors : 0;
  to.driver = d->info.driver_name;
  to.device = d->config.probe_text();
  to.rss = rss_text(d->rss);
  to.rx_offloads = is_whole ? rx_offload_text(*d) : "";
  to.tx_offloads = tx_offload_text(*d);
  return ApiStep::kItem;
}

api::DpdkDeviceCountersGetReply counters(ApiCall&, const api::DpdkDeviceCountersGet& request,
                                         void* context) {
  api::DpdkDeviceCountersGetReply to{};
  const Device* d = devices(context).find(request.sw_if_index);
  if (!d) {
    to.retval = kNoSuchInterface;
    return to;
  }
  const DeviceCounters c = counters_of(*d);
  to.rx_packets = c.rx.packets;
  to.rx_bytes = c.rx.bytes;
  to.rx_errors = c.rx.errors;
  to.missed = c.device.imissed;
  to.device_rx_errors = c.device.ierrors;
  to.rx_no_mbuf = c.device.rx_nombuf;
  to.device_tx_errors = c.device.oerrors;
  to.ring_full = c.ring_full;
  to.stopped = c.stopped;
  to.bad_offsets = c.bad_offsets;
  to.refused = c.refused;
  to.too_many_segments = c.too_many_segments;
  to.no_buffers = c.no_buffers;
  to.copied = c.copied;
  return to;
}

ApiStep next_xstat(const api::DpdkXstatsDump& wanted, uint64_t& cursor, api::DpdkXstatsDetails& to,
                   void* context) {
  const Device* d = devices(context).find(wanted.sw_if_index);
  if (!d) return ApiStep::kEnd;
  while (const auto x = xstat_of(*d, cursor)) {
    ++cursor;
    if (x->value == 0 && !wanted.with_zeros) continue;
    to.name = x->name;
    to.value = x->value;
    return ApiStep::kItem;
  }
  return ApiStep::kEnd;
}

// An answer that may be found later, for a client that may have left by then.
template <class Outcome>
class Waiting {
 public:
  // begin: takes who is to be called with the outcome, at once or later.
  template <class Begin>
  const Outcome* outcome(ApiCall& call, Begin begin) {
    if (!outcome_) {
      outcome_ = std::make_shared<std::optional<Outcome>>();
      begin([outcome = outcome_, wake = call.waker()](Outcome r) {
        *outcome = std::move(r);
        wake();
      });
    }
    return *outcome_ ? &**outcome_ : nullptr;
  }

 private:
  std::shared_ptr<std::optional<Outcome>> outcome_;  // null: it has not begun
};

template <class Request, class Reply>
class CreateWalk {
 public:
  CreateWalk(const Request& r, void* context)
      : all_(devices(context)), config_(config_of(r, all_.config.defaults)) {}

  ApiStep next(ApiCall& call, Reply& reply) {
    const auto* made = made_.outcome(call, [&](auto done) {
      config_ ? all_.create_vdev(*config_, done) : done(config_.error());
    });
    if (!made) return ApiStep::kWait;
    reply.retval = *made ? 0 : noted(all_, "dpdk_vdev_create", made->error());
    reply.sw_if_index = *made ? **made : kNoIndex;
    return ApiStep::kEnd;
  }

 private:
  Devices& all_;
  const Result<DeviceConfig> config_;
  Waiting<Result<IfIndex>> made_;
};

class DeleteWalk {
 public:
  DeleteWalk(const api::DpdkVdevDelete& r, void* context)
      : all_(devices(context)), index_(r.sw_if_index) {}

  ApiStep next(ApiCall& call, api::DpdkVdevDeleteReply& reply) {
    const auto* removed =
        removed_.outcome(call, [&](auto done) { all_.remove_vdev(index_, done); });
    if (!removed) return ApiStep::kWait;
    reply.retval = *removed ? 0 : noted(all_, "dpdk_vdev_delete", removed->error());
    if (!*removed && removed->error().code == Status::kNotFound) reply.retval = kNoSuchInterface;
    return ApiStep::kEnd;
  }

 private:
  Devices& all_;
  const IfIndex index_;
  Waiting<Result<void>> removed_;
};

}  // namespace

Result<void> add_api(Host& host, Devices& all) {
  auto api = host.api();
  auto done = api.module(api::kDpdkModule);
  if (done) done = api.handle<api::DpdkVersionGet, api::DpdkVersionGetReply>(version, &all);
  if (done) done = api.dump<api::DpdkDeviceDump, api::DpdkDeviceDetails>(next_device, &all);
  if (done)
    done = api.handle<api::DpdkDeviceCountersGet, api::DpdkDeviceCountersGetReply>(counters, &all);
  if (done) done = api.dump<api::DpdkXstatsDump, api::DpdkXstatsDetails>(next_xstat, &all);
  if (done)
    done = api.steps<api::DpdkVdevCreate, api::DpdkVdevCreateReply,
                     CreateWalk<api::DpdkVdevCreate, api::DpdkVdevCreateReply>>(&all);
  if (done)
    done = api.steps<api::DpdkVdevCreateV2, api::DpdkVdevCreateV2Reply,
                     CreateWalk<api::DpdkVdevCreateV2, api::DpdkVdevCreateV2Reply>>(&all);
  if (done) done = api.steps<api::DpdkVdevDelete, api::DpdkVdevDeleteReply, DeleteWalk>(&all);
  return done;
}

}  // namespace loom::dpdk
