// Requests that a module describes and nobody answers: a plugin that registers less than its file
// says. Their client would wait for ever; instead it gets the reply that the description promises,
// with retval UNIMPLEMENTED and zeros behind it. No answer is possible to a dump, whose client
// notices the end by its control_ping, or to a reply that does not start with context and retval.
//
// What is promised is read from the modules' descriptions when it is first needed: that is all that
// modules of every age have. They are kept as parsed until the modules change: a client that tries
// one number after another costs a look-up each. Control thread.
#pragma once
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "api/registry.h"

namespace loom {

constexpr int32_t kApiUnimplemented = -9;

class UnansweredRequests {
 public:
  struct Answer {
    ApiMessageInfo reply;
    std::size_t context_at;       // in the request, behind its id
    std::vector<std::byte> body;  // of the reply, behind its id; starts with the context
  };

  explicit UnansweredRequests(const ApiRegistry& registry);
  ~UnansweredRequests();
  // Null: no answer is possible. Valid until the next call.
  const Answer* find(uint16_t request_id);

 private:
  struct Descriptions;
  std::optional<Answer> describe(const ApiMessageInfo& info);

  const ApiRegistry& registry_;
  std::unique_ptr<const Descriptions> descriptions_;
  std::map<uint16_t, std::optional<Answer>> known_;  // numbers are never given twice
};

}  // namespace loom
