#include "graph/pcap.h"

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <tuple>

#include "buffer/chain.h"
#include "config/private_file.h"
#include "graph/engine.h"

namespace loom {
namespace {

// The pcap file format with nanoseconds, in the writer's byte order (pcap-savefile(5)).
constexpr uint32_t kMagicNanoseconds = 0xa1b23c4d;
constexpr uint32_t kLinkTypeEthernet = 1;
struct FileHeader {
  uint32_t magic = kMagicNanoseconds;
  uint16_t major = 2, minor = 4;
  int32_t zone = 0;
  uint32_t accuracy = 0;
  uint32_t snap_length;
  uint32_t link_type = kLinkTypeEthernet;
};
static_assert(sizeof(FileHeader) == 24);
struct RecordHeader {
  uint32_t seconds, nanoseconds;
  uint32_t captured, length;
};
static_assert(sizeof(RecordHeader) == 16);

Result<void> write_all(int fd, std::span<const std::byte> bytes, const std::string& file) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error(Status::kIo, file + ": write: " + std::strerror(errno));
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

// What one worker has captured. Written by the worker; read when captures have ended, but for the
// two counts.
struct Pcap::Log {
  struct Record {
    int64_t time;  // ns since the Unix epoch
    uint32_t captured, length;
    std::size_t at;  // of the packet's bytes
  };
  std::unique_ptr<std::byte[]> bytes;
  std::size_t used = 0;
  std::vector<Record> records;
  std::atomic<uint64_t> captured{0}, lost{0};
};

Pcap::Pcap(Engine& engine) : engine_(engine) {}

Pcap::~Pcap() {
  if (fd_ >= 0) close(fd_);
}

void Pcap::capture(Worker& w, PcapPoint point, std::span<Buffer* const> packets) noexcept {
  if (!(points_.load(std::memory_order_relaxed) & point) || w.index >= logs_.size()) return;
  Log& log = *logs_[w.index];
  for (const Buffer* b : packets) {
    const uint32_t interface = point == kPcapTx ? b->tx_if : b->rx_if;
    if (config_.interface != kNoIndex && interface != config_.interface) continue;
    const uint32_t length = b->length();
    const uint32_t n = std::min(length, config_.max_bytes);
    if (log.records.size() == config_.max_packets || kBytesPerWorker - log.used < n) {
      log.lost.fetch_add(1, std::memory_order_relaxed);
      continue;
    }
    chain_copy_out(*b, 0, {log.bytes.get() + log.used, n});
    log.records.push_back({w.now + wall_offset_, n, length, log.used});  // reserved by begin()
    log.used += n;
    log.captured.fetch_add(1, std::memory_order_relaxed);
  }
}

Result<void> Pcap::begin(const PcapConfig& config) {
  if (enabled()) return error(Status::kExists, "a capture to " + config_.file + " is running");
  if (config.points == 0 || config.points > (kPcapRx | kPcapTx | kPcapDrop))
    return error(Status::kInvalid, "nothing to capture: say rx, tx or drop");
  if (config.max_packets == 0 || config.max_packets > 1'000'000)
    return error(Status::kInvalid,
                 "max " + std::to_string(config.max_packets) + " is not from 1 to 1000000 packets");
  if (config.max_bytes == 0 || config.max_bytes > kPcapSnapLength)
    return error(Status::kInvalid, std::to_string(config.max_bytes) +
                                       " bytes of a packet are not from 1 to " +
                                       std::to_string(kPcapSnapLength));
  const auto fd = open_private_file(config.file);
  if (!fd) return fd.error();
  timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  std::vector<std::unique_ptr<Log>> logs;
  for (uint32_t i = 0; i < engine_.n_workers(); ++i) {
    auto log = std::make_unique<Log>();
    log->bytes = std::make_unique_for_overwrite<std::byte[]>(kBytesPerWorker);
    log->records.reserve(config.max_packets);
    logs.push_back(std::move(log));
  }
  fd_ = *fd;
  engine_.with_barrier([&] {
    config_ = config;
    wall_offset_ = wall.tv_sec * kSecond + wall.tv_nsec - engine_.clock_now();
    logs_ = std::move(logs);
    points_.store(config.points, std::memory_order_relaxed);
  });
  return {};
}

Result<uint64_t> Pcap::end() {
  if (!enabled()) return error(Status::kNotFound, "no capture is running");
  engine_.with_barrier([&] { points_.store(0, std::memory_order_relaxed); });
  struct Packet {
    const Log* log;
    uint32_t worker;
    Log::Record record;
    auto order() const { return std::tuple(record.time, worker, record.at); }
  };
  std::vector<Packet> packets;
  for (uint32_t i = 0; i < logs_.size(); ++i)
    for (const auto& record : logs_[i]->records) packets.push_back({logs_[i].get(), i, record});
  std::sort(packets.begin(), packets.end(),
            [](const Packet& a, const Packet& b) { return a.order() < b.order(); });
  const FileHeader header{.snap_length = config_.max_bytes};
  Result<void> written = write_all(fd_, std::as_bytes(std::span(&header, 1)), config_.file);
  for (const Packet& p : packets) {
    if (!written) break;
    const RecordHeader record{.seconds = static_cast<uint32_t>(p.record.time / kSecond),
                              .nanoseconds = static_cast<uint32_t>(p.record.time % kSecond),
                              .captured = p.record.captured,
                              .length = p.record.length};
    written = write_all(fd_, std::as_bytes(std::span(&record, 1)), config_.file);
    if (written)
      written = write_all(fd_, {p.log->bytes.get() + p.record.at, p.record.captured}, config_.file);
  }
  close(fd_);
  fd_ = -1;
  logs_.clear();
  if (!written) return std::move(written).error();
  return packets.size();
}

Pcap::Progress Pcap::progress() const {
  Progress s{.running = enabled(), .config = config_};
  for (const auto& log : logs_) {
    s.captured += log->captured.load(std::memory_order_relaxed);
    s.lost += log->lost.load(std::memory_order_relaxed);
  }
  return s;
}

}  // namespace loom
