// Addresses that connections take in turn when their application names none: with one source
// address there are no more connections to one server than ephemeral ports. Set on the control
// thread while the workers stand still; read by them. A few tables at most, so they are searched in
// order.
#pragma once
#include <span>
#include <string>
#include <vector>

#include <hostloom/address.h>
#include <hostloom/status.h>

namespace loom {
class Host;
}

namespace loom::tcp {

class SourceAddresses {
 public:
  // Of a routing table and family. Each is an address of an interface, whose list is copied for
  // each that is added; times 28,232 ephemeral ports it is more than a daemon has connections.
  static constexpr uint32_t kMost = 1024;

  struct Set {
    uint32_t table = 0, fib_index = 0;  // the operator's number; Endpoints::fib_index
    bool is_ip4 = true;
    std::vector<IpAddress> addresses;
  };

  std::span<const IpAddress> of(uint32_t fib_index, bool is_ip4) const noexcept {
    for (const Set& s : sets_)
      if (s.fib_index == fib_index && s.is_ip4 == is_ip4) return s.addresses;
    return {};
  }
  const std::vector<Set>& sets() const noexcept { return sets_; }
  Set& set_of(uint32_t table, uint32_t fib_index, bool is_ip4);
  void forget(uint32_t table);

 private:
  std::vector<Set> sets_;
};

// Adds the addresses from first to last to those of a table, and makes each of them this host's
// (HostOps::own_address). Control thread. Errors: kInvalid, not a range of unicast addresses of one
// family; kNoMemory, more than kMost; those of own_address(), and then nothing is added to the
// sources.
Result<void> add_source_addresses(Host&, const IpAddress& first, const IpAddress& last,
                                  uint32_t table);
// Connections take the route's source again; the addresses stay this host's.
void forget_source_addresses(Host&, uint32_t table);

}  // namespace loom::tcp
