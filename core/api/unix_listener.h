// Makes a listening Unix stream socket at a path: what the API and the CLI socket share.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include <hostloom/status.h>

namespace loom {

// A non-blocking, close-on-exec listener with mode 0660 and, when given, that group. A socket that
// nobody listens on any more is replaced; one that answers (kInUse) and files of other kinds
// (kExists) are not. Errors name the path. The caller closes the fd and unlinks the path.
Result<int> open_unix_listener(const std::string& path, std::optional<uint32_t> gid);

}  // namespace loom
