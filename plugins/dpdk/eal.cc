#include "eal.h"

#include <pthread.h>
#include <rte_config.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_memory.h>
#include <rte_memzone.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace loom::dpdk {
namespace {

namespace fs = std::filesystem;

// What EAL and drivers need beside the buffers: rings and tables, a few KB a descriptor at most.
constexpr std::size_t kBesideBuffers = 64u << 20;

// EAL pins the thread that starts it to the cores of its first "lcore": all that we may use.
std::string lcore_of_all_cores(const cpu_set_t& cores) {
  std::string list;
  for (std::size_t c = 0; c < CPU_SETSIZE; ++c)
    if (CPU_ISSET(c, &cores)) list += (list.empty() ? "" : ",") + std::to_string(c);
  return "--lcores=0@(" + list + ")";
}

// EAL makes a folder even when it keeps no files: a private one, in place of /var/run/dpdk.
std::string make_folder() {
  const char* parent = std::getenv("TMPDIR");
  std::string name = std::string(parent && *parent ? parent : "/tmp") + "/hostloom-dpdk-XXXXXX";
  return ::mkdtemp(name.data()) ? name : "";
}

}  // namespace

std::string EalState::text() const {
  std::string all;
  for (const std::string& a : arguments) all += (all.empty() ? "" : " ") + a;
  return all;
}

std::vector<std::string> eal_arguments(const Config& c, const cpu_set_t& cores, bool has_huge_pages,
                                       std::size_t bytes) {
  // No files; on plain pages EAL has no other word for it.
  std::vector<std::string> a{"hostloom",
                             has_huge_pages ? "--in-memory" : "--no-shconf",
                             "--no-telemetry",
                             "--file-prefix=hostloom-" + std::to_string(::getpid()),
                             lcore_of_all_cores(cores),
                             "--log-level=" + c.log_level};
  if (has_huge_pages) {
    if (!c.socket_mem.empty()) a.push_back("--socket-mem=" + c.socket_mem);
    if (!c.iova_mode.empty()) a.push_back("--iova-mode=" + c.iova_mode);
  } else {
    a.push_back("--no-huge");
    a.push_back("--iova-mode=va");  // plain pages lie anywhere
    a.push_back("-m");
    a.push_back(std::to_string((bytes + kBesideBuffers + (1 << 20) - 1) >> 20));
  }
  // Every part of DPDK has a level of its own, too.
  if (c.log_level == "info" || c.log_level == "debug") a.push_back("--log-level=*:" + c.log_level);
  // No device is touched that is not named.
  bool has_devices = false;
  for (const DeviceConfig& d : c.devices) {
    if (d.is_virtual) continue;
    a.push_back("--allow=" + d.probe_text());
    has_devices = true;
  }
  if (!has_devices) a.push_back("--no-pci");
  return a;
}

namespace {
void add_free_pages(const fs::path& folder, int numa_node, std::vector<FreePages>& to) {
  std::error_code none;
  for (const auto& size : fs::directory_iterator(folder, none)) {
    unsigned long long kb = 0, n = 0;
    if (std::sscanf(size.path().filename().c_str(), "hugepages-%llukB", &kb) != 1) continue;
    if (std::ifstream(size.path() / "free_hugepages") >> n) to.push_back({numa_node, kb << 10, n});
  }
}

std::string where(int numa_node) {
  return numa_node < 0 ? "on one node" : "on node " + std::to_string(numa_node);
}

std::string megabytes(std::size_t bytes) {
  return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MB";
}
}  // namespace

std::vector<FreePages> free_huge_pages(const std::string& sys) {
  std::vector<FreePages> all;
  std::error_code none;
  for (const auto& node : fs::directory_iterator(sys + "/devices/system/node", none)) {
    int number = 0;
    if (std::sscanf(node.path().filename().c_str(), "node%d", &number) == 1)
      add_free_pages(node.path() / "hugepages", number, all);
  }
  if (all.empty()) add_free_pages(sys + "/kernel/mm/hugepages", 0, all);
  return all;
}

namespace {
// The free pages of one size of one node, of which EAL has taken some.
struct Place {
  FreePages pages;
  std::size_t rest = 0;  // bytes in one piece, of those that are taken

  std::size_t new_pages(std::size_t bytes) const {
    return bytes <= rest ? 0 : (bytes + pages.page_size - 1) / pages.page_size;
  }
  std::size_t most() const { return std::max(rest, pages.n * pages.page_size); }
  std::size_t left() const { return rest + pages.n * pages.page_size; }
  // As EAL's heap does: what has no room in the rest is put on new pages, whole ones.
  void take(std::size_t bytes) {
    const std::size_t n = new_pages(bytes);
    pages.n -= n;
    rest = n == 0 ? rest - bytes : std::max(rest, n * pages.page_size - bytes);
  }
};
}  // namespace

