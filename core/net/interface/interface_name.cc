// Renaming an interface. Its number, addresses and counters stay; its sub-interfaces are called
// after it.
#include "net/interface/control.h"
#include "net/net.h"
#include "net/state.h"

namespace loom {

Result<void> check_name(const NetState& s, const std::string& name) {
  if (name.empty() || name.size() > kMostInterfaceName)
    return error(Status::kInvalid, "interface name '" + name + "' has not from 1 to " +
                                       std::to_string(kMostInterfaceName) + " bytes");
  for (const char c : name)  // of an operator: shown on terminals and in JSON
    if (c <= ' ' || c > '~')
      return error(Status::kInvalid,
                   "interface name '" + name + "' has other characters than printable ASCII");
  if (s.interfaces.find_by_name(name) != kNoIndex)
    return error(Status::kExists, "interface '" + name + "' exists");
  return {};
}

Result<void> Net::rename_interface(IfIndex index, const std::string& name) {
  NetState& s = *state_;
  Interface* f = s.interfaces.find(index);
  if (!f) return no_interface(index);
  if (f->name == name) return {};
  if (f->parent)
    return error(Status::kUnsupported, f->name + " is called after " + f->parent->name);
  if (auto ok = check_name(s, name); !ok) return ok;
  const auto subs = sub_interfaces_of(s, *f);
  for (const Interface* sub : subs)
    if (auto ok = check_name(s, sub_interface_name(name, sub->sub_id)); !ok) return ok;
  f->name = name;
  for (Interface* sub : subs) sub->name = sub_interface_name(name, sub->sub_id);
  return {};
}

}  // namespace loom
