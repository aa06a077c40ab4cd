#include "buffer/memory.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

namespace loom {
namespace {

constexpr uint64_t kHuge2M = 2ull << 20, kHuge1G = 1ull << 30;

std::string size_text(uint64_t bytes) {
  if (bytes >= kHuge1G && bytes % kHuge1G == 0) return std::to_string(bytes >> 30) + " GB";
  if (bytes >= 1 << 20) return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MB";
  return std::to_string(bytes >> 10) + " KB";
}

uint64_t plain_page_size() { return static_cast<uint64_t>(sysconf(_SC_PAGESIZE)); }

// Prefers, does not insist: memory of another node is slower, no memory is worse. libnuma would be
// a dependency for this one call.
void prefer_numa_node(std::span<std::byte> memory, int node) {
  unsigned long mask[16] = {};
  constexpr std::size_t kBits = sizeof(unsigned long) * 8;
  if (node < 0 || static_cast<std::size_t>(node) >= std::size(mask) * kBits) return;
  mask[static_cast<std::size_t>(node) / kBits] |= 1ul << (static_cast<std::size_t>(node) % kBits);
  (void)syscall(SYS_mbind, memory.data(), memory.size(), MPOL_PREFERRED, mask,
                std::size(mask) * kBits, 0);
}

}  // namespace

Result<SharedMemory> SharedMemory::create(const char* name, std::size_t size, uint64_t page_size,
                                          int numa_node) {
  if (page_size != 0) {
    if (page_size != plain_page_size() && page_size != kHuge2M && page_size != kHuge1G)
      return loom::error(Status::kInvalid, "page-size " + std::to_string(page_size) +
                                               " is neither a plain page nor 2m nor 1g");
    return try_create(name, size, page_size, numa_node);
  }
  if (size >= kHuge1G) {
    if (auto m = try_create(name, size, kHuge1G, numa_node)) return m;
  }
  if (size >= kHuge2M) {
    if (auto m = try_create(name, size, kHuge2M, numa_node)) return m;
  }
  return try_create(name, size, plain_page_size(), numa_node);
}

Result<SharedMemory> SharedMemory::try_create(const char* name, std::size_t size,
                                              uint64_t page_size, int numa_node) {
  const bool huge = page_size >= kHuge2M;
  const auto wanted = (size + page_size - 1) / page_size * page_size;
  const auto fail = [&](Status code, const char* call) {
    return loom::error(code, std::string(name) + ": " + size_text(wanted) + " of memory on " +
                                 size_text(page_size) + " pages: " + call + ": " +
                                 std::strerror(errno));
  };
  unsigned flags = MFD_CLOEXEC;
  if (huge) flags |= MFD_HUGETLB | static_cast<unsigned>(std::countr_zero(page_size)) << 26;
  SharedMemory m;
  m.page_size_ = page_size;
  m.fd_ = memfd_create(name, flags);
  if (m.fd_ < 0) return fail(Status::kIo, "memfd_create");
  if (ftruncate(m.fd_, static_cast<off_t>(wanted)) != 0) return fail(Status::kIo, "ftruncate");
  void* at = mmap(nullptr, wanted, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd_, 0);
  if (at == MAP_FAILED) return fail(Status::kNoMemory, "mmap");
  m.base_ = static_cast<std::byte*>(at);
  m.size_ = wanted;
  if (!huge) (void)madvise(at, wanted, MADV_HUGEPAGE);  // advice: refused where it means nothing
  prefer_numa_node(m.bytes(), numa_node);
  // Backs every page now: later there would be a SIGBUS on the data path instead of this message.
  if (fallocate(m.fd_, 0, 0, static_cast<off_t>(wanted)) != 0)
    return fail(Status::kNoMemory, "fallocate");
  return m;
}

SharedMemory SharedMemory::lent(std::span<std::byte> bytes, uint64_t page_size) noexcept {
  SharedMemory m;
  m.base_ = bytes.data();
  m.size_ = bytes.size();
  m.page_size_ = page_size;
  m.is_lent_ = true;
  return m;
}

SharedMemory::SharedMemory(SharedMemory&& o) noexcept
    : base_(std::exchange(o.base_, nullptr)),
      size_(std::exchange(o.size_, 0)),
      page_size_(o.page_size_),
      fd_(std::exchange(o.fd_, -1)),
      is_lent_(o.is_lent_) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& o) noexcept {
  std::swap(base_, o.base_);
  std::swap(size_, o.size_);
  std::swap(page_size_, o.page_size_);
  std::swap(fd_, o.fd_);
  std::swap(is_lent_, o.is_lent_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (base_ && !is_lent_) munmap(base_, size_);
  if (fd_ >= 0) close(fd_);
}

}  // namespace loom
