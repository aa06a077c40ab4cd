// Who wants which events. A kind of events is known by the message that asks for it
// (want_X_events); each client subscribes once to a kind, and a later request replaces the earlier.
// The server forgets a client when it goes. Control thread.
#pragma once
#include <functional>
#include <map>
#include <string_view>
#include <vector>

#include <hostloom/api_server.h>

namespace loom {

class ApiSubscriptions {
 public:
  void set(const ApiMessageInfo& want, const ApiSubscriber& who, bool enable);
  bool has(const ApiMessageInfo& want, uint32_t client_index) const;
  void remove_client(uint32_t client_index);
  void remove_kind(const ApiMessageInfo& want) { kinds_.erase(want.name); }

  // The server's: runs fn with a call that appends to that client's queue, if it is there.
  using Reach = std::function<void(uint32_t client_index, const std::function<void(ApiCall&)>& fn)>;
  void set_reach(Reach reach) { reach_ = std::move(reach); }
  // As HostOps::each_api_subscriber.
  uint32_t each(const ApiMessageInfo& want, void (*fn)(ApiCall&, const ApiSubscriber*, void* arg),
                void* arg) const;

 private:
  std::map<std::string_view, std::vector<ApiSubscriber>> kinds_;  // by the name of want_X_events
  Reach reach_;                                                   // empty while there is no server
};

}  // namespace loom
