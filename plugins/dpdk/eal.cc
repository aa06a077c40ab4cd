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

std::vector<std::string> arguments_of(const Config& c, const cpu_set_t& cores, bool has_huge_pages,
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

std::size_t free_huge_memory(const std::string& sys) {
  std::size_t bytes = 0;
  std::error_code none;
  for (const auto& size : fs::directory_iterator(sys + "/kernel/mm/hugepages", none)) {
    unsigned long long kb = 0, n = 0;
    if (std::sscanf(size.path().filename().c_str(), "hugepages-%llukB", &kb) != 1) continue;
    if (std::ifstream(size.path() / "free_hugepages") >> n) bytes += n * kb * 1024;
  }
  return bytes;
}

Result<EalState> start_eal(Host& host, const Config& config, std::size_t bytes, EalLog& log) {
  static bool was_started = false;
  if (was_started) return error(Status::kUnsupported, "DPDK can be started once in a process");
  was_started = true;
  EalState state;
  const std::size_t needed = bytes + kBesideBuffers, free = free_huge_memory("/sys");
  state.has_huge_pages = config.has_huge_pages && free >= needed;
  state.memory = state.has_huge_pages ? "huge pages"
                 : config.has_huge_pages
                     ? "plain pages (" + std::to_string(free >> 20) + " of " +
                           std::to_string(needed >> 20) + " MB of huge pages are free): --no-huge"
                     : "plain pages, as configured: --no-huge";
  host.log(config.has_huge_pages && !state.has_huge_pages ? LogLevel::kNotice : LogLevel::kInfo,
           "dpdk", "buffers on " + state.memory);

  cpu_set_t cores;
  if (::pthread_getaffinity_np(::pthread_self(), sizeof cores, &cores) != 0)
    return error(Status::kIo, "the daemon's cores are not known");
  state.arguments = arguments_of(config, cores, state.has_huge_pages, bytes);
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
