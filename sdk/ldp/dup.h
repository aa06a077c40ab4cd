// Duplicates: `to`, which is open in the kernel as a copy of `from`, stands for the same object.
#pragma once

namespace loom::ldp {

void enter_copy(int from, int to);
// An epoll set was among them.
bool copied_sets() noexcept;

}  // namespace loom::ldp
