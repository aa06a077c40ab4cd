// Module "tcp": connections and counters over the binary API.
//
// Connections belong to their worker, so that a dump visits it, for kSlice slots or kBatch finds at
// a time; after a millisecond of visits everything else is served. Control thread, but for what
// `visit` does.
#include "api.h"

#include <hostloom/api_server.h>

#include <algorithm>
#include <cstring>

#include "info.h"
#include "stats.h"
#include "tcp.api.h"
#include "tcp_worker.h"

namespace loom::tcp {
namespace {

constexpr int32_t kNoSuchFib = -3, kInvalidValue = -7, kNoMatchingInterface = -54,
                  kInvalidWorker = -89, kLimitExceeded = -162;
constexpr uint32_t kSlice = 4096;
constexpr std::size_t kBatch = 256;
constexpr SessionHandle kNoHandle = ~SessionHandle{0};

IpAddress from_api(const api::Address& a) {
  const auto& raw = a.un.raw;
  if (a.af == api::AddressFamily::kAddressIp4) {
    Ip4Address four;
    std::memcpy(four.bytes.data(), raw.data(), four.bytes.size());
    return four;
  }
  Ip6Address six;
  std::memcpy(six.bytes.data(), raw.data(), six.bytes.size());
  return six;
}

api::Address to_api(const IpAddress& a) {
  api::Address to;
  to.af = a.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6;
  to.un.raw = a.bits.bytes;
  return to;
}

uint32_t in_us(TimeNs t) { return static_cast<uint32_t>(t / kMicrosecond); }

State state_of(const Connection& c) { return c.state; }
State state_of(const HalfOpen&) { return State::kSynReceived; }
State state_of(const TimeWait&) { return State::kTimeWait; }

// Of what stands for a connection there is no more to tell.
template <class T>
void describe(TcpWorker&, const T&, api::TcpConnectionDetails&) {}

void describe(TcpWorker& t, const Connection& c, api::TcpConnectionDetails& d) {
  ConnectionInfo i;
  connection_info(t, c, i);
  if (c.session != kNoSession) d.session_handle = t.w.sessions->handle(t.w, c.session);
  d.options = static_cast<api::TcpOption>(i.tcpi_options);
  d.snd_wscale = i.snd_wscale;
  d.rcv_wscale = i.rcv_wscale;
  d.recovery = static_cast<api::TcpRecovery>(c.recovery);
  d.congestion = i.congestion;
  d.snd_mss = i.snd_mss;
  d.rcv_mss = i.rcv_mss;
  d.pmtu = i.pmtu;
  d.cwnd = i.cwnd;
  d.ssthresh = i.ssthresh;
  d.pacing_rate = c.cc->pacing_rate;
  d.in_flight = i.in_flight;
  d.snd_wnd = i.snd_wnd;
  d.rcv_wnd = i.rcv_wnd;
  d.srtt = in_us(i.srtt);
  d.rttvar = in_us(i.rttvar);
  d.min_rtt = in_us(i.min_rtt);
  d.rto = in_us(i.rto);
  d.backoff = c.backoff;
  d.retransmits = i.total_retrans;
  d.segs_in = i.segs_in;
  d.segs_out = i.segs_out;
  d.bytes_received = i.bytes_received;
  d.bytes_acked = i.bytes_acked;
}

// One tcp_connection_dump under way: worker by worker, pool by pool, slot by slot. In the order of
// a connection's life, so that none is missed for becoming the next thing meanwhile.
class ConnectionWalk {
 public:
  ConnectionWalk(const api::TcpConnectionDump& wanted, void*) : wanted_(wanted) {}

