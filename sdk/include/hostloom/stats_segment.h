// The bytes of the statistics segment: VPP's layout, version 2. The daemon writes it
// (core/stats/), readers map it read-only (sdk/stats/ is ours); core/stats/README.md has the same
// as a table.
//
// A pointer in the segment is a number: subtract SegmentHeader::base and get the offset from the
// segment's start; 0 points to nothing. A vector is found by a pointer to its first element, and
// has a VectorHeader right before it.
#pragma once
#include <cstddef>
#include <cstdint>

namespace loom::stats {

constexpr uint64_t kSegmentVersion = 2;
constexpr std::size_t kNameSize = 128;  // with the terminating zero

enum class EntryType : uint32_t {
  kIllegal = 0,
  kScalar = 1,    // Entry::value is the number
  kSimple = 2,    // pointer to a vector of pointers (rows) to vectors of uint64_t (columns)
  kCombined = 3,  // the same, of Combined
  kNames = 4,     // pointer to a vector of pointers to vectors of char, each with its zero
  kEmpty = 5,     // a free slot of the directory
  kSymlink = 6,   // low half of value: index of the entry meant; high half: the column of it
};

// At offset 0. Readers: note the epoch, wait until in_progress is 0, copy what is wanted, and
// discard it when the epoch has changed or in_progress is set meanwhile. Numbers change without
// either; both are about the directory and where things are.
struct SegmentHeader {
  uint64_t version;
  uint64_t base;
  uint64_t epoch;        // grows with every change
  uint64_t in_progress;  // not 0 while a change is made
  uint64_t directory;    // pointer to a vector of Entry
  uint64_t errors;       // pointer to the rows of /node/errors, or 0
};
static_assert(sizeof(SegmentHeader) == 48);

struct Entry {
  EntryType type;
  uint32_t unused;
  uint64_t value;
  char name[kNameSize];
};
static_assert(sizeof(Entry) == 144 && offsetof(Entry, value) == 8 && offsetof(Entry, name) == 16);

struct VectorHeader {
  uint32_t length;      // elements
  uint8_t header_size;  // in units of 8 bytes: 1
  uint8_t alignment;    // binary logarithm of the first element's alignment
  uint8_t spare;        // elements that it could grow by in place; always 0
  uint8_t unused;
};
static_assert(sizeof(VectorHeader) == 8);

struct Combined {
  uint64_t packets, bytes;
};
static_assert(sizeof(Combined) == 16);

}  // namespace loom::stats
