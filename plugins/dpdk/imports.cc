// The calls of a shared object go by its own table of addresses, which the dynamic linker has
// filled in by the object's relocations, and has often protected since (RELRO).
#include "imports.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace loom::dpdk {
namespace {

#if defined(__x86_64__)
constexpr bool is_function(ElfW(Xword) info) {
  return ELF64_R_TYPE(info) == R_X86_64_JUMP_SLOT || ELF64_R_TYPE(info) == R_X86_64_GLOB_DAT;
}
#elif defined(__aarch64__)
constexpr bool is_function(ElfW(Xword) info) {
  return ELF64_R_TYPE(info) == R_AARCH64_JUMP_SLOT || ELF64_R_TYPE(info) == R_AARCH64_GLOB_DAT;
}
#else
constexpr bool is_function(ElfW(Xword)) { return false; }
#endif

struct Object {
  uintptr_t base = 0;
  const ElfW(Dyn) * dynamic = nullptr;
  uintptr_t relro_begin = 0, relro_end = 0;  // of whole pages

  // Its entry of the dynamic section; 0: it has none.
  uintptr_t value(ElfW(Sxword) tag) const noexcept {
    for (const ElfW(Dyn)* d = dynamic; d && d->d_tag != DT_NULL; ++d)
      if (d->d_tag == tag) return d->d_un.d_val;
    return 0;
  }
  // One that is an address: some linkers leave it relative to where the object lies.
  uintptr_t address(ElfW(Sxword) tag) const noexcept {
    const uintptr_t a = value(tag);
    return a == 0 || a >= base ? a : base + a;
  }
  bool is_protected(uintptr_t at) const noexcept { return at >= relro_begin && at < relro_end; }
};

struct Search {
  std::string_view name;
  std::vector<Object> found;
};

int look_at(dl_phdr_info* info, size_t, void* search) {
  auto& s = *static_cast<Search*>(search);
  const std::string_view path = info->dlpi_name ? info->dlpi_name : "";
  if (!path.substr(path.rfind('/') + 1).starts_with(s.name)) return 0;
  Object o{.base = info->dlpi_addr};
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  for (const ElfW(Phdr) & p : std::span(info->dlpi_phdr, info->dlpi_phnum)) {
    const uintptr_t at = o.base + p.p_vaddr;
    if (p.p_type == PT_DYNAMIC) o.dynamic = reinterpret_cast<const ElfW(Dyn)*>(at);
    if (p.p_type == PT_GNU_RELRO) {
      o.relro_begin = at & ~(page - 1);
      o.relro_end = (at + p.p_memsz) & ~(page - 1);
    }
  }
  s.found.push_back(o);
  return 0;
}

struct Slot {
  uintptr_t at;
  void* to;
};

// Adds the slots by which it calls that function.
void find_slots(const Object& o, const Import& import, std::vector<Slot>& out) {
  const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(o.address(DT_SYMTAB));
  const auto* names = reinterpret_cast<const char*>(o.address(DT_STRTAB));
  if (!symbols || !names) return;
  const auto look = [&](uintptr_t table, uintptr_t size) {
    if (table == 0) return;
    for (const ElfW(Rela) & r :
         std::span(reinterpret_cast<const ElfW(Rela)*>(table), size / sizeof(ElfW(Rela))))
      if (is_function(r.r_info) &&
          std::strcmp(names + symbols[ELF64_R_SYM(r.r_info)].st_name, import.name) == 0)
        out.push_back({o.base + r.r_offset, import.to});
  };
  if (o.value(DT_PLTREL) == DT_RELA) look(o.address(DT_JMPREL), o.value(DT_PLTRELSZ));
  look(o.address(DT_RELA), o.value(DT_RELASZ));
}

bool protect(const Object& o, int how) {
  return o.relro_end == o.relro_begin ||
         ::mprotect(reinterpret_cast<void*>(o.relro_begin), o.relro_end - o.relro_begin, how) == 0;
}

}  // namespace

Result<void> redirect_imports(std::string_view object, std::span<const Import> imports) {
  Search search{.name = object, .found = {}};
  (void)::dl_iterate_phdr(look_at, &search);
  const std::string name(object);
  if (search.found.empty()) return error(Status::kNotFound, name + " is not loaded");
  if (search.found.size() > 1) return error(Status::kUnsupported, name + " is loaded twice");
  const Object& o = search.found.front();
  std::vector<Slot> slots;
  for (const Import& i : imports) {
    const std::size_t before = slots.size();
    find_slots(o, i, slots);
    if (slots.size() == before)
      return error(Status::kUnsupported,
                   name + " does not call " + i.name + " where it is looked for");
  }
  if (!protect(o, PROT_READ | PROT_WRITE))
    return error(Status::kUnsupported, name + ": mprotect: " + std::strerror(errno));
  for (const Slot& s : slots)
    __atomic_store_n(reinterpret_cast<void**>(s.at), s.to, __ATOMIC_RELEASE);
  (void)protect(o, PROT_READ);
  return {};
}

}  // namespace loom::dpdk
