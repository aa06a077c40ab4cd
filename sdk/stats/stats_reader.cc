#include "stats/stats_reader.h"

#include <algorithm>
#include <atomic>
#include <thread>

#include "stats/snapshot.h"

namespace loom {

using namespace stats;

namespace {

// That one answer copies. Of an honest segment all vectors together are smaller than it; the rest
// is for symlinks, each of which copies a column once more.
constexpr uint64_t kMostBytes = 256u << 20;

Error malformed(const std::string& name, const char* what) {
  return error(Status::kMalformed, "statistic '" + name + "': " + what);
}

std::string name_of(const Entry& e) {
  return std::string(e.name, ::strnlen(e.name, sizeof e.name));
}

}  // namespace

// --- Values.

uint64_t StatsValue::sum() const {
  uint64_t total = scalar;
  for (const auto& row : simple)
    for (const uint64_t v : row) total += v;
  return total;
}

Combined StatsValue::sum_combined() const {
  Combined total{};
  for (const auto& row : combined) {
    for (const Combined& v : row) {
      total.packets += v.packets;
      total.bytes += v.bytes;
    }
  }
  return total;
}

uint64_t StatsValue::sum_at(std::size_t index) const {
  uint64_t total = 0;
  for (const auto& row : simple)
    if (index < row.size()) total += row[index];
  return total;
}

// --- Consistent reading.

// Runs fn on a snapshot until one was undisturbed. What fn finds wrong while the directory changes
// is no error: it looked at a state that never was.
template <class Fn>
auto StatsReader::consistent(Fn&& fn) -> decltype(fn(std::declval<Snapshot&>())) {
  const auto deadline = std::chrono::steady_clock::now() + patience_;
  for (;;) {
    Snapshot s{.memory = memory_, .size = size_};
    const SegmentHeader before = s.header();
    if (before.in_progress == 0) {
      s.base = before.base;
      s.bytes_left = std::min(4 * size_, kMostBytes);
      auto result = fn(s);
      std::atomic_thread_fence(std::memory_order_acquire);
      const SegmentHeader after = s.header();
      if (after.in_progress == 0 && after.epoch == before.epoch) return result;
    }
    if (std::chrono::steady_clock::now() > deadline)
      return error(Status::kTimedOut, "the statistics segment is being changed all the time");
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}

namespace {

// The directory's slots that have a name the filter wants.
template <class S, class Fn>
Result<void> for_each_entry(S& s, const StatsFilter& filter, Fn&& fn) {
  const auto directory = s.vector(s.header().directory, sizeof(Entry));
  if (!directory) return error(Status::kMalformed, "the directory does not lie in the segment");
  for (uint32_t i = 0; i < directory->length; ++i) {
    const Entry e = s.template at<Entry>(*directory, i);
    if (e.type == EntryType::kEmpty || e.type == EntryType::kIllegal) continue;
    const std::string name = name_of(e);
    if (!filter.matches(name.c_str())) continue;
    if (!s.spend(sizeof(StatsValue) + kNameSize)) return malformed(name, "one of too many");
    if (auto ok = fn(*directory, e, name); !ok) return ok;
  }
  return {};
}

// Copies rows, each whole or only one column of it.
template <class T, class S>
Result<void> copy_rows(S& s, const Entry& e, const std::string& name, const uint32_t* column,
                       std::vector<std::vector<T>>& out) {
  const auto rows = s.vector(e.value, sizeof(uint64_t));
  if (!rows) return malformed(name, "its rows do not lie in the segment");
  for (uint32_t r = 0; r < rows->length; ++r) {
    const auto row = s.vector(s.template at<uint64_t>(*rows, r), sizeof(T));
    if (!row) return malformed(name, "a row does not lie in the segment");
    if (column && *column >= row->length) return malformed(name, "it leads beyond a row's end");
    const uint32_t first = column ? *column : 0, n = column ? 1 : row->length;
    // The row itself costs, too: rows of nothing are memory for the reader all the same.
    if (!s.spend(n * sizeof(T) + sizeof(out[0]))) return malformed(name, "it is too large");
    auto& to = out.emplace_back(n);
    s.copy(to.data(), row->offset + uint64_t{first} * sizeof(T), n * sizeof(T));
  }
  return {};
}

template <class S>
Result<void> copy_names(S& s, const Entry& e, StatsValue& v) {
  const auto names = s.vector(e.value, sizeof(uint64_t));
  if (!names) return malformed(v.name, "its names do not lie in the segment");
  for (uint32_t i = 0; i < names->length; ++i) {
    const auto text = s.vector(s.template at<uint64_t>(*names, i), 1);
    if (!text) return malformed(v.name, "a name does not lie in the segment");
    if (!s.spend(text->length + sizeof(std::string))) return malformed(v.name, "it is too large");
    std::string& name = v.names.emplace_back(text->length, '\0');
    s.copy(name.data(), text->offset, text->length);
    name.resize(std::min(name.find('\0'), name.size()));
  }
  return {};
}

template <class S>
Result<void> copy_value(S& s, Entry e, StatsValue& v, const uint32_t* column = nullptr) {
  v.type = e.type;
  switch (e.type) {
    case EntryType::kScalar:
      v.scalar = e.value;
      return {};
    case EntryType::kSimple:
      return copy_rows(s, e, v.name, column, v.simple);
    case EntryType::kCombined:
      return copy_rows(s, e, v.name, column, v.combined);
    case EntryType::kNames:
      return copy_names(s, e, v);
    default:
      return {};  // of a newer writer: it has a name and nothing that we can read
  }
}

}  // namespace

Result<std::vector<std::string>> StatsReader::list(const StatsFilter& filter) {
  return consistent([&](Snapshot& s) -> Result<std::vector<std::string>> {
    std::vector<std::string> names;
    auto ok = for_each_entry(
        s, filter,
        [&](const Snapshot::View&, const Entry&, const std::string& name) -> Result<void> {
          names.push_back(name);
          return {};
        });
    if (!ok) return ok.error();
    return names;
  });
}

Result<std::vector<StatsValue>> StatsReader::dump(const StatsFilter& filter) {
  return consistent([&](Snapshot& s) -> Result<std::vector<StatsValue>> {
    std::vector<StatsValue> all;
    auto ok = for_each_entry(s, filter,
                             [&](const Snapshot::View& directory, const Entry& e,
                                 const std::string& name) -> Result<void> {
                               StatsValue& v = all.emplace_back();
                               v.name = name;
                               if (e.type != EntryType::kSymlink) return copy_value(s, e, v);
                               v.is_symlink = true;
                               const auto target = static_cast<uint32_t>(e.value);
                               const auto column = static_cast<uint32_t>(e.value >> 32);
                               if (target >= directory.length)
                                 return malformed(name, "it leads to no entry");
                               const Entry to = s.at<Entry>(directory, target);
                               if (to.type != EntryType::kSimple && to.type != EntryType::kCombined)
                                 return malformed(name, "it leads to no counters");
                               return copy_value(s, to, v, &column);
                             });
    if (!ok) return ok.error();
    return all;
  });
}

Result<StatsValue> StatsReader::read(const std::string& name) {
  auto all = dump(StatsFilter::exactly(name));
  if (!all) return all.error();
  if (all->empty()) return error(Status::kNotFound, "there is no statistic '" + name + "'");
  return std::move(all->front());
}

Result<uint64_t> StatsReader::heartbeat() {
  auto v = read("/sys/heartbeat");
  if (!v) return v.error();
  return v->scalar;
}

uint64_t StatsReader::epoch() const {
  return Snapshot{.memory = memory_, .size = size_}.header().epoch;
}

}  // namespace loom
