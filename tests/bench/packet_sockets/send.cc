// What a packet costs whoever sends it by a packet socket, by each of the ways that there are: time
// of CPU of the process, with what the kernel does in its name, for packets that go to the other
// end of a veth, where nobody wants them, or to a bridge without ports, which does not even have
// another end. Each has a virtio-net header, and lies in segments as the driver's do: a header and
// the payload, or an application's 64 KB in parts of 2 KB. The ways take turns, so that what else
// the machine does meets all of them; ratios are of the same turn.
//
//   c++ -std=c++20 -O2 -o send send.cc && unshare --net --map-root-user ./send [TURNS [bridge]]
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr unsigned kBatch = 32, kSegment = 2048;

void must(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::exit(1);
}

struct Vnet {
  uint8_t flags = 0, gso_type = 0;
  uint16_t hdr_len = 0, gso_size = 0, csum_start = 0, csum_offset = 0;
};
static_assert(sizeof(Vnet) == 10);

// What is sent, again and again.
Vnet header;
std::string packet;
std::vector<iovec> segments;  // the header first

void lay_out(std::size_t length) {
  packet = std::string(12, '\2') + std::string("\x08\x00", 2) + std::string(40, '\0');
  packet[14] = 0x45;
  packet[14 + 9] = 6;
  packet[34 + 12] = 0x50;
  packet.resize(length, 'x');
  header = {};
  if (length > 1514)
    header = {.flags = 1,
              .gso_type = 1,
              .hdr_len = 54,
              .gso_size = 1448,
              .csum_start = 34,
              .csum_offset = 16};
  segments = {{&header, sizeof header}, {packet.data(), 54}};
  for (std::size_t at = 54; at < length; at += kSegment)
    segments.push_back({packet.data() + at, std::min<std::size_t>(kSegment, length - at)});
}

int packet_socket() {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
  must(fd >= 0, "socket");
  const int on = 1, room = 64 << 20;
  must(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) == 0, "PACKET_VNET_HDR");
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  return fd;
}

void bind_to(int fd, const char* name) {
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_ifindex = static_cast<int>(if_nametoindex(name));
  must(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0, "bind");
}

double cpu() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

// --- As the driver does it.
void by_writev(int fd, unsigned n) {
  for (unsigned i = 0; i < n; ++i)
    must(writev(fd, segments.data(), static_cast<int>(segments.size())) > 0, "writev");
}

void by_sendmmsg(int fd, unsigned n) {
  mmsghdr all[kBatch]{};
  for (mmsghdr& m : all) {
    m.msg_hdr.msg_iov = segments.data();
    m.msg_hdr.msg_iovlen = segments.size();
  }
  for (unsigned sent = 0; sent < n;) {
    const int now = sendmmsg(fd, all, std::min(kBatch, n - sent), 0);
    must(now > 0, "sendmmsg");
    sent += static_cast<unsigned>(now);
  }
}

// --- PACKET_TX_RING: copied into slots, which the kernel sends from; a call for each batch.
struct Ring {
  char* base = nullptr;
  unsigned slot = 0, n = 0, at = 0;
} ring;

void make_ring(int fd, std::size_t length) {
  const int version = TPACKET_V2;
  must(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0, "version");
  ring.slot = length > 1514 ? 1 << 17 : 2048;
  ring.n = length > 1514 ? 128 : 1024;
  const unsigned block = std::max(ring.slot, 1u << 17);
  const tpacket_req r{block, ring.slot * ring.n / block, ring.slot, ring.n};
  must(setsockopt(fd, SOL_PACKET, PACKET_TX_RING, &r, sizeof r) == 0, "PACKET_TX_RING");
  ring.base = static_cast<char*>(mmap(nullptr, std::size_t{ring.slot} * ring.n,
                                      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0));
  must(ring.base != MAP_FAILED, "mmap");
  ring.at = 0;
}

void by_ring(int fd, unsigned n) {
  for (unsigned sent = 0; sent < n;) {
    unsigned filled = 0;
    for (; filled < kBatch && sent + filled < n; ++filled) {
      auto* h = reinterpret_cast<tpacket2_hdr*>(ring.base + std::size_t{ring.at} * ring.slot);
      if (__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) != TP_STATUS_AVAILABLE) break;
      char* to = reinterpret_cast<char*>(h) + TPACKET2_HDRLEN - sizeof(sockaddr_ll);
      unsigned length = 0;
      for (const iovec& s : segments) {
        std::memcpy(to + length, s.iov_base, s.iov_len);
        length += static_cast<unsigned>(s.iov_len);
      }
      h->tp_len = length;
      __atomic_store_n(&h->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
      ring.at = (ring.at + 1) % ring.n;
    }
    if (::send(fd, nullptr, 0, MSG_DONTWAIT) < 0) must(errno == EAGAIN, "send");
    sent += filled;
  }
}

// --- io_uring, without liburing: writes of one batch are entered by one call.
struct Uring {
  int fd = -1;
  io_uring_params p{};
  char *sq = nullptr, *cq = nullptr;
  io_uring_sqe* sqes = nullptr;
  unsigned* at(char* ring, unsigned offset) const {
    return reinterpret_cast<unsigned*>(ring + offset);
  }
} uring;

