// Interfaces of the packet generator: what is sent by one ends here, in a capture if there is one;
// what is received comes from streams. Control thread, but for the driver's tx.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <hostloom/host.h>

#include "capture.h"

namespace loom::pg {

class Interfaces;

struct PgInterface {
  Interfaces* all = nullptr;
  uint32_t id = 0;
  IfIndex index = kNoIndex;  // it goes by this: the operator may change its name at any time
  std::vector<InterfaceCounters*> rx_counters;  // by worker
  std::unique_ptr<Capture> capture;             // replaced while the workers stand still
};

class Interfaces {
 public:
  explicit Interfaces(Host& host) : host_(host) {}
  void remove_all();

  // kExists, kInvalid.
  Result<void> create(uint32_t id);
  // By the name that it has now; null: there is none, or it is not one of these.
  PgInterface* find(const std::string& name) const;
  // pgN while it is called so, else its number: the core tells no plugin what a number is called.
  std::string label(const PgInterface&) const;
  // kNotFound. No stream that is active may use it: its worker counts in the interface's memory.
  Result<void> remove(const std::string& name);
  // kNotFound, kExists, kNoMemory, kIo, kPermission.
  Result<void> begin_capture(const std::string& name, const std::string& file, uint64_t most);
  // Writes the file; returns how many packets it holds. kNotFound: no interface or no capture.
  Result<uint64_t> end_capture(const std::string& name);

  const std::map<uint32_t, PgInterface*>& all() const { return interfaces_; }
  // Null unless it is one of these.
  InterfaceCounters* rx_counters(IfIndex, uint32_t worker) const;

 private:
  static void destroy(void* device) noexcept;
  static uint32_t tx(Worker&, void* device, uint16_t queue, std::span<Buffer* const>) noexcept;
  static void write_full_ones(void* interfaces);
  Result<uint64_t> end_capture(PgInterface&);
  static const DriverOps kDriver;

  Host& host_;
  std::map<uint32_t, PgInterface*> interfaces_;  // owned by the core until destroy()
};

constexpr uint32_t kMostId = 65'535;

}  // namespace loom::pg
