// The driver: receive and send on a worker, the rest on the control thread.
#include "device.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <list>

namespace pcap_file {
namespace {

enum Next : uint16_t { kToEthernet };
enum Counter : uint16_t { kReceived, kNoBuffers, kCounterCount };
constexpr CounterInfo kCounters[kCounterCount] = {
    {"received", Severity::kInfo, "frames of a capture"},
    {"no-buffers", Severity::kWarn, "rounds that ended early because the pool was empty"},
};

std::list<Device*>& devices() {
  static std::list<Device*> all;
  return all;
}

// The frame as a chain of buffers, or null when the pool is empty.
Buffer* to_chain(Worker& w, std::span<const std::byte> bytes) noexcept {
  Buffer* first = nullptr;
  Buffer* last = nullptr;
  while (!bytes.empty()) {
    Buffer* b = w.alloc();
    if (!b) {
      if (first) w.free(first);
      return nullptr;
    }
    const auto n = static_cast<uint32_t>(std::min<std::size_t>(bytes.size(), b->tailroom()));
    std::memcpy(b->append(n), bytes.data(), n);
    bytes = bytes.subspan(n);
    if (first) {
      last->next = b;
      first->rest_len += n;
    } else {
      first = b;
    }
    last = b;
  }
  return first;
}

uint32_t rx(Worker& w, NodeRuntime& rt, void* device, uint16_t) noexcept {
  Device& d = *static_cast<Device*>(device);
  std::array<Buffer*, kFrameSize> packets;
  uint32_t n = 0;
  uint64_t n_bytes = 0;
  while (n < kFrameSize && d.next < d.capture.frames.size()) {
    Buffer* b = to_chain(w, d.capture.frame(d.next));
    if (!b) {
      rt.count(kNoBuffers);
      break;
    }
    ++d.next;
    b->rx_if = d.index;
    n_bytes += b->length();
    packets[n++] = b;
  }
  if (n == 0) return 0;
  if (d.next == d.capture.frames.size()) {  // once: the worker may sleep now
    eventfd_t ignored;
    (void)!eventfd_read(d.event_fd, &ignored);
  }
  rt.count(kReceived, n);
  rt.enqueue_all({packets.data(), n}, kToEthernet);
  // The driver counts what it received; this worker is the only writer.
  InterfaceCounters& c = *d.rx_counters[w.index];
  __atomic_store_n(&c.packets, c.packets + n, __ATOMIC_RELAXED);
  __atomic_store_n(&c.bytes, c.bytes + n_bytes, __ATOMIC_RELAXED);
  return n;
}

uint32_t tx(Worker& w, void* device, uint16_t, std::span<Buffer* const> packets) noexcept {
  Device& d = *static_cast<Device*>(device);
  uint32_t n = static_cast<uint32_t>(packets.size());
  if (d.writer) {
    n = 0;
    while (n < packets.size() && d.writer->put(*packets[n], w.now)) ++n;
    d.writer->flush();
  }
  w.free(packets.first(n));
  return n;  // the caller drops and counts the rest
}

// No worker uses the device any more.
void destroy(void* device) noexcept {
  auto* d = static_cast<Device*>(device);
  devices().remove(d);
  delete d;
}

void describe(void* device, std::string& out) noexcept {
  const Device& d = *static_cast<Device*>(device);
  out += "  capture of " + std::to_string(d.capture.frames.size()) + " frames";
  if (d.writer)
    out += ", sent " + std::to_string(d.writer->frames()) + ", lost " +
           std::to_string(d.writer->failed()) + " bytes";
  out += "\n";
}

}  // namespace

// Named for the listing of what the driver does inside the IP layer's polling.
const NodeInfo kInputNode{.name = "pcap-file-input",
                          .run = nullptr,
                          .kind = NodeKind::kInput,
                          .counters = kCounters,
                          .next = {"ethernet-input"}};

const DriverOps kDriver{
    .name = "pcap-file", .tx = tx, .rx = rx, .destroy = destroy, .describe = describe};

Device::~Device() {
  if (event_fd >= 0) close(event_fd);
}

Result<void> create(Host& host, const Config& wanted) {
  auto d = std::make_unique<Device>();
  d->host = &host;
  d->name = wanted.name;
  if (!wanted.rx_file.empty()) {
    auto capture = read_capture(wanted.rx_file);
    if (!capture) return capture.error();
    d->capture = std::move(*capture);
  }
  if (!wanted.tx_file.empty()) {
    auto writer = PcapWriter::open(host, wanted.tx_file);
    if (!writer) return writer.error();
    d->writer = std::move(*writer);
  }
  d->event_fd = eventfd(d->capture.frames.empty() ? 0 : 1, EFD_CLOEXEC | EFD_NONBLOCK);
  if (d->event_fd < 0) return error(Status::kIo, "no eventfd is left for '" + d->name + "'");

  InterfaceConfig config;
  config.name = wanted.name;
  config.mac = wanted.mac;
  config.ops = &kDriver;
  config.device = d.get();
  config.input_node = kInputNode.name;
  config.rx_queues = {{.event_fd = d->event_fd}};
  const auto index = host.add_interface(config);
  if (!index) return index.error();
  // It is down: no worker receives from it before `set interface state NAME up`.
  d->index = *index;
  for (uint32_t w = 0; w < host.n_workers(); ++w)
    d->rx_counters.push_back(host.rx_counters(*index, w));
  (void)host.set_link(*index, true);
  devices().push_back(d.release());
  return {};
}

Result<void> remove(Host& host, const std::string& name) {
  for (Device* d : devices()) {
    if (d->name != name) continue;
    (void)host.remove_interface(d->index);  // ends in destroy
    return {};
  }
  return error(Status::kNotFound, "no interface '" + name + "' is made of files");
}

void remove_all(Host& host) noexcept {
  while (!devices().empty()) {
    Device* d = devices().front();
    if (host.remove_interface(d->index) != Status::kOk) devices().remove(d);
  }
}

}  // namespace pcap_file
