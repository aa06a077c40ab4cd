// The fragments that one worker holds of one IP version, by datagram.
//
// Everything here may come from an attacker, so everything has a limit: datagrams at once, buffers
// at once, fragments and buffers of one datagram, and the time since a datagram's first fragment
// came. A new datagram takes the place of the oldest one. A datagram that contradicts itself
// (overlaps, RFC 5722 section 4 and RFC 8200 section 4.5, for IPv4 likewise; two different ends) is
// given up; over IPv6 with what is still to come of it, until its time is over.
//
// Each fragment ends in exactly one Fate, which is counted when it is known: `add` says it for the
// one it was given, the Count function is told those that were held before.
//
// Thread: the worker's; allocates when it is made and never after.
#pragma once
#include <array>
#include <memory>

#include <hostloom/worker.h>

#include "hash/keyed_hash.h"

namespace loom {

// Addresses, identification, protocol (IPv4 only), routing table, and of link-local sources the
// interface.
using FragmentKey = std::array<uint64_t, 6>;

// Of a fragment, in the opaque bytes of its first segment while this table has it.
struct Fragment {
  Buffer* next;     // the next one by offset
  uint32_t offset;  // in the datagram's payload
  uint32_t length;  // of payload
  uint16_t strip;   // headers in front of the payload
  uint8_t ecn;      // the two bits of the traffic class
  bool is_last;     // no more fragments
};
static_assert(sizeof(Fragment) <= sizeof(Buffer::opaque));

struct ReassemblyLimits {
  uint32_t datagrams = 512;
  uint32_t buffers = 1024;   // of all datagrams
  uint32_t fragments = 128;  // of one datagram
  uint32_t bytes = 65'535;   // the first fragment's headers and all payload
  // RFC 8200 section 4.5 has 60 s, RFC 1122 section 3.3.2 recommends 60 to 120 s. But IPv4's
  // identifications of 16 bits come round long before (RFC 4963).
  TimeNs time = 60 * kSecond;
  // What comes of a datagram that was given up is dropped until its time is over (RFC 5722 section
  // 4). Not so where the identification may be another datagram's by then.
  bool remembers_given_up = true;
};

class ReassemblyTable {
 public:
  enum Fate : uint16_t {
    kReassembled,
    kDuplicate,      // the same bytes of the datagram once more: dropped alone
    kOverlap,        // it, and all of its datagram
    kContradiction,  // beyond the datagram's end, or another end: it, and all of its datagram
    kTooMany,        // more fragments than one datagram may have
    kTooLarge,       // more buffers than there may be, or more bytes than a packet has
    kMixedEcn,       // congestion experienced, but not all were ECN-capable (RFC 3168 section 5.3)
    kEvicted,        // the oldest made room for others
    kTimedOut,
    kFlushed,  // its interface or the host went away
    kFateCount,
    kHeld,     // not over
    kGivenUp,  // of a datagram that was; only where that is remembered
  };
  // Hands over the first fragment of a datagram whose time is over, data at the IP header: for RFC
  // 792's and RFC 4443's time exceeded. The others are freed.
  using TimedOut = void (*)(Worker&, Buffer* first) noexcept;
  // Fates that became known outside add().
  using Count = void (*)(Worker&, Fate, uint32_t fragments) noexcept;

  ReassemblyTable(const ReassemblyLimits& limits, const HashSecret& secret, TimedOut timed_out,
                  Count count);
  ~ReassemblyTable();  // it holds nothing any more
  ReassemblyTable(const ReassemblyTable&) = delete;
  ReassemblyTable& operator=(const ReassemblyTable&) = delete;

  // One fragment, data at its IP header. kHeld: the table has it. kReassembled: `whole` is the
  // datagram, data at the header of its first fragment, which is as it came; all payloads follow,
  // the first 128 bytes of everything are in the first segment, and the opaque bytes say how many
  // bytes of payload there are, what its header takes, and its ECN codepoint. All other fates: the
  // fragment stays the caller's.
  Fate add(Worker&, const FragmentKey&, Buffer* fragment, const Fragment& about, Buffer** whole);
  // Drops datagrams of which a fragment came by that interface; kNoIndex: all.
  void flush(Worker&, uint32_t rx_if);

  uint32_t n_datagrams() const noexcept { return n_datagrams_; }
  uint32_t n_buffers() const noexcept { return n_buffers_; }

 private:
  using Index = uint16_t;  // 0: none
  // Not initialised before use: an idle host does not touch the memory.
  struct Datagram {
    FragmentKey key;
    Buffer *first, *last;  // by offset
    uint32_t total;        // bytes of payload; 0: the end is not here yet
    uint32_t have;         // bytes of payload here
    uint32_t n_fragments, n_buffers;
    TimeNs deadline;
    uint8_t ecn;  // bit n: codepoint n was there
    bool is_given_up;
    Index next_in_bucket, older, younger;
  };
  struct Clock {  // of standard layout, so that the timer leads to the table
    Timer timer;
    ReassemblyTable* table;
  };

  Datagram& at(Index i) noexcept { return datagrams_[i - 1u]; }
  Index* bucket_of(const FragmentKey& key) noexcept;
  Index find(const FragmentKey& key) noexcept;
  Index open(Worker&, const FragmentKey& key);
  void remove(Worker&, Index i);
  // Frees what it holds, each fragment with that fate.
  void drop_fragments(Worker&, Datagram& d, Fate fate);
  Fate give_up(Worker&, Index i, Fate fate);
  struct Neighbors {
    Buffer *before = nullptr, *after = nullptr;
  };
  // kHeld: it may stand between those two; else why not.
  Fate find_place(const Datagram& d, const Buffer& fragment, const Fragment& about,
                  Neighbors& place) const noexcept;
  void insert(Datagram& d, Buffer* fragment, const Fragment& about, const Neighbors& place);
  void make_room(Worker&, Index keep, uint32_t buffers);
  Buffer* join(Worker&, Datagram& d) noexcept;
  void expire(Worker&);
  void set_clock(Worker&);

  const ReassemblyLimits limits_;
  const HashSecret secret_;
  const TimedOut timed_out_;
  const Count count_;
  std::unique_ptr<Datagram[]> datagrams_;
  std::unique_ptr<Index[]> buckets_;
  uint32_t mask_;
  Index free_ = 0, n_used_ = 0;  // a list by next_in_bucket, and how many were ever used
  Index oldest_ = 0, youngest_ = 0;
  uint32_t n_datagrams_ = 0, n_buffers_ = 0;
  Clock clock_;
};

}  // namespace loom
