// Fuzz target: a memif peer that says and writes what it likes.
//   input   a list of operations, see Op: messages of a handshake, words written into the shared
//           memory, segments that are as they should be, packets and large ones sent and received
//           by either end
// Beside crashes and sanitizer reports these are findings: packets of more than kMaxPacket bytes,
// a chain whose lengths do not add up, a buffer that is not given back.
#include <fcntl.h>
#include <hostloom/checksum.h>
#include <hostloom/wire.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include <cstdlib>
#include <string>

#include "fuzz.h"
#include "graph/engine.h"
#include "handshake.h"

using namespace loom;
using namespace loom::memif;

namespace {

enum Op : uint8_t {
  kPoke,
  kTake,
  kPut,
  kRegion,
  kRing,
  kConnect,
  kHello,
  kInit,
  kSegment,
  kLarge,
  kOps
};
constexpr uint64_t kSize = 16384;

void check(bool holds) {
  if (!holds) std::abort();
}

Worker& worker() {
  static const std::unique_ptr<Engine> engine = [] {
    EngineConfig c;
    c.buffers.buffers_per_numa = 512;
    auto e = Engine::create(c);
    check(e.has_value());
    check((*e)->build().has_value());
    return std::move(*e);
  }();
  return engine->worker(0);
}

uint32_t n_free() {  // by taking all
  std::vector<Buffer*> all;
  while (Buffer* b = worker().alloc()) all.push_back(b);
  worker().free(all);
  return static_cast<uint32_t>(all.size());
}

struct Input {
  const uint8_t* at;
  std::size_t left;
  template <class T>
  T take() {
    T value{};
    const std::size_t n = std::min(left, sizeof value);
    std::memcpy(static_cast<void*>(&value), at, n);
    at += n;
    left -= n;
    return value;
  }
};

constexpr uint32_t kL2 = sizeof(EthernetHeader), kSlot = 256;

struct [[gnu::packed]] SegmentInput {
  uint8_t n_payload, skip, flags, is_df, is_ip6;
};
struct [[gnu::packed]] LargeInput {
  uint16_t gso, more, piece, most;
  uint8_t flags, off, is_ip6, is_external;
};

// A TCP segment, whole and right.
struct Packet {
  std::byte bytes[kSlot] = {};
  uint32_t n = 0;
  template <class T>
  T& at(uint32_t offset) {
    return *reinterpret_cast<T*>(bytes + offset);
  }
};

Packet segment(uint32_t seq, uint32_t n, uint8_t flags, bool is_df, bool is_ip6) {
  Packet p;
  const uint32_t l4 = kL2 + (is_ip6 ? 40 : 20), size = uint32_t{sizeof(TcpHeader)} + n;
  p.n = l4 + size;
  p.at<EthernetHeader>(0).type = is_ip6 ? kEtherTypeIp6 : kEtherTypeIp4;
  ChecksumSum pseudo;
  if (is_ip6) {
    auto& ip = p.at<Ip6Header>(kL2);
    ip.version_class_flow = 6u << 28;
    ip.payload_length = static_cast<uint16_t>(size);
    ip.next_header = kProtoTcp;
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, size);
  } else {
    auto& ip = p.at<Ip4Header>(kL2);
    ip.version_ihl = 0x45;
    ip.total_length = static_cast<uint16_t>(l4 - kL2 + size);
    ip.flags_fragment = is_df ? kIp4DontFragment : uint16_t{0};
    ip.protocol = kProtoTcp;
    ip.checksum = ip4_header_checksum(ip);
    pseudo = pseudo_header_sum(ip.src, ip.dst, kProtoTcp, size);
  }
  auto& tcp = p.at<TcpHeader>(l4);
  tcp.seq = seq;
  tcp.data_offset = 0x50;
  tcp.flags = flags;
  std::memset(p.bytes + l4 + sizeof tcp, 7, n);
  tcp.checksum = checksum_finish(checksum_add(pseudo, p.bytes + l4, size));
  return p;
}

class Run {
 public:
  explicit Run(Input in) : in_(in), memory_(::memfd_create("fuzz", MFD_ALLOW_SEALING)) {
    check(ftruncate(memory_.get(), kSize) == 0);
    check(fcntl(memory_.get(), F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    base_ = static_cast<std::byte*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory_.get(), 0));
    check(base_ != MAP_FAILED);
  }
  ~Run() { munmap(base_, kSize); }

  void all() {
    while (in_.left != 0 && step(static_cast<Op>(in_.take<uint8_t>() % kOps))) {}
  }

