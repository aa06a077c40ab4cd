// The statistics segment as the daemon writes it: a sealed memfd with a directory of named numbers,
// in the layout of hostloom/stats_segment.h. It names no subject; the publishers fill it.
//
// Readers have it mapped read-only and follow without any lock. Whatever moves or renames something
// is done inside a Change, which they see by the epoch; a number is stored as one word, at any
// time. What the daemon knows of the segment it keeps in its own memory. Control thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <hostloom/stats_segment.h>
#include <hostloom/status.h>

#include "stats/segment_heap.h"

namespace loom {

class StatsSegment {
 public:
  using Id = uint32_t;  // index in the directory
  static constexpr Id kNone = ~0u;
  // The first entries, where VPP's clients look for them by number.
  static constexpr Id kHeartbeat = 0, kLastClear = 1, kBootTime = 2;

  // Errors: kNoMemory, kIo, with the size; kUnsupported, the kernel cannot seal it against writers.
  static Result<std::unique_ptr<StatsSegment>> create(uint64_t size);
  ~StatsSegment();
  StatsSegment(const StatsSegment&) = delete;
  StatsSegment& operator=(const StatsSegment&) = delete;

  // While one lives, readers wait, and what they have read before is void. May be nested; short.
  class Change {
   public:
    explicit Change(StatsSegment& s) noexcept : s_(s) { s_.begin_change(); }
    ~Change() { s_.end_change(); }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    StatsSegment& s_;
  };

  // New entries, all zero. Errors: kExists; kInvalid, a name of more than 127 bytes or none;
  // kNoMemory, the segment is full. After an error nothing has changed.
  Result<Id> add_scalar(std::string_view name);
  Result<Id> add_simple(std::string_view name, uint32_t rows, uint32_t columns);
  Result<Id> add_combined(std::string_view name, uint32_t rows, uint32_t columns);
  Result<Id> add_names(std::string_view name);
  Result<Id> add_symlink(std::string_view name, Id target, uint32_t column);
  void remove(Id);  // kNone does nothing
  // Makes the rows at least that long. kNoMemory leaves them as they are.
  Result<void> widen(Id, uint32_t columns);
  // Makes the vector of names long enough; those between are "".
  Result<void> set_name(Id, uint32_t index, std::string_view text);
  // The rows of this entry are what SegmentHeader::errors points to, from now on.
  void set_error_rows(Id);

  // Numbers. The entry is of the kind, row and column exist.
  void set(Id, uint64_t value) noexcept;
  void set(Id, uint32_t row, uint32_t column, uint64_t value) noexcept;
  void set(Id, uint32_t row, uint32_t column, stats::Combined value) noexcept;
  void add(Id id, uint64_t n) noexcept { set(id, entries_[id].value + n); }

  Id find(std::string_view name) const;  // kNone: there is none
  int fd() const noexcept { return fd_; }
  uint64_t size() const noexcept { return size_; }
  const SegmentHeap& heap() const noexcept { return heap_; }
  uint64_t epoch() const noexcept { return header().epoch; }

  struct Listing {
    std::string name;
    stats::EntryType type;
    uint32_t rows, columns;
    uint64_t bytes;  // of the segment, without its directory slot
  };
  std::vector<Listing> list() const;  // by name

 private:
  // A vector in the segment.
  struct Vector {
    uint64_t offset = 0;  // of the block; 0 = there is none
    uint64_t bytes = 0;   // of the block, as asked for
    uint32_t length = 0, capacity = 0;
  };
  struct Known {
    stats::EntryType type = stats::EntryType::kEmpty;
    std::string name;
    uint64_t value = 0;         // scalars
    Vector outer;               // rows, or names
    std::vector<Vector> inner;  // columns of a row, or one name's bytes
  };

  StatsSegment(int fd, std::byte* memory, uint64_t size);
  stats::SegmentHeader& header() const noexcept {
    return *reinterpret_cast<stats::SegmentHeader*>(memory_);
  }
  std::byte* data(const Vector& v) const noexcept {
    return memory_ + v.offset + sizeof(stats::VectorHeader);
  }
  uint64_t pointer_to(const Vector& v) const noexcept;
  stats::Entry& slot(Id id) const noexcept;
  bool make_vector(Vector&, uint32_t length, std::size_t element);
  void free_vector(Vector&);
  void set_length(Vector&, uint32_t length) noexcept;
  Result<Id> new_entry(std::string_view name, stats::EntryType);
  Result<Id> add_rows(std::string_view name, stats::EntryType, uint32_t rows, uint32_t columns);
  bool widen_row(Vector&, uint32_t columns, std::size_t element);
  void point_to(Vector& outer, uint32_t index, const Vector& inner) noexcept;
  void begin_change() noexcept;
  void end_change() noexcept;

  int fd_;
  std::byte* memory_;
  uint64_t size_;
  SegmentHeap heap_;
  Vector directory_;
  uint32_t changes_ = 0;  // Change objects alive
  std::vector<Known> entries_;
  std::vector<Id> free_ids_;
  std::map<std::string, Id, std::less<>> by_name_;
};

}  // namespace loom
