// Doing something inside another network namespace.
#pragma once
#include <functional>
#include <string>

#include <hostloom/status.h>

namespace loom::tap {

// Runs fn in the namespace and waits for it: on a short-lived thread of its own, because a thread
// that enters a namespace stays in it and the daemon's threads must not wander. File descriptors
// that fn opens belong to the namespace and work from everywhere.
// `where`: a name as `ip netns` makes them (/run/netns/NAME), an absolute path such as
// /proc/PID/ns/net, or "" for the daemon's own namespace, on the calling thread.
// kNotFound: there is no such namespace; kPermission: it may not be entered; else what fn returns.
Result<void> run_in_net_namespace(const std::string& where,
                                  const std::function<Result<void>()>& fn);

}  // namespace loom::tap
