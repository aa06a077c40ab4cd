// What an interface sends, kept in memory until it is written to a file. Made, written and freed by
// the control thread; filled by workers, each packet at a place that it reserves.
#pragma once
#include <algorithm>
#include <atomic>
#include <memory>
#include <string>

#include <hostloom/buffer.h>
#include <hostloom/status.h>

namespace loom::pg {

class Capture {
 public:
  // Bytes that a capture of so many packets takes while it runs.
  static uint64_t memory_for(uint64_t most_packets);
  // The file is made at once, so that a place that cannot be written is refused at once. `now`: a
  // worker's clock. kNoMemory, kIo, kPermission.
  static Result<std::unique_ptr<Capture>> begin(std::string file, uint64_t most_packets,
                                                TimeNs now);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  // On a worker. True when this was the last packet that is wanted.
  bool add(const Buffer&, TimeNs now) noexcept;
  // No worker adds any more. Writes the file.
  Result<void> finish();

  const std::string& file() const { return file_; }
  uint64_t memory() const noexcept { return size_; }
  bool is_full() const noexcept { return n_offered() >= most_packets_; }
  uint64_t n_captured() const noexcept { return std::min(n_offered(), most_packets_) - n_lost(); }
  uint64_t n_lost() const noexcept { return n_lost_.load(std::memory_order_relaxed); }

 private:
  Capture() = default;
  uint64_t n_offered() const noexcept { return n_offered_.load(std::memory_order_relaxed); }

  std::string file_;
  int fd_ = -1;
  uint64_t most_packets_ = 0;
  TimeNs wall_offset_ = 0;              // from the workers' clock to the time of day
  std::unique_ptr<std::byte[]> bytes_;  // records, as they lie in the file
  uint64_t size_ = 0;                   // of `bytes_`
  std::atomic<uint64_t> n_offered_{0};
  std::atomic<uint64_t> used_{0};    // bytes reserved
  std::atomic<uint64_t> n_lost_{0};  // packets for which there was no room
};

}  // namespace loom::pg
