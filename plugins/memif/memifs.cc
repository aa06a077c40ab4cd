// Interfaces: made, removed, up and down.
#include "memifs.h"

#include <algorithm>

#include <hostloom/buffer_memory.h>

namespace loom::memif {

// Rings take packets of any size.
const DriverOps kDriver{
    .name = "memif",
    .tx = tx,
    .rx = rx,
    .set_admin = set_admin,
    .set_mtu = take_any_mtu,
    .destroy = dispose_device<&Device::memifs>,
    .describe = describe,
    .set_mac = set_mac,
    .set_rx_mode = note_rx_mode<Device>,
};

Memifs::Memifs(Host& host) : host_(host) {
  Socket& s = sockets_[0];
  if (const std::string dir = host.runtime_dir(); !dir.empty()) s.file = dir + "/memif.sock";
  s.memifs = this;
}

Memifs::~Memifs() {
  timer_.close();
  for (auto& [id, s] : sockets_) stop_listening(s);
}

Result<void> Memifs::complete(const MemifConfig& c) const {
  const std::string who = "memif" + std::to_string(c.socket_id) + "/" + std::to_string(c.id);
  const auto refused = [&](Status s, const std::string& why) {
    return error(s, who + " refused: " + why);
  };
  if (!sockets_.contains(c.socket_id))
    return refused(Status::kNotFound, "there is no memif socket " + std::to_string(c.socket_id));
  if (devices_.contains({c.socket_id, c.id})) return refused(Status::kExists, "it exists already");
  for (const uint16_t n : {c.n_rx_queues, c.n_tx_queues})
    if (n == 0 || n > kMaxRings)
      return refused(Status::kInvalid,
                     std::to_string(n) + " queues are not from 1 to " + std::to_string(kMaxRings));
  if (c.secret.size() > kSecretSize)
    return refused(Status::kInvalid,
                   "the secret has more than " + std::to_string(kSecretSize) + " characters");
  if (c.log2_ring_size > kMaxLog2RingSize || c.buffer_size == 0)
    return refused(Status::kInvalid, "rings of 2^" + std::to_string(c.log2_ring_size) +
                                         " buffers of " + std::to_string(c.buffer_size) + " bytes");
  const uint64_t bytes =
      region_bytes(c.n_rx_queues + c.n_tx_queues, c.log2_ring_size, c.buffer_size);
  if (!c.is_master && bytes > kMaxRegionBytes)
    return refused(Status::kInvalid, "its rings and buffers take " + std::to_string(bytes) +
                                         " bytes, which is more than " +
                                         std::to_string(kMaxRegionBytes));
  if (c.mode == Mode::kPuntInject)
    return refused(Status::kUnsupported, "mode punt-inject is not there");
  return {};
}

Result<std::string> Memifs::create(MemifConfig config) {
  if (auto ok = complete(config); !ok) return ok.error();
  if (!timer_.open()) return error(Status::kIo, std::string("timerfd: ") + std::strerror(errno));
  auto d = std::make_unique<Device>();
  d->memifs = this;
  d->config = std::move(config);
  const MemifConfig& c = d->config;
  d->name = "memif" + std::to_string(c.socket_id) + "/" + std::to_string(c.id);
  for (uint32_t i = 0; i < host_.n_workers(); ++i)
    d->backlogs.push_back(std::make_unique<Backlog>(*d, kept_));
  bound_kept();
  if (c.mode == Mode::kEthernet) d->mac = c.mac == MacAddress{} ? made_up_mac() : c.mac;
  InterfaceConfig interface;
  for (uint16_t i = 0; i < c.n_rx_queues; ++i) {
    auto ear = Ear::make();
    if (!ear) return error(ear.error().code, d->name + " refused: " + ear.error().message);
    d->queues.push_back(std::make_unique<RxQueue>(std::move(*ear)));
    interface.rx_queues.push_back({.event_fd = d->queues.back()->ear.fd()});
  }
  Socket& socket = sockets_.at(c.socket_id);
  if (c.is_master)
    if (auto ok = start_listening(socket); !ok)
      return error(ok.error().code, d->name + " refused: " + ok.error().message);
  interface.mac = d->mac;
  interface.max_mtu = kMostDriverMtu;
  interface.caps = kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter;  // by put()
  interface.is_ethernet = c.mode == Mode::kEthernet;
  interface.n_tx_queues = c.n_tx_queues;
  if (auto made = add_device(host_, std::move(interface), *d, kDriver, kInputNode, d->name);
      !made) {
    stop_listening_without_master(c.socket_id);
    return made.error();
  }
  (void)host_.set_link(d->index, false);  // it was made a moment ago
  std::string name = d->name;
  devices_[{c.socket_id, c.id}] = d.release();
  return name;
}

void Memifs::bound_kept() noexcept {
  uint32_t smallest = ~0u;
  BufferPoolInfo pool;
  for (uint32_t i = 0; host_.buffer_pool(i, pool) == Status::kOk; ++i)
    smallest = std::min(smallest, pool.n_buffers);
  kept_.set_most(smallest / Kept::kShare);
}

const Device* Memifs::find(std::string_view name) const {
  return find_device<Device>(host_, name, kDriver);
}

Result<void> Memifs::remove(std::string_view name) {
  if (const Device* d = find(name)) return remove(d->index);
  return error(Status::kNotFound, "there is no memif interface '" + std::string(name) + "'");
}

Result<void> Memifs::remove(IfIndex index) {
  return remove_device(host_, index, kDriver, "a memif interface");  // ends in dispose
}

void Memifs::remove_all() noexcept { remove_devices(host_, devices_); }

// No worker uses the device any more.
void Memifs::dispose(Device* device) noexcept {
  const std::unique_ptr<Device> d(device);
  const uint32_t socket_id = d->config.socket_id;
  devices_.erase({socket_id, d->config.id});
  if (d->peer) lose(*d->peer, "interface deleted", /*tell=*/true);
  host_.run_on_all_workers([&](Worker& w) { (void)d->backlogs[w.index]->drop(w); });
  stop_listening_without_master(socket_id);
  update_timer();
}

void Memifs::set_admin(Device& d, bool up) {
  d.is_admin_up = up;
  if (!up && d.peer) lose(*d.peer, "interface is down", /*tell=*/true);
  d.backoff = 1;
  if (up && !d.config.is_master) connect_to_master(d);
  update_timer();
}

Status set_admin(void* device, bool up) noexcept {
  auto& d = *static_cast<Device*>(device);
  d.memifs->set_admin(d, up);
  return Status::kOk;
}

// What the peer sends arrives, whatever address it has.
Status set_mac(void* device, const MacAddress& mac) noexcept {
  static_cast<Device*>(device)->mac = mac;
  return Status::kOk;
}

void describe(void* device, std::string& out) noexcept {
  const auto& d = *static_cast<Device*>(device);
  const MemifConfig& c = d.config;
  out += c.is_master ? "memif, master" : "memif, slave";
  out += c.mode == Mode::kIp ? ", mode ip" : ", mode ethernet";
  out += ", socket " + std::to_string(c.socket_id) + " id " + std::to_string(c.id);
  if (d.owned_link) {
    out += "\nconnected to " + d.peer_name + " (" + d.peer_interface + "), rings:";
    for (const auto& r : d.owned_link->rx) out += " rx " + std::to_string(r->size());
    for (const auto& r : d.owned_link->tx) out += " tx " + std::to_string(r->size());
  } else {
    out += "\nno peer" + (d.last_reason.empty() ? "" : ": " + d.last_reason);
  }
  const auto n = [](const std::atomic<uint64_t>& v) {
    return std::to_string(v.load(std::memory_order_relaxed));
  };
  const TxCounters& t = d.tx_counters;
  out += "\ntx: held " + n(t.held) + " ring-full " + n(t.ring_full) + " too-long " + n(t.too_long) +
         " bad-headers " + n(t.bad_headers) + " no-peer " + n(t.no_peer) + " no-memory " +
         n(t.no_memory) + " stopped " + n(t.stopped);
  for (int f = 1; f < static_cast<int>(Fault::kCount); ++f)
    out += std::string(" ") + fault_name(static_cast<Fault>(f)) + " " + n(t.faults[f]);
}

}  // namespace loom::memif
