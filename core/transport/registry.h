// Where transports and congestion controllers are found. The core names neither: TLS finds TCP, and
// TCP finds "cubic", through these two registries.
//
// Threads: add, remove and set_default are the control thread's. Everything else may be called from
// any thread at any time and takes no lock: entries are published with release and read with
// acquire, and an entry's table stays valid for the life of the registry, also after remove().
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/congestion.h>
#include <hostloom/status.h>
#include <hostloom/transport.h>

namespace loom {

class TransportRegistry {
 public:
  static constexpr std::size_t kMaxTransports = 32;

  // Copies the table; `name` must live as long as the registry. kExists: the name or the protocol
  // number is taken. kInvalid: the table lacks what its tx kind needs. kNoMemory: no id is left.
  Result<TransportId> add(const TransportOps&);
  // Forgets a transport that no session uses (a plugin whose init failed after adding it). Its id
  // is not given out again.
  void remove(TransportId) noexcept;

  // Null when there is no such transport.
  const TransportOps* get(TransportId id) const noexcept {
    return id < kMaxTransports ? by_id_[id].load(std::memory_order_acquire) : nullptr;
  }
  TransportId find_proto(uint8_t proto) const noexcept {
    return by_proto_[proto].load(std::memory_order_acquire);
  }
  TransportId find_name(std::string_view name) const noexcept;
  // Ids are below this; some may be removed.
  TransportId end_id() const noexcept { return n_.load(std::memory_order_acquire); }

  TransportRegistry() noexcept {
    for (auto& id : by_proto_) id.store(kNoTransport, std::memory_order_relaxed);
  }

 private:
  std::atomic<TransportId> n_{0};
  std::array<std::atomic<const TransportOps*>, kMaxTransports> by_id_{};
  std::array<std::atomic<TransportId>, 256> by_proto_;
  std::vector<std::unique_ptr<const TransportOps>> tables_;
};

class CcRegistry {
 public:
  static constexpr std::size_t kMaxControllers = 64;
  static constexpr std::size_t kMaxName = 15;  // TCP_CA_NAME_MAX without the final zero

  enum class IfTaken : uint8_t {
    kRefuse,   // kExists
    kReplace,  // new connections find the new one; those that use the old one finish on it
  };
  // Copies the table, and returns the copy; `name` and `summary` must live as long as the registry.
  // kExists: the name is taken. kInvalid: no name, one that TCP_CONGESTION cannot carry, or no
  // on_ack or on_congestion. The first one added is the default until set_default.
  Result<const CcOps*> add(const CcOps&, IfTaken = IfTaken::kRefuse);
  // No new connection finds it, those that use it keep it. What it had replaced is found again.
  void remove(const CcOps& added) noexcept;
  // Also before the controller is there: it becomes the default once it is added. Until then
  // default_ops() is what it was.
  void set_default(std::string name);

  // Null when there is none of that name. "" means the default.
  const CcOps* find(std::string_view name) const noexcept;
  // Null only while the registry is empty.
  const CcOps* default_ops() const noexcept { return default_.load(std::memory_order_acquire); }
  // Those that can be found now, by name, in the order they came.
  std::vector<const CcOps*> list() const;
  // What the configuration asked for, whether it is there or not; "" when it did not say. Control
  // thread.
  const std::string& wanted_default() const noexcept { return wanted_default_; }

 private:
  std::atomic<std::size_t> n_{0};
  // Of two that have one name the later one is found. null: removed.
  std::array<std::atomic<const CcOps*>, kMaxControllers> slots_{};
  std::atomic<const CcOps*> default_{nullptr};
  std::string wanted_default_;
  std::vector<std::unique_ptr<const CcOps>> tables_;
};

}  // namespace loom
