// hostloom: reads the command line, and runs the daemon.
//
// Exit status: 0 stopped by a signal, or the configuration is good (--check); 2 the command line or
// the configuration is not; 1 it is, but the daemon could not start.
#include <malloc.h>

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstring>
#include <string>

#include "config/parser.h"
#include "daemon/builtin_commands.h"
#include "daemon/daemon.h"
#include "daemon/default_config.h"
#include "daemon/process.h"

namespace {

constexpr int kOk = 0, kFailed = 1, kUsage = 2;

struct CommandLine {
  std::string config_file, host_ns, runtime_dir, plugin_path;
  bool is_check = false, print_default = false;
};

int complain(const loom::Error& e, int status) {
  std::fprintf(stderr, "hostloom: %s\n", e.message.c_str());
  return status;
}

// The file, or the embedded default with the namespace it needs.
loom::Result<loom::DaemonOptions> options_of(const CommandLine& line) {
  loom::DaemonOptions options;
  options.runtime_dir = line.runtime_dir;
  options.plugin_path = line.plugin_path;
  options.is_check = line.is_check;
  if (!line.config_file.empty()) {
    auto text = loom::read_config_text(line.config_file);
    if (!text) return text.error();
    options.config_text = std::move(*text);
    options.config_name = line.config_file;
    return options;
  }
  options.config_text = loom::default_config();
  options.config_name = "(embedded default)";
  if (line.is_check) return options;
  std::string host_ns = line.host_ns;
  if (host_ns.empty()) {
    auto made = loom::make_network_namespace();
    if (!made) return made.error();
    host_ns = std::move(*made);
    std::fprintf(stderr,
                 "hostloom: the host side, 10.88.0.1 and fd88::1, is in: nsenter --net=%s\n",
                 host_ns.c_str());
  }
  options.startup_commands = loom::default_startup_commands(host_ns);
  return options;
}

int run(const CommandLine& line) {
  auto options = options_of(line);
  if (!options) return complain(options.error(), line.config_file.empty() ? kFailed : kUsage);
  loom::raise_descriptor_limit();
  loom::Daemon daemon(std::move(*options));
  const auto configured = daemon.configure();
  if (!configured) return complain(configured.error(), kUsage);
  if (line.is_check) return kOk;

  const bool background = daemon.wants_background();
  auto process = loom::Background::enter(background);
  if (!process) return complain(process.error(), kFailed);
  const auto started = daemon.start(background);
  if (!started) {
    const bool is_configuration = started.error().code == loom::Status::kInvalid;
    const int status = complain(started.error(), is_configuration ? kUsage : kFailed);
    daemon.stop();
    return status;
  }
  process->ready();
  daemon.run();
  daemon.stop();
  return kOk;
}

// The allocator otherwise keeps more and more for itself: after a block of a megabyte was freed, it
// gives a thread's memory back from two megabytes on only. The price: a block of more than 256 KB
// is always a mapping of its own, which takes a system call to grow.
void keep_little_free_memory() {
  mallopt(M_TRIM_THRESHOLD, 256 << 10);
  mallopt(M_MMAP_THRESHOLD, 256 << 10);
}

}  // namespace

int main(int argc, char** argv) {
  keep_little_free_memory();
  CommandLine line;
  CLI::App app(
      "The Hostloom network stack. Without -c it makes a TAP interface, 10.88.0.2/24 and "
      "fd88::2/64, whose "
      "other end, 10.88.0.1 and fd88::1, lies in a network namespace of its own (needs "
      "CAP_NET_ADMIN and "
      "CAP_SYS_ADMIN).",
      "hostloom");
  app.add_option("-c,--config", line.config_file, "start-up file");
  app.add_flag("--check", line.is_check, "read and check the configuration, start nothing");
  app.add_option(
      "--runtime-dir", line.runtime_dir,
      "where sockets and lock are (default: unix { runtime-dir }, /run/hostloom for root, else "
      "$XDG_RUNTIME_DIR/hostloom or /tmp/hostloom-UID)");
  app.add_option("--plugin-path", line.plugin_path,
                 "directory of the plugins, instead of plugins { path }");
  app.add_option(
      "--host-ns", line.host_ns,
      "network namespace (name or path) of the embedded default's TAP, instead of a new one");
  app.add_flag("--print-default-config", line.print_default, "print the embedded default and exit");
  app.set_version_flag("--version", std::string("hostloom ") + loom::program_version());
  app.footer(
      "Control it with loomctl. SIGTERM and SIGINT stop it, SIGHUP reopens the log file.\n"
      "Exit status: 0 stopped or checked, 1 could not start, 2 bad command line or configuration.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? kOk : kUsage;
  }
  if (!line.config_file.empty() && !line.host_ns.empty())
    return complain(
        loom::error(loom::Status::kInvalid, "--host-ns is for the embedded default; -c is given"),
        kUsage);
  if (line.print_default) {
    const auto commands =
        loom::default_startup_commands(line.host_ns.empty() ? "NETNS" : line.host_ns);
    std::printf("%s\n# and at the start, as unix { startup-config FILE } would:\n",
                loom::default_config().c_str());
    for (std::size_t at = 0, end; at < commands.size(); at = end + 1) {
      end = commands.find('\n', at);
      std::printf("#   %s\n", commands.substr(at, end - at).c_str());
    }
    return kOk;
  }
  return run(line);
}
