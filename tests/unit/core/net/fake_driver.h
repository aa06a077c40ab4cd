// A network device in memory: frames that a test puts in are received, frames that the stack sends
// are kept for the test to look at. One rx and one tx queue; any offload capabilities.
#pragma once
#include <algorithm>
#include <deque>
#include <iterator>
#include <vector>

#include <hostloom/interface.h>

#include "buffer/chain.h"
#include "net/net.h"

namespace loom {

using Bytes = std::vector<uint8_t>;

struct SentFrame {
  Bytes bytes;
  uint32_t flags = 0;
  uint16_t gso_size = 0;
  uint32_t segments = 1;  // buffers of the chain
};

// An MLDv2 report of one solicited-node group, in however many VLANs.
inline bool is_solicited_node_report(const Bytes& frame) {
  static constexpr uint8_t kPrefix[] = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff};
  std::size_t at = 12;
  while (at + 2 < frame.size() && frame[at] == 0x81 && frame[at + 1] == 0) at += 4;
  at += 2;  // where IPv6, hop-by-hop options of 8 bytes, and the report begin
  return frame.size() == at + 76 && frame[at - 2] == 0x86 && frame[at - 1] == 0xdd &&
         frame[at + 6] == 0 && frame[at + 48] == 143 &&
         std::equal(std::begin(kPrefix), std::end(kPrefix), frame.begin() + at + 60);
}

struct FakeDevice {
  IfIndex index = kNoIndex;
  bool keeps_reports = false;  // of solicited-node groups: each address has them, at random times
  struct Incoming {
    Bytes bytes;
    uint32_t flags = 0;
    uint16_t gso_size = 0;
  };
  std::deque<Incoming> to_receive;
  std::vector<SentFrame> sent;
  uint32_t room = ~0u;  // frames that tx takes before it is full
  bool is_destroyed = false;
  MacAddress told_mac;  // by set_mac
  bool refuses_mac = false;
  Status answer = Status::kOk;                          // of set_admin and set_mtu
  std::vector<std::pair<uint16_t, RxMode>> told_modes;  // by set_rx_mode
  uint32_t n_rx_calls = 0;

  void inject(Bytes frame, uint32_t flags = 0, uint16_t gso_size = 0) {
    to_receive.push_back({std::move(frame), flags, gso_size});
  }
  std::vector<SentFrame> take_sent() { return std::exchange(sent, {}); }

  static uint32_t tx(Worker& w, void* device, uint16_t, std::span<Buffer* const> in) noexcept {
    auto& self = *static_cast<FakeDevice*>(device);
    uint32_t n = 0;
    for (; n < in.size() && self.room != 0; ++n, --self.room) {
      SentFrame f;
      f.bytes.resize(in[n]->length());
      chain_copy_out(*in[n], 0, std::as_writable_bytes(std::span(f.bytes)));
      f.flags = in[n]->flags;
      f.gso_size = in[n]->gso_size;
      f.segments = chain_segments(*in[n]);
      if (self.keeps_reports || !is_solicited_node_report(f.bytes))
        self.sent.push_back(std::move(f));
    }
    w.free(in.first(n));
    return n;
  }
  static uint32_t rx(Worker& w, NodeRuntime& rt, void* device, uint16_t) noexcept {
    auto& self = *static_cast<FakeDevice*>(device);
    ++self.n_rx_calls;
    uint32_t n = 0;
    for (; n < kFrameSize && !self.to_receive.empty(); ++n) {
      const Incoming frame = std::move(self.to_receive.front());
      self.to_receive.pop_front();
      Buffer* b = w.alloc();
      if (!b || !chain_append(w, *b, std::as_bytes(std::span(frame.bytes)))) return n;
      b->rx_if = self.index;
      b->flags |= frame.flags;
      b->gso_size = frame.gso_size;
      rt.enqueue_all({&b, 1}, 0);
    }
    return n;
  }
  static Status set_admin(void* device, bool) noexcept {
    return static_cast<FakeDevice*>(device)->answer;
  }
  static Status set_mtu(void* device, uint32_t) noexcept {
    return static_cast<FakeDevice*>(device)->answer;
  }
  static Status set_mac(void* device, const MacAddress& mac) noexcept {
    auto& self = *static_cast<FakeDevice*>(device);
    if (self.refuses_mac) return Status::kIo;
    self.told_mac = mac;
    return Status::kOk;
  }
  static void set_rx_mode(void* device, uint16_t queue, RxMode mode) noexcept {
    static_cast<FakeDevice*>(device)->told_modes.emplace_back(queue, mode);
  }
  static void destroy(void* device) noexcept {
    static_cast<FakeDevice*>(device)->is_destroyed = true;
  }
};

inline const DriverOps kFakeDriver{.name = "fake",
                                   .tx = FakeDevice::tx,
                                   .rx = FakeDevice::rx,
                                   .set_admin = FakeDevice::set_admin,
                                   .set_mtu = FakeDevice::set_mtu,
                                   .destroy = FakeDevice::destroy,
                                   .set_mac = FakeDevice::set_mac,
                                   .set_rx_mode = FakeDevice::set_rx_mode};

}  // namespace loom
