// Net::start_ping, and one echo request.
#include <hostloom/checksum.h>
#include <hostloom/ip_push.h>

#include "net/net.h"
#include "net/state.h"

namespace loom {

Status send_echo(Worker& w, PingBoard& board, const IpAddress& to, uint32_t fib_index, uint16_t id,
                 uint16_t sequence) {
  constexpr uint32_t kPayload = 56;  // as every ping sends
  NetState& net = net_state(w);
  RouteInfo route;
  if (const Status s = w.net->route(w, to, fib_index, &route); s != Status::kOk) return s;
  Buffer* b = w.alloc();
  if (!b) return Status::kNoMemory;
  auto* icmp = reinterpret_cast<IcmpHeader*>(b->append(sizeof(IcmpHeader)));
  *icmp = {.type = to.is_ip4 ? kIcmp4Echo : kIcmp6Echo,
           .code = 0,
           .checksum = 0,
           .rest = uint32_t{id} << 16 | sequence};
  std::byte* payload = b->append(kPayload);
  for (uint32_t i = 0; i < kPayload; ++i) payload[i] = static_cast<std::byte>(i);
  b->fib_index = fib_index;
  if (to.is_ip4) {
    icmp->checksum = checksum_finish(checksum_add(0, b->data, b->len));
    push_ip4_header(*b, route.source.ip4(), to.ip4(), kProtoIcmp, 0,
                    static_cast<uint16_t>(w.random()));
  } else {
    icmp->checksum = checksum_finish(checksum_add(
        pseudo_header_sum(route.source.ip6(), to.ip6(), kProtoIcmp6, b->len), b->data, b->len));
    push_ip6_header(*b, route.source.ip6(), to.ip6(), kProtoIcmp6, 0, 0);
  }
  board.sent(sequence, w.now);
  w.enqueue_to_node(to.is_ip4 ? net.nodes.ip4_lookup : net.nodes.ip6_lookup, b);
  return Status::kOk;
}

namespace {

Result<void> check(uint32_t count, TimeNs interval) {
  if (count == 0 || count > PingBoard::kMaxRequests)
    return error(Status::kInvalid, "count " + std::to_string(count) + " is not from 1 to " +
                                       std::to_string(PingBoard::kMaxRequests));
  if (interval < 0 || interval > 60 * kSecond)
    return error(Status::kInvalid, "the interval is not from 0 to 60 s");
  if (count * interval > Net::kMaxPingTime)
    return error(Status::kInvalid, "count " + std::to_string(count) +
                                       " times the interval is above " +
                                       std::to_string(Net::kMaxPingTime / kSecond) + " s");
  return {};
}

}  // namespace

Result<uint64_t> Net::start_ping(const IpAddress& address, uint32_t count, TimeNs interval,
                                 uint32_t table, PingDone done) {
  NetState& s = *state_;
  if (auto ok = check(count, interval); !ok) return ok.error();
  const auto fib_index = s.routes.find_table(table, !address.is_ip4);
  if (!fib_index) return fib_index.error();
  return s.ping_runs.start(address, count, interval, *fib_index, std::move(done));
}

void Net::cancel_ping(uint64_t number) { state_->ping_runs.cancel(number); }

}  // namespace loom
