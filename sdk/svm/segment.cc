#include "svm/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <vector>

namespace loom::svm {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kUnmapped = 1 << 20, kMostPieces = 1024;  // bytes at a time, at least
constexpr uint32_t kVersion = 3;
constexpr uint64_t kMaxSize = 1ull << kRefOffsetBits;

// Ids are 24 bits and a daemon lives long, so they are used again, as late as possible.
class IdPool {
 public:
  uint32_t take() {
    const std::lock_guard lock(mutex_);
    for (uint32_t tried = 0; tried < kIds; ++tried) {
      next_ = next_ + 1 < kIds ? next_ + 1 : 1;
      if (next_ >= used_.size()) used_.resize(next_ + 1);
      if (used_[next_]) continue;
      used_[next_] = true;
      return next_;
    }
    return 0;
  }
  void give_back(uint32_t id) {
    const std::lock_guard lock(mutex_);
    used_[id] = false;
  }

 private:
  static constexpr uint32_t kIds = 1u << 24;
  std::mutex mutex_;
  uint32_t next_ = 0;
  std::vector<bool> used_;
};

IdPool& ids() {
  static IdPool& pool = *new IdPool;  // never destroyed: segments may outlive static objects
  return pool;
}

Error os_error(const char* call, uint64_t size) {
  const int code = errno;
  return error(code == ENOMEM ? Status::kNoMemory : Status::kIo,
               std::string("segment of ") + std::to_string(size) + " bytes: " + call + ": " +
                   std::strerror(code));
}

}  // namespace

Result<std::unique_ptr<Segment>> Segment::make(uint64_t size, SegmentKind kind, Memory memory) {
  if (size <= kSegmentDataOffset || size > kMaxSize - kPage)
    return error(Status::kInvalid,
                 "segment size " + std::to_string(size) + " is not above 4096 and below 2^40");
  size = (size + kPage - 1) & ~(kPage - 1);

  int fd = -1;
  if (memory == Memory::kFile) {
    fd = memfd_create("hostloom", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return os_error("memfd_create", size);
    if (ftruncate(fd, static_cast<off_t>(size)) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
      auto e = os_error("ftruncate or seal", size);
      close(fd);
      return e;
    }
  }
  const int flags = MAP_NORESERVE | (memory == Memory::kPrivate ? MAP_PRIVATE : MAP_SHARED) |
                    (memory == Memory::kFile ? 0 : MAP_ANONYMOUS);
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (base == MAP_FAILED) {
    auto e = os_error("mmap", size);
    if (fd >= 0) close(fd);
    return e;
  }
  const uint32_t id = ids().take();
  if (id == 0) {
    munmap(base, size);
    if (fd >= 0) close(fd);
    return error(Status::kNoMemory, "all 2^24 segment ids are in use");
  }
  auto* h = new (base) SegmentHeader{};
  h->magic = kSegmentMagic;
  h->version = kVersion;
  h->kind = static_cast<uint32_t>(kind);
  h->id = id;
  h->size = size;
  h->bump.store(kSegmentDataOffset, std::memory_order_relaxed);
  return std::unique_ptr<Segment>(
      new Segment(static_cast<std::byte*>(base), size, id, kind, fd, true, memory));
}

Result<std::unique_ptr<Segment>> Segment::create(uint64_t size, SegmentKind kind) {
  return make(size, kind, Memory::kFile);
}

Result<std::unique_ptr<Segment>> Segment::create_anonymous(uint64_t size, SegmentKind kind) {
  return make(size, kind, Memory::kAnonymous);
}

Result<std::unique_ptr<Segment>> Segment::create_private(uint64_t size, SegmentKind kind) {
  return make(size, kind, Memory::kPrivate);
}

Result<std::unique_ptr<Segment>> Segment::map(int fd, uint32_t id, SegmentKind kind,
                                              uint64_t size) {
  struct stat st;
  if (fstat(fd, &st) != 0) {
    auto e = os_error("fstat", size);
    close(fd);
    return e;
  }
  if (static_cast<uint64_t>(st.st_size) != size || size <= kSegmentDataOffset || size > kMaxSize) {
    close(fd);
    return error(Status::kMalformed, "segment " + std::to_string(id) + " was announced with " +
                                         std::to_string(size) + " bytes and has " +
                                         std::to_string(st.st_size));
  }
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
  if (base == MAP_FAILED) {
    auto e = os_error("mmap", size);
    close(fd);
    return e;
  }
  const auto& h = *static_cast<const SegmentHeader*>(base);
  if (h.magic != kSegmentMagic || h.version != kVersion || h.id != id || h.size != size ||
      h.kind != static_cast<uint32_t>(kind)) {
    munmap(base, size);
    close(fd);
    return error(Status::kMalformed,
                 "segment " + std::to_string(id) + " has another header than was announced");
  }
  return std::unique_ptr<Segment>(
      new Segment(static_cast<std::byte*>(base), size, id, kind, fd, false, Memory::kFile));
}

Segment::~Segment() {
  // In pieces: whoever changes mappings meanwhile, a worker among them, waits for one of them only.
  const uint64_t piece = std::max(kUnmapped, size_ / kMostPieces & ~(kPage - 1));
  for (uint64_t at = 0; at < size_; at += piece) munmap(base_ + at, std::min(piece, size_ - at));
  if (fd_ >= 0) close(fd_);
  if (owns_id_) ids().give_back(id_);
}

void Segment::give_back(uint64_t offset, uint64_t len) const noexcept {
  // Punches a hole in the file behind the mapping, if it has one, which the seals allow. Should it
  // fail the pages stay resident, which is only a cost.
  (void)madvise(base_ + offset, len, memory_ == Memory::kPrivate ? MADV_DONTNEED : MADV_REMOVE);
}

SegmentTable::SegmentTable(uint32_t capacity)
    : mask_(std::bit_ceil(capacity < 2 ? 2 : capacity) - 1),
      entries_(std::make_unique<Entry[]>(mask_ + 1)) {}

bool SegmentTable::add(const Segment& segment) noexcept {
  if (find(segment.id())) return false;
  for (uint32_t i = 0; i <= mask_; ++i) {
    Entry& e = entries_[(segment.id() + i) & mask_];
    const uint32_t found = e.id.load(std::memory_order_relaxed);
    if (found != 0 && found != kRemoved) continue;
    e.base = segment.base();
    e.size = segment.size();
    e.id.store(segment.id(), std::memory_order_release);
    return true;
  }
  return false;
}

void SegmentTable::remove(uint32_t id) noexcept {
  if (const Entry* e = find(id)) const_cast<Entry*>(e)->id.store(kRemoved);
}

const SegmentTable::Entry* SegmentTable::load(uint32_t id) const noexcept {
  if (id == 0 || !loader_ || !loader_(loader_context_, id)) return nullptr;
  return find(id);
}

}  // namespace loom::svm
