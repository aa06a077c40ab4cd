// The memory that daemon and application both map, byte for byte. Everything here is plain data in
// a sealed memfd.
//
// Trust: an application can write all of it. The daemon therefore keeps its own copy of every
// cursor that it writes, reads a cursor of the application once, bounds it (never more than the
// fifo's size from its own), and treats a contradiction as the end of that application. The
// processes of one application trust each other.
//
// Who allocates: a fifo's PRODUCER allocates and frees its chunks.
//   rx fifo  producer daemon, chunks in a daemon-arena segment; the allocator's state is private to
//            the daemon
//   tx fifo  producer application, chunks in an app-arena segment; the allocator's state is in that
//            segment, shared by the application's processes (so that it survives fork), and never
//            read by the daemon
//
// Cursors are byte counts modulo 2^32. 0 <= tail - head <= size always holds.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <hostloom/types.h>

namespace loom::svm {

// Place of an object or a chunk: segment id in the upper 24 bits, byte offset in the lower 40. 0
// means "none": offset 0 is the segment header, where nothing else can lie.
using Ref = uint64_t;
constexpr unsigned kRefOffsetBits = 40;
constexpr Ref make_ref(uint32_t segment, uint64_t offset) noexcept {
  return (static_cast<uint64_t>(segment) << kRefOffsetBits) | offset;
}
constexpr uint32_t ref_segment(Ref r) noexcept {
  return static_cast<uint32_t>(r >> kRefOffsetBits);
}
constexpr uint64_t ref_offset(Ref r) noexcept { return r & ((1ull << kRefOffsetBits) - 1); }

constexpr uint32_t kMinChunkLog2 = 12, kMaxChunkLog2 = 22;  // 4 KB to 4 MB, header included
constexpr uint32_t kChunkClasses = kMaxChunkLog2 - kMinChunkLog2 + 1;

// First bytes of each chunk. Data follows, up to 1 << log2_size.
struct alignas(64) ChunkHeader {
  std::atomic<Ref> next;  // following chunk of the fifo; 0 = not linked yet
  uint32_t start;         // cursor value of the chunk's first data byte
  uint32_t log2_size;
};
static_assert(sizeof(ChunkHeader) == 64);
constexpr uint32_t chunk_capacity(uint32_t log2_size) noexcept {
  return (1u << log2_size) - sizeof(ChunkHeader);
}

// What the consumer reads of a fifo's producer. Written by the producer only.
struct FifoProducerWords {
  std::atomic<uint32_t> tail;   // published with release, after the bytes and the chunk links
  std::atomic<uint32_t> flags;  // FifoProducerFlags
  // Where the data at `head` lies after the producer gave back all chunks of an empty fifo:
  // base_gen changes, and the consumer starts over at base_chunk. Written before tail.
  std::atomic<uint32_t> base_gen;
  std::atomic<uint32_t> error;  // rx fifo: errno of the session once kFifoReset is set
  std::atomic<Ref> base_chunk;
  // With kFifoWantSpace: the event is wanted once head has reached this cursor.
  std::atomic<uint32_t> space_at;
  // tx fifo, with kFifoMore: bytes from this cursor on may wait for more. Stored before the flag.
  std::atomic<uint32_t> more_from;
};
static_assert(sizeof(FifoProducerWords) == 32);

// With the state of an application's producer, which is here and not in its heap so that it
// survives fork. A daemon producer keeps its own in private memory.
struct alignas(64) FifoProducerLine : FifoProducerWords {
  Ref oldest_chunk;         // first chunk not yet given back
  Ref tail_chunk;           // chunk that holds the byte before tail
  uint32_t tail_chunk_end;  // cursor value just behind that chunk's last byte
  uint32_t head_seen;       // consumer's head when it last looked
};
static_assert(sizeof(FifoProducerLine) == 64);

enum FifoProducerFlags : uint32_t {
  kFifoEof = 1u << 0,    // no byte will follow: FIN received (rx)
  kFifoReset = 1u << 1,  // connection gone; `error` says how (ECONNRESET, ETIMEDOUT, ...)
  // The producer wants an event once head reaches `space_at`. Bits 8 to 31 number the request; the
  // consumer remembers the last number it answered, sends one event per number, and never writes
  // this line. The producer clears the bit, or asks anew under the next number.
  kFifoWantSpace = 1u << 2,
  // tx fifo: the last write was one with MSG_MORE, and more will follow. Set before the tail that
  // it speaks of, cleared before the next one.
  kFifoMore = 1u << 3,
};
constexpr unsigned kFifoSpaceRequestShift = 8;

// What the producer reads of a fifo's consumer. Written by the consumer only, but for `armed`.
struct FifoConsumerWords {
  std::atomic<uint32_t> head;  // published with release, after the bytes were read
  // 1 = the consumer wants an event at the next enqueue; whoever sends the event stores 0. Set by
  // the consumer before its last look at tail (sequentially consistent fence between), so that no
  // wake-up is lost and a busy consumer gets none.
  std::atomic<uint32_t> armed;
};
static_assert(sizeof(FifoConsumerWords) == 8);

// With the cursor of an application's consumer, here so that it survives fork.
struct alignas(64) FifoConsumerLine : FifoConsumerWords {
  Ref chunk;
  uint32_t chunk_start;
  uint32_t chunk_end;
  uint32_t base_gen;
  uint32_t tail_seen;       // producer's tail when the consumer last looked
  uint32_t space_answered;  // number of the last kFifoWantSpace request that was answered
  uint32_t reserved[5];
};
static_assert(sizeof(FifoConsumerLine) == 64);

// A fifo by its two ends: one that applications read (rx), one that they write (tx).
struct RxFifo {
  FifoProducerWords& producer;
  FifoConsumerLine& consumer;
};
struct TxFifo {
  FifoProducerLine& producer;
  FifoConsumerWords& consumer;
};

// One that applications write and read.
struct FifoShared {
  FifoProducerLine producer;
  FifoConsumerLine consumer;
  operator RxFifo() noexcept { return {producer, consumer}; }
  operator TxFifo() noexcept { return {producer, consumer}; }
};

enum SessionSharedState : uint32_t {
  kSharedConnecting = 0,
  kSharedOpen = 1,
  kSharedTxClosed = 2,  // bit or-ed in: the application has shut down its sending side
};

// What a session has beside its fifos.
struct alignas(64) SessionLine {
  // Written by the application's processes; the daemon reads `holders` when one of them dies.
  std::atomic<uint64_t> holders;  // bit w: application worker w has the session open
  std::atomic<uint32_t> owner;    // application worker that gets the session's events
  std::atomic<uint32_t> lock;     // taken when several processes hold it; 0 = free, else pid
  uint64_t handle;                // SessionHandle, daemon's
  uint32_t rx_size, tx_size;      // fifo limits, bytes; those of datagrams change (atomic_ref)
  // Cut-through only, by the daemon.
  Ref block;                       // CutThroughShared, in the pair's memory; of datagrams: their
                                   // DatagramLinks, in this application's
  Ref bell;                        // BellShared by which the two ends wake each other
  uint32_t bell_bit;               // this session's bit in it, at both ends
  std::atomic<uint32_t> peer_end;  // 0, or how the other end has gone: PeerEnd
  // By the daemon: its worker that the session lives on, which is told what is said about it. The
  // handle stays what it was.
  std::atomic<uint32_t> worker;
  // By the application's processes: how often options were set since the session was opened.
  std::atomic<uint32_t> n_options;
};
static_assert(sizeof(SessionLine) == 64);

// SessionLine::peer_end: the low 16 bits are an errno when it was a reset.
enum PeerEnd : uint32_t {
  kPeerClosed = 1u << 16,  // in order; the fifo's end says what came before. Writing is of no use
  kPeerReset = 1u << 17,
};

// All that the daemon's worker writes of a session's fifos: one line, so that a request and its
// answer move it between the cores once. An application that only writes, or only reads, still
// fetches no more lines than it would of two.
struct alignas(64) DaemonLine {
  FifoProducerWords rx;
  FifoConsumerWords tx;
  // Of datagrams, both modulo 2^32: to how many there was no route, or not from where they say; how
  // many came that the rx fifo had no room for.
  std::atomic<uint32_t> n_unreachable, n_dropped;
  uint32_t reserved[4];
};
static_assert(sizeof(DaemonLine) == 64);

// One session as both sides see it: 4 lines. Allocated in a daemon arena when the session is
// established.
struct SessionShared : SessionLine {
  DaemonLine daemon;
  FifoConsumerLine rx_consumer;  // daemon -> application
  FifoProducerLine tx_producer;  // application -> daemon
  RxFifo rx() noexcept { return {daemon.rx, rx_consumer}; }
  TxFifo tx() noexcept { return {tx_producer, daemon.tx}; }
};
static_assert(sizeof(SessionShared) == 4 * 64);

// What the other end has to know of one.
struct alignas(64) CutThroughEnd {
  std::atomic<uint32_t> owner;    // as SessionLine::owner: whose bell to ring
  std::atomic<uint32_t> stopped;  // of a link that has ended: this end writes no more
  std::atomic<uint64_t> dropped;  // datagrams that the other end had no room for
};

// A session between two applications of one daemon, in a segment that both map. Each end writes one
// fifo, with chunks from the pair's app arenas, and reads the other: the daemon is in no fifo. The
// SessionLine of each end is in memory of its own application's, where the other cannot write.
struct CutThroughShared {
  CutThroughEnd ends[2];
  FifoShared fifos[2];  // [i] is written by end i
};
static_assert(sizeof(CutThroughShared) == 6 * 64);

// What the session of an event or accept slot is, as the daemon says it.
enum class CutThrough : uint8_t { kNo = 0, kEnd0 = 1, kEnd1 = 2 };

// Accepted sessions wait here until a process of the application takes them: the kernel's accept
// queue, in shared memory. Producers: daemon workers, with a private tail. Consumers: any process
// of the application, by compare and swap on head.
struct alignas(64) AcceptSlot {
  std::atomic<uint32_t> seq;  // position + 1 once filled
  uint16_t local_port;        // network order
  uint16_t remote_port;
  uint64_t handle;
  Ref session;  // SessionShared; cut-through: SessionLine
  uint8_t is_ip4;
  uint8_t cut_through;  // CutThrough
  uint16_t interface;   // as SocketOptions::interface
  uint8_t reserved[4];
  uint8_t local_ip[16];
  uint8_t remote_ip[16];
};
static_assert(sizeof(AcceptSlot) == 64);

struct alignas(64) ListenerShared {
  std::atomic<uint32_t> head;  // consumers
  uint32_t capacity;           // power of two, at least the backlog
  uint64_t handle;
  // Bit w: application worker w has the listener open: set by it when it is bound or inherited,
  // cleared on close and by the daemon when the worker dies. The listener ends with its last
  // holder.
  std::atomic<uint64_t> holders;
  uint32_t reserved[10];
  // Bit w: application worker w wants an event when the queue stops being empty; cleared by whoever
  // sends it.
  alignas(64) std::atomic<uint64_t> interest;
  uint32_t reserved2[14];
  // AcceptSlot slots[capacity] follow
};

// One event of a message queue; the payloads are in protocol.h.
struct alignas(64) MqSlot {
  std::atomic<uint32_t> seq;  // position + 1 once filled
  uint32_t type;
  std::byte payload[120];
};
static_assert(sizeof(MqSlot) == 128);

// A bounded queue of events. Many producers of one side (private tail), one consumer on the other.
struct alignas(64) MqShared {
  alignas(64) std::atomic<uint32_t> head;  // consumer's
  // 1 = the consumer sleeps, or is about to, in poll on what wakes it: a socket of an
  // application's, an eventfd of the daemon's. The producer that exchanges it to 0 writes that. Set
  // by the consumer, then a sequentially consistent fence, then its last look at the ring.
  std::atomic<uint32_t> sleeping;
  uint32_t capacity;  // power of two; constant
  // MqSlot slots[capacity] follow, 64-byte aligned
};

// First page of each segment. The allocator part is used in app-arena segments only.
struct alignas(64) SegmentHeader {
  uint64_t magic;  // kSegmentMagic
  uint32_t version;
  uint32_t kind;  // SegmentKind
  uint32_t id;
  uint32_t reserved;
  uint64_t size;
  // Lock-free chunk allocator of an app arena: a bump pointer, and free lists by size class
  // ({tag:24, page:40}, the tag against ABA). What is in a cold one has no memory behind it.
  alignas(64) std::atomic<uint64_t> bump;
  alignas(64) std::atomic<uint64_t> free_list[kChunkClasses];
  alignas(64) std::atomic<uint64_t> cold_list[kChunkClasses];
  // Whole lists of chunks, of fifos that have ended: by the first chunk of each, as a free list is.
  alignas(64) std::atomic<uint64_t> ended_list;
};
constexpr uint64_t kSegmentMagic = 0x31474553'4d4f4f4cull;  // "LOOMSEG1"
enum class SegmentKind : uint32_t { kDaemonArena = 1, kAppArena = 2 };
constexpr uint64_t kSegmentDataOffset = 4096;  // first allocatable byte
// In an app arena a word for each page of the segment comes first: of a free chunk's first page,
// the page of the next chunk in its list. So what is free needs no memory of its own.
constexpr uint64_t first_chunk_offset(uint64_t segment_size) noexcept {
  const uint64_t links = (segment_size >> kMinChunkLog2) * sizeof(uint32_t);
  return kSegmentDataOffset + ((links + 4095) & ~uint64_t{4095});
}

}  // namespace loom::svm
