// Who has which local end of streams, bound or listening, so that nobody gets one where another's
// flows would go. The flow tables refuse a listener the end that another one has; here is what
// Linux refuses beyond that, when a socket is bound and when it listens: an end with an address
// that another's covers, too, and the other way round, unless both agree to share the port
// (port_groups.h). Agreeing by reuseaddr is for ends that are bound alone: who listens has it no
// longer. Private to core/session/.
//
// Threads: control. To ask costs a look at who has the port; to let go of an end does not, as an
// application may have thousands there when it ends.
#pragma once
#include <unordered_map>

#include "session/application.h"
#include "session/port_groups.h"

namespace loom::session {

// What somebody has, or asks for.
struct LocalEnd {
  Place place;
  uint8_t protocol = 0;
  PortShare share;
  bool listens = false;
  uint64_t bound = 0;     // BoundEnd::id, whose own listener is not in its way; 0: of none
  uint32_t listener = 0;  // of one that listens, its index
  bool operator==(const LocalEnd&) const = default;
};

class LocalEnds {
 public:
  // `alone`: whether nobody is there at all, be they willing or not.
  bool is_free(const LocalEnd&, bool alone) const noexcept;
  void add(const LocalEnd&);
  // One that was added.
  void remove(const LocalEnd&) noexcept;

 private:
  using OfPort = std::unordered_multimap<uint64_t, LocalEnd>;  // by who has it
  std::unordered_map<uint64_t, OfPort> ports_;                 // by table, protocol and port
};

}  // namespace loom::session
