#include "interface.h"

namespace loom::pg {

constexpr uint64_t kMostCaptured = 512 << 20;  // bytes that all captures take together

static std::string first_name(uint32_t id) { return "pg" + std::to_string(id); }

const DriverOps Interfaces::kDriver{
    .name = "packet-generator",
    .tx = tx,
    .destroy = destroy,
    .describe =
        [](void* device, std::string& out) noexcept {
          const auto& capture = static_cast<PgInterface*>(device)->capture;
          if (capture) out += "capture to " + capture->file();
        },
    .set_mac = [](void*, const MacAddress&) noexcept { return Status::kOk; },
};

uint32_t Interfaces::tx(Worker& w, void* device, uint16_t,
                        std::span<Buffer* const> packets) noexcept {
  auto& i = *static_cast<PgInterface*>(device);
  if (Capture* c = i.capture.get()) {
    bool is_last = false;
    for (const Buffer* b : packets) is_last |= c->add(*b, w.now);
    if (is_last) w.post_to_control(write_full_ones, i.all);
  }
  w.free(packets);
  return static_cast<uint32_t>(packets.size());
}

Result<void> Interfaces::create(uint32_t id) {
  // The core would take the name, once the operator has given the interface another one.
  if (const auto at = interfaces_.find(id); at != interfaces_.end())
    return error(Status::kExists, first_name(id) + " exists already, as " + label(*at->second));
  auto i = std::make_unique<PgInterface>();
  i->all = this;
  i->id = id;
  InterfaceConfig c;
  c.name = first_name(id);
  c.caps = kCapScatter;
  c.ops = &kDriver;
  c.device = i.get();
  c.n_tx_queues = static_cast<uint16_t>(std::min(host_.n_workers(), 0xffffu));
  const auto index = host_.add_interface(c);
  if (!index) return index.error();
  i->index = *index;
  for (uint32_t w = 0; w < host_.n_workers(); ++w)
    i->rx_counters.push_back(host_.rx_counters(*index, w));
  interfaces_[id] = i.release();
  return {};
}

void Interfaces::destroy(void* device) noexcept {
  const std::unique_ptr<PgInterface> i(static_cast<PgInterface*>(device));
  if (i->capture)
    if (const auto written = i->capture->finish(); !written)
      i->all->host_.log(LogLevel::kError, "pg", written.error().message);
  i->all->interfaces_.erase(i->id);
}

void Interfaces::remove_all() {
  while (!interfaces_.empty()) {
    const auto first = interfaces_.begin();
    // An interface that cannot be removed must not keep us here.
    if (host_.remove_interface(first->second->index) != Status::kOk) interfaces_.erase(first);
  }
}

PgInterface* Interfaces::find(const std::string& name) const {
  return static_cast<PgInterface*>(host_.device(host_.find_interface(name.c_str()), kDriver));
}

std::string Interfaces::label(const PgInterface& i) const {
  const std::string name = first_name(i.id);
  return host_.find_interface(name.c_str()) == i.index ? name
                                                       : "sw_if_index " + std::to_string(i.index);
}

static Error not_found(const std::string& name) {
  return error(Status::kNotFound, "there is no packet generator's interface '" + name + "'");
}

Result<void> Interfaces::remove(const std::string& name) {
  const PgInterface* i = find(name);
  if (!i) return not_found(name);
  const Status status = host_.remove_interface(i->index);  // ends in destroy
  if (status != Status::kOk) return error(status, name + " is not removed");
  return {};
}

Result<void> Interfaces::begin_capture(const std::string& name, const std::string& file,
                                       uint64_t most) {
  PgInterface* i = find(name);
  if (!i) return not_found(name);
  if (i->capture)
    return error(Status::kExists,
                 "a capture of " + name + " to " + i->capture->file() + " is running");
  uint64_t n_bytes = Capture::memory_for(most);
  for (const auto& [id, other] : interfaces_)
    if (other->capture) n_bytes += other->capture->memory();
  if (n_bytes > kMostCaptured)
    return error(Status::kNoMemory, "with those that are running, captures would take more than " +
                                        std::to_string(kMostCaptured) + " bytes");
  TimeNs now = 0;
  host_.run_on_worker(0, [&](Worker& w) { now = w.now; });
  auto capture = Capture::begin(file, most, now);
  if (!capture) return capture.error();
  host_.with_barrier([&] { i->capture = std::move(*capture); });
  return {};
}

Result<uint64_t> Interfaces::end_capture(const std::string& name) {
  PgInterface* i = find(name);
  if (!i) return not_found(name);
  if (!i->capture) return error(Status::kNotFound, "nothing of " + name + " is being captured");
  return end_capture(*i);
}

Result<uint64_t> Interfaces::end_capture(PgInterface& i) {
  std::unique_ptr<Capture> ended;
  host_.with_barrier([&] { ended = std::move(i.capture); });
  if (auto r = ended->finish(); !r) return r.error();
  return ended->n_captured();
}

// Control thread: somewhere a capture has all that it wants.
void Interfaces::write_full_ones(void* interfaces) {
  auto& self = *static_cast<Interfaces*>(interfaces);
  for (const auto& [id, i] : self.interfaces_)
    if (i->capture && i->capture->is_full())
      if (const auto written = self.end_capture(*i); !written)
        self.host_.log(LogLevel::kError, "pg", written.error().message);
}

InterfaceCounters* Interfaces::rx_counters(IfIndex index, uint32_t worker) const {
  for (const auto& [id, i] : interfaces_)
    if (i->index == index) return i->rx_counters[worker];
  return nullptr;
}

}  // namespace loom::pg
