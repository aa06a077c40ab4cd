#include "api/registry.h"

#include <cstdio>

#include <hostloom/check.h>

namespace loom {

Result<void> ApiRegistry::add_module(const ApiModule& module) {
  for (const auto& m : modules_)
    if (std::string_view(m.module->name) == module.name)
      return error(Status::kExists,
                   "API module '" + std::string(module.name) + "' is there already");
  for (const auto& info : module.messages)
    if (ids_.contains(info.name))
      return error(Status::kExists, "API message '" + std::string(info.name) + "' of module '" +
                                        module.name + "' is taken");
  if (entries_.size() + module.messages.size() > 0xffffu - kFirstMessageId)
    return error(Status::kNoMemory,
                 "no message numbers left for module '" + std::string(module.name) + "'");
  modules_.push_back({&module, static_cast<uint16_t>(kFirstMessageId + entries_.size())});
  for (const auto& info : module.messages) {
    ids_[info.name] = static_cast<uint16_t>(kFirstMessageId + entries_.size());
    entries_.push_back({info, {}});
  }
  return {};
}

uint16_t ApiRegistry::id_of(const ApiMessageInfo& info) const {
  const auto it = ids_.find(info.name);
  LOOM_CHECK(it != ids_.end());
  return it->second;
}

void ApiRegistry::set_handler(const ApiMessageInfo& info,
                              std::function<bool(ApiCall&, ApiReader&)> fn) {
  Entry& entry = entries_[id_of(info) - kFirstMessageId];
  LOOM_CHECK(entry.info.crc == info.crc && !entry.handler);
  entry.handler = std::move(fn);
}

ApiRegistry::Outcome ApiRegistry::dispatch(std::span<const std::byte> message,
                                           ApiCall& call) const {
  ApiReader in(message);
  const auto id = in.number<uint16_t>();
  if (!in.ok()) return Outcome::kMalformed;
  const std::size_t index = static_cast<std::size_t>(id) - kFirstMessageId;
  if (id < kFirstMessageId || index >= entries_.size() || !entries_[index].handler)
    return Outcome::kUnknown;
  return entries_[index].handler(call, in) ? Outcome::kAnswered : Outcome::kMalformed;
}

std::size_t ApiCall::begin(const ApiMessageInfo& info) {
  const std::size_t start = out_.size();
  out_.resize(start + kApiHeaderSize);
  ApiWriter(out_).number(registry_.id_of(info));
  return start;
}

void ApiCall::finish(std::size_t start) {
  const auto length = static_cast<uint32_t>(out_.size() - start - kApiHeaderSize);
  for (std::size_t i = 0; i < 4; ++i)
    out_[start + 8 + i] = static_cast<std::byte>(length >> (24 - 8 * i));
}

std::string api_table_name(const ApiMessageInfo& info) {
  char crc[10];
  std::snprintf(crc, sizeof crc, "_%08x", info.crc);
  return (info.name + std::string(crc)).substr(0, 63);
}

int32_t api_retval(Status status) {
  switch (status) {
    case Status::kOk:
      return 0;
    case Status::kInvalid:
    case Status::kMalformed:
      return ApiRegistry::kInvalidValue;
    case Status::kNotFound:
      return -6;  // NO_SUCH_ENTRY
    case Status::kExists:
      return -81;  // VALUE_EXIST
    case Status::kNoMemory:
      return -162;  // LIMIT_EXCEEDED
    case Status::kAgain:
    case Status::kInProgress:
      return -165;  // EAGAIN
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
      return -1;  // UNSPECIFIED
  }
}

}  // namespace loom
