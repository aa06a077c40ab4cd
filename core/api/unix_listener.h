// Makes a listening Unix socket at a path: what the API, the CLI and the statistics socket share.
#pragma once
#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <string>

#include <hostloom/status.h>

namespace loom {

// A non-blocking, close-on-exec listener with mode 0660 and, when given, that group. A socket that
// nobody listens on any more is replaced; one that answers (kInUse) and files of other kinds
// (kExists) are not. Errors name the path. The caller closes the fd and unlinks the path.
Result<int> open_unix_listener(const std::string& path, std::optional<uint32_t> gid,
                               int type = SOCK_STREAM);

}  // namespace loom
