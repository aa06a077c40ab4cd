// The call that handlers get from the server: its answers go to one client's queue.
#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include <hostloom/api_server.h>

#include "api/registry.h"

namespace loom {

class ApiConnection;

class ServerCall : public ApiCall {
 public:
  // `queued`: bytes of earlier answers that the client has not read, beside those in `out`. There
  // is room as long as both together are below `pause_at`. `connection`: whose walks can be woken;
  // null: nobody's. All are borrowed.
  ServerCall(ApiRegistry& registry, std::vector<std::byte>& out, uint32_t client_index,
             std::size_t queued, std::size_t pause_at, ApiConnection* connection = nullptr);
  // Name of a message that was to be sent and that no module has; null = none. A handler's mistake.
  const char* unknown() const { return unknown_; }
  // As send(), of a message that is encoded already.
  void send_body(const ApiMessageInfo& info, std::span<const std::byte> body) {
    kOps.send(*this, &info, body.data(), body.size());
  }

 private:
  static const ApiCallOps kOps;
  static ServerCall& of(ApiCall& call) { return static_cast<ServerCall&>(call); }
  ApiRegistry& registry_;
  std::vector<std::byte>& out_;
  std::size_t queued_, pause_at_;
  ApiConnection* connection_;
  const char* unknown_ = nullptr;
};

}  // namespace loom
