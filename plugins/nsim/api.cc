// Module "nsim": the same over the binary API. Control thread.
#include <hostloom/api_server.h>

#include "nsim.api.h"
#include "nsim.h"

namespace loom::nsim {
namespace {

constexpr int32_t kInvalidSwIfIndex = -2, kInvalidValue2 = -8, kInvalidValue3 = -150,
                  kCannotEnableDisableFeature = -100;

Nsim& nsim_of(void* context) { return *static_cast<Nsim*>(context); }

double fraction(uint32_t one_in) { return one_in ? 1.0 / one_in : 0; }

api::NsimConfigure2Reply configure(ApiCall&, const api::NsimConfigure2& r, void* context) {
  Nsim& nsim = nsim_of(context);
  const Config c{.delay = TimeNs{r.delay_in_usec} * kMicrosecond,
                 .bandwidth = r.bandwidth_in_bits_per_second,
                 .packet_size = r.average_packet_size,
                 .drop_fraction = fraction(r.packets_per_drop),
                 .reorder_fraction = fraction(r.packets_per_reorder),
                 .seed = {}};
  const auto done = nsim.configure(c);
  if (done) return {};
  nsim.host().log(LogLevel::kWarn, "nsim", "nsim_configure2: " + done.error().message);
  if (!check_delay(c.delay)) return {.retval = kApiInvalidValue};
  if (!check_bandwidth(c.bandwidth)) return {.retval = kInvalidValue2};
  if (!check_packet_size(c.packet_size)) return {.retval = kInvalidValue3};
  return {.retval = api_retval(done.error().code)};
}

api::NsimOutputFeatureEnableDisableReply enable(ApiCall&,
                                                const api::NsimOutputFeatureEnableDisable& r,
                                                void* context) {
  const auto done = nsim_of(context).enable(r.sw_if_index, "", r.enable_disable);
  if (done) return {};
  const Status why = done.error().code;
  return {.retval = why == Status::kNotFound       ? kInvalidSwIfIndex
                    : why == Status::kNotConnected ? kCannotEnableDisableFeature
                                                   : api_retval(why)};
}

}  // namespace

Result<void> add_api(Host& host, Nsim& nsim) {
  auto api = host.api();
  auto done = api.module(api::kNsimModule);
  if (done) done = api.handle<api::NsimConfigure2, api::NsimConfigure2Reply>(configure, &nsim);
  if (done)
    done =
        api.handle<api::NsimOutputFeatureEnableDisable, api::NsimOutputFeatureEnableDisableReply>(
            enable, &nsim);
  return done;
}

}  // namespace loom::nsim
