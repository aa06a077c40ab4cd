// The packet generator as its commands see it.
#pragma once
#include "interface.h"
#include "stream.h"

namespace loom::pg {

struct Pg {
  explicit Pg(Host& host) : interfaces(host), streams(host, interfaces) {}
  void stop() {
    streams.stop();
    interfaces.remove_all();
  }
  Interfaces interfaces;
  Streams streams;
};

// What follows `packet-generator new`.
Result<StreamConfig> read_stream(CliArgs&);
Result<void> register_commands(Host&, Pg&);

}  // namespace loom::pg