 private:
  bool step(Op op) {
    switch (op) {
      case kPoke: {
        const auto where = in_.take<uint16_t>();
        const auto what = in_.take<uint64_t>();
        if (own_)  // the slave is ours, and the peer writes into its region
          std::memcpy(own_->regions[0].base() + where % (own_->regions[0].size() - 8), &what, 8);
        std::memcpy(base_ + where % (kSize - 8), &what, 8);
        return true;
      }
      case kTake:
        return take_all(own_.get()) && take_all(theirs_.get());
      case kPut: {
        const auto length = in_.take<uint16_t>();
        return put_one(own_.get(), length) && put_one(theirs_.get(), length);
      }
      case kRegion:
        return master_.add_region(in_.take<AddRegion>(), UniqueFd(dup(memory_.get()))).has_value();
      case kRing:
        return master_.add_ring(in_.take<AddRing>(), UniqueFd(eventfd(0, EFD_NONBLOCK)))
            .has_value();
      case kConnect: {
        auto link = master_.connect();
        if (link) theirs_ = std::move(*link);
        return link.has_value();
      }
      case kHello:
        return greet(in_.take<Hello>());
      case kSegment: {
        const auto s = in_.take<SegmentInput>();
        write_segment(own_.get(), s);
        write_segment(theirs_.get(), s);
        return true;
      }
      case kLarge: {
        const auto l = in_.take<LargeInput>();
        return put_large(own_.get(), l) && put_large(theirs_.get(), l);
      }
      default:
        (void)check_init({.secret = "secret"}, in_.take<Init>());
        return true;
    }
  }
  bool greet(const Hello& h) {
    int ends[2];
    check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends) == 0);
    const Channel ours{UniqueFd(ends[0])}, peer{UniqueFd(ends[1])};
    auto slave = SlaveSide::answer({.log2_ring_size = 3, .buffer_size = 256}, h, "a", "b");
    if (!slave) return false;
    while (!slave->is_all_sent()) check(slave->send_next(ours).has_value());
    auto link = slave->connect();
    check(link.has_value());
    own_ = std::move(*link);
    return true;
  }
  bool take_all(Link* link) {
    if (!link) return true;
    RxCounts counts{};
    std::array<Buffer*, 16> out;
    RxWork work;
    const Taken t = take(worker(), *link, *link->rx[0], out, work, counts);
    check(t.n <= out.size());
    for (uint32_t i = 0; i < t.n; ++i) {
      uint32_t length = 0;
      for (const Buffer* b = out[i]; b; b = b->next) length += b->len;
      check(length == out[i]->length() && length <= kMaxPacket);
    }
    worker().free(std::span(out).first(t.n));
    return t.fault == Fault::kNone;
  }
  bool put_one(Link* link, uint16_t length) {
    if (!link) return true;
    Buffer* b = worker().alloc();
    std::memset(b->append(length % 2048), 7, length % 2048);
    const Put p = put(*link, *link->tx[0], {&b, 1});
    worker().free(b);
    return p.fault == Fault::kNone;
  }

  // In the next slot of the ring that we receive from, and published: `seq` goes on where the last
  // ended if the input has it so.
  void write_segment(Link* link, const SegmentInput& s) {
    if (!link) return;
    RxRing& r = *link->rx[0];
    const uint16_t cursor = r.peer_cursor();
    Descriptor& d = r.shared->descriptors[cursor & r.mask];
    const std::byte* slot =
        r.own.base ? r.own_buffer(cursor)
                   : (d.region < link->regions.size() ? link->regions[d.region].at(d.offset, kSlot)
                                                      : nullptr);
    if (!slot) return;
    const uint32_t n = s.n_payload % 100;
    const Packet p = segment(seq_ + s.skip % 2, n, s.flags, s.is_df % 2, s.is_ip6 % 2);
    seq_ += n;
    std::memcpy(const_cast<std::byte*>(slot), p.bytes, p.n);
    d.flags = 0;
    d.length = p.n;
    __atomic_store_n(r.own.base ? &r.shared->tail : &r.shared->head,
                     static_cast<uint16_t>(cursor + 1), __ATOMIC_RELEASE);
  }
  bool put_large(Link* link, const LargeInput& l) {
    if (!link) return true;
    const Packet p = segment(0, 60, l.flags, true, l.is_ip6 % 2);
    Buffer* b = worker().alloc();
    std::memcpy(b->append(p.n), p.bytes, p.n);
    Buffer* last = b;
    for (uint32_t left = l.more % 8192u; left != 0; last = last->next) {
      last->next = worker().alloc();
      check(last->next);
      const uint32_t n = std::min(left, l.piece % 2048u + 1);
      if (l.is_external % 2) {
        last->next->flags |= kBufferExternal;
        last->next->data = outside_;
        last->next->len = n;
      } else {
        std::memset(last->next->append(n), 7, n);
      }
      b->rest_len += n;
      left -= n;
      if (n < 64) break;  // a chain of at most as many as there are buffers
    }
    const uint32_t length = b->length();
    b->l3_offset = static_cast<int16_t>(b->offset_of_data() + kL2);
    b->l4_offset = static_cast<int16_t>(b->l3_offset + (l.is_ip6 % 2 ? 40 : 20) + l.off % 3);
    b->flags |= kBufferTxTcpChecksum;
    b->gso_size = l.gso;
    const Put done = put(*link, *link->tx[0], {&b, 1}, l.most);
    // What is left has its headers, and is what has not been sent.
    check(done.n == 1 || b->length() <= length);
    worker().free(b);
    return done.fault == Fault::kNone;
  }

  uint32_t seq_ = 0;
  std::byte outside_[2048] = {};
  Input in_;
  UniqueFd memory_;
  std::byte* base_;
  MasterSide master_{LinkConfig{}};
  std::unique_ptr<Link> own_, theirs_;
};

