// Fuzz target: fragments in any order, overlapping, too many, too late, over both IP versions, on
// two workers, against what every byte of a datagram must be.
//   input   repeated { u8 what, u8 datagram, u16 offset, u16 length (little endian) }
//   what    bit 0: IPv6; bit 1: no more fragments; bits 2-3: ECN; bit 4: length in whole units of
//           8 bytes; bit 5: 10 s pass before it; bit 6: IPv4 options, IPv6 destination options;
//           bit 7: in segments of uneven sizes
// Each datagram has its own bytes, so that a fragment says the same whenever it comes. Findings are
// crashes, sanitizer reports, lost buffers, a datagram that is delivered with other bytes, and one
// that is not delivered, whole and once, although all of it came: whatever the input was, such ones
// follow it.
#include <cstdlib>
#include <map>

#include <hostloom/checksum.h>

#include "fake_driver.h"
#include "fuzz.h"
#include "graph/engine.h"
#include "net/net.h"
#include "packets.h"

namespace loom {
namespace {

constexpr uint8_t kProtocol = 253;  // RFC 3692: no checksum that a fragment would break
constexpr uint32_t kBuffers = 1024;
constexpr const char *kPeer4 = "10.0.0.1", *kOwn4 = "10.0.0.2", *kPeer6 = "2001:db8::1",
                     *kOwn6 = "2001:db8::2";

void check(bool holds) {
  if (!holds) std::abort();
}
uint8_t byte_at(uint8_t datagram, std::size_t at) {
  return static_cast<uint8_t>(datagram * 37u + at * 7u + at / 251);
}

constexpr uint8_t kInputs = 200;  // datagrams of the input; later ones are the check's own
std::map<uint8_t, std::vector<std::size_t>> delivered;  // their lengths, of the check's own

// Where whole datagrams arrive: the first byte says which one it is.
void sink(Worker& w, NodeRuntime&, std::span<Buffer* const> in) noexcept {
  for (Buffer* b : in) {
    Bytes bytes(b->length());
    chain_copy_out(*b, 0, std::as_writable_bytes(std::span(bytes)));
    check(b->len >= std::min<std::size_t>(bytes.size(), 20));
    if (bytes.empty()) continue;  // a packet that was no fragment
    uint32_t datagram = 0;
    while (datagram < 256 && byte_at(static_cast<uint8_t>(datagram), 0) != bytes[0]) ++datagram;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      check(bytes[i] == byte_at(static_cast<uint8_t>(datagram), i));
    if (datagram >= kInputs) delivered[static_cast<uint8_t>(datagram)].push_back(bytes.size());
  }
  w.free(in);
}

struct FuzzHost {
  TimeNs now = kSecond;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Net> net;
  FakeDevice device;

