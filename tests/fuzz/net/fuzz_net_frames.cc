// libFuzzer target: frames from a hostile wire, through the whole IP layer, in virtual time.
//   input   repeated { u8 what, u16 length (little endian), that many bytes of the frame }
//   what    bits 0-1: device; bit 2: one-second pause before it; bits 3-4: what the device says it
//           verified; bit 5: a large-receive packet, its segment size in the frame's first two
//           bytes
// A frame's destination and type are set to something that is looked at (bit 6: left as they are),
// and its IPv4 header checksum is made right (bit 7: left wrong).
// Crashes, sanitizer reports and lost buffers are findings.
#include <cstdlib>

#include <hostloom/checksum.h>

#include "fake_driver.h"
#include "graph/engine.h"
#include "net/net.h"

namespace loom {
namespace {

struct FuzzHost {
  TimeNs now = kSecond;
  std::unique_ptr<Engine> engine;
  std::unique_ptr<Net> net;
  std::array<FakeDevice, 2> devices;

  FuzzHost() {
    EngineConfig e{.clock = [](void* self) noexcept { return static_cast<FuzzHost*>(self)->now; },
                   .clock_context = this};
    e.buffers.buffers_per_numa = 1024;
    engine = *Engine::create(e);
    net = *Net::create(*engine, {.max_neighbors = 64});
    engine->build().value();
    const uint32_t every = kCapTxIp4Checksum | kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;
    for (uint8_t i = 0; i < 2; ++i) {
      InterfaceConfig c;
      c.name = "fuzz" + std::to_string(i);
      c.mac = {{2, 0, 0, 0, 0, static_cast<uint8_t>(i + 1)}};
      c.caps = i == 0 ? every : 0;
      c.mtu = i == 0 ? 1500 : 1280;
      c.ops = &kFakeDriver;
      c.device = &devices[i];
      c.rx_queues = {{}};
      devices[i].index = *net->add_interface(c);
      const std::string n = std::to_string(i);
      net->add_address(devices[i].index, *IpPrefix::parse("10.0." + n + ".2/24")).value();
      net->add_address(devices[i].index, *IpPrefix::parse("2001:db8:" + n + "::2/64")).value();
      net->set_admin(devices[i].index, true).value();
      net->add_neighbor(devices[i].index, *IpAddress::parse("10.0." + n + ".1"),
                        {{2, 0, 0, 0, 0, 0x99}})
          .value();
    }
  }
  void run() {
    for (int idle = 0; idle < 3;) idle = engine->step() ? 0 : idle + 1;
    for (auto& d : devices) d.sent.clear();
  }
  uint32_t free_buffers() const {
    return engine->buffer_pools()[0]->stats().free + engine->worker(0).cache.n;
  }
};

void dress(Bytes& frame, uint8_t what, const FakeDevice& d) {
  if (what & 0x40 || frame.size() < 34) return;
  const MacAddress own{{2, 0, 0, 0, 0, static_cast<uint8_t>(d.index + 1)}};
  std::copy(own.bytes.begin(), own.bytes.end(), frame.begin());
  frame[6] &= 0xfe;
  const uint8_t version = frame[14] >> 4;
  const uint16_t type = version == 4 ? 0x0800 : version == 6 ? 0x86dd : 0x0806;
  frame[12] = static_cast<uint8_t>(type >> 8);
  frame[13] = static_cast<uint8_t>(type);
  const std::size_t header = (frame[14] & 15u) * 4u;
  if (version != 4 || header < 20 || frame.size() < 14 + header || what & 0x80) return;
  frame[24] = frame[25] = 0;
  const uint16_t sum = checksum_finish(checksum_add(0, frame.data() + 14, header));
  std::memcpy(&frame[24], &sum, 2);
}

}  // namespace
}  // namespace loom

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  using namespace loom;
  static FuzzHost& host = *new FuzzHost;  // made once: interfaces are not what is tested
  host.now += 1000 * kSecond;             // what the last input left has aged away
  host.run();
  while (size >= 3) {
    const uint8_t what = data[0];
    std::size_t n = data[1] | static_cast<std::size_t>(data[2]) << 8;
    data += 3;
    size -= 3;
    n = std::min(n, size);
    Bytes frame(data, data + n);
    data += n;
    size -= n;
    if (what & 4) host.now += kSecond;
    FakeDevice& d = host.devices[what & 1];
    const uint16_t gso =
        what & 0x20 && n >= 2 ? static_cast<uint16_t>(frame[0] | frame[1] << 8) : uint16_t{0};
    dress(frame, what, d);
    d.inject(
        std::move(frame),
        (what >> 3 & 1 ? kBufferL4ChecksumOk : 0u) | (what >> 4 & 1 ? kBufferIp4ChecksumOk : 0u),
        gso);
    host.run();
  }
  for (int i = 0; i < 7; ++i) {  // who waits for a neighbour gives up; then who waits for fragments
    host.now += i < 6 ? kSecond : 60 * kSecond;
    host.run();
  }
  if (host.free_buffers() != 1024) std::abort();
  return 0;
}
