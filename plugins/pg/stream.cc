#include "stream.h"

#include <algorithm>

#include "interface.h"

namespace loom::pg {
namespace {

constexpr std::size_t kMostStreams = 1024;
constexpr std::size_t kMostBytes = 256 << 20;  // StreamConfig::memory() of all
uint32_t worker_slot = 0;

}  // namespace

Generator* generator_of(Worker& w) noexcept {
  return static_cast<Generator*>(w.plugin_data[worker_slot]);
}

Stream::Stream(StreamConfig c) : config(std::move(c)) {
  const auto [least, most] = std::ranges::minmax(config.frames, {}, &Frame::length);
  least_length = least.length;
  most_length = most.length;
}

Result<void> Streams::init() {
  slot_ = worker_slot = host_.allocate_worker_slot();
  // An input node runs from the moment that it is there, and the workers may run already.
  for (uint32_t i = 0; i < host_.n_workers(); ++i) {
    generators_.push_back(std::make_unique<Generator>());
    host_.run_on_worker(i, [&](Worker& w) { w.plugin_data[slot_] = generators_.back().get(); });
  }
  const auto node = host_.add_node(kInputNode);
  if (!node) return node.error();
  return {};
}

void Streams::stop() {
  (void)set_enabled("", false);
  for (uint32_t i = 0; i < generators_.size(); ++i)
    host_.run_on_worker(i, [&](Worker& w) {  // the node outlives us
      w.timer_stop(generators_[i]->wake);
      w.plugin_data[slot_] = nullptr;
    });
}

Result<void> Streams::add(StreamConfig config) {
  if (streams_.contains(config.name))
    return error(Status::kExists, "there is a stream '" + config.name + "' already");
  if (streams_.size() == kMostStreams)
    return error(Status::kNoMemory, std::to_string(kMostStreams) + " streams are the most");
  std::size_t n_bytes = config.memory();
  for (const auto& [name, s] : streams_) n_bytes += s->config.memory();
  if (n_bytes > kMostBytes)
    return error(Status::kNoMemory, "the packets of all streams take more than " +
                                        std::to_string(kMostBytes) + " bytes together");
  if (config.worker >= host_.n_workers())
    return error(Status::kInvalid, "there is no worker " + std::to_string(config.worker));
  const std::string name = config.name;
  streams_[name] = std::make_unique<Stream>(std::move(config));
  return {};
}

Result<void> Streams::remove(const std::string& name) {
  const auto at = streams_.find(name);
  if (at == streams_.end()) return error(Status::kNotFound, "there is no stream '" + name + "'");
  disable(*at->second);
  streams_.erase(at);
  return {};
}

Result<void> Streams::set_enabled(const std::string& name, bool enable) {
  if (!name.empty() && !streams_.contains(name))
    return error(Status::kNotFound, "there is no stream '" + name + "'");
  for (auto& [own_name, stream] : streams_) {
    if (!name.empty() && own_name != name) continue;
    if (!enable)
      disable(*stream);
    else if (auto r = this->enable(*stream); !r)
      return r;
  }
  return {};
}

// An active stream has found its interfaces: they may have other names by now, and it counts in
// them. One that is not active asks by name.
const Stream* Streams::user_of(const std::string& name, IfIndex index) const {
  for (const auto& [own_name, s] : streams_) {
    if (s->config.rx_interface == name || s->config.tx_interface == name) return s.get();
    if (s->active() && (s->rx_if == index || s->tx_if == index)) return s.get();
  }
  return nullptr;
}

Result<void> Streams::enable(Stream& s) {
  disable(s);
  for (auto [name, index] :
       {std::pair(&s.config.rx_interface, &s.rx_if), {&s.config.tx_interface, &s.tx_if}}) {
    *index = name->empty() ? kNoIndex : host_.find_interface(name->c_str());
    if (!name->empty() && *index == kNoIndex)
      return error(Status::kNotFound,
                   "stream '" + s.config.name + "': there is no interface '" + *name + "'");
  }
  s.rx_counters =
      s.config.node < kToOutput ? interfaces_.rx_counters(s.rx_if, s.config.worker) : nullptr;
  host_.run_on_worker(s.config.worker, [&](Worker& w) {
    s.begun = w.now;
    s.next = 0;
    s.n_sent -= s.n_sent.value();
    s.n_blocked -= s.n_blocked.value();
    s.set_active(true);
    if (Generator* g = generator_of(w)) g->active.push_back(&s);
  });
  return {};
}

void Streams::disable(Stream& s) {
  if (!s.active()) return;
  host_.run_on_worker(s.config.worker, [&](Worker& w) {
    if (Generator* g = generator_of(w)) std::erase(g->active, &s);
    s.set_active(false);
  });
}

}  // namespace loom::pg
