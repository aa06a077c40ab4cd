// The numbers of `show tcp stats` by the names that they are published under: /sys/tcp/NAME of the
// statistics segment, tcp_stats_get. Control thread, while the workers run.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace loom::tcp {

const std::vector<std::string>& stat_names();
// A worker's numbers, in that order.
void read_stats(uint32_t worker, std::span<uint64_t> out) noexcept;

}  // namespace loom::tcp