  ApiStep next(ApiCall& call) {
    if (at_ < batch_.size()) {
      batch_[at_].context = wanted_.context;
      call.send(batch_[at_++]);
      return ApiStep::kItem;
    }
    batch_.clear();
    at_ = 0;
    Host& host = *shared().host;
    if (worker_ >= host.n_workers()) return ApiStep::kEnd;
    host.run_on_worker(worker_, [this](Worker& w) {
      TcpWorker& t = tcp_worker(w);
      switch (pool_) {
        case 0:
          return visit(t, t.half_open);
        case 1:
          return visit(t, t.connections);
        default:
          return visit(t, t.time_waits);
      }
    });
    return ApiStep::kSkip;
  }

 private:
  // On the worker.
  template <class P>
  void visit(TcpWorker& t, P& pool) {
    const uint32_t end = std::min(slot_ + kSlice, pool.end());
    for (; slot_ < end && batch_.size() < kBatch; ++slot_) {
      const auto* x = pool.at(slot_);
      if (!x || !matches(x->ends, state_of(*x))) continue;
      auto& d = batch_.emplace_back();
      d.session_handle = kNoHandle;
      d.worker = t.w.index;
      d.state = static_cast<api::TcpState>(state_of(*x));
      d.local = to_api(x->ends.local);
      d.local_port = x->ends.local_port;
      d.remote = to_api(x->ends.remote);
      d.remote_port = x->ends.remote_port;
      describe(t, *x, d);
    }
    if (slot_ < pool.end()) return;
    slot_ = 0;
    if (++pool_ < 3) return;
    pool_ = 0;
    ++worker_;
  }
  bool matches(const Endpoints& ends, State state) const {
    return (wanted_.state == api::TcpState::kTcpApiStateAny ||
            wanted_.state == static_cast<api::TcpState>(state)) &&
           (wanted_.local_port == 0 || wanted_.local_port == ends.local_port) &&
           (wanted_.remote_port == 0 || wanted_.remote_port == ends.remote_port);
  }

  api::TcpConnectionDump wanted_;
  uint32_t worker_ = 0, pool_ = 0, slot_ = 0;  // to be looked at next
  std::vector<api::TcpConnectionDetails> batch_;
  std::size_t at_ = 0;  // next to be sent
};

int32_t retval_of(Status s) {
  switch (s) {
    case Status::kOk:
      return 0;
    case Status::kNotFound:
      return kNoSuchFib;
    case Status::kUnreachable:
      return kNoMatchingInterface;
    case Status::kNoMemory:
      return kLimitExceeded;
    default:
      return kInvalidValue;
  }
}

api::TcpConfigureSrcAddressesReply configure_sources(ApiCall&,
                                                     const api::TcpConfigureSrcAddresses& request,
                                                     void*) {
  const auto done = add_source_addresses(*shared().host, from_api(request.first_address),
                                         from_api(request.last_address), request.vrf_id);
  return {.retval = done ? 0 : retval_of(done.error().code)};
}

api::TcpStatsGetReply get_stats(ApiCall&, const api::TcpStatsGet& request, void*) {
  api::TcpStatsGetReply reply;
  const auto n_workers = static_cast<uint32_t>(shared().workers.size());
  if (request.worker != ~0u && request.worker >= n_workers) {
    reply.retval = kInvalidWorker;
    return reply;
  }
  for (const std::string& name : stat_names()) reply.stats.push_back({.name = name});
  std::vector<uint64_t> values(reply.stats.size());
  for (uint32_t i = 0; i < n_workers; ++i) {
    if (request.worker != ~0u && request.worker != i) continue;
    read_stats(i, values);
    for (std::size_t k = 0; k < values.size(); ++k) reply.stats[k].value += values[k];
  }
  return reply;
}

}  // namespace

Result<void> add_api(Host& host) {
  auto api = host.api();
  auto done = api.module(api::kTcpModule);
  if (done) done = api.walk<api::TcpConnectionDump, ConnectionWalk>();
  if (done)
    done = api.handle<api::TcpConfigureSrcAddresses, api::TcpConfigureSrcAddressesReply>(
        configure_sources);
  if (done) done = api.handle<api::TcpStatsGet, api::TcpStatsGetReply>(get_stats);
  return done;
}

}  // namespace loom::tcp
