// Which counters of nodes the tests of this process have made count, and which they have looked at:
// kept by NetHost, judged at the end by counters_test.cc.
#pragma once
#include <map>
#include <string>

#include <hostloom/node.h>

namespace loom {

struct CounterUse {
  Severity severity = Severity::kInfo;
  bool is_fed = false;   // above 0 at the end of a test
  bool is_read = false;  // a test has asked for it by name, and it was above 0
};

// By "node/counter".
inline std::map<std::string, CounterUse>& counter_coverage() {
  static std::map<std::string, CounterUse> uses;
  return uses;
}

}  // namespace loom
