// A client of the binary API without a socket: requests are encoded, given to the registry's
// handlers, and what they send is decoded. For tests that step everything in one thread.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "api/registry.h"

namespace loom::test {

class DirectClient {
 public:
  explicit DirectClient(ApiRegistry& registry) : registry_(registry) {
    host_ops_.struct_size = sizeof host_ops_;
    host_ops_.each_api_subscriber = each_subscriber;
    host.ops = &host_ops_;
    host.impl = this;
  }

  // Sends events to this client, when it has subscribed to them.
  Host host;

  template <class Reply, class Request>
  Reply call(Request request) {
    sent_.clear();
    start(request, [](const ApiHandler&, void*) { ADD_FAILURE() << "a dump, not a reply"; });
    Reply reply;
    EXPECT_TRUE(!sent_.empty() && sent_.front().decode_as(reply)) << Reply::kInfo.name;
    return reply;
  }
  template <class Details, class Request>
  std::vector<Details> dump(Request request) {
    sent_.clear();
    start(request, [this](const ApiHandler& h, void* walk) {
      Call call(*this);
      while (h.next(walk, call) != ApiStep::kEnd) ++n_steps;
      h.end(walk);
    });
    std::vector<Details> all;
    for (const Sent& m : sent_) EXPECT_TRUE(m.decode_as(all.emplace_back()));
    return all;
  }
  // A request whose reply takes its time: is asked for by answer(), empty until it is there. It is
  // given up by leave(), as when the client's connection ends.
  template <class Request>
  void begin(Request request) {
    sent_.clear();
    *was_woken = false;
    start(request, [this](const ApiHandler& h, void* walk) { walk_ = {h, walk}; });
  }
  template <class Reply>
  std::optional<Reply> answer() {
    Call call(*this);
    if (walk_.state && walk_.handler.next(walk_.state, call) == ApiStep::kEnd) leave();
    Reply reply;
    if (sent_.empty()) return {};
    EXPECT_TRUE(sent_.size() == 1 && sent_.front().decode_as(reply)) << Reply::kInfo.name;
    return reply;
  }
  void leave() {
    if (void* walk = std::exchange(walk_.state, nullptr)) walk_.handler.end(walk);
  }
  template <class Event>
  std::vector<Event> events() {
    std::vector<Event> all;
    for (const Sent& m : events_) {
      if (m.name != Event::kInfo.name) continue;
      EXPECT_TRUE(m.decode_as(all.emplace_back()));
    }
    return all;
  }

  std::size_t n_steps = 0;  // that dumps have taken
  // Since begin(). Wakers may be called when the client is gone.
  std::shared_ptr<bool> was_woken = std::make_shared<bool>(false);

 private:
  struct Sent {
    std::string name;
    std::vector<std::byte> body;
    template <class Message>
    bool decode_as(Message& m) const {
      ApiReader in(body);
      if (name == Message::kInfo.name) decode(in, m);
      return name == Message::kInfo.name && in.ok() && in.remaining() == 0;
    }
  };
  struct Call : ApiCall {
    explicit Call(DirectClient& c, bool event = false)
        : ApiCall(ops(), 1), client(c), is_event(event) {}
    DirectClient& client;
    bool is_event;

    static void take(ApiCall& call, const ApiMessageInfo* info, const std::byte* body,
                     std::size_t n) {
      auto& c = static_cast<Call&>(call);
      (c.is_event ? c.client.events_ : c.client.sent_).push_back({info->name, {body, body + n}});
    }
    static void subscribe(ApiCall& call, const ApiMessageInfo* want, bool enable, uint32_t,
                          uint32_t) {
      auto& wanted = static_cast<Call&>(call).client.wanted_;
      std::erase(wanted, want->name);
      if (enable) wanted.push_back(want->name);
    }
    static const ApiCallOps& ops() {
      static const ApiCallOps kOps{.struct_size = sizeof(ApiCallOps),
                                   .send = take,
                                   .has_room = [](const ApiCall&) { return true; },
                                   .subscribe = subscribe,
                                   .waker = [](ApiCall& call) -> std::function<void()> {
                                     return [woken = static_cast<Call&>(call).client.was_woken] {
                                       *woken = true;
                                     };
                                   }};
      return kOps;
    }
  };

  template <class Request, class F>
  void start(Request& request, F&& walk) {
    const auto* entry = registry_.find(registry_.id_of(Request::kInfo));
    ASSERT_TRUE(entry && entry->handler.begin) << Request::kInfo.name;
    std::vector<std::byte> body;
    ApiWriter w(body);
    encode(w, request);
    Call call(*this);
    void* more = nullptr;
    if (entry->handler.begin(entry->handler, call, body.data(), body.size(), &more) ==
        ApiOutcome::kMore)
      walk(entry->handler, more);
  }
  static uint32_t each_subscriber(Host& h, const ApiMessageInfo* want,
                                  void (*fn)(ApiCall&, const ApiSubscriber*, void*), void* arg) {
    auto& self = *static_cast<DirectClient*>(h.impl);
    const auto n = static_cast<uint32_t>(
        std::count(self.wanted_.begin(), self.wanted_.end(), std::string(want->name)));
    Call call(self, true);
    const ApiSubscriber subscriber{.client_index = 1, .context = 0, .pid = 0};
    if (n != 0 && fn) fn(call, &subscriber, arg);
    return n;
  }

  ApiRegistry& registry_;
  HostOps host_ops_{};
  std::vector<Sent> sent_, events_;
  std::vector<std::string> wanted_;
  struct {
    ApiHandler handler;
    void* state = nullptr;
  } walk_;
};

}  // namespace loom::test
