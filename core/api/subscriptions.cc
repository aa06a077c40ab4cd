#include "api/subscriptions.h"

#include <algorithm>

namespace loom {

void ApiSubscriptions::set(const ApiMessageInfo& want, const ApiSubscriber& who, bool enable) {
  auto& all = kinds_[want.name];
  std::erase_if(all, [&](const auto& s) { return s.client_index == who.client_index; });
  if (enable) all.push_back(who);
}

bool ApiSubscriptions::has(const ApiMessageInfo& want, uint32_t client_index) const {
  const auto it = kinds_.find(want.name);
  return it != kinds_.end() &&
         std::any_of(it->second.begin(), it->second.end(),
                     [&](const auto& s) { return s.client_index == client_index; });
}

void ApiSubscriptions::remove_client(uint32_t client_index) {
  for (auto& [name, all] : kinds_)
    std::erase_if(all, [&](const auto& s) { return s.client_index == client_index; });
}

uint32_t ApiSubscriptions::each(const ApiMessageInfo& want,
                                void (*fn)(ApiCall&, const ApiSubscriber*, void*),
                                void* arg) const {
  const auto it = kinds_.find(want.name);
  if (it == kinds_.end()) return 0;
  // A copy: a client whose queue is full is forgotten on the way.
  const auto all = it->second;
  if (fn && reach_)
    for (const ApiSubscriber& s : all)
      reach_(s.client_index, [&](ApiCall& call) { fn(call, &s, arg); });
  return static_cast<uint32_t>(all.size());
}

}  // namespace loom