template <class T>
std::string op(Op o, const T& argument) {
  return std::string(1, static_cast<char>(o)) +
         std::string(reinterpret_cast<const char*>(&argument), sizeof argument);
}

std::string poke(uint64_t where, uint64_t what) {
  return op(kPoke, static_cast<uint16_t>(where)) +
         std::string(reinterpret_cast<const char*>(&what), 8);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
  static const uint32_t all = n_free();
  Run({data, size}).all();
  check(n_free() == all);
  return 0;
}

void fuzz_corpus(const std::function<void(std::string_view)>& give) {
  const std::string take(1, kTake), connect(1, kConnect);
  std::string link = op(kRegion, AddRegion{.index = 0, .size = kSize});
  for (const uint16_t s2m : {1, 0}) {
    const auto at = static_cast<uint32_t>(s2m ? 0 : ring_bytes(3));
    link += poke(at, kCookie);
    for (uint64_t slot = 0; slot < 8; ++slot) {
      link += poke(at + 128 + 16 * slot, uint64_t{200} << 32);
      link += poke(at + 136 + 16 * slot, 4096 + (s2m * 8 + slot) * 256);
    }
    link += op(kRing, AddRing{.flags = s2m,
                              .index = 0,
                              .region = 0,
                              .offset = at,
                              .log2_ring_size = 3,
                              .private_header_size = 0});
  }
  link += connect;
  const uint64_t head = uint64_t{kCookie} | uint64_t{5} << 48;
  give(link + poke(0, head) + take + poke(ring_bytes(3), head) + op(kPut, uint16_t{60}) +
       op(kPut, uint16_t{700}));
  give(link + poke(128, uint64_t{200} << 32 | 1) + poke(0, head) + take);
  const auto some = [](bool is_ip6) {
    std::string all;
    for (int i = 0; i < 3; ++i)
      all +=
          op(kSegment,
             SegmentInput{.n_payload = 90, .skip = 0, .flags = 0x10, .is_df = 1, .is_ip6 = is_ip6});
    return all;
  };
  const auto large = [](uint16_t gso, uint16_t most, bool is_ip6) {
    return op(kLarge, LargeInput{.gso = gso,
                                 .more = 900,
                                 .piece = 399,
                                 .most = most,
                                 .flags = 0x18,
                                 .off = 0,
                                 .is_ip6 = is_ip6,
                                 .is_external = 1});
  };
  const std::string room = poke(ring_bytes(3), uint64_t{kCookie} | uint64_t{8} << 48);
  for (const bool is_ip6 : {false, true}) {
    give(link + some(is_ip6) + take);
    give(link + room + large(150, 0xffff, is_ip6) + large(100, 300, is_ip6));
  }
  const Hello h = hello_message("m").hello;
  std::string own = op(kHello, h);
  for (const uint16_t n : {60, 700, 1}) own += op(kPut, n);
  // As slave, rings are one after the other: S2M, M2S. The master moves tail.
  give(own + poke(64, 3) + take + op(kPut, uint16_t{60}));
  give(op(kHello, h) + large(150, 0xffff, false) + poke(64, 3) + large(100, 300, true));
  give(own + poke(ring_bytes(3) + 64, 4) + take);
  give(op(kInit, Init{.version = kVersion, .id = 0, .mode = 0, .secret = "secret", .name = "x"}));
}
