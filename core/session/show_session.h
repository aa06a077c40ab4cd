// `show session`, and handles as commands have them. Private to core/session/.
#pragma once
#include <span>
#include <string>

#include <hostloom/cli.h>
#include <hostloom/session.h>

namespace loom::session {

std::span<const CliCommand> show_session_commands();  // without context

// With its prefix, or JSON would have a number where there is no letter in it.
std::string handle_text(SessionHandle);
// As handle_text() writes it, or without the prefix.
Result<SessionHandle> parse_handle(const std::string& text);

}  // namespace loom::session
