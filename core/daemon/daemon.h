// The whole: every part of the core made, wired and started in order, and taken down in the
// opposite one.
//
//   configure   the start-up file is read and checked; the parts and the plugins exist; nothing
//   runs start       lock, graph, workers, sockets, start-up commands, "ready" run         the
//   event loop, until SIGTERM or SIGINT stop        sockets removed, sessions reset, workers
//   joined, plugins stopped, interfaces destroyed
//
// Control thread.
#pragma once
#include <memory>
#include <string>

#include <hostloom/status.h>

namespace loom {

struct DaemonOptions {
  std::string config_text, config_name;  // the start-up file and what messages call it
  std::string startup_commands;          // run before the file's own startup-config
  std::string runtime_dir;               // beats unix { runtime-dir }; "" = default
  std::string plugin_path;               // beats plugins { path }; "" = default
  bool is_check = false;                 // configure() only: small buffers, quiet log
};

class Daemon {
 public:
  explicit Daemon(DaemonOptions options);
  ~Daemon();  // stops it
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Errors here are the configuration's: "FILE:LINE: ...". Nothing has been started.
  Result<void> configure();
  bool wants_background() const;
  // The foreground of a terminal: the command line is served there (unix { interactive }).
  bool is_interactive() const;
  // In the background, once the process has forked.
  Result<void> start(bool in_background);
  // Until a signal or request_stop().
  void run();
  void request_stop();
  void stop();

  struct Parts;

 private:
  std::unique_ptr<Parts> parts_;
};

}  // namespace loom
