#include "metrics.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <vector>

namespace loom {

using stats::EntryType;

namespace {

enum class Type { kCounter, kGauge };

struct Labels {
  std::vector<std::pair<std::string, std::string>> pairs;
  Labels& with(std::string name, std::string value) {
    pairs.emplace_back(std::move(name), std::move(value));
    return *this;
  }
};

// Families in the order of their names: all samples of one stand together, as the format demands.
class Text {
 public:
  void add(const std::string& name, Type type, const std::string& help, const Labels& labels,
           const std::string& value) {
    Family& f = families_[name];
    if (f.samples.empty()) f = {.help = escaped(help), .type = type, .samples = {}};
    std::string line = name;
    for (std::size_t i = 0; i < labels.pairs.size(); ++i)
      line += (i == 0 ? "{" : ",") + labels.pairs[i].first + "=\"" +
              escaped(labels.pairs[i].second) + "\"";
    if (!labels.pairs.empty()) line += "}";
    f.samples += line + " " + value + "\n";
  }
  void add(const std::string& name, Type type, const std::string& help, const Labels& labels,
           uint64_t value) {
    add(name, type, help, labels, std::to_string(value));
  }
  std::string str() const {
    std::string all;
    for (const auto& [name, f] : families_)
      all += "# HELP " + name + " " + f.help + "\n# TYPE " + name + " " +
             (f.type == Type::kCounter ? "counter" : "gauge") + "\n" + f.samples;
    return all;
  }

 private:
  struct Family {
    std::string help;
    Type type = Type::kGauge;
    std::string samples;
  };
  // Whatever is not plain ASCII becomes '_'.
  static std::string escaped(const std::string& value) {
    std::string out;
    for (const char c : value) {
      if (c == '"' || c == '\\') out += '\\';
      out += c >= ' ' && c <= '~' ? c : '_';
    }
    return out;
  }
  std::map<std::string, Family> families_;
};

// [a-zA-Z0-9_]; everything else becomes '_'.
std::string metric_name(std::string_view path) {
  std::string name = "hostloom";
  if (path.starts_with("/sys/")) path.remove_prefix(4);
  for (const char c : path) {
    const bool is_plain =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    name += is_plain ? c : '_';
  }
  return name;
}

// The parts of "/a/b/c" behind a prefix "/a/": {"b", "c"}; empty unless there are two.
std::optional<std::pair<std::string, std::string>> two_parts(const std::string& name,
                                                             std::string_view prefix) {
  if (!name.starts_with(prefix)) return std::nullopt;
  const std::size_t slash = name.find('/', prefix.size());
  if (slash == name.npos) return std::nullopt;
  return std::pair(name.substr(prefix.size(), slash - prefix.size()), name.substr(slash + 1));
}

class Exporter {
 public:
  explicit Exporter(std::span<const StatsValue> values) : values_(values) {
    for (const StatsValue& v : values) by_name_[v.name] = &v;
  }

  std::string run() {
    text_.add("hostloom_up", Type::kGauge, "Whether the daemon's statistics could be read.", {},
              uint64_t{1});
    for (const StatsValue& v : values_) {
      if (is_shown_otherwise(v.name)) continue;
      if (node_counter(v) || interface(v) || node(v) || buffers(v) || memory(v) || per_worker(v))
        continue;
      anything_else(v);
    }
    return text_.str();
  }

 private:
  static bool is_shown_otherwise(const std::string& name) {
    return name.starts_with("/nodes/") || name.starts_with("/interfaces/") ||
           name == "/node/errors" || name == "/sys/last_update_ns";
  }

  std::vector<std::string> names(const char* of) const {
    const auto it = by_name_.find(of);
    return it == by_name_.end() ? std::vector<std::string>{} : it->second->names;
  }

  // One sample a worker and index whose name is in `labels`.
  void by_index(const StatsValue& v, const std::string& metric, const std::string& help,
                const char* label, const std::vector<std::string>& labels) {
    for (std::size_t w = 0; w < v.simple.size(); ++w)
      for (std::size_t i = 0; i < std::min(v.simple[w].size(), labels.size()); ++i)
        if (is_name(labels[i]))
          text_.add(metric, Type::kCounter, help,
                    Labels().with(label, labels[i]).with("worker", std::to_string(w)),
                    v.simple[w][i]);
  }
  static bool is_name(const std::string& label) { return !label.empty() && label != "deleted"; }

  bool node_counter(const StatsValue& v) {
    const auto parts = two_parts(v.name, "/err/");
    if (!parts) return false;
    for (std::size_t w = 0; w < v.simple.size(); ++w)
      text_.add("hostloom_node_counter_total", Type::kCounter,
                "Packets that ended in a counter of a node.",
                Labels()
                    .with("node", parts->first)
                    .with("counter", parts->second)
                    .with("worker", std::to_string(w)),
                v.simple[w].empty() ? 0 : v.simple[w][0]);
    return true;
  }

  bool node(const StatsValue& v) {
    if (!v.name.starts_with("/sys/node/")) return false;
    const std::string what = v.name.substr(10);
    if (what != "names")
      by_index(v, "hostloom_node_" + metric_name(what).substr(8) + "_total",
               "Of each node, " + what + (what == "clocks" ? ": time-stamp ticks." : "."), "node",
               names("/sys/node/names"));
    return true;
  }

