#include "daemon/default_config.h"

namespace loom {

std::string default_config() {
  return R"(# hostloom's embedded default: used when no -c is given.
unix { nodaemon }
cpu { workers 1 }
logging { default-log-level info }
)";
}

std::string default_startup_commands(const std::string& host_ns) {
  return "create tap id 0 host-if-name tap0 host-ns " + host_ns +
         " host-ip4-addr 10.88.0.1/24 host-ip6-addr fd88::1/64\n"
         "set interface ip address tap0 10.88.0.2/24\n"
         "set interface ip address tap0 fd88::2/64\n"
         "set interface state tap0 up\n";
}

}  // namespace loom
