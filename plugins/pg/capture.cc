#include "capture.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <new>

#include "pcap_file.h"

namespace loom::pg {
namespace {

constexpr uint64_t kMostBytes = 32 << 20;  // touched only as it fills

}  // namespace

uint64_t Capture::memory_for(uint64_t most_packets) {
  constexpr uint64_t kOne = sizeof(PcapRecordHeader) + kMostPacket;
  return most_packets < kMostBytes / kOne ? most_packets * kOne : kMostBytes;
}

Result<std::unique_ptr<Capture>> Capture::begin(std::string file, uint64_t most_packets,
                                                TimeNs now) {
  const uint64_t size = memory_for(most_packets);
  std::unique_ptr<std::byte[]> bytes(new (std::nothrow) std::byte[size]);
  if (!bytes) return error(Status::kNoMemory, "no memory for a capture");
  const auto fd = create_file(file);
  if (!fd) return fd.error();
  timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  std::unique_ptr<Capture> c(new Capture);
  c->file_ = std::move(file);
  c->fd_ = *fd;
  c->most_packets_ = most_packets;
  c->wall_offset_ = wall.tv_sec * kSecond + wall.tv_nsec - now;
  c->bytes_ = std::move(bytes);
  c->size_ = size;
  return c;
}

Capture::~Capture() {
  if (fd_ >= 0) close(fd_);
}

bool Capture::add(const Buffer& packet, TimeNs now) noexcept {
  const uint64_t number = n_offered_.fetch_add(1, std::memory_order_relaxed);
  if (number >= most_packets_) return false;
  const bool is_last = number + 1 == most_packets_;
  const uint32_t length = packet.length();
  const uint64_t size = sizeof(PcapRecordHeader) + length;
  uint64_t at = used_.load(std::memory_order_relaxed);
  do {
    if (length > kMostPacket || size_ - at < size) {
      n_lost_.fetch_add(1, std::memory_order_relaxed);
      return is_last;
    }
  } while (!used_.compare_exchange_weak(at, at + size, std::memory_order_relaxed));
  const TimeNs time = now + wall_offset_;
  const PcapRecordHeader record{.seconds = static_cast<uint32_t>(time / kSecond),
                                .nanoseconds = static_cast<uint32_t>(time % kSecond),
                                .captured = length,
                                .length = length};
  std::byte* to = bytes_.get() + at;
  std::memcpy(to, &record, sizeof record);
  to += sizeof record;
  for (const Buffer* b = &packet; b; b = b->next) {
    std::memcpy(to, b->data, b->len);
    to += b->len;
  }
  return is_last;
}

Result<void> Capture::finish() {
  const PcapFileHeader header;
  if (auto r = write_all(fd_, &header, sizeof header, file_); !r) return r;
  return write_all(fd_, bytes_.get(), used_.load(), file_);
}

}  // namespace loom::pg
