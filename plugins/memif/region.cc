#include "region.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>

namespace loom::memif {
namespace {

Error refused(Status s, const std::string& why) { return error(s, "Region refused: " + why); }

Result<std::byte*> map_shared(int fd, uint64_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return refused(Status::kNoMemory, std::strerror(errno));
  return static_cast<std::byte*>(at);
}

}  // namespace

Region::~Region() {
  if (base_) ::munmap(base_, size_);
}

Result<Region> Region::make(uint64_t size) {
  Region r;
  r.fd_ = UniqueFd(::memfd_create("memif", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!r.fd_ || ::ftruncate(r.fd(), static_cast<off_t>(size)) != 0 ||
      ::fcntl(r.fd(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return refused(Status::kIo, std::string("memfd: ") + std::strerror(errno));
  const auto base = map_shared(r.fd(), size);
  if (!base) return base.error();
  r.base_ = *base;
  r.size_ = size;
  return r;
}

Result<Region> Region::map(UniqueFd fd, uint64_t size) {
  // Only files in memory have seals at all; of others nothing else is asked, which might wait.
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0) return refused(Status::kInvalid, "not a memfd");
  if (!(seals & F_SEAL_SHRINK)) return refused(Status::kInvalid, "not sealed against shrinking");
  struct statfs fs;
  if (::fstatfs(fd.get(), &fs) != 0) return refused(Status::kIo, std::strerror(errno));
  if (fs.f_type == HUGETLBFS_MAGIC) return refused(Status::kUnsupported, "huge pages");
  struct stat s;
  if (::fstat(fd.get(), &s) != 0) return refused(Status::kIo, std::strerror(errno));
  if (size == 0 || size > static_cast<uint64_t>(s.st_size))
    return refused(Status::kInvalid, "its file is smaller");
  Region r;
  const auto base = map_shared(fd.get(), size);
  if (!base) return base.error();
  r.base_ = *base;
  r.size_ = size;
  return r;
}

}  // namespace loom::memif
