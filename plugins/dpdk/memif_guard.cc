#include "memif_guard.h"

#include <fcntl.h>
#include <rte_interrupts.h>
#include <rte_malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <list>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "imports.h"

namespace loom::dpdk {
namespace {

constexpr std::string_view kMemif = "net_memif";

// A call that EAL makes to the driver.
struct Registration {
  rte_intr_handle* handle = nullptr;  // the driver's
  rte_intr_callback_fn call = nullptr;
  rte_intr_unregister_callback_fn ended = nullptr;  // it is over once the call that runs returns
  void* arg = nullptr;
  void* within = nullptr;  // registered in a call with that argument: who has connected to a socket
};

class Guard {
 public:
  explicit Guard(uint32_t n_workers) : gate(n_workers) {}
  Guard(const Guard&) = delete;

  BurstGate gate;

  int add(const rte_intr_handle* handle, rte_intr_callback_fn call, void* arg) noexcept;
  int remove(const rte_intr_handle* handle, void* arg) noexcept;
  int remove_later(const rte_intr_handle* handle, void* arg,
                   rte_intr_unregister_callback_fn ended) noexcept;
  void free(rte_intr_handle* handle) noexcept;

 private:
  using List = std::list<Registration>;
  static void on_interrupt(void* registration) noexcept;
  static void on_end(rte_intr_handle* handle, void* registration) noexcept;
  // Those that leave the list are EAL's no longer, and nobody's but the caller's.
  template <class Is>
  List take(Is is) {
    List out;
    const std::lock_guard hold(lock_);
    for (auto i = list_.begin(); i != list_.end();) {
      const auto at = i++;
      if (is(*at)) out.splice(out.end(), list_, at);
    }
    return out;
  }
  void put_back(List& some) {
    const std::lock_guard hold(lock_);
    list_.splice(list_.end(), some);
  }
  void end(Registration& r) noexcept;

  std::mutex lock_;  // guards the list, and what is in it; never held in a call of EAL's
  List list_;
};

Guard* guard = nullptr;                // the driver's calls come without anything to know it by
thread_local void* running = nullptr;  // the argument of EAL's call that the thread is in

void Guard::on_interrupt(void* registration) noexcept {
  rte_intr_callback_fn call;
  {
    const std::lock_guard hold(guard->lock_);
    const Registration& r = *static_cast<Registration*>(registration);
    call = r.call;
    running = r.arg;
  }
  guard->gate.close();
  call(running);
  running = nullptr;
  guard->gate.open();
}

void Guard::on_end(rte_intr_handle* handle, void* registration) noexcept {
  for (const Registration& r : guard->take([&](auto& other) { return &other == registration; }))
    r.ended(handle, r.arg);
}

int Guard::add(const rte_intr_handle* handle, rte_intr_callback_fn call, void* arg) noexcept {
  List one;
  try {
    one.push_back({.handle = const_cast<rte_intr_handle*>(handle),
                   .call = call,
                   .arg = arg,
                   .within = running});
  } catch (const std::bad_alloc&) {
    return -ENOMEM;
  }
  Registration* r = &one.front();
  put_back(one);
  const int code = rte_intr_callback_register(handle, on_interrupt, r);
  if (code < 0) (void)take([&](auto& other) { return &other == r; });
  return code;
}

int Guard::remove(const rte_intr_handle* handle, void* arg) noexcept {
  List one = take([&](auto& r) { return r.handle == handle && r.arg == arg; });
  if (one.empty()) return -ENOENT;
  const int code = rte_intr_callback_unregister(handle, on_interrupt, &one.front());
  if (code <= 0) put_back(one);
  return code;
}

int Guard::remove_later(const rte_intr_handle* handle, void* arg,
                        rte_intr_unregister_callback_fn ended) noexcept {
  List one = take([&](auto& r) { return r.handle == handle && r.arg == arg; });
  if (one.empty()) return -ENOENT;
  Registration* r = &one.front();
  r->ended = ended;
  rte_intr_handle* const was = std::exchange(r->handle, nullptr);  // the driver's to free now
  put_back(one);                                                   // where on_end looks for it
  const int code = rte_intr_callback_unregister_pending(handle, on_interrupt, r, on_end);
  if (code < 0) {
    const std::lock_guard hold(lock_);
    r->handle = was;
  }
  return code;
}

// EAL calls nobody with it any more. Where it does so now, it is another thread, which waits for
// none of ours but workers.
void Guard::end(Registration& r) noexcept {
  while (rte_intr_callback_unregister(r.handle, on_interrupt, &r) == -EAGAIN)
    std::this_thread::yield();
}

// As the driver would, of whoever it has forgotten. A handle of a connection that could not be
// greeted comes from within the call that made it, its descriptor closed already; any other is a
// socket's, which stays open with who has connected to it.
void Guard::free(rte_intr_handle* handle) noexcept {
  if (!handle) return;
  for (Registration& r : take([&](auto& other) { return other.handle == handle; })) {
    end(r);
    if (r.within && r.within == running) continue;
    for (Registration& guest :
         take([&](auto& other) { return other.within == r.arg && other.handle != nullptr; })) {
      end(guest);
      (void)::close(rte_intr_fd_get(guest.handle));
      rte_intr_instance_free(guest.handle);
      rte_free(guest.arg);
    }
    (void)::close(rte_intr_fd_get(handle));
  }
  rte_intr_instance_free(handle);
}

// What the driver calls in place of EAL's functions.
int added(const rte_intr_handle* h, rte_intr_callback_fn call, void* arg) {
  return guard->add(h, call, arg);
}
int removed(const rte_intr_handle* h, rte_intr_callback_fn, void* arg) {
  return guard->remove(h, arg);
}
int removed_later(const rte_intr_handle* h, rte_intr_callback_fn, void* arg,
                  rte_intr_unregister_callback_fn ended) {
  return guard->remove_later(h, arg, ended);
}
void freed(rte_intr_handle* h) { guard->free(h); }

// And of the kernel's: who is called waits for nobody. A server that takes nobody has no room for
// us at some time; a client that reads no answers has none for another. The driver gives either up.
int connected(int fd, const sockaddr* to, socklen_t size) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return -1;
  const int code = ::connect(fd, to, size), why = errno;
  (void)::fcntl(fd, F_SETFL, flags);
  errno = why;
  return code;
}
ssize_t sent(int fd, const msghdr* message, int flags) {
  return ::sendmsg(fd, message, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
}

template <class F>
void* address_of(F* function) {
  return reinterpret_cast<void*>(function);
}

}  // namespace

bool is_memif(std::string_view device) noexcept { return device.starts_with(kMemif); }

Result<BurstGate*> guard_memif(uint32_t n_workers) {
  if (guard) return &guard->gate;
  guard = new Guard(n_workers);
  const std::array imports{
      Import{"rte_intr_callback_register", address_of(added)},
      Import{"rte_intr_callback_unregister", address_of(removed)},
      Import{"rte_intr_callback_unregister_pending", address_of(removed_later)},
      Import{"rte_intr_instance_free", address_of(freed)},
      Import{"connect", address_of(connected)},
      Import{"sendmsg", address_of(sent)},
  };
  if (auto done = redirect_imports("librte_net_memif.so", imports); !done) {
    delete std::exchange(guard, nullptr);
    return done.error();
  }
  return &guard->gate;
}

}  // namespace loom::dpdk
