// Node "udp-path-mtu": what another worker has heard of the MTU of a path.
//   in    a News at the data, made here on that worker
//   out   none
//   cost  a look at the destinations; as rare as what routers say, and only what changes something
#include "path_news.h"

#include <cstring>

namespace loom::udp {
namespace {

enum Counter : uint16_t { kLearnt, kNotSentThere, kTooShort, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"learnt", Severity::kInfo, "the path's MTU is smaller than this worker thought"},
    {"not-sent-there", Severity::kInfo, "this worker has sent nothing there lately"},
    {"too-short", Severity::kError, "not what another worker sends"},
};

struct News {
  IpAddress to;
  uint32_t fib_index, mtu;
};

void udp_path_mtu(Worker& w, NodeRuntime& rt, std::span<Buffer* const> in) noexcept {
  UdpWorker& u = udp_worker(w);
  std::array<uint32_t, kCounterCount> counts{};
  for (Buffer* b : in) {
    News news;
    if (b->len < sizeof news) {
      ++counts[kTooShort];
    } else {
      std::memcpy(&news, b->data, sizeof news);
      Destination* d = u.destinations.find(news.to, news.fib_index);
      ++counts[d ? kLearnt : kNotSentThere];
      if (d) {
        d->learn(news.mtu, w.now);
        ++u.pmtu_news;
      }
    }
    w.free(b);
  }
  rt.add_counters(counts);
}

}  // namespace

void learn_path_mtu(UdpWorker& u, const IpAddress& to, uint32_t fib_index, uint32_t mtu) noexcept {
  Destination& d = u.destinations.get(to, fib_index, u.w.now);
  const uint32_t before = d.path_mtu(u.w.now);
  d.learn(mtu, u.w.now);
  ++u.pmtu_news;
  if (d.pmtu == before) return;
  const News news{to, fib_index, d.pmtu};
  for (uint32_t i = 0; i < shared().n_workers; ++i) {
    Buffer* b = i == u.w.index ? nullptr : u.w.alloc();
    if (!b) continue;  // who is not told hears of it by itself
    std::memcpy(b->append(sizeof news), &news, sizeof news);
    u.w.hand_off(i, shared().path_mtu, {&b, 1});
  }
}

const NodeInfo kUdpPathMtu{
    .name = "udp-path-mtu", .run = udp_path_mtu, .counters = kCounters, .next = {"drop"}};

}  // namespace loom::udp
