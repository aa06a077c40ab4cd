// Streams: packets that are ready to be sent, how often and where to. The control thread makes
// them, a worker sends them.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/host.h>
#include <hostloom/stats.h>

#include "packet_text.h"

namespace loom::pg {

extern const NodeInfo kInputNode;  // input_node.cc
// Nodes that check what they are given, and so take any bytes. Next indexes of kInputNode.
enum Next : uint16_t { kToEthernet, kToIp4, kToIp6, kToOutput, kToDrop, kNextCount };
extern const char* const kNextNames[kNextCount];

// As `packet-generator new` says it.
struct StreamConfig {
  std::string name;
  uint64_t limit = 0;  // packets, 0 = no end
  double rate = 0;     // packets a second, 0 = as fast as the worker can
  uint32_t max_frame = kFrameSize;
  uint32_t worker = 0;
  Next node = kToEthernet;
  std::string rx_interface, tx_interface;  // found anew whenever the stream is enabled
  std::string origin;                      // "data", or the file
  std::vector<uint8_t> bytes;              // the frames are among these
  std::vector<Frame> frames;               // sent in turn; not empty

  // What the packets take, in bytes.
  std::size_t memory() const { return memory_of(bytes.size(), frames.size()); }
  static std::size_t memory_of(std::size_t n_bytes, std::size_t n_frames) {
    return n_bytes + n_frames * sizeof(Frame);
  }
};

struct Stream {
  explicit Stream(StreamConfig);
  const StreamConfig config;
  uint32_t least_length, most_length;  // of its frames
  // Set while it is not active.
  IfIndex rx_if = kNoIndex, tx_if = kNoIndex;
  InterfaceCounters* rx_counters = nullptr;  // of a packet generator's own interface
  // The worker's; counters are read at any time.
  TimeNs begun = 0;
  std::size_t next = 0;    // frame
  StatCounter n_sent;      // since it was enabled
  StatCounter n_blocked;   // times that there were no buffers
  bool is_active = false;  // the worker's, by set_active()

  // Once it reads false, the worker does not touch the stream any more.
  bool active() const noexcept { return __atomic_load_n(&is_active, __ATOMIC_ACQUIRE); }
  void set_active(bool on) noexcept { __atomic_store_n(&is_active, on, __ATOMIC_RELEASE); }
};

// What a worker has to send. Nothing runs while `active` is empty.
struct Generator {
  Generator() noexcept {
    wake.fired = [](Worker&, Timer&) noexcept {};  // being awake is all that is needed
  }
  Timer wake;  // for the next packet of a stream with a rate
  std::vector<Stream*> active;
};
Generator* generator_of(Worker&) noexcept;  // nullptr once the streams have been stopped

class Interfaces;

class Streams {
 public:
  Streams(Host& host, Interfaces& interfaces) : host_(host), interfaces_(interfaces) {}
  Result<void> init();
  void stop();

  // kExists, kInvalid.
  Result<void> add(StreamConfig);
  // kNotFound. Empty name: all of them, for set_enabled.
  Result<void> remove(const std::string& name);
  Result<void> set_enabled(const std::string& name, bool enable);
  const std::map<std::string, std::unique_ptr<Stream>>& all() const { return streams_; }
  // A stream that is sent by that interface, or would be when it is enabled; null: none.
  const Stream* user_of(const std::string& name, IfIndex) const;
  Host& host() { return host_; }

 private:
  Result<void> enable(Stream&);
  void disable(Stream&);

  Host& host_;
  Interfaces& interfaces_;
  uint32_t slot_ = 0;
  std::map<std::string, std::unique_ptr<Stream>> streams_;
  std::vector<std::unique_ptr<Generator>> generators_;  // by worker
};

}  // namespace loom::pg
