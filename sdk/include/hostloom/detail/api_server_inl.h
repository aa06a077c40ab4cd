// The handlers behind api_server.h: decode, call, encode. Compiled into whoever registers them, so
// that what crosses the plugin boundary is plain data.
#pragma once
#include <hostloom/api_server.h>

namespace loom {

constexpr int32_t api_retval(Status status) noexcept {
  switch (status) {
    case Status::kOk:
      return 0;
    case Status::kInvalid:
    case Status::kMalformed:
      return kApiInvalidValue;
    case Status::kNotFound:
      return -6;  // NO_SUCH_ENTRY
    case Status::kExists:
      return -81;  // VALUE_EXIST
    case Status::kNoMemory:
      return -162;  // LIMIT_EXCEEDED
    case Status::kAgain:
    case Status::kInProgress:
      return kApiAgain;
    case Status::kNotConnected:
      return -78;  // NOT_CONNECTED
    case Status::kInUse:
      return -105;  // ADDRESS_IN_USE
    case Status::kUnsupported:
      return -126;  // UNSUPPORTED
    case Status::kUnreachable:
      return -51;  // UNKNOWN_DESTINATION
    case Status::kIo:
      return -11;  // SYSCALL_ERROR_1
    default:
      return kApiUnspecified;
  }
}

namespace detail {

// Where the context of a request ends: those before sockclnt_create's answer have no client_index.
template <class Request>
constexpr std::size_t api_context_end() {
  if constexpr (requires(Request r) { r.client_index; })
    return 8;
  else
    return 4;
}

template <class F>
bool api_guarded(F&& f) noexcept {
#if defined(__cpp_exceptions)
  try {
    f();
    return true;
  } catch (...) {  // a bug of the handler's, or out of memory: this request's failure only
    return false;
  }
#else
  f();
  return true;
#endif
}

template <class Reply>
void api_set_retval(Reply& reply, int32_t value) {
  if constexpr (requires { reply.retval; }) reply.retval = value;
}

template <class Request>
ApiHandler api_handler_for(void (*fn)(), void* context) {
  ApiHandler h;
  h.request = &Request::kInfo;
  h.fn = fn;
  h.context = context;
  if constexpr (requires { Request::kSecret; }) h.secret = Request::kSecret;
  return h;
}

// A request as it was decoded: what is secret in it is cleared at the end.
template <class Request>
struct ApiDecoded {
  explicit ApiDecoded(ApiReader& reader) { decode(reader, request); }
  ~ApiDecoded() {
    if constexpr (requires(Request r) { clear_secrets(r); }) clear_secrets(request);
  }
  Request request;
};

// Decodes, has `fill` answer, and replies; also to a request that does not decode, when it is long
// enough to hold a context.
template <class Request, class Reply, class Fill>
ApiOutcome api_reply(ApiCall& call, const std::byte* in, std::size_t n, Fill&& fill) noexcept {
  ApiReader reader({in, n});
  const bool has_context = n >= api_context_end<Request>();
  const bool went_well = api_guarded([&] {
    const ApiDecoded<Request> decoded(reader);
    const Request& request = decoded.request;
    Reply reply;
    if (!reader.ok())
      api_set_retval(reply, kApiInvalidValue);
    else if (!api_guarded([&] { fill(request, reply); }))
      api_set_retval(reply = {}, kApiUnspecified);
    reply.context = request.context;
    if (has_context) call.send(reply);
  });
  return reader.ok() && went_well ? ApiOutcome::kAnswered : ApiOutcome::kMalformed;
}

template <class Request, class Details>
struct TableWalk {
  ApiNext<Request, Details> fn;
  void* context;
  Request request;
  uint64_t cursor = 0;
  ApiStep next(ApiCall& call) {
    Details details;
    const ApiStep step = fn(request, cursor, details, context);
    if (step != ApiStep::kItem) return step;
    details.context = request.context;
    call.send(details);
    return step;
  }
};

// The handler of a request that is answered by a walk, which make(handler, request) allocates.
template <class Request, class Walk, auto make>
ApiHandler api_handler_of_walk(void (*fn)(), void* context) {
  ApiHandler h = api_handler_for<Request>(fn, context);
  h.begin = [](const ApiHandler& self, ApiCall&, const std::byte* in, std::size_t n,
               void** walk) noexcept {
    ApiReader reader({in, n});
    const bool went_well = api_guarded([&] {
      const ApiDecoded<Request> decoded(reader);
      if (reader.ok()) *walk = make(self, decoded.request);
    });
    if (!reader.ok()) return ApiOutcome::kMalformed;
    return went_well ? ApiOutcome::kMore : ApiOutcome::kAnswered;
  };
  h.next = [](void* walk, ApiCall& call) noexcept {
    ApiStep step = ApiStep::kEnd;
    api_guarded([&] { step = static_cast<Walk*>(walk)->next(call); });
    return step;
  };
  h.end = [](void* walk) noexcept { delete static_cast<Walk*>(walk); };
  return h;
}

// A walk that sends one reply at its end; also when its step throws.
template <class Request, class Reply, class Made>
struct ReplyWalk {
  ReplyWalk(const Request& request, void* of_handler)
      : context(request.context), made(request, of_handler) {}
  ApiStep next(ApiCall& call) {
    Reply reply;
    ApiStep step = ApiStep::kEnd;
    if (!api_guarded([&] { step = made.next(call, reply); }))
      api_set_retval(reply = {}, kApiUnspecified);
    reply.context = context;
    if (step == ApiStep::kEnd) call.send(reply);
    return step;
  }
  uint32_t context;
  Made made;
};

// At most this many steps answer one X_get, so that a client's loop is the slicing.
constexpr int kApiCursorSteps = 256;

template <class Request, class Reply, class Details>
void api_cursor_slice(ApiCall& call, const Request& request, Reply& reply,
                      ApiNext<Request, Details, uint32_t> next, void* context) {
  constexpr uint32_t kBeginOrEnd = ~0u;
  uint32_t cursor = request.cursor == kBeginOrEnd ? 0 : request.cursor;
  for (int i = 0; i < kApiCursorSteps && call.has_room(); ++i) {
    Details details;
    const ApiStep step = next(request, cursor, details, context);
    if (step == ApiStep::kEnd) {
      reply.retval = 0;
      reply.cursor = kBeginOrEnd;
      return;
    }
    if (step == ApiStep::kSkip) continue;
    details.context = request.context;
    call.send(details);
  }
  reply.retval = kApiAgain;
  reply.cursor = cursor;
}

}  // namespace detail

template <class Request, class Reply>
ApiHandler api_reply_handler(ApiAnswer<Request, Reply> fn, void* context) {
  ApiHandler h = detail::api_handler_for<Request>(reinterpret_cast<void (*)()>(fn), context);
  h.begin = [](const ApiHandler& self, ApiCall& call, const std::byte* in, std::size_t n,
               void**) noexcept {
    return detail::api_reply<Request, Reply>(
        call, in, n, [&](const Request& request, Reply& reply) {
          reply = reinterpret_cast<ApiAnswer<Request, Reply>>(self.fn)(call, request, self.context);
        });
  };
  return h;
}

template <class Request, class Details>
ApiHandler api_dump_handler(ApiNext<Request, Details> fn, void* context) {
  using Walk = detail::TableWalk<Request, Details>;
  return detail::api_handler_of_walk<Request, Walk, [](const ApiHandler& self, const Request& r) {
    return new Walk{reinterpret_cast<ApiNext<Request, Details>>(self.fn), self.context, r};
  }>(reinterpret_cast<void (*)()>(fn), context);
}

template <class Request, class Walk>
ApiHandler api_walk_handler(void* context) {
  return detail::api_handler_of_walk<Request, Walk, [](const ApiHandler& self, const Request& r) {
    return new Walk(r, self.context);
  }>(nullptr, context);
}

template <class Request, class Reply, class Walk>
ApiHandler api_steps_handler(void* context) {
  using Steps = detail::ReplyWalk<Request, Reply, Walk>;
  ApiHandler h = api_walk_handler<Request, Steps>(context);
  h.begin = [](const ApiHandler& self, ApiCall& call, const std::byte* in, std::size_t n,
               void** walk) noexcept {
    const ApiOutcome outcome =
        api_walk_handler<Request, Steps>(nullptr).begin(self, call, in, n, walk);
    // Whoever waits for a reply is told that the request was malformed.
    return outcome == ApiOutcome::kMalformed
               ? detail::api_reply<Request, Reply>(call, in, n, [](const Request&, Reply&) {})
               : outcome;
  };
  return h;
}

template <class Request, class Reply, class Details>
ApiHandler api_cursor_handler(ApiNext<Request, Details, uint32_t> fn, void* context) {
  ApiHandler h = api_reply_handler<Request, Reply>(nullptr, context);
  h.fn = reinterpret_cast<void (*)()>(fn);
  h.begin = [](const ApiHandler& self, ApiCall& call, const std::byte* in, std::size_t n,
               void**) noexcept {
    return detail::api_reply<Request, Reply>(
        call, in, n, [&](const Request& request, Reply& reply) {
          detail::api_cursor_slice<Request, Reply, Details>(
              call, request, reply, reinterpret_cast<ApiNext<Request, Details, uint32_t>>(self.fn),
              self.context);
        });
  };
  return h;
}

template <class Want, class WantReply>
ApiHandler api_want_handler() {
  return api_reply_handler<Want, WantReply>(
      [](ApiCall& call, const Want& want, void*) {
        bool enable;
        if constexpr (requires { want.enable_disable; })  // as VPP's oldest ones call it
          enable = want.enable_disable != 0;
        else
          enable = want.enable != 0;
        call.subscribe<Want>(enable, want.context, want.pid);
        return WantReply{};
      },
      nullptr);
}

}  // namespace loom
