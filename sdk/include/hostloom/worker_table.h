// Figures of each worker, as commands show them: a row for each thing, and a column for each
// worker.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include <hostloom/cli.h>

namespace loom {

// Control thread. As long as it is used the reply gets nothing else. Since ABI 1.1.
class WorkerTable {
 public:
  WorkerTable(CliReply& reply, std::string name, std::size_t n_workers)
      : n_workers_(n_workers), table_(reply.table(std::move(name), columns(n_workers))) {}
  // `figure(i)`: that of worker i, a number.
  template <class Figure>
  void row(const char* what, Figure&& figure) {
    std::vector<std::string> cells{what};
    for (std::size_t i = 0; i < n_workers_; ++i) cells.push_back(std::to_string(figure(i)));
    table_.rows.push_back(std::move(cells));
  }

 private:
  static std::vector<std::string> columns(std::size_t n_workers) {
    std::vector<std::string> names{"what"};
    for (std::size_t i = 0; i < n_workers; ++i) names.push_back("worker " + std::to_string(i));
    return names;
  }

  const std::size_t n_workers_;
  CliTable& table_;
};

}  // namespace loom
