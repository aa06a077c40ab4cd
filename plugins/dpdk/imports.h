// What a shared object of this process calls in others, led elsewhere: nothing else of the process
// is. The last resort for a driver that cannot be told (decision 18).
#pragma once
#include <span>
#include <string_view>

#include <hostloom/status.h>

namespace loom::dpdk {

struct Import {
  const char* name;  // of the function
  void* to;          // called in its place from now on, with the same arguments
};

// Of the one loaded object whose file's name begins so ("librte_net_memif.so"). All, or nothing.
// Its pages are as protected afterwards as before. Control thread; calls that other threads are
// making go where they went, or there. Errors: kNotFound, no such object; kUnsupported, there are
// several, it does not call one of the functions as objects of this processor do, or the kernel
// does not let us write.
Result<void> redirect_imports(std::string_view object, std::span<const Import> imports);

}  // namespace loom::dpdk
