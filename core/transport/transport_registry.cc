// Transports by id and by protocol number.
#include "transport/ops_table.h"
#include "transport/registry.h"

namespace loom {
namespace {

// The first entry that the session layer needs and `t` lacks, or null.
const char* missing_entry(const TransportOps& t) noexcept {
  if (!t.close) return "close";
  if (!t.abort) return "abort";
  if (t.tx_kind == TxKind::kInternal) {  // moves its bytes itself
    if (!t.connect && !t.open_listener) return "connect or open_listener";
    if (t.open_listener && !t.close_listener) return "close_listener";
    return t.tx_ready ? nullptr : "tx_ready";
  }
  if (!t.connect && !t.listen) return "connect or listen";
  if (t.listen && !t.unlisten) return "unlisten";
  if (t.tx_kind == TxKind::kDatagram) {
    if (!t.connect) return "connect";
    return t.push_datagrams ? nullptr : "push_datagrams";
  }
  if (!t.send_window) return "send_window";
  if (!t.push_headers) return "push_headers";
  if (!!t.freeze + !!t.adopt + !!t.thaw + !!t.session_of != (t.freeze ? 4 : 0))
    return "one of session_of, freeze, adopt and thaw";
  return nullptr;
}

}  // namespace

Result<TransportId> TransportRegistry::add(const TransportOps& given) {
  const auto t = full_size_copy(given, offsetof(TransportOps, connect));
  if (!t)
    return error(Status::kInvalid, "transport table of " + std::to_string(given.struct_size) +
                                       " bytes is not of any known version");
  if (!t->name || !*t->name) return error(Status::kInvalid, "transport has no name");
  const std::string name = t->name;
  if (static_cast<uint8_t>(t->tx_kind) > static_cast<uint8_t>(TxKind::kInternal))
    return error(Status::kInvalid, "transport '" + name + "': tx kind " +
                                       std::to_string(static_cast<unsigned>(t->tx_kind)) +
                                       " does not exist");
  if (const char* entry = missing_entry(*t))
    return error(Status::kInvalid,
                 "transport '" + name + "' lacks " + entry + " in its table of functions");
  if (find_name(name) != kNoTransport)
    return error(Status::kExists, "transport '" + name + "' is already registered");
  if (const TransportId owner = find_proto(t->proto); owner != kNoTransport)
    return error(Status::kExists, "transport '" + name + "': protocol number " +
                                      std::to_string(t->proto) + " is taken by '" +
                                      get(owner)->name + "'");
  const TransportId id = n_.load(std::memory_order_relaxed);
  if (id == kMaxTransports)
    return error(Status::kNoMemory, "transport '" + name + "': all " +
                                        std::to_string(kMaxTransports) + " ids are in use");
  tables_.push_back(std::make_unique<const TransportOps>(*t));
  by_id_[id].store(tables_.back().get(), std::memory_order_release);
  n_.store(id + 1, std::memory_order_release);
  by_proto_[t->proto].store(id, std::memory_order_release);  // last: whoever finds it can get() it
  return id;
}

void TransportRegistry::remove(TransportId id) noexcept {
  const TransportOps* t = get(id);
  if (!t) return;
  by_proto_[t->proto].store(kNoTransport, std::memory_order_release);
  by_id_[id].store(nullptr, std::memory_order_release);
}

TransportId TransportRegistry::find_name(std::string_view name) const noexcept {
  for (TransportId id = 0; id < end_id(); ++id)
    if (const TransportOps* t = get(id); t && t->name == name) return id;
  return kNoTransport;
}

}  // namespace loom
