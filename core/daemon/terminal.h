// `unix { interactive }`: the command line on the terminal that the daemon was started from. The
// end of input and `quit` stop the daemon. Control thread.
#pragma once
#include <functional>
#include <string>

#include <hostloom/host.h>

namespace loom {

class CliTree;
class EventLoop;

class Terminal {
 public:
  Terminal(EventLoop& loop, const CliTree& tree, Host& host, std::function<void()> on_quit);
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

 private:
  void readable();
  void prompt();

  EventLoop& loop_;
  const CliTree& tree_;
  Host& host_;
  std::function<void()> on_quit_;
  std::string in_;
  uint64_t watch_;
};

}  // namespace loom
