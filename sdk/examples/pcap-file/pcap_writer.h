// What the interface sends, on its way to a file. The worker copies frames into a ring in memory;
// the control thread writes the ring to the file. So a slow disk costs frames, counted by whoever
// sends them, and never stops a worker.
#pragma once
#include <atomic>
#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include <hostloom/host.h>

namespace pcap_file {

class PcapWriter {
 public:
  // Creates or truncates the file. Errors name it. Control thread, as everything but put().
  static loom::Result<std::unique_ptr<PcapWriter>> open(loom::Host&, const std::string& file);
  ~PcapWriter();  // writes what is there; no worker uses it any more

  // Takes a copy of the frame, a chain. False: the ring is full. One worker at a time.
  bool put(const loom::Buffer& frame, loom::TimeNs now) noexcept;
  // After the last put() of a burst: wakes the control thread if it sleeps.
  void flush() noexcept;

  uint64_t frames() const noexcept { return frames_.load(std::memory_order_relaxed); }
  uint64_t failed() const noexcept { return failed_; }  // bytes that the file did not take

 private:
  PcapWriter(loom::Host&, std::string file);
  void drain();
  void copy_in(uint64_t at, std::span<const std::byte>) noexcept;
  void write_out(std::span<const std::byte>);

  static constexpr std::size_t kRingSize = 4 << 20;  // a power of two

  loom::Host& host_;
  const std::string file_;
  int fd_ = -1, wake_fd_ = -1;
  uint64_t watch_ = 0;
  uint64_t failed_ = 0;
  loom::TimeNs clock_offset_ = 0;  // wall clock less worker clock
  std::unique_ptr<std::byte[]> ring_;
  alignas(64) std::atomic<uint64_t> head_{0};  // written by the control thread
  alignas(64) std::atomic<uint64_t> tail_{0};  // written by the worker
  std::atomic<uint64_t> frames_{0};
  alignas(64) std::atomic<bool> is_asleep_{true};
};

}  // namespace pcap_file
