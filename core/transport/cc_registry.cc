// Congestion controllers by name. Slots are only ever appended to, so that a worker that walks them
// while the control thread adds one sees either the old end or the new one. Walking starts at the
// end: a controller that was added later hides an earlier one of its name.
#include "transport/ops_table.h"
#include "transport/registry.h"

namespace loom {

Result<const CcOps*> CcRegistry::add(const CcOps& given, IfTaken if_taken) {
  // on_congestion is the last entry without which there is no congestion control.
  const auto cc = full_size_copy(given, offsetof(CcOps, on_recovered));
  if (!cc)
    return error(Status::kInvalid, "congestion controller table of " +
                                       std::to_string(given.struct_size) +
                                       " bytes is not of any known version");
  if (!cc->name || !*cc->name) return error(Status::kInvalid, "congestion controller has no name");
  const std::string name = cc->name;
  if (name.size() > kMaxName)
    return error(Status::kInvalid, "congestion controller name '" + name + "' is longer than " +
                                       std::to_string(kMaxName) +
                                       " characters, TCP_CONGESTION cannot carry it");
  if (!cc->on_ack || !cc->on_congestion)
    return error(Status::kInvalid, "congestion controller '" + name + "' lacks " +
                                       (cc->on_ack ? "on_congestion" : "on_ack") +
                                       " in its table of functions");
  if (cc->private_size > kCcPrivateSize)
    return error(Status::kInvalid,
                 "congestion controller '" + name + "' wants " + std::to_string(cc->private_size) +
                     " private bytes, there are " + std::to_string(kCcPrivateSize));
  const CcOps* replaced = find(name);
  if (replaced && if_taken == IfTaken::kRefuse)
    return error(Status::kExists, "congestion controller '" + name + "' is already registered");
  const std::size_t i = n_.load(std::memory_order_relaxed);
  if (i == kMaxControllers)
    return error(Status::kNoMemory, "congestion controller '" + name + "': all " +
                                        std::to_string(kMaxControllers) + " places are in use");
  tables_.push_back(std::make_unique<const CcOps>(*cc));
  const CcOps* table = tables_.back().get();
  slots_[i].store(table, std::memory_order_release);
  n_.store(i + 1, std::memory_order_release);
  const CcOps* now = default_ops();
  if (!now || now == replaced || name == wanted_default_)
    default_.store(table, std::memory_order_release);
  return table;
}

void CcRegistry::remove(const CcOps& gone) noexcept {
  const CcOps* first_left = nullptr;
  for (std::size_t i = 0; i < n_.load(std::memory_order_relaxed); ++i) {
    const CcOps* cc = slots_[i].load(std::memory_order_relaxed);
    if (cc == &gone)
      slots_[i].store(nullptr, std::memory_order_release);
    else if (cc && !first_left)
      first_left = cc;
  }
  if (default_ops() != &gone) return;
  const CcOps* replaced = find(gone.name);
  default_.store(replaced ? replaced : first_left, std::memory_order_release);
}

void CcRegistry::set_default(std::string name) {
  wanted_default_ = std::move(name);
  if (wanted_default_.empty()) return;
  if (const CcOps* cc = find(wanted_default_)) default_.store(cc, std::memory_order_release);
}

const CcOps* CcRegistry::find(std::string_view name) const noexcept {
  if (name.empty()) return default_ops();
  for (std::size_t i = n_.load(std::memory_order_acquire); i-- > 0;) {
    const CcOps* cc = slots_[i].load(std::memory_order_acquire);
    if (cc && cc->name == name) return cc;
  }
  return nullptr;
}

std::vector<const CcOps*> CcRegistry::list() const {
  std::vector<const CcOps*> found;
  const std::size_t n = n_.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < n; ++i)
    if (const CcOps* cc = slots_[i].load(std::memory_order_acquire); cc && find(cc->name) == cc)
      found.push_back(cc);
  return found;
}

}  // namespace loom
