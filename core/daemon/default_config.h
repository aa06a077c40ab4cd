// What hostloom does without a file: a TAP interface whose other end is in a network namespace of
// its own, so that it needs no hardware and leaves nothing behind.
#pragma once
#include <string>

namespace loom {

// The text of a start-up file.
std::string default_config();
// The commands that run at the start. host_ns: name or path of the namespace.
std::string default_startup_commands(const std::string& host_ns);

}  // namespace loom
