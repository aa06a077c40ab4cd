// How many sockets have each port as their own, on all workers, bound or with a peer; by FIB, so
// that what one namespace has is no other's business.
//
// The flow table refuses a port to one socket that has another's address and port. A port that a
// socket is bound to without having asked for one must be nobody's at all: where a socket that is
// bound to any address has the port of one with a narrower entry (a peer, or an address), the
// answers that it waits for are the other one's. Linux gives no such port either. A connect that
// chooses a port does not ask here: its own entry is the narrower one.
//
// Threads: any worker. A connect tells its port when it has it, so that a bind at the same moment
// may choose that one.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <new>

namespace loom::udp {

class LocalPorts {
 public:
  class Table {
   public:
    void add(uint16_t port) noexcept { n_[port].fetch_add(1, std::memory_order_relaxed); }
    // False: somebody has it.
    bool add_if_free(uint16_t port) noexcept {
      uint32_t none = 0;
      return n_[port].load(std::memory_order_relaxed) == 0 &&
             n_[port].compare_exchange_strong(none, 1, std::memory_order_relaxed);
    }
    uint32_t count(uint16_t port) const noexcept {
      return n_[port].load(std::memory_order_relaxed);
    }
    void remove(uint16_t port) noexcept { n_[port].fetch_sub(1, std::memory_order_relaxed); }

   private:
    std::array<std::atomic<uint32_t>, 1u << 16> n_{};
  };
  static constexpr uint32_t kMostFibs = 256;  // as many as there are; more would share

  LocalPorts() = default;
  LocalPorts(const LocalPorts&) = delete;
  LocalPorts& operator=(const LocalPorts&) = delete;
  ~LocalPorts() {
    for (const auto& t : tables_) delete t.load(std::memory_order_relaxed);
  }

  // Made when the first socket there asks, and kept. nullptr: no memory.
  Table* of(uint32_t fib_index) noexcept {
    std::atomic<Table*>& place = tables_[fib_index % kMostFibs];
    Table* there = place.load(std::memory_order_acquire);
    if (there) return there;
    std::unique_ptr<Table> made(new (std::nothrow) Table);
    if (made && place.compare_exchange_strong(there, made.get(), std::memory_order_acq_rel))
      return made.release();
    return there;  // another worker's
  }

  // nullptr: nobody has asked there.
  const Table* find(uint32_t fib_index) const noexcept {
    return tables_[fib_index % kMostFibs].load(std::memory_order_acquire);
  }

 private:
  std::array<std::atomic<Table*>, kMostFibs> tables_{};
};

}  // namespace loom::udp
