#include "pcap_writer.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "pcap_format.h"
#include "pcap_reader.h"

namespace pcap_file {

using namespace loom;

namespace {
TimeNs clock_ns(clockid_t id) {
  timespec t;
  clock_gettime(id, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}
}  // namespace

PcapWriter::PcapWriter(Host& host, std::string file)
    : host_(host),
      file_(std::move(file)),
      // Workers' clocks are CLOCK_MONOTONIC.
      clock_offset_(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC)),
      ring_(std::make_unique<std::byte[]>(kRingSize)) {}

Result<std::unique_ptr<PcapWriter>> PcapWriter::open(Host& host, const std::string& file) {
  std::unique_ptr<PcapWriter> w(new PcapWriter(host, file));
  w->fd_ = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0644);
  w->wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (w->fd_ < 0 || w->wake_fd_ < 0)
    return error(Status::kIo, "capture '" + file + "' is not written: " + std::strerror(errno));
  const FileHeader header{.magic = kMagicNanoseconds,
                          .version_major = 2,
                          .version_minor = 4,
                          .reserved = {},
                          .snap_length = kMostFrame,
                          .link_type = kLinkTypeEthernet};
  w->write_out(std::as_bytes(std::span(&header, 1)));
  w->watch_ = host.watch_fd(
      w->wake_fd_, [](void* self) { static_cast<PcapWriter*>(self)->drain(); }, w.get());
  return w;
}

PcapWriter::~PcapWriter() {
  if (watch_) host_.unwatch_fd(watch_);
  if (fd_ >= 0) {
    drain();
    close(fd_);
  }
  if (wake_fd_ >= 0) close(wake_fd_);
}

bool PcapWriter::put(const Buffer& frame, TimeNs now) noexcept {
  const uint32_t length = frame.length();
  const uint64_t tail = tail_.load(std::memory_order_relaxed);
  const uint64_t used = tail - head_.load(std::memory_order_acquire);
  if (length > kMostFrame || kRingSize - used < sizeof(RecordHeader) + length) return false;
  const TimeNs time = now + clock_offset_;
  const RecordHeader r{.seconds = static_cast<uint32_t>(time / kSecond),
                       .fraction = static_cast<uint32_t>(time % kSecond),
                       .length = length,
                       .original_length = length};
  uint64_t at = tail;
  copy_in(at, std::as_bytes(std::span(&r, 1)));
  at += sizeof r;
  for (const Buffer* b = &frame; b; b = b->next) {
    copy_in(at, {b->data, b->len});
    at += b->len;
  }
  tail_.store(at, std::memory_order_seq_cst);  // before flush() looks whether anybody sleeps
  frames_.store(frames() + 1, std::memory_order_relaxed);
  return true;
}

void PcapWriter::copy_in(uint64_t at, std::span<const std::byte> bytes) noexcept {
  const std::size_t begin = at % kRingSize;
  const std::size_t first = std::min(bytes.size(), kRingSize - begin);
  std::memcpy(ring_.get() + begin, bytes.data(), first);
  std::memcpy(ring_.get(), bytes.data() + first, bytes.size() - first);
}

void PcapWriter::flush() noexcept {
  if (!is_asleep_.load(std::memory_order_seq_cst)) return;
  is_asleep_.store(false, std::memory_order_relaxed);
  (void)!eventfd_write(wake_fd_, 1);  // fails only when it is readable anyway
}

void PcapWriter::drain() {
  eventfd_t ignored;
  (void)!eventfd_read(wake_fd_, &ignored);
  for (;;) {
    const uint64_t head = head_.load(std::memory_order_relaxed);
    const uint64_t tail = tail_.load(std::memory_order_seq_cst);
    if (head == tail) {
      // Asleep first, then a last look: put() publishes first and then looks whether we sleep.
      if (is_asleep_.exchange(true, std::memory_order_seq_cst)) return;
      continue;
    }
    is_asleep_.store(false, std::memory_order_seq_cst);
    const std::size_t begin = head % kRingSize;
    const std::size_t n = std::min<uint64_t>(tail - head, kRingSize - begin);
    write_out({ring_.get() + begin, n});
    head_.store(head + n, std::memory_order_release);
  }
}

void PcapWriter::write_out(std::span<const std::byte> bytes) {
  while (!bytes.empty() && failed_ == 0) {
    const ssize_t n = write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {  // a file with a hole in it is no capture: it ends here
      host_.log(LogLevel::kError, "pcap-file",
                "capture '" + file_ + "' ends early: " + std::strerror(errno));
      break;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  failed_ += bytes.size();
}

}  // namespace pcap_file