  FuzzHost() {
    EngineConfig e{.n_workers = 2,
                   .clock = [](void* self) noexcept { return static_cast<FuzzHost*>(self)->now; },
                   .clock_context = this};
    e.buffers.buffers_per_numa = kBuffers;
    engine = *Engine::create(e);
    net = *Net::create(*engine);
    (void)*engine->add_node({.name = "fuzz-sink", .run = sink});
    engine->build().value();
    for (const bool is_ip6 : {false, true})
      net->add_ip_protocol(kProtocol, is_ip6, "fuzz-sink").value();
    InterfaceConfig c;
    c.name = "fuzz";
    c.mac = {{2, 0, 0, 0, 0, 1}};
    c.ops = &kFakeDriver;
    c.device = &device;
    c.rx_queues = {{}};
    device.index = *net->add_interface(c);
    net->add_address(device.index, *IpPrefix::parse("10.0.0.2/24")).value();
    net->add_address(device.index, *IpPrefix::parse("2001:db8::2/64")).value();
    net->set_admin(device.index, true).value();
  }
  void run() {
    for (int idle = 0; idle < 3;) idle = engine->step(0) + engine->step(1) ? 0 : idle + 1;
    device.sent.clear();
  }
  // Through the device, or in a chain as a driver may make it: the first 128 bytes in one segment.
  void receive(const Bytes& frame, bool is_uneven) {
    if (!is_uneven) {
      device.inject(frame);
      return run();
    }
    Worker& w = engine->worker(0);
    w.now = now;
    const auto bytes = std::as_bytes(std::span(frame)).subspan(14);
    Buffer* first = w.alloc();
    if (!first) return;
    Buffer* last = first;
    std::size_t done = std::min<std::size_t>(bytes.size(), 128);
    std::memcpy(first->append(static_cast<uint32_t>(done)), bytes.data(), done);
    for (uint32_t size = 1; done < bytes.size(); size = size * 5 % 1009) {
      Buffer* b = w.alloc();
      if (!b) break;
      const auto n = static_cast<uint32_t>(std::min<std::size_t>(bytes.size() - done, size));
      std::memcpy(b->append(n), bytes.data() + done, n);
      first->rest_len += n;
      last->next = b;
      last = b;
      done += n;
    }
    first->rx_if = device.index;
    if (done == bytes.size())
      w.enqueue_to_node(engine->find_node(frame[12] == 8 ? "ip4-input" : "ip6-input"), first);
    else
      w.free(first);
    run();
  }
  void pass(TimeNs time) {
    now += time;
    run();
  }
  uint32_t free_buffers() const {
    uint32_t n = 0;
    for (const auto* pool : engine->buffer_pools()) n += pool->stats().free;
    for (uint32_t i = 0; i < 2; ++i) n += engine->worker(i).cache.n;
    return n;
  }
};

Bytes packet(uint8_t what, uint8_t datagram, uint32_t offset, const Bytes& payload) {
  const bool is_last = what & 2, has_options = what & 0x40;
  const auto ecn = static_cast<uint8_t>(what >> 2 & 3);
  if (what & 1) {
    Bytes fragment = {kProtocol, 0, 0, 0, 0, 0, 0, datagram};
    put16(fragment, 2, offset | !is_last);
    const Bytes options = has_options ? Bytes{44, 0, 1, 4, 0, 0, 0, 0} : Bytes{};
    Bytes p = make_ip6(
        {.src = kPeer6, .dst = kOwn6, .next_header = has_options ? uint8_t{60} : uint8_t{44}},
        options + fragment + payload);
    p[1] = static_cast<uint8_t>(ecn << 4);
    return p;
  }
  const auto field = static_cast<uint16_t>(offset / 8 | (is_last ? 0 : 0x2000));
  return make_ip4({.src = kPeer4,
                   .dst = kOwn4,
                   .protocol = kProtocol,
                   .tos = ecn,
                   .id = datagram,
                   .flags_fragment = field,
                   .options = has_options ? Bytes{1, 1, 1, 0} : Bytes{}},
                  payload);
}

Bytes frame_of(uint8_t what, uint8_t datagram, uint32_t offset, uint32_t length) {
  Bytes payload(length);
  for (uint32_t i = 0; i < length; ++i) payload[i] = byte_at(datagram, offset + i);
  return ethernet("02:00:00:00:00:01", "02:00:00:00:00:99", what & 1 ? 0x86dd : 0x0800,
                  packet(what, datagram, offset, payload));
}

}  // namespace
}  // namespace loom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace loom;
  static FuzzHost& host = *new FuzzHost;
  for (; size >= 6; data += 6, size -= 6) {
    const uint8_t what = data[0], datagram = data[1];
    const uint32_t offset = (data[2] | data[3] << 8u) & 0xfff8u;
    uint32_t length = (data[4] | data[5] << 8u) % 9000;
    if (what & 0x10) length &= ~7u;
    if (what & 0x20) host.pass(10 * kSecond);
    host.receive(frame_of(what, datagram % kInputs, offset, length), what & 0x80);
  }
  // In order, and backwards; over both versions.
  delivered.clear();
  for (uint8_t i = 0; i < 4; ++i) {
    const uint8_t datagram = kInputs + i;
    for (uint32_t n = 0; n < 4; ++n) {
      const uint32_t at = (i & 2 ? 3 - n : n) * 2000;
      host.receive(frame_of((i & 1) | (at == 6000 ? 2 : 0), datagram, at, at == 6000 ? 1234 : 2000),
                   n % 2);
    }
    check(delivered[datagram] == std::vector<std::size_t>{7234});
  }
  host.pass(61 * kSecond);
  for (int i = 0; i < 6; ++i) host.pass(kSecond);  // errors that wait for a neighbour give up
  check(host.free_buffers() == kBuffers);
  return 0;
}

void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  std::string all;
  const auto add = [](std::string& to, uint8_t what, uint8_t datagram, uint32_t offset,
                      uint32_t length) {
    for (const uint32_t b : {uint32_t{what}, uint32_t{datagram}, offset & 0xff, offset >> 8,
                             length & 0xff, length >> 8})
      to.push_back(static_cast<char>(b));
  };
  for (const uint8_t version : {0, 1})
    for (const uint8_t options : {0, 0x40}) {
      const auto what = static_cast<uint8_t>(version | options | (options ? 0x80 : 0));
      std::string in_order, backwards, crumbs;
      for (uint32_t at = 0; at < 4 * 1480; at += 1480)
        add(in_order, what | (at == 3 * 1480 ? 2 : 0), 1, at, 1480);
      for (uint32_t at = 4 * 8000; at != 0; at -= 8000)
        add(backwards, what | (at == 4 * 8000 ? 2 : 0), 2, at - 8000, 8000);
      for (uint32_t at = 0; at < 64; at += 8) add(crumbs, what | (at == 56 ? 2 : 0), 3, at, 8);
      std::string mixed;  // of two datagrams, one with an overlap
      for (std::size_t i = 0; i < 4; ++i)
        mixed += in_order.substr(i * 6, 6) + backwards.substr(i * 6, 6);
      add(mixed, what, 2, 7992, 16);
      for (const auto& s : {in_order, backwards, crumbs, mixed}) {
        give(s);
        all += s;
      }
    }
  give(all);
}