bool make_uring() {
  uring.p.flags = IORING_SETUP_SINGLE_ISSUER;
  uring.fd = static_cast<int>(syscall(SYS_io_uring_setup, kBatch, &uring.p));
  if (uring.fd < 0) return false;
  const auto map = [&](std::size_t size, off_t what) {
    void* at =
        mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, uring.fd, what);
    must(at != MAP_FAILED, "mmap of io_uring");
    return static_cast<char*>(at);
  };
  uring.sq = map(uring.p.sq_off.array + uring.p.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
  uring.cq =
      map(uring.p.cq_off.cqes + uring.p.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
  uring.sqes = reinterpret_cast<io_uring_sqe*>(
      map(uring.p.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES));
  return true;
}

void by_uring(int fd, unsigned n) {
  unsigned* tail = uring.at(uring.sq, uring.p.sq_off.tail);
  const unsigned mask = *uring.at(uring.sq, uring.p.sq_off.ring_mask);
  unsigned* array = uring.at(uring.sq, uring.p.sq_off.array);
  unsigned* done_head = uring.at(uring.cq, uring.p.cq_off.head);
  unsigned* done_tail = uring.at(uring.cq, uring.p.cq_off.tail);
  const auto* done = reinterpret_cast<io_uring_cqe*>(uring.cq + uring.p.cq_off.cqes);
  const unsigned done_mask = *uring.at(uring.cq, uring.p.cq_off.ring_mask);
  for (unsigned sent = 0; sent < n;) {
    const unsigned now = std::min(kBatch, n - sent);
    for (unsigned i = 0; i < now; ++i) {
      const unsigned slot = (*tail + i) & mask;
      io_uring_sqe& e = uring.sqes[slot];
      e = {};
      e.opcode = IORING_OP_WRITEV;
      e.fd = fd;
      e.addr = reinterpret_cast<uint64_t>(segments.data());
      e.len = static_cast<unsigned>(segments.size());
      array[slot] = slot;
    }
    __atomic_store_n(tail, *tail + now, __ATOMIC_RELEASE);
    must(syscall(SYS_io_uring_enter, uring.fd, now, now, IORING_ENTER_GETEVENTS, nullptr, 0) ==
             static_cast<long>(now),
         "io_uring_enter");
    unsigned head = *done_head;
    for (; head != __atomic_load_n(done_tail, __ATOMIC_ACQUIRE); ++head, ++sent) {
      errno = -done[head & done_mask].res;
      must(done[head & done_mask].res > 0, "a write by io_uring");
    }
    __atomic_store_n(done_head, head, __ATOMIC_RELEASE);
  }
}

uint64_t n_sent() {
  uint64_t n = 0;
  ifaddrs* all = nullptr;
  must(getifaddrs(&all) == 0, "getifaddrs");
  for (const ifaddrs* i = all; i; i = i->ifa_next)
    if (i->ifa_addr->sa_family == AF_PACKET && !std::strcmp(i->ifa_name, "src0"))
      n = static_cast<const rtnl_link_stats*>(i->ifa_data)->tx_packets;
  freeifaddrs(all);
  return n;
}

double median(std::vector<double> of) {
  std::sort(of.begin(), of.end());
  return of[of.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  const int turns = argc > 1 ? std::atoi(argv[1]) : 15;
  const bool is_bridge = argc > 2 && argv[2] == std::string("bridge");
  must(std::system(is_bridge
                       ? "PATH=$PATH:/sbin:/usr/sbin; ip link add src0 type bridge && "
                         "ip link set src0 up"
                       : "PATH=$PATH:/sbin:/usr/sbin; ip link add src0 type veth peer name dst0 && "
                         "ip link set src0 up && ip link set dst0 up") == 0,
       "ip");
  struct Way {
    const char* name;
    void (*send)(int, unsigned);
    bool has_ring = false;
  };
  std::vector<Way> ways{{"writev", by_writev},
                        {"sendmmsg of 32", by_sendmmsg},
                        {"ring (TPACKET_V2), calls for 32", by_ring, true}};
  if (make_uring())
    ways.push_back({"io_uring, 32 writevs a call", by_uring});
  else
    std::perror("left out: io_uring");
  for (const std::size_t length : {64u, 1514u, 65000u}) {
    lay_out(length);
    const unsigned n = length > 1514 ? 2000 : 20000;
    std::vector<std::vector<double>> costs(ways.size()), ratios(ways.size());
    for (int turn = 0; turn < turns; ++turn) {
      for (std::size_t w = 0; w < ways.size(); ++w) {
        const int fd = packet_socket();
        if (ways[w].has_ring) make_ring(fd, length);
        bind_to(fd, "src0");
        ways[w].send(fd, n / 10);
        const uint64_t seen = n_sent();
        const double start = cpu();
        ways[w].send(fd, n);
        costs[w].push_back((cpu() - start) / n);
        ratios[w].push_back(costs[w].back() / costs[0].back());
        const uint64_t least = n * 95ull / 100;  // less: some were dropped
        for (int looks = 0; n_sent() - seen < least && looks < 500; ++looks) usleep(2000);
        if (n_sent() - seen < least)
          std::fprintf(stderr, "%s: only %lu of %u were sent\n", ways[w].name, n_sent() - seen, n);
        if (ways[w].has_ring) munmap(ring.base, std::size_t{ring.slot} * ring.n);
        close(fd);
      }
    }
    for (std::size_t w = 0; w < ways.size(); ++w) {
      const auto [least, most] = std::minmax_element(ratios[w].begin(), ratios[w].end());
      std::printf("%6zu bytes  %-33s %6.0f ns, %.2f of writev's (%.2f to %.2f)\n", length,
                  ways[w].name, median(costs[w]) * 1e9, median(ratios[w]), *least, *most);
    }
  }
}
