// Answering the binary API: how a plugin, or a part of the core, adds messages and says who answers
// them. Control thread only, as everything that is called from here.
//
//   Result<void> init(Host& host) noexcept {
//     auto api = host.api();
//     auto done = api.module(api::kEchoModule);  // from echo.api.json; its ids are allocated here
//     if (done) done = api.handle<api::EchoSet, api::EchoSetReply>(set, &state);
//     if (done) done = api.dump<api::EchoDump, api::EchoDetails>(next, &state);
//     if (done) done = api.events<api::WantEchoEvents, api::WantEchoEventsReply>();
//     return done;
//   }
//   api::EchoSetReply set(ApiCall&, const api::EchoSet& request, void* state);
//
// Handlers get decoded requests: a message that is too short, or in which a length leads beyond the
// end, never reaches them. What is in the fields is the client's word and is theirs to check. A
// handler that throws answers UNSPECIFIED.
#pragma once
#include <functional>

#include <hostloom/api.h>
#include <hostloom/host.h>
#include <hostloom/status.h>

namespace loom {

class ApiCall;

// Return codes of the API, VPP's.
constexpr int32_t kApiUnspecified = -1, kApiInvalidValue = -7, kApiAgain = -165;
// The one that says the same as a status; 0 for kOk.
constexpr int32_t api_retval(Status status) noexcept;

// Who asked for events of a kind, and what they want to find in them.
struct ApiSubscriber {
  uint32_t client_index;
  uint32_t context;  // of the request that subscribed
  uint32_t pid;      // what that request said
};

// What the server does for a call; `size` first, new entries at the end.
struct ApiCallOps {
  uint32_t struct_size;
  // Appends one message of what is encoded in `body`, whole or not at all.
  void (*send)(ApiCall&, const ApiMessageInfo*, const std::byte* body, std::size_t n);
  bool (*has_room)(const ApiCall&);
  void (*subscribe)(ApiCall&, const ApiMessageInfo* want, bool enable, uint32_t context,
                    uint32_t pid);
  // See ApiCall::waker. Since ABI 1.1.
  std::function<void()> (*waker)(ApiCall&) = nullptr;
};

// A client while it is being answered. Lives as long as the handler's call.
class ApiCall {
 public:
  ApiCall(const ApiCallOps& ops, uint32_t client_index) : ops_(&ops), client_index_(client_index) {}
  ApiCall(const ApiCall&) = delete;
  ApiCall& operator=(const ApiCall&) = delete;

  uint32_t client_index() const { return client_index_; }
  template <class Message>
  void send(const Message& m) {
    // Kept: a dump of a million messages does not allocate a million times.
    static thread_local std::vector<std::byte> body;
    body.clear();
    ApiWriter w(body);
    encode(w, m);
    ops_->send(*this, &Message::kInfo, body.data(), body.size());
  }
  // False once the client has enough to read for now: a dump then pauses, a cursor returns.
  bool has_room() const { return ops_->has_room(*this); }
  // From now on (or no more) this client gets the events that send_event<Want>() sends.
  template <class Want>
  void subscribe(bool enable, uint32_t context, uint32_t pid) {
    ops_->subscribe(*this, &Want::kInfo, enable, context, pid);
  }
  // For a walk that will say kWait: calling it, at any later time on the control thread, has the
  // walk asked again. It may be called when the walk or the client is gone. Since ABI 1.1.
  std::function<void()> waker() {
    return ops_->waker ? ops_->waker(*this) : [] {};
  }

 private:
  const ApiCallOps* ops_;
  uint32_t client_index_;
};

// What one step of a dump came to.
enum class ApiStep : uint8_t {
  kItem,  // here is one
  kSkip,  // looked at some, none to send; ask again
  kEnd,   // there are no more
  kWait,  // nothing yet; ask again when ApiCall::waker's is called, or before. Walks only
};

enum class ApiOutcome : uint8_t {
  kAnswered,
  kMore,       // a walk has begun, and is asked for the answer piece by piece
  kMalformed,  // the request does not decode
};

// Who answers a message. Plain data, copied when it is added; made by the typed calls below.
struct ApiHandler {
  uint32_t struct_size = sizeof(ApiHandler);
  const ApiMessageInfo* request = nullptr;
  void (*fn)() = nullptr;  // the typed function, which begin() or next() know how to call
  void* context = nullptr;
  // `in`: what is behind the id. With kMore, *walk is what the next two get.
  ApiOutcome (*begin)(const ApiHandler&, ApiCall&, const std::byte* in, std::size_t n,
                      void** walk) noexcept = nullptr;
  // Sends a little. Other requests and other control work are served between two calls. May be
  // null, like end, for a handler that never answers kMore.
  ApiStep (*next)(void* walk, ApiCall&) noexcept = nullptr;
  void (*end)(void* walk) noexcept = nullptr;  // at the end of the walk, or when the client is gone
  // No trace has these bytes of the request, and they are cleared once begin() has returned. What
  // begin() has decoded it clears itself, but for what a walk keeps. Since ABI 1.1.
  ApiSecret secret{};
};

// Fills in `out`, but for its context, with the first object at or behind `cursor`, and moves the
// cursor behind it. The cursor starts at 0 and is a position (an index, a key) and never a pointer:
// objects come and go between two calls. With kSkip and kEnd `out` is not looked at. Looks at a few
// hundred objects at most before it says kSkip.
template <class Request, class Details, class Cursor = uint64_t>
using ApiNext = ApiStep (*)(const Request&, Cursor& cursor, Details& out, void* context);

template <class Request, class Reply>
using ApiAnswer = Reply (*)(ApiCall&, const Request&, void* context);

// Builders of handlers.
template <class Request, class Reply>
ApiHandler api_reply_handler(ApiAnswer<Request, Reply> fn, void* context);
template <class Request, class Details>
ApiHandler api_dump_handler(ApiNext<Request, Details> fn, void* context);
// Walk is made as Walk(request, context) and asked by `ApiStep next(ApiCall&)`, which sends on its
// own, one message or a few a step, each with the request's context.
template <class Request, class Walk>
ApiHandler api_walk_handler(void* context);
// The same for one reply that takes many steps or a while to find: `ApiStep next(ApiCall&, Reply&)`
// fills it in, but for its context, before it says kEnd, and sends nothing. The client's next
// requests wait for the reply. A walk is destroyed before its end when the client has left.
template <class Request, class Reply, class Walk>
ApiHandler api_steps_handler(void* context);
template <class Request, class Reply, class Details>
ApiHandler api_cursor_handler(ApiNext<Request, Details, uint32_t> fn, void* context);
template <class Want, class WantReply>
ApiHandler api_want_handler();

// A plugin's side of the server: Host::api().
class HostApi {
 public:
  explicit HostApi(Host& host) : host_(host) {}