Result<void> find_room(std::vector<Piece> pieces, std::vector<FreePages> pages) {
  std::sort(pieces.begin(), pieces.end(),
            [](const Piece& a, const Piece& b) { return a.bytes > b.bytes; });
  std::vector<Place> places;
  for (const FreePages& f : pages) places.push_back({f});
  for (const Piece& p : pieces) {
    Place* place = nullptr;
    std::size_t most = 0;  // that there is for it
    for (Place& one : places) {
      if (p.numa_node >= 0 && p.numa_node != one.pages.numa_node) continue;
      most = std::max(most, one.most());
      if (one.new_pages(p.bytes) > one.pages.n) continue;
      if (!place || one.left() < place->left()) place = &one;
    }
    if (!place)
      return error(Status::kNoMemory,
                   megabytes(p.bytes) + " of huge pages of one size are needed " +
                       where(p.numa_node) + ", and " + std::to_string(most >> 20) + " MB are free");
    place->take(p.bytes);
  }
  return {};
}

Result<EalState> start_eal(Host& host, const Config& config, const std::vector<Piece>& buffers,
                           EalLog& log) {
  static bool was_started = false;
  if (was_started) return error(Status::kUnsupported, "DPDK can be started once in a process");
  was_started = true;
  EalState state;
  std::size_t bytes = 0;
  for (const Piece& p : buffers) bytes += p.bytes;
  std::vector<Piece> pieces = buffers;
  pieces.push_back({kBesideBuffers});
  const auto room = config.has_huge_pages ? find_room(pieces, free_huge_pages("/sys"))
                                          : error(Status::kUnsupported, "as configured");
  state.has_huge_pages = room.has_value();
  state.memory = room ? "huge pages" : "plain pages (" + room.error().message + "): --no-huge";
  host.log(config.has_huge_pages && !room ? LogLevel::kNotice : LogLevel::kInfo, "dpdk",
           "buffers on " + state.memory);
  if (!room && (!config.socket_mem.empty() || config.iova_mode == "pa"))
    host.log(LogLevel::kNotice, "dpdk",
             "'socket-mem' and 'iova-mode pa' are for huge pages, and left out");

  cpu_set_t cores;
  if (::pthread_getaffinity_np(::pthread_self(), sizeof cores, &cores) != 0)
    return error(Status::kIo, "the daemon's cores are not known");
  state.arguments = eal_arguments(config, cores, state.has_huge_pages, bytes);
  if (auto opened = log.open(); !opened) return opened.error();
  const std::string folder = make_folder();
  const char* was = std::getenv("RUNTIME_DIRECTORY");
  const std::string before = was ? was : "";
  if (!folder.empty()) ::setenv("RUNTIME_DIRECTORY", folder.c_str(), 1);

  // EAL keeps pointers to them.
  static std::vector<std::string> kept;
  static std::vector<char*> argv;
  kept = state.arguments;
  for (std::string& a : kept) argv.push_back(a.data());
  argv.push_back(nullptr);
  const EalLog::Errors errors;
  int code = 0, reason = 0;
  {
    const SignalsBlocked blocked;
    code = rte_eal_init(static_cast<int>(kept.size()), argv.data());
    reason = rte_errno;
  }
  (void)::pthread_setaffinity_np(::pthread_self(), sizeof cores, &cores);
  if (was)
    ::setenv("RUNTIME_DIRECTORY", before.c_str(), 1);
  else
    ::unsetenv("RUNTIME_DIRECTORY");
  log.drain();
  std::error_code none;
  if (!folder.empty()) fs::remove_all(folder, none);  // empty: there is nothing to share
  if (code >= 0) return state;
  const std::string& said = errors.last();
  return error(Status::kIo,
               "DPDK does not start: " + (said.empty() ? std::string(rte_strerror(reason)) : said));
}

Status provide_buffers(void*, uint32_t pool, std::size_t size, int numa_node,
                       std::span<std::byte>* out, uint64_t* page_size, std::string* message) {
  const std::string name = "hostloom-buffers" + std::to_string(pool);
  // With physical addresses each packet must be in one piece for the device; with virtual ones all
  // memory is.
  const unsigned flags = rte_eal_iova_mode() == RTE_IOVA_PA ? RTE_MEMZONE_IOVA_CONTIG : 0;
  const rte_memzone* zone = rte_memzone_reserve_aligned(
      name.c_str(), size, numa_node < 0 ? SOCKET_ID_ANY : numa_node, flags, 4096);
  if (!zone) {
    *message = std::to_string(size >> 20) + " MB of DPDK's memory for buffers" +
               (flags ? " in one piece (1 GB pages, or an IOMMU, would help)" : "") + ": " +
               rte_strerror(rte_errno);
    return Status::kNoMemory;
  }
  // Advice: refused where it means nothing.
  if (zone->hugepage_sz <= 4096) (void)::madvise(zone->addr, zone->len, MADV_HUGEPAGE);
  *out = {static_cast<std::byte*>(zone->addr), zone->len};
  *page_size = zone->hugepage_sz;
  return Status::kOk;
}

}  // namespace loom::dpdk
