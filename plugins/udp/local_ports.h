// Whose each local port is, on all workers, bound or with a peer; by FIB, so that what one
// namespace has in a table of its own is no other's business.
//
// The flow table refuses one socket another's address and port. Here is what Linux refuses beyond
// that: a port that a socket asks for by number is taken when another one has it on an address that
// covers the same, with a peer or without, unless both agree to share (man 7 socket). One that is
// chosen, for a bind or a connect, is nobody's at all.
//
// Threads: any worker; once for each bind, connect and close. Equal sockets are counted together,
// so that a server with a peer in each of many sockets makes no long list.
#pragma once
#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <unordered_map>

#include <hostloom/session.h>

namespace loom::udp {

// One socket's.
struct LocalEnd {
  IpAddress address{};  // zero: any
  uint16_t port = 0;
  bool dual_stack = false;  // any of IPv6, and IPv4's too
  bool reuseaddr = false, reuseport = false;
  SocketOwner owner{};
  bool operator==(const LocalEnd&) const = default;
};

// For a port to choose: from a random one on (RFC 6056 section 3.3.1). After kPatience in vain the
// one that was given back last is looked at, so that nobody goes through a range that is nearly
// full.
struct PortSearch {
  static constexpr uint32_t kPatience = 64;
  uint16_t first = 0;
  uint32_t n = 1, start = 0;
  uint32_t tried = 0;
  bool has_tried_latest = false;
};

class LocalPorts {
 public:
  class Table {
   public:
    // By number. kInUse: somebody else has it; kNoMemory.
    Status take(const LocalEnd&) noexcept;
    // One that nobody has: the next of the search. kInUse: there is none behind it; kNoMemory.
    Status take_free(LocalEnd&, PortSearch&) noexcept;
    // Whoever else has it. kNoMemory.
    Status add(const LocalEnd&) noexcept;
    // One that was taken or added.
    void remove(const LocalEnd&) noexcept;

    // Sockets that have it. Takes no lock.
    uint32_t count(uint16_t port) const noexcept {
      return n_[port].load(std::memory_order_relaxed);
    }

   private:
    Status enter(const LocalEnd&) noexcept;

    std::array<std::atomic<uint32_t>, 1u << 16> n_{};
    std::mutex mutex_;  // for all but count()
    // Ports that a search has found all taken, and none has been given back since; n 0: none.
    uint16_t full_first_ = 0;
    uint32_t full_n_ = 0;
    uint16_t latest_free_ = 0;  // given back last
    static constexpr std::size_t kFew = 1024;
    struct Users {
      LocalEnd end;
      uint32_t n;
    };
    std::unordered_multimap<uint16_t, Users> users_;
  };
  static constexpr uint32_t kMostFibs = 256;  // as many as there are; more would share

  LocalPorts() = default;
  LocalPorts(const LocalPorts&) = delete;
  LocalPorts& operator=(const LocalPorts&) = delete;
  ~LocalPorts() {
    for (const auto& t : tables_) delete t.load(std::memory_order_relaxed);
  }

  // Made when the first socket there asks, and kept. nullptr: no memory.
  Table* of(uint32_t fib_index) noexcept;
  // nullptr: nobody has asked there.
  const Table* find(uint32_t fib_index) const noexcept {
    return tables_[fib_index % kMostFibs].load(std::memory_order_acquire);
  }

 private:
  std::array<std::atomic<Table*>, kMostFibs> tables_{};
};

}  // namespace loom::udp
