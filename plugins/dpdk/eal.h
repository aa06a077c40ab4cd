// DPDK's environment (EAL) in this process: started once, on the control thread, without taking
// cores, files or the log away from the daemon. There is no stop: the buffers lie in its memory,
// which ends with the process, and so does everything else of it.
#pragma once
#include <sched.h>
#include <signal.h>

#include <string>
#include <vector>

#include <hostloom/host.h>

#include "config.h"
#include "eal_log.h"

namespace loom::dpdk {

// Threads that DPDK starts meanwhile take no signals: they inherit the caller's mask, and signals
// are for the control thread alone.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

// What EAL was started with.
struct EalState {
  std::vector<std::string> arguments;
  bool has_huge_pages = false;
  std::string text() const;  // the arguments, a blank between them
  std::string memory;        // "the huge pages that are free suffice", or why there are none
};

// EAL's arguments, program name first. cores: that the daemon may use; bytes: of the buffers.
std::vector<std::string> eal_arguments(const Config&, const cpu_set_t& cores, bool has_huge_pages,
                                       std::size_t bytes);

// What lies in EAL's memory in one piece, so on pages of one size of one node.
struct Piece {
  std::size_t bytes = 0;
  int numa_node = -1;  // -1: any
};

// buffers: the pools that are to lie in EAL's memory. The error says what EAL's log said.
Result<EalState> start_eal(Host&, const Config&, const std::vector<Piece>& buffers, EalLog&);

// Huge pages of one size that are free on one node.
struct FreePages {
  int numa_node = 0;
  std::size_t page_size = 0, n = 0;
};

// Of the files of the kernel's at `sys` ("/sys"): by node, or, where there are none, as one.
std::vector<FreePages> free_huge_pages(const std::string& sys);

// Whether all pieces find room, each the smallest place that has it, the largest piece first; what
// one leaves of its pages is for the next. The error says which does not, and what there is.
Result<void> find_room(std::vector<Piece>, std::vector<FreePages>);

// Memory for a buffer pool: at most one call a pool. PA addresses: in one piece of the device's
// addresses, too.
Status provide_buffers(void* context, uint32_t pool, std::size_t size, int numa_node,
                       std::span<std::byte>* out, uint64_t* page_size, std::string* message);

}  // namespace loom::dpdk
