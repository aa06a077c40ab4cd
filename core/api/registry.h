// The messages that this run of the daemon speaks: their numbers, and who answers them.
//
// Modules (one *.api.json file each) are added in order and get consecutive numbers from 15 on: the
// first two messages of the first module, sockclnt_create and its reply, so have the numbers 15 and
// 16 that every client knows beforehand. Control thread.
#pragma once
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <hostloom/api.h>
#include <hostloom/status.h>

namespace loom {

constexpr uint16_t kFirstMessageId = 15;
constexpr uint32_t kMaxApiMessage = 1u << 20;  // bytes, either way
constexpr std::size_t kApiHeaderSize = 16;     // u64 ignored, u32 length, u32 ignored; big-endian

class ApiRegistry;

// One request while it is answered: where replies go. Lives as long as the handler's call.
class ApiCall {
 public:
  ApiCall(const ApiRegistry& registry, std::vector<std::byte>& out, uint32_t client_index)
      : registry_(registry), out_(out), client_index_(client_index) {}
  uint32_t client_index() const { return client_index_; }
  // Appends one framed message.
  template <class Message>
  void send(const Message& m) {
    const std::size_t start = begin(Message::kInfo);
    ApiWriter w(out_);
    encode(w, m);
    finish(start);
  }

 private:
  std::size_t begin(const ApiMessageInfo& info);
  void finish(std::size_t start);
  const ApiRegistry& registry_;
  std::vector<std::byte>& out_;
  uint32_t client_index_;
};

class ApiRegistry {
 public:
  // kExists when a module or message of that name is there. The module must live as long as the
  // registry.
  Result<void> add_module(const ApiModule& module);

  // Request -> one reply. `fn` fills in everything but the context. A request that is too short is
  // answered with retval INVALID_VALUE, when it is long enough to hold a context.
  template <class Request, class Reply>
  void handle(std::function<Reply(ApiCall&, const Request&)> fn) {
    set_handler(Request::kInfo, [fn = std::move(fn)](ApiCall& call, ApiReader& in) {
      constexpr std::size_t kToContext = requires(Request r) { r.client_index; }
      ? 8 : 4;
      const bool has_context = in.remaining() >= kToContext;
      Request request;
      decode(in, request);
      Reply reply;
      if (in.ok())
        reply = fn(call, request);
      else if constexpr (requires { reply.retval; })
        reply.retval = kInvalidValue;
      reply.context = request.context;
      if (has_context) call.send(reply);
      return in.ok();
    });
  }
  // Request -> any number of messages, sent by `fn`, which repeats the context in each.
  template <class Request>
  void handle_stream(std::function<void(ApiCall&, const Request&)> fn) {
    set_handler(Request::kInfo, [fn = std::move(fn)](ApiCall& call, ApiReader& in) {
      Request request;
      decode(in, request);
      if (in.ok()) fn(call, request);
      return in.ok();
    });
  }

  enum class Outcome { kAnswered, kUnknown, kMalformed };
  // Hands a message (its id and what follows) to its handler.
  Outcome dispatch(std::span<const std::byte> message, ApiCall& call) const;

  uint16_t id_of(const ApiMessageInfo& info) const;  // LOOM_CHECKs that it is registered
  struct Entry {
    ApiMessageInfo info;
    std::function<bool(ApiCall&, ApiReader&)> handler;  // empty: the daemon only sends it
  };
  // Entry i has the number kFirstMessageId + i.
  const std::vector<Entry>& entries() const { return entries_; }
  struct Module {
    const ApiModule* module;
    uint16_t first_id;
  };
  const std::vector<Module>& modules() const { return modules_; }

  static constexpr int32_t kInvalidValue = -7;

 private:
  void set_handler(const ApiMessageInfo& info, std::function<bool(ApiCall&, ApiReader&)> fn);
  std::vector<Entry> entries_;
  std::vector<Module> modules_;
  std::map<std::string_view, uint16_t> ids_;  // by name
};

// "show_version_51077d14", cut to 63 bytes.
std::string api_table_name(const ApiMessageInfo& info);

// The return code of the API that says the same as a status; 0 for kOk.
int32_t api_retval(Status status);

}  // namespace loom
