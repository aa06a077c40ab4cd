// Numbers with units, as operators write them: "20 ms", "10ms", "1.5 gbit". Errors name the word
// and its position, and what is wanted there.
#pragma once
#include <hostloom/cli.h>
#include <hostloom/types.h>

namespace loom::nsim {

// Nanoseconds, rounded; a unit is required. Takes one or two words.
Result<TimeNs> take_delay(CliArgs&);
// Bits a second; without a unit it is that.
Result<uint64_t> take_bandwidth(CliArgs&);
// From 0 to 1.
Result<double> take_fraction(CliArgs&);

}  // namespace loom::nsim
