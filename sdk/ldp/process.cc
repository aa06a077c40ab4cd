#include "ldp/process.h"

#include <pthread.h>

#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "ldp/candidate.h"
#include "ldp/datagrams.h"
#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/streams.h"
#include "vcl/app_worker.h"

namespace loom::ldp {
namespace {

std::atomic<vcl::AppWorker*> the_worker{nullptr};
std::atomic<pid_t> owner{0};  // the process that the tables describe
std::atomic<bool> complained{false};

void say(const char* format, ...) noexcept __attribute__((format(printf, 1, 2)));
void say(const char* format, ...) noexcept {
  char line[512];
  va_list args;
  va_start(args, format);
  int n = std::vsnprintf(line, sizeof line - 1, format, args);
  va_end(args);
  if (n < 0) return;
  n = n < static_cast<int>(sizeof line) - 1 ? n : static_cast<int>(sizeof line) - 2;
  line[n] = '\n';
  (void)!vcl::sys::write(STDERR_FILENO, line, static_cast<size_t>(n) + 1);
}

int debug_level() noexcept {
  static const int level = [] {
    const char* text = std::getenv("LDP_DEBUG");
    return text ? std::atoi(text) : 0;
  }();
  return level;
}

std::string app_name() {
  if (const char* name = std::getenv("LDP_APP_NAME"); name && *name) return name;
  return program_invocation_short_name;
}

vcl::AppWorker* make_worker() noexcept {
  try {
    auto config = vcl::load_config();
    if (!config) {
      say("hostloom: %s; sockets stay the kernel's", config.error().message.c_str());
      return nullptr;
    }
    return new vcl::AppWorker(std::move(*config), app_name());  // never destroyed: exit is late
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

// No thread is in the middle of a change when the memory is copied.
void before_fork() noexcept {
  lock_candidates();
  lock_streams();
}
void after_fork() noexcept {
  unlock_streams();
  unlock_candidates();
}

__attribute__((constructor)) void start() {
  resolve_libc();
  vcl::sys::hooks.epoll_pwait = libc().epoll_pwait;
  vcl::sys::hooks.ppoll = libc().ppoll;
  vcl::sys::hooks.internal_fd = [](int fd, bool is_internal) {
    fds.set(fd, is_internal ? vcl::ObjectTable::kInternal : vcl::ObjectTable::kNone);
  };
  owner.store(vcl::sys::getpid());
  pthread_atfork(before_fork, after_fork, [] {
    owner.store(vcl::sys::getpid());
    after_fork();
    datagrams_after_fork();
  });
}

}  // namespace

vcl::AppWorker* worker() noexcept {
  if (vcl::AppWorker* w = the_worker.load(std::memory_order_acquire)) [[likely]]
    return w;
  static std::once_flag once;
  std::call_once(once, [] { the_worker.store(make_worker(), std::memory_order_release); });
  return the_worker.load(std::memory_order_acquire);
}

Home find_home() noexcept {
  vcl::AppWorker* w = worker();
  if (!w) return Home::kKernel;
  const auto attached = w->attach();
  if (attached) return Home::kHostloom;
  const bool required = w->config().require_stack;
  if (!complained.exchange(true))
    say("hostloom: %s: %s; %s", w->config().app_socket.c_str(), attached.error().message.c_str(),
        required ? "sockets fail, as configured" : "sockets stay the kernel's");
  return required ? Home::kNowhere : Home::kKernel;
}

bool same_process() noexcept { return owner.load() == vcl::sys::getpid(); }

void debug(int level, const char* format, ...) noexcept {
  if (debug_level() < level) return;
  char text[400];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  say("ldp<%d>: %s", vcl::sys::getpid(), text);
}

}  // namespace loom::ldp
