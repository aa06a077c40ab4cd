// The simulator on one interface, "fake0".
#pragma once
#include "nsim.h"
#include "plugin_host.h"

namespace loom::nsim {

struct NsimHost {
  explicit NsimHost(uint32_t n_workers = 1) : h(n_workers) {
    must(nsim.init());
    must(register_commands(h.host(), nsim));
    must(add_api(h.host(), nsim));
    must(h.engine->build());
    must(nsim.start());
    device = &h.add_device({"10.0.0.1/24"});
  }
  ~NsimHost() { nsim.stop(); }

  void set(const std::string& words) { h.ok("set nsim " + words); }
  void enable(const std::string& more = "") {
    h.ok("nsim output-feature enable-disable fake0" + more);
  }
  // Frames of that many bytes on their way out, each with its number in front.
  void send(uint32_t first, uint32_t n, uint32_t size = 100, uint32_t worker = 0) {
    Worker& w = h.engine->worker(worker);
    w.now = h.now;
    for (uint32_t i = 0; i < n; ++i) {
      Bytes frame(size);
      put32(frame, 0, first + i);
      Buffer* b = w.alloc();
      LOOM_CHECK(b && chain_append(w, *b, std::as_bytes(std::span(frame))));
      b->tx_if = device->index;
      w.enqueue_to_node(h.engine->find_node("interface-output"), b);
    }
    h.run();
  }
  // Numbers of the frames that have left since the last call.
  std::vector<uint32_t> left() {
    std::vector<uint32_t> numbers;
    for (const auto& f : device->take_sent()) numbers.push_back(get32(f.bytes, 0));
    return numbers;
  }
  uint64_t counter(const std::string& name) { return h.counter("nsim-output-feature/" + name); }

  PluginHost h;
  Nsim nsim{h.host()};
  FakeDevice* device = nullptr;
};

}  // namespace loom::nsim
