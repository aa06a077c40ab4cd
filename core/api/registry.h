// The messages that this run of the daemon speaks: their numbers, and who answers them.
//
// Modules (one *.api.json file each) are added in order and get consecutive numbers from 15 on: the
// first two messages of the first module, sockclnt_create and its reply, so have the numbers 15 and
// 16 that every client knows beforehand. A number is never given to another message; a module that
// is taken back leaves its numbers unused. Control thread.
//
// Handlers are ApiHandlers (hostloom/api_server.h), the core's own too. Those here are for the
// core: they take anything that can be called, and keep it.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <hostloom/api_server.h>

#include "api/subscriptions.h"

namespace loom {

constexpr uint16_t kFirstMessageId = 15;
constexpr uint32_t kMaxApiMessage = 1u << 20;  // bytes of a request
constexpr std::size_t kApiHeaderSize = 16;     // u64 ignored, u32 length, u32 ignored; big-endian

class ApiRegistry {
 public:
  // kExists when a module or message of that name is there. The module must live as long as the
  // registry.
  Result<void> add_module(const ApiModule& module);
  // Its messages are unknown from now on.
  void remove_module(const ApiModule& module);
  // kNotFound: no module has the message. kInvalid: with another CRC. kExists: it has a handler.
  Result<void> add_handler(const ApiHandler& handler);
  void remove_handler(const ApiMessageInfo& request);

  // Request -> one reply by `Reply fn(ApiCall&, const Request&)`. These check: the core's own
  // messages are there and answered once.
  template <class Request, class Reply, class F>
  void handle(F fn) {
    add_handler(api_reply_handler<Request, Reply>(
                    [](ApiCall& call, const Request& request, void* kept) -> Reply {
                      return (*static_cast<F*>(kept))(call, request);
                    },
                    keep(std::move(fn))))
        .value();
  }
  // Request -> details by `ApiStep fn(const Request&, uint64_t& cursor, Details&)`; see ApiNext.
  template <class Request, class Details, class F>
  void dump(F fn) {
    add_handler(
        api_dump_handler<Request, Details>(
            [](const Request& request, uint64_t& cursor, Details& details, void* kept) -> ApiStep {
              return (*static_cast<F*>(kept))(request, cursor, details);
            },
            keep(std::move(fn))))
        .value();
  }
  // X_get -> details and a reply by `ApiStep fn(const Request&, uint32_t& cursor, Details&)`.
  template <class Request, class Reply, class Details, class F>
  void cursor(F fn) {
    add_handler(
        api_cursor_handler<Request, Reply, Details>(
            [](const Request& request, uint32_t& cursor, Details& details, void* kept) -> ApiStep {
              return (*static_cast<F*>(kept))(request, cursor, details);
            },
            keep(std::move(fn))))
        .value();
  }
  // Request -> whatever the walk sends: `fn(const Request&)` returns an object with
  // `ApiStep next(ApiCall&)`.
  template <class Request, class F>
  void walk(F fn) {
    using Made = std::invoke_result_t<F&, const Request&>;
    struct Walk {
      Walk(const Request& request, void* kept) : made((*static_cast<F*>(kept))(request)) {}
      ApiStep next(ApiCall& call) { return made.next(call); }
      Made made;
    };
    add_handler(api_walk_handler<Request, Walk>(keep(std::move(fn)))).value();
  }
  template <class Want, class WantReply>
  void events() {
    add_handler(api_want_handler<Want, WantReply>()).value();
  }

  // Request -> one reply that takes many steps or a while to find: `fn(const Request&)` returns an
  // object with `ApiStep next(ApiCall&, Reply&)`, which fills in the reply (but for its context)
  // before it says kEnd, and else says kSkip or kWait. Other control work is done between two
  // steps.
  template <class Request, class Reply, class F>
  void handle_in_steps(F fn) {
    using Made = std::invoke_result_t<F&, const Request&>;
    struct Walk {
      Walk(const Request& request, void* kept) : made((*static_cast<F*>(kept))(request)) {}
      ApiStep next(ApiCall& call, Reply& reply) { return made.next(call, reply); }
      Made made;
    };
    add_handler(api_steps_handler<Request, Reply, Walk>(keep(std::move(fn)))).value();
  }
  // To each client that asked by Want for whom `wants(event, subscriber)` is true: it may put what
  // the subscriber gave into the event.
  template <class Want, class Event, class F>
  void send_event(Event event, F&& wants) const {
    struct Both {
      Event& event;
      F& wants;
    } both{event, wants};
    subscriptions_.each(
        Want::kInfo,
        [](ApiCall& call, const ApiSubscriber* s, void* arg) {
          auto& [to_send, is_wanted] = *static_cast<Both*>(arg);
          to_send.client_index = s->client_index;
          if (is_wanted(to_send, *s)) call.send(to_send);
        },
        &both);
  }

  struct Entry {
    ApiMessageInfo info;
    ApiHandler handler;       // without begin: the daemon only sends it, or nobody answers yet
    bool is_removed = false;  // with its module
  };
  // The message with that number; null when there is none.
  const Entry* find(uint16_t id) const;
  // The number of a message; 0 when no module has it.
  uint16_t id_of(const ApiMessageInfo& info) const;
  // Entry i has the number kFirstMessageId + i.
  const std::vector<Entry>& entries() const { return entries_; }
  struct Module {
    const ApiModule* module;
    uint16_t first_id;
  };
  const std::vector<Module>& modules() const { return modules_; }
  const ApiModule* module_of(const ApiMessageInfo& info) const;  // null when it is in none
  ApiSubscriptions& subscriptions() { return subscriptions_; }

 private:
  template <class F>
  void* keep(F fn) {
    kept_.push_back(std::make_shared<F>(std::move(fn)));
    return kept_.back().get();
  }
  std::vector<Entry> entries_;
  std::vector<Module> modules_;
  std::map<std::string_view, uint16_t> ids_;  // by name
  std::vector<std::shared_ptr<void>> kept_;   // what the core's handlers call
  ApiSubscriptions subscriptions_;
};

// "show_version_51077d14", cut to 63 bytes.
std::string api_table_name(const ApiMessageInfo& info);

}  // namespace loom
