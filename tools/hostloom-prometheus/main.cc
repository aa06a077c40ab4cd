// hostloom-prometheus: a daemon's statistics for a Prometheus server to scrape.
//
// Every scrape maps the segment anew, so that a daemon that was restarted is found and one that is
// gone is reported as down. The daemon itself does nothing for a scrape but hand over a descriptor.
//
// Exit status: 0 stopped by a signal, 1 cannot listen, 2 wrong usage.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "metrics.h"
#include "server.h"

int main(int argc, char** argv) {
  constexpr int kFailed = 1, kUsage = 2;
  CLI::App app(
      "Serves the statistics of a running hostloom over HTTP, at /metrics, in Prometheus' text "
      "format.",
      "hostloom-prometheus");
  std::string socket = loom::default_stats_socket(), address = "127.0.0.1";
  uint16_t port = 9482;
  bool print = false;
  app.add_option("-s,--socket", socket, "statistics socket of the daemon")->capture_default_str();
  app.add_option("-l,--listen", address, "address to listen on; nobody is asked for a password")
      ->capture_default_str();
  app.add_option("-p,--port", port, "TCP port; 0 = any, and it is printed")->capture_default_str();
  app.add_flag("--print", print, "print the metrics once and end");
  app.footer("Exit status: 0 stopped, 1 cannot listen, 2 wrong usage.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kUsage;
  }

  std::string last_failure;
  const auto metrics = [&] {
    auto reader = loom::StatsReader::connect(socket);
    auto values = reader ? reader->dump(loom::StatsFilter::all())
                         : loom::Result<std::vector<loom::StatsValue>>(reader.error());
    const std::string failure = values ? "" : values.error().message;
    if (!failure.empty() && failure != last_failure)
      std::fprintf(stderr, "hostloom-prometheus: %s\n", failure.c_str());
    last_failure = failure;
    return values ? loom::prometheus_text(*values) : loom::prometheus_down();
  };
  if (print) {
    std::fputs(metrics().c_str(), stdout);
    return last_failure.empty() ? 0 : kFailed;
  }
  const auto server = loom::MetricsServer::listen(address, port, metrics);
  if (!server) {
    std::fprintf(stderr, "hostloom-prometheus: %s\n", server.error().message.c_str());
    return kFailed;
  }
  const char* open = address.find(':') == address.npos ? "" : "[";
  std::printf("http://%s%s%s:%u/metrics\n", open, address.c_str(), *open ? "]" : "",
              unsigned{(*server)->port()});
  std::fflush(stdout);
  (*server)->run();
}
