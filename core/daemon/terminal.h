// `unix { interactive }`: the command line on the terminal that the daemon was started from. The
// end of input and `quit` stop the daemon. Control thread.
#pragma once
#include <functional>
#include <memory>
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
  void take_lines();
  void prompt();

  EventLoop& loop_;
  const CliTree& tree_;
  Host& host_;
  std::function<void()> on_quit_;
  std::string in_;
  uint64_t watch_;
  bool is_taking_ = false;                                 // take_lines() runs
  bool is_waiting_ = false;                                // for a command's answer
  std::shared_ptr<void> alive_ = std::make_shared<int>();  // for answers that come too late
};

}  // namespace loom
