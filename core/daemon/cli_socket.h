// `unix { cli-listen PATH }`: the command line as plain text on a Unix stream socket, for tools
// such as socat. A prompt, a line in, its answer out, a prompt again; `quit` or the end of input
// ends it. A failed command's answer starts with "error: ". Control thread.
#pragma once
#include <memory>
#include <optional>
#include <string>

#include <hostloom/host.h>
#include <hostloom/status.h>

namespace boost::asio {
class io_context;
}

namespace loom {

class CliTree;

class CliSocket {
 public:
  static constexpr std::size_t kMaxClients = 32;
  static constexpr const char* kPrompt = "hostloom# ";

  CliSocket(boost::asio::io_context& io, const CliTree& tree, Host& host);
  ~CliSocket();  // ends the conversations and removes the socket
  CliSocket(const CliSocket&) = delete;
  CliSocket& operator=(const CliSocket&) = delete;
  Result<void> listen(const std::string& path, std::optional<uint32_t> gid);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace loom
