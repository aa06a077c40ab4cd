// fdopen over sockets: libc's streams read and write past the names that this library replaces, so
// a session's stream is made of functions. fileno of such a stream is its descriptor.
//
// A stream is opened before or after connect(): a candidate gets such a stream as well.
#include <mutex>
#include <unordered_map>

#include "ldp/fd_table.h"
#include "ldp/libc.h"
#include "ldp/process.h"
#include "ldp/streams.h"

using namespace loom;
using namespace loom::ldp;

namespace {

struct Streams {
  std::mutex mutex;
  std::unordered_map<FILE*, int> descriptors;
  std::unordered_map<int, FILE*> of_fd;
};
Streams& streams() {
  static Streams& s = *new Streams;  // never destroyed: streams are flushed at exit
  return s;
}
std::atomic<bool> any_streams{false};

int fd_of(void* cookie) noexcept { return static_cast<int>(reinterpret_cast<intptr_t>(cookie)); }

ssize_t stream_read(void* cookie, char* p, size_t n) { return read(fd_of(cookie), p, n); }
// 0 is failure to libc.
ssize_t stream_write(void* cookie, const char* p, size_t n) {
  const ssize_t done = write(fd_of(cookie), p, n);
  return done < 0 ? 0 : done;
}
int stream_close(void* cookie) {
  const int fd = fd_of(cookie);
  {
    const std::lock_guard lock(streams().mutex);
    const auto found = streams().of_fd.find(fd);
    if (found != streams().of_fd.end()) {
      streams().descriptors.erase(found->second);
      streams().of_fd.erase(found);
    }
  }
  return close(fd);
}

// -1: none of ours.
int descriptor_of(FILE* stream) {
  if (!any_streams.load(std::memory_order_acquire)) return -1;
  const std::lock_guard lock(streams().mutex);
  const auto found = streams().descriptors.find(stream);
  return found == streams().descriptors.end() ? -1 : found->second;
}

}  // namespace

namespace loom::ldp {

void lock_streams() noexcept { streams().mutex.lock(); }
void unlock_streams() noexcept { streams().mutex.unlock(); }

}  // namespace loom::ldp

extern "C" {

FILE* fdopen(int fd, const char* mode) noexcept {
  if (!session_at(fd) && !is_candidate(fd)) return libc().fdopen(fd, mode);
  const cookie_io_functions_t functions{stream_read, stream_write, nullptr, stream_close};
  FILE* stream = fopencookie(reinterpret_cast<void*>(static_cast<intptr_t>(fd)), mode, functions);
  if (!stream) return nullptr;
  const std::lock_guard lock(streams().mutex);
  streams().descriptors[stream] = fd;
  streams().of_fd[fd] = stream;
  any_streams.store(true, std::memory_order_release);
  return stream;
}

int fileno(FILE* stream) noexcept {
  const int fd = descriptor_of(stream);
  return fd >= 0 ? fd : libc().fileno(stream);
}
int fileno_unlocked(FILE* stream) noexcept {
  const int fd = descriptor_of(stream);
  return fd >= 0 ? fd : libc().fileno_unlocked(stream);
}

}  // extern "C"
