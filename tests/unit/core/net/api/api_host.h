// A NetHost whose API is asked without a socket: a request is encoded and given to whoever handles
// it, as the server does, and what is sent back is decoded.
#pragma once
#include <map>
#include <set>

#include "api/core_handlers.h"
#include "api/registry.h"
#include "interface.api.h"
#include "ip.api.h"
#include "ip_neighbor.api.h"
#include "net_host.h"
#include "ping.api.h"

namespace loom {

// Outlives the host, as in the daemon: interfaces that go are still told of.
struct ApiSide {
  struct Sent {
    std::string message;
    std::vector<std::byte> body;  // behind the id
  };
  class Call : public ApiCall {
   public:
    Call(ApiSide& s, uint32_t client) : ApiCall(kOps, client), side(s) {}
    ApiSide& side;

   private:
    static const ApiCallOps kOps;
  };

  ApiSide() {
    registry.subscriptions().set_reach(
        [this](uint32_t client, const std::function<void(ApiCall&)>& fn) {
          if (gone.contains(client)) return;
          Call call(*this, client);
          fn(call);
        });
  }
  // What a handler makes of a request. The number of steps that it took.
  int ask(const ApiMessageInfo& request, const std::vector<std::byte>& body, uint32_t client) {
    const uint16_t id = registry.id_of(request);
    const ApiHandler* handler = id ? &registry.find(id)->handler : nullptr;
    if (!handler || !handler->begin) {
      ADD_FAILURE() << request.name << " has no handler";
      return 0;
    }
    Call call(*this, client);
    void* walk = nullptr;
    outcome = handler->begin(*handler, call, body.data(), body.size(), &walk);
    int steps = 0;
    if (outcome != ApiOutcome::kMore) return steps;
    ApiStep step;
    do {
      const std::size_t had = sent[client].size();
      step = handler->next(walk, call);
      EXPECT_LE(sent[client].size() - had, 1u) << "a step sends one message at most";
      ++steps;
      if (between_steps) between_steps(steps);
    } while (step != ApiStep::kEnd);
    handler->end(walk);
    return steps;
  }

  ApiRegistry registry;
  std::map<uint32_t, std::vector<Sent>> sent;  // by client
  std::set<uint32_t> gone;                     // clients that have left
  std::function<void(int step)> between_steps;
  ApiOutcome outcome = ApiOutcome::kAnswered;
};

inline const ApiCallOps ApiSide::Call::kOps{
    .struct_size = sizeof(ApiCallOps),
    .send =
        [](ApiCall& call, const ApiMessageInfo* info, const std::byte* body, std::size_t n) {
          auto& self = static_cast<Call&>(call);
          EXPECT_NE(self.side.registry.id_of(*info), 0) << info->name << " is in no module";
          self.side.sent[call.client_index()].push_back({info->name, {body, body + n}});
        },
    .has_room = [](const ApiCall&) { return true; },
    .subscribe =
        [](ApiCall& call, const ApiMessageInfo* want, bool enable, uint32_t context, uint32_t pid) {
          static_cast<Call&>(call).side.registry.subscriptions().set(
              *want, {call.client_index(), context, pid}, enable);
        },
};

class ApiHost : public ApiSide, public NetHost {
 public:
  explicit ApiHost(NetConfig config = {}, uint32_t n_workers = 1) : NetHost(config, n_workers) {
    must(add_core_modules(registry));
    must(add_net_messages(registry, *net));
  }
  // The one reply.
  template <class Reply, class Request>
  Reply call(Request request, uint32_t client = 1) {
    const auto all = answers<Reply>(std::move(request), client);
    EXPECT_EQ(all.size(), 1u) << Request::kInfo.name;
    return all.empty() ? Reply{.retval = -9999} : all[0];
  }
  template <class Details, class Request>
  std::vector<Details> dump(Request request) {
    return answers<Details>(std::move(request), 1);
  }
  // What the client was sent since it was last asked for, which is of that kind.
  template <class Event>
  std::vector<Event> take(uint32_t client = 1) {
    run();
    std::vector<Event> all;
    for (const auto& s : std::exchange(sent[client], {})) {
      EXPECT_EQ(s.message, Event::kInfo.name);
      ApiReader r(s.body);
      decode(r, all.emplace_back());
      EXPECT_TRUE(r.ok());
    }
    return all;
  }
  template <class Message>
  static std::vector<std::byte> bytes_of(const Message& m) {
    std::vector<std::byte> body;
    ApiWriter w(body);
    encode(w, m);
    return body;
  }
  int steps = 0;  // of the last request

 private:
  template <class Answer, class Request>
  std::vector<Answer> answers(Request request, uint32_t client) {
    request.client_index = client;
    request.context = ++context_;
    sent[client].clear();
    steps = ask(Request::kInfo, bytes_of(request), client);
    std::vector<Answer> all;
    for (const auto& s : std::exchange(sent[client], {})) {
      EXPECT_EQ(s.message, Answer::kInfo.name);
      ApiReader r(s.body);
      decode(r, all.emplace_back());
      EXPECT_TRUE(r.ok());
      EXPECT_EQ(all.back().context, context_);
    }
    return all;
  }
  uint32_t context_ = 100;
};

// --- The API's types, by hand.

inline api::Address api_address(const std::string& text) {
  const IpAddress a = *IpAddress::parse(text);
  api::Address out;
  out.af = a.is_ip4 ? api::AddressFamily::kAddressIp4 : api::AddressFamily::kAddressIp6;
  std::copy_n(a.bits.bytes.begin(), a.is_ip4 ? 4 : 16, out.un.raw.begin());
  return out;
}
inline api::Prefix api_prefix(const std::string& text) {
  const IpPrefix p = *IpPrefix::parse(text);
  return {api_address(p.address.str()), p.length};
}
inline std::string text_of(const api::Address& a) {
  IpAddress out;
  if (a.af == api::AddressFamily::kAddressIp4)
    out = Ip4Address{{a.un.raw[0], a.un.raw[1], a.un.raw[2], a.un.raw[3]}};
  else
    out = Ip6Address{a.un.raw};
  return out.str();
}
inline std::string text_of(const api::Prefix& p) {
  return text_of(p.address) + "/" + std::to_string(p.len);
}

}  // namespace loom
