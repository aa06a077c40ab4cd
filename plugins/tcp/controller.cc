// See controller.h.
#include "controller.h"

#include <cstring>

namespace loom::tcp {
namespace {
constexpr std::size_t kSharedBytes = offsetof(CcState, priv);

bool is_small(const CcOps& ops) noexcept {
  return ops.private_size != 0 && ops.private_size <= kSmallCcPrivate;
}
}  // namespace

bool set_controller(TcpWorker& t, Connection& c, const CcOps& ops) noexcept {
  const bool in_connection = is_small(ops);
  if (in_connection != c.has_small_cc()) {
    LargeCc* large = in_connection ? nullptr : t.large_ccs.alloc();
    if (!in_connection && !large) return false;
    CcState* before = c.cc;
    c.cc = large ? &large->state : c.cc_in_connection();
    std::memcpy(static_cast<void*>(c.cc), before, kSharedBytes);
    if (!large) t.large_ccs.free(LargeCc::of(*before));
  }
  std::memset(c.cc->priv, 0, in_connection ? kSmallCcPrivate : kCcPrivateSize);
  c.cc_ops = &ops;
  return true;
}

bool copy_controller_state(TcpWorker& t, Connection& c, const Connection& old) noexcept {
  c.cc = c.cc_in_connection();
  if (old.has_small_cc()) return true;  // the bytes have come with the connection
  LargeCc* large = t.large_ccs.alloc();
  if (!large) return false;
  large->state = *old.cc;
  c.cc = &large->state;
  return true;
}

}  // namespace loom::tcp
