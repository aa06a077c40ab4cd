// Calls into a plugin's control-side functions. What they throw ends here, as an error that says
// so: an exception that left a plugin would end the daemon.
#pragma once
#include <exception>
#include <string>

#include <hostloom/status.h>

namespace loom {

// `what` is the beginning of the message: "WHAT threw an exception: ...".
template <class F>
Result<void> guarded(const std::string& what, F&& call) {
  try {
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      return {};
    } else {
      return call();
    }
  } catch (const std::exception& e) {
    return error(Status::kRefused, what + " threw an exception: " + e.what());
  } catch (...) {
    return error(Status::kRefused, what + " threw something that is no std::exception");
  }
}

}  // namespace loom
