// Statistics as text in Prometheus' exposition format, version 0.0.4.
#pragma once
#include <span>
#include <string>

#include "stats/stats_reader.h"

namespace loom {

constexpr const char* kMetricsContentType = "text/plain; version=0.0.4; charset=utf-8";

// What a reader's dump of everything holds. Nodes, interfaces, pools, heaps and workers become
// labels; names and units are Prometheus' (README.md).
std::string prometheus_text(std::span<const StatsValue> values);
// What is said while no daemon answers: only that.
std::string prometheus_down();

}  // namespace loom
