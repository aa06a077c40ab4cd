#include "plugin/elf_file.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace loom {
namespace {

constexpr std::size_t kMaxProgramHeaders = 256;  // linkers write about ten

Error not_loadable(const std::string& why) {
  return error(Status::kMalformed, "is not a loadable shared object: " + why);
}

struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0) close(fd);
  }
};

bool read_at(int fd, uint64_t offset, void* to, std::size_t size) noexcept {
  for (std::size_t done = 0; done < size;) {
    const ssize_t n =
        pread(fd, static_cast<char*>(to) + done, size - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<std::size_t>(n);
  }
  return true;
}

bool is_ours(const Elf64_Ehdr& e) noexcept {
  return e.e_ident[EI_CLASS] == ELFCLASS64 && e.e_ident[EI_DATA] == ELFDATA2LSB &&
         e.e_machine == EM_X86_64;
}

}  // namespace

Result<void> check_elf_file(const std::string& file) {
  // Not blocking: a FIFO must not stop the daemon.
  const Fd in{open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  struct stat st;
  if (in.fd < 0 || fstat(in.fd, &st) != 0) return not_loadable(std::strerror(errno));
  if (!S_ISREG(st.st_mode)) return not_loadable("it is not a regular file");
  const auto size = static_cast<uint64_t>(st.st_size);

  Elf64_Ehdr e;
  if (!read_at(in.fd, 0, &e, sizeof e) || std::memcmp(e.e_ident, ELFMAG, SELFMAG) != 0)
    return not_loadable("it has no ELF header");
  if (!is_ours(e)) return not_loadable("it is built for another machine");
  if (e.e_type != ET_DYN) return not_loadable("it is an ELF file of another kind");
  if (e.e_phentsize != sizeof(Elf64_Phdr) || e.e_phnum == 0 || e.e_phnum > kMaxProgramHeaders)
    return not_loadable("its ELF header makes no sense");

  std::vector<Elf64_Phdr> parts(e.e_phnum);
  bool whole = read_at(in.fd, e.e_phoff, parts.data(), parts.size() * sizeof(Elf64_Phdr));
  bool has_dynamic = false;
  for (const Elf64_Phdr& p : parts) {
    if (p.p_type == PT_DYNAMIC) has_dynamic = true;
    if (p.p_type != PT_LOAD && p.p_type != PT_DYNAMIC) continue;
    whole = whole && p.p_filesz <= size && p.p_offset <= size - p.p_filesz;
  }
  if (!whole) return not_loadable("it is cut off after " + std::to_string(size) + " bytes");
  if (!has_dynamic) return not_loadable("it has no dynamic section");
  return {};
}

}  // namespace loom
