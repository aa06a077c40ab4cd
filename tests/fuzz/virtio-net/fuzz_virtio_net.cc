// Fuzz target: what a TAP or a packet socket hands over, a virtio-net header and a frame.
//   input   a byte of choices, the header, then the frame
// Beside crashes and sanitizer reports these are findings: a checksum field, or headers in front of
// segments, that lie outside the first buffer.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include <hostloom/virtio_net.h>

#include "fuzz.h"
#include "graph/engine.h"

using namespace loom;

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

Worker& worker() {
  static const std::unique_ptr<Engine> engine = [] {
    EngineConfig c;
    c.buffers.buffers_per_numa = 64;
    auto e = Engine::create(c);
    check(e.has_value());
    check((*e)->build().has_value());
    return std::move(*e);
  }();
  return engine->worker(0);
}

// The frame in two buffers, as a driver would have it: at least 128 bytes in the first.
Buffer* chain_of(std::string_view frame) {
  Buffer* first = worker().alloc();
  const auto n = static_cast<uint32_t>(std::min<std::size_t>(frame.size(), 128));
  std::memcpy(first->append(n), frame.data(), n);
  frame.remove_prefix(n);
  if (frame.empty()) return first;
  const auto rest = static_cast<uint32_t>(std::min<std::size_t>(frame.size(), 2048));
  first->next = worker().alloc();
  std::memcpy(first->next->append(rest), frame.data(), rest);
  first->rest_len = rest;
  return first;
}

std::string input(uint8_t choices, const VnetHeader& h, const std::string& frame) {
  return std::string(1, static_cast<char>(choices)) +
         std::string(reinterpret_cast<const char*>(&h), sizeof h) + frame;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  VnetHeader h;
  if (size < 1 + sizeof h + sizeof(EthernetHeader)) return 0;
  std::memcpy(&h, data + 1, sizeof h);
  Buffer* b = chain_of({reinterpret_cast<const char*>(data) + 1 + sizeof h, size - 1 - sizeof h});
  if (vnet_apply_received(h, *b, /*takes_udp=*/data[0] & 1) == VnetVerdict::kGood) {
    check(b->gso_size == 0 || b->gso_size < b->length());
    VnetHeader out;
    if (vnet_make_to_send(*b, out) && out.flags & kVnetNeedsChecksum) {
      check(uint32_t{out.csum_start} + out.csum_offset + 2 <= b->len);
      check(out.hdr_len <= b->len);
    }
  }
  worker().free(b);
  return 0;
}

void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  for (const bool is_ip6 : {false, true}) {
    for (const bool is_udp : {false, true}) {
      for (const bool is_tagged : {false, true}) {
        std::string f(12, '\2');
        if (is_tagged) f += std::string("\x81\x00\x00\x05", 4);
        f += is_ip6 ? std::string("\x86\xdd", 2) : std::string("\x08\x00", 2);
        const auto l3 = f.size();
        f += std::string(is_ip6 ? 40 : 20, '\0');
        f[l3] = is_ip6 ? 0x60 : 0x45;
        f[l3 + (is_ip6 ? 6 : 9)] = static_cast<char>(is_udp ? kProtoUdp : kProtoTcp);
        const auto l4 = static_cast<uint16_t>(f.size());
        f += std::string(is_udp ? 8 : 20, '\0');
        if (!is_udp) f[l4 + 12u] = 0x50;
        f += std::string(500, 'x');
        VnetHeader h{.flags = kVnetNeedsChecksum,
                     .csum_start = l4,
                     .csum_offset = static_cast<uint16_t>(is_udp ? 6 : 16)};
        give(input(1, h, f));
        h.gso_type = is_udp ? kVnetGsoUdp : is_ip6 ? kVnetGsoTcp6 : kVnetGsoTcp4;
        h.gso_size = 100;
        h.hdr_len = static_cast<uint16_t>(l4 + (is_udp ? 8 : 20));
        give(input(1, h, f));
        h.flags = kVnetDataValid;
        give(input(1, h, f));
      }
    }
  }
}
