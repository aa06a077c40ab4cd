// `loomctl top`: a live view from the statistics segment. The daemon is not asked for anything.
#pragma once
#include <string>
#include <vector>

namespace loomctl {

// `words`: what follows "top" on the command line. The statistics socket is beside the API socket
// unless --stats-socket names it. Returns the exit status of loomctl.
int top(std::vector<std::string> words, const std::string& api_socket, bool json);

}  // namespace loomctl
