// A small HTTP server for one scraper or a few: GET /metrics, and a page that leads there. One
// thread; connections are bounded in number, size and time.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include <hostloom/status.h>

namespace loom {

class MetricsServer {
 public:
  // `metrics` makes the page anew for every request. Errors: kInvalid, no address; kInUse,
  // kPermission, kIo, naming it.
  static Result<std::unique_ptr<MetricsServer>> listen(const std::string& address, uint16_t port,
                                                       std::function<std::string()> metrics);
  ~MetricsServer();
  uint16_t port() const;  // the one in use, when 0 was asked for
  void run();             // until SIGINT or SIGTERM

 private:
  struct Impl;
  explicit MetricsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace loom
