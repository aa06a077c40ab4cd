// The conversation: a line editor with history and completion of command words (libedit).
#pragma once
#include <functional>
#include <string>

#include "client/client.h"

namespace loomctl {

// Reads lines until `quit`, `exit` or the end of input, and hands each to `run`. Returns the last
// run's result, which is also how it ends when the daemon goes away (3).
int interact(loom::Client& client, const std::function<int(const std::string&)>& run);

}  // namespace loomctl
