// Packet trace: follows the first N packets of a node through the graph. Each worker writes to a
// log of its own, of bounded size; what does not fit is lost and counted. Marked packets cost; the
// others cost one test per frame.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/node.h>
#include <hostloom/status.h>

namespace loom {

class Engine;

class PacketTrace {
 public:
  static constexpr std::size_t kLogBytes = 1 << 20;  // per worker, allocated by the first add()

  struct Visit {
    TimeNs time;
    std::string node;
    uint32_t rx_if, tx_if;
    uint32_t length;     // bytes of the packet when it reached the node
    std::string detail;  // what the node recorded, formatted; "" = nothing
  };
  struct Packet {
    uint32_t worker;
    std::vector<Visit> visits;
  };

  explicit PacketTrace(Engine& engine) : engine_(engine) {}
  // Marks, on each worker, the next n packets that the node handles (an input node: that it
  // produces). Errors: kNotFound, kInvalid (n is 0 or above 10000).
  Result<void> add(std::string_view node, uint32_t n);
  void clear();  // forgets packets and stops marking
  std::vector<Packet> packets(std::size_t most);
  uint64_t lost();  // visits that did not fit

 private:
  Engine& engine_;
};

}  // namespace loom
