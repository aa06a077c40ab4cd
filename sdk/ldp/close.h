// What closing a descriptor means here.
#pragma once
#include <cstdint>

namespace loom::ldp {

// Takes what the table has at `fd`, before the kernel's close of the number.
uintptr_t take_entry(int fd);
// And drops it, after the kernel's close: the last reference ends the session. May linger.
void drop_entry(uintptr_t entry);

}  // namespace loom::ldp
