#include "api/server_call.h"

#include "api/connection.h"

namespace loom {

const ApiCallOps ServerCall::kOps{
    .struct_size = sizeof(ApiCallOps),
    .send =
        [](ApiCall& call, const ApiMessageInfo* info, const std::byte* body, std::size_t n) {
          ServerCall& self = of(call);
          const uint16_t id = self.registry_.id_of(*info);
          if (id == 0) {
            self.unknown_ = info->name;
            return;
          }
          ApiWriter w(self.out_);
          w.number(uint64_t{0});
          w.number(static_cast<uint32_t>(n + sizeof id));
          w.number(uint32_t{0});
          w.number(id);
          self.out_.insert(self.out_.end(), body, body + n);
        },
    .has_room =
        [](const ApiCall& call) {
          const auto& self = static_cast<const ServerCall&>(call);
          return self.out_.size() + self.queued_ < self.pause_at_;
        },
    .subscribe =
        [](ApiCall& call, const ApiMessageInfo* want, bool enable, uint32_t context, uint32_t pid) {
          if (call.client_index() == 0) return;  // a replay: there is nobody to tell
          of(call).registry_.subscriptions().set(*want, {call.client_index(), context, pid},
                                                 enable);
        },
    .waker = [](ApiCall& call) -> std::function<void()> {
      if (ApiConnection* connection = of(call).connection_) return connection->waker();
      return [] {};
    },
};

ServerCall::ServerCall(ApiRegistry& registry, std::vector<std::byte>& out, uint32_t client_index,
                       std::size_t queued, std::size_t pause_at, ApiConnection* connection)
    : ApiCall(kOps, client_index),
      registry_(registry),
      out_(out),
      queued_(queued),
      pause_at_(pause_at),
      connection_(connection) {}

}  // namespace loom