  // kExists, when a module or a message of that name is there already. Clients that have connected
  // before see the messages when they connect again.
  Result<void> module(const ApiModule& m) {
    return call([&](std::string* why) { return host_.ops->add_api_module(host_, &m, why); });
  }
  // kNotFound: no module has the message. kExists: it has a handler.
  Result<void> add(const ApiHandler& h) {
    return call([&](std::string* why) { return host_.ops->add_api_handler(host_, &h, why); });
  }

  // Request -> reply; the context is filled in.
  template <class Request, class Reply>
  Result<void> handle(ApiAnswer<Request, Reply> fn, void* context = nullptr) {
    return add(api_reply_handler<Request, Reply>(fn, context));
  }
  // X_dump -> X_details ... ; the client notices the end by a control_ping behind its request,
  // which is answered after the last details.
  template <class Request, class Details>
  Result<void> dump(ApiNext<Request, Details> fn, void* context = nullptr) {
    return add(api_dump_handler<Request, Details>(fn, context));
  }
  // The same for answers that need more than a position, or several kinds of messages.
  template <class Request, class Walk>
  Result<void> walk(void* context = nullptr) {
    return add(api_walk_handler<Request, Walk>(context));
  }
  // Request -> one reply, later.
  template <class Request, class Reply, class Walk>
  Result<void> steps(void* context = nullptr) {
    return add(api_steps_handler<Request, Reply, Walk>(context));
  }
  // X_get {cursor} -> X_details ... X_get_reply {retval, cursor}. Cursor ~0 starts from the
  // beginning. The reply says EAGAIN and where to go on, or 0 and ~0 when that was all.
  template <class Request, class Reply, class Details>
  Result<void> cursor(ApiNext<Request, Details, uint32_t> fn, void* context = nullptr) {
    return add(api_cursor_handler<Request, Reply, Details>(fn, context));
  }
  // want_X_events {enable, pid}: the server keeps the subscribers, and forgets those that leave.
  template <class Want, class WantReply>
  Result<void> events() {
    return add(api_want_handler<Want, WantReply>());
  }
  // To everyone who asked by Want, with client_index, context and pid, as far as the event has
  // them, set to the subscriber's. A client that does not read its events loses its connection.
  template <class Want, class Event>
  void send_event(const Event& event) {
    send_event_if<Want>(event, [](const ApiSubscriber&) { return true; });
  }
  // To those of them for whom wants(const ApiSubscriber&) is true.
  template <class Want, class Event, class F>
  void send_event_if(Event event, F wants) {
    struct Both {
      Event& event;
      F& wants;
    } both{event, wants};
    host_.ops->each_api_subscriber(
        host_, &Want::kInfo,
        [](ApiCall& call, const ApiSubscriber* s, void* arg) {
          auto& [to_send, is_wanted] = *static_cast<Both*>(arg);
          if (!is_wanted(*s)) return;
          if constexpr (requires { to_send.client_index; }) to_send.client_index = s->client_index;
          if constexpr (requires { to_send.context; }) to_send.context = s->context;
          if constexpr (requires { to_send.pid; }) to_send.pid = s->pid;
          call.send(to_send);
        },
        &both);
  }
  // How many send_event<Want>() would reach: whoever has to work for an event may ask first.
  template <class Want>
  uint32_t n_subscribers() {
    return host_.ops->each_api_subscriber(host_, &Want::kInfo, nullptr, nullptr);
  }

 private:
  template <class F>
  static Result<void> call(F&& f) {
    std::string why;
    const Status s = f(&why);
    if (s != Status::kOk) return error(s, std::move(why));
    return {};
  }
  Host& host_;
};

inline HostApi Host::api() { return HostApi(*this); }

}  // namespace loom

#include <hostloom/detail/api_server_inl.h>