  bool interface(const StatsValue& v) {
    if (!v.name.starts_with("/if/")) return false;
    const std::string what = v.name.substr(4);
    const auto labels = names("/if/names");
    if (v.type == EntryType::kSimple) {
      const bool is_error = what.ends_with("-error");
      by_index(
          v, "hostloom_interface_" + metric_name(what).substr(8) + (is_error ? "s" : "") + "_total",
          "Packets: " + what + ".", "interface", labels);
    }
    for (std::size_t w = 0; w < v.combined.size(); ++w) {
      for (std::size_t i = 0; i < std::min(v.combined[w].size(), labels.size()); ++i) {
        if (!is_name(labels[i])) continue;
        const auto l = Labels().with("interface", labels[i]).with("worker", std::to_string(w));
        const std::string metric = "hostloom_interface_" + metric_name(what).substr(8);
        text_.add(metric + "_packets_total", Type::kCounter, "Packets: " + what + ".", l,
                  v.combined[w][i].packets);
        text_.add(metric + "_bytes_total", Type::kCounter, "Bytes: " + what + ".", l,
                  v.combined[w][i].bytes);
      }
    }
    return true;
  }

  bool buffers(const StatsValue& v) {
    const auto parts = two_parts(v.name, "/buffer-pools/");
    if (!parts) return false;
    const auto l = Labels().with("pool", parts->first);
    if (parts->second == "exhausted")
      text_.add("hostloom_buffers_exhausted_total", Type::kCounter,
                "Allocations that got fewer buffers than they asked for.", l, v.sum());
    else
      text_.add("hostloom_buffers_" + parts->second, Type::kGauge, "Packet buffers.", l, v.sum());
    return true;
  }

  bool memory(const StatsValue& v) {
    if (!v.name.starts_with("/mem/")) return false;
    if (const auto parts = two_parts(v.name, "/mem/"))
      text_.add("hostloom_memory_" + parts->second + "_bytes", Type::kGauge, "Bytes of a heap.",
                Labels().with("heap", parts->first), v.sum());
    return true;
  }

  // One row, a column for each worker.
  bool per_worker(const StatsValue& v) {
    constexpr std::string_view kSuffix = "_per_worker";
    if (!v.name.ends_with(kSuffix) || v.simple.empty()) return false;
    const std::string path = v.name.substr(0, v.name.size() - kSuffix.size());
    const bool is_gauge =
        path == "/sys/vector_rate" || path == "/sys/loops" || path == "/sys/session/sessions";
    for (std::size_t w = 0; w < v.simple[0].size(); ++w) {
      const auto l = Labels().with("worker", std::to_string(w));
      const uint64_t value = v.simple[0][w];
      if (path == "/sys/asleep_ns") {
        char seconds[40];
        std::snprintf(seconds, sizeof seconds, "%.9f", static_cast<double>(value) * 1e-9);
        text_.add("hostloom_worker_asleep_seconds_total", Type::kCounter,
                  "Time that the worker slept.", l, std::string(seconds));
      } else if (path == "/sys/session/sessions") {
        text_.add("hostloom_sessions", Type::kGauge, "Sessions.", l, value);
      } else {
        text_.add("hostloom_worker" + metric_name(path).substr(8) + (is_gauge ? "" : "_total"),
                  is_gauge ? Type::kGauge : Type::kCounter,
                  "Of the worker: " + path.substr(5) + ".", l, value);
      }
    }
    return true;
  }

  // Scalars are gauges, vectors are counters: what the daemon's own statistics and those of its
  // plugins keep to.
  void anything_else(const StatsValue& v) {
    const std::string metric = metric_name(v.name), help = "Statistic " + v.name + ".";
    switch (v.type) {
      case EntryType::kScalar:
        if (v.name == "/sys/heartbeat")
          text_.add("hostloom_stats_updates_total", Type::kCounter, "Updates of the statistics.",
                    {}, v.scalar);
        else  // a gauge's name must not end as a counter's does (/sys/session/sessions_total)
          text_.add(metric.ends_with("_total") ? metric.substr(0, metric.size() - 6) : metric,
                    Type::kGauge, help, {}, v.scalar);
        break;
      case EntryType::kSimple:
        for (std::size_t w = 0; w < v.simple.size(); ++w) {
          for (std::size_t i = 0; i < v.simple[w].size(); ++i) {
            auto l = Labels().with("worker", std::to_string(w));
            if (v.simple[w].size() > 1) l.with("index", std::to_string(i));
            text_.add(metric + "_total", Type::kCounter, help, l, v.simple[w][i]);
          }
        }
        break;
      case EntryType::kCombined:
        for (std::size_t w = 0; w < v.combined.size(); ++w) {
          for (std::size_t i = 0; i < v.combined[w].size(); ++i) {
            auto l = Labels().with("worker", std::to_string(w));
            if (v.combined[w].size() > 1) l.with("index", std::to_string(i));
            text_.add(metric + "_packets_total", Type::kCounter, help, l, v.combined[w][i].packets);
            text_.add(metric + "_bytes_total", Type::kCounter, help, l, v.combined[w][i].bytes);
          }
        }
        break;
      default:
        break;
    }
  }

  std::span<const StatsValue> values_;
  std::map<std::string, const StatsValue*> by_name_;
  Text text_;
};

}  // namespace

std::string prometheus_text(std::span<const StatsValue> values) { return Exporter(values).run(); }

std::string prometheus_down() {
  return "# HELP hostloom_up Whether the daemon's statistics could be read.\n"
         "# TYPE hostloom_up gauge\nhostloom_up 0\n";
}

}  // namespace loom
