// The conversation: a line editor (libedit) with history, completion by Tab and help by ?, both
// from the daemon (cli_complete). Ctrl-C gives up the line, Ctrl-D and `quit` end.
#pragma once
#include "session.h"

namespace loomctl {

// Returns the last line's outcome, which is also how it ends when the daemon goes away (3).
int interact(Session& session);

}  // namespace loomctl
