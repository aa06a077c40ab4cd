// Packet capture to a pcap file (nanosecond format) at three points: received by a driver, sent to
// a driver, dropped. Workers copy packets into memory of their own that is reserved when the
// capture starts; the file is written when it ends.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <hostloom/buffer.h>
#include <hostloom/status.h>

namespace loom {

class Engine;
struct Worker;

enum PcapPoint : uint32_t { kPcapRx = 1, kPcapTx = 2, kPcapDrop = 4 };

constexpr uint32_t kPcapSnapLength = 65'535;

struct PcapConfig {
  uint32_t points = 0;       // PcapPoint, any of them
  uint32_t max_packets = 0;  // per worker
  std::string file{};
  uint32_t interface = kNoIndex;         // only packets of this interface; kNoIndex = all
  uint32_t max_bytes = kPcapSnapLength;  // of a packet; the rest is cut
};

class Pcap {
 public:
  static constexpr std::size_t kBytesPerWorker = 64 << 20;  // of memory, touched only when used

  explicit Pcap(Engine& engine);
  ~Pcap();
  bool enabled() const noexcept { return points_.load(std::memory_order_relaxed) != 0; }
  // On a worker; does nothing when the point is not captured. Packets stay the caller's.
  void capture(Worker&, PcapPoint, std::span<Buffer* const>) noexcept;

  // Control thread. Errors: kInvalid, kExists (a capture runs), kIo (the file cannot be made).
  Result<void> begin(const PcapConfig&);
  // Stops and writes the file. Returns the packets in it. Errors: kNotFound (none runs), kIo.
  Result<uint64_t> end();
  struct Progress {
    bool running = false;
    uint64_t captured = 0, lost = 0;
    PcapConfig config{};
  };
  Progress progress() const;

 private:
  struct Log;
  Engine& engine_;
  std::atomic<uint32_t> points_{0};
  PcapConfig config_;
  int64_t wall_offset_ = 0;  // ns from the worker's clock to the Unix epoch
  int fd_ = -1;
  std::vector<std::unique_ptr<Log>> logs_;  // by worker
};

}  // namespace loom
