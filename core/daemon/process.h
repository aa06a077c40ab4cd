// How the process looks from outside: background, readiness, the embedded default's network
// namespace.
#pragma once
#include <string>

#include <hostloom/status.h>

namespace loom {

// Goes into the background, before there are threads. The parent stays until the child says ready()
// or ends, and exits with 0 or with the child's status, so that who starts the daemon knows what
// came of it.
class Background {
 public:
  // In the foreground: nothing to wait for. In the background: forks; returns in the child.
  static Result<Background> enter(bool background);
  Background(Background&& o) noexcept;
  ~Background();
  // The terminal is let go of: standard input and output become /dev/null.
  void ready();

 private:
  explicit Background(int pipe) : pipe_(pipe) {}
  int pipe_;  // -1 in the foreground
};

// As many file descriptors as the process may have at all: applications hold several each.
void raise_descriptor_limit();

// Tells a service manager (sd_notify(3): a datagram to $NOTIFY_SOCKET). Does nothing without one.
void notify_service_manager(const char* state);

// A new network namespace with its loopback up, held by a file descriptor of this process and gone
// with it. Returns a path for it that other processes can open, too: /proc/PID/fd/N.
Result<std::string> make_network_namespace();

}  // namespace loom
