// What a packet costs whoever receives it from a packet socket, by each of the ways that there are:
// time of CPU of the receiving thread for packets that wait in the socket already; and what it
// costs the sender over a veth, in whose time the kernel fills the other end's ring. The ways take
// turns, so that what else the machine does meets all of them.
//
//   c++ -std=c++20 -O2 -o drain drain.cc && unshare --net --map-root-user ./drain
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

constexpr int kSegments = 33, kSegment = 2048, kBatch = 8, kTurns = 15;
constexpr unsigned kSlot = 1 << 17, kSlots = 256;  // of a ring, with room for 64 KB

void must(bool ok, const char* what) {
  if (ok) return;
  std::perror(what);
  std::exit(1);
}

int packet_socket(const char* name, bool is_bound) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
  must(fd >= 0, "socket");
  const int on = 1, room = 32 << 20;
  must(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on) == 0, "PACKET_VNET_HDR");
  must(setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on) == 0, "PACKET_AUXDATA");
  must(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on) == 0, "outgoing");
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  if (!is_bound) return fd;
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_protocol = htons(ETH_P_ALL);
  at.sll_ifindex = static_cast<int>(if_nametoindex(name));
  must(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0, "bind");
  return fd;
}

// Until so many packets have come to the socket, or were dropped there; reading the numbers clears
// them. They come with the softirq of the other end.
void wait_for(int fd, unsigned n) {
  for (unsigned seen = 0; seen < n;) {
    tpacket_stats s{};
    socklen_t size = sizeof s;
    must(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &s, &size) == 0, "PACKET_STATISTICS");
    seen += s.tp_packets;
    sched_yield();
  }
}

double cpu() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

std::vector<char> memory(kBatch* kSegments* kSegment);
char headers[kBatch][10], controls[kBatch][64];
iovec iovs[kBatch][1 + kSegments];

msghdr message(int i) {
  msghdr m{};
  m.msg_iov = iovs[i];
  m.msg_iovlen = 1 + kSegments;
  m.msg_control = controls[i];
  m.msg_controllen = sizeof controls[i];
  return m;
}

long by_recvmsg(int fd) {
  for (long n = 0;; ++n) {
    msghdr m = message(0);
    if (recvmsg(fd, &m, 0) < 0) return n;
  }
}

long by_recvmsg_flat(int fd) {  // as far as the lists of segments are what it costs
  for (long n = 0;; ++n) {
    iovec flat[] = {{headers[0], sizeof headers[0]}, {memory.data(), kSegments * kSegment}};
    msghdr m = message(0);
    m.msg_iov = flat;
    m.msg_iovlen = 2;
    if (recvmsg(fd, &m, 0) < 0) return n;
  }
}

long by_readv(int fd) {  // and no VLAN tags
  for (long n = 0;; ++n)
    if (readv(fd, iovs[0], 1 + kSegments) < 0) return n;
}

long by_recvmmsg(int fd) {
  for (long n = 0;;) {
    mmsghdr all[kBatch];
    for (int i = 0; i < kBatch; ++i) all[i] = {message(i), 0};
    const int got = recvmmsg(fd, all, kBatch, 0, nullptr);
    if (got <= 0) return n;
    n += got;
  }
}

struct Ring {
  char* base = nullptr;
  unsigned at = 0;
} ring;

// The kernel copies into the ring, and whoever needs the memory back copies out of it.
long by_ring(int) {
  for (long n = 0;; ++n) {
    auto* h = reinterpret_cast<tpacket2_hdr*>(ring.base + std::size_t{ring.at} * kSlot);
    if (!(__atomic_load_n(&h->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) return n;
    const char* from = reinterpret_cast<char*>(h) + h->tp_mac;
    for (unsigned left = h->tp_snaplen, i = 1; left != 0; ++i) {
      const unsigned part = std::min<unsigned>(left, kSegment);
      std::memcpy(iovs[0][i].iov_base, from, part);
      from += part;
      left -= part;
    }
    __atomic_store_n(&h->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
    ring.at = (ring.at + 1) % kSlots;
  }
}

int ring_socket(const char* name) {
  const int fd = packet_socket(name, false);
  const int version = TPACKET_V2;
  must(setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version) == 0, "version");
  const tpacket_req r{kSlot, kSlots, kSlot, kSlots};
  must(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof r) == 0, "PACKET_RX_RING");
  ring.base = static_cast<char*>(mmap(nullptr, std::size_t{kSlot} * kSlots, PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_POPULATE, fd, 0));
  must(ring.base != MAP_FAILED, "mmap");
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_protocol = htons(ETH_P_ALL);
  at.sll_ifindex = static_cast<int>(if_nametoindex(name));
  must(bind(fd, reinterpret_cast<sockaddr*>(&at), sizeof at) == 0, "bind");
  return fd;
}

std::string tcp_frame(std::size_t payload) {
  std::string f = std::string(12, '\2') + std::string("\x08\x00", 2) + std::string(40, '\0');
  f[14] = 0x45;
  f[14 + 9] = 6;
  f[34 + 12] = 0x50;
  return f + std::string(payload, 'x');
}

}  // namespace

int main() {
  must(std::system("PATH=$PATH:/sbin:/usr/sbin; ip link add src0 type veth peer name dst0 && "
                   "ip link set src0 up && ip link set dst0 up") == 0,
       "ip");
  for (int i = 0; i < kBatch; ++i) {
    iovs[i][0] = {headers[i], sizeof headers[i]};
    for (int s = 0; s < kSegments; ++s)
      iovs[i][1 + s] = {memory.data() + (i * kSegments + s) * kSegment, kSegment};
  }
  const struct {
    const char* name;
    long (*drain)(int);
    bool has_ring;
  } ways[] = {{"recvmsg", by_recvmsg, false},
              {"recvmsg into one segment", by_recvmsg_flat, false},
              {"readv", by_readv, false},
              {"recvmmsg of 8", by_recvmmsg, false},
              {"ring (TPACKET_V2), copied out", by_ring, true}};
  for (const std::size_t payload : {64u, 1400u, 64000u}) {
    const std::string frame = tcp_frame(payload);
    struct {
      uint8_t flags = 1, type = 1;
      uint16_t headers = 54, size = 1400, start = 34, offset = 16;
    } gso;
    static_assert(sizeof gso == 10);
    if (payload <= 1400) gso = {0, 0, 0, 0, 0, 0};
    std::vector<double> costs[std::size(ways)], senders[std::size(ways)];
    for (int turn = 0; turn < kTurns; ++turn) {
      for (std::size_t w = 0; w < std::size(ways); ++w) {
        const int from = packet_socket("src0", true);
        const int to = ways[w].has_ring ? ring_socket("dst0") : packet_socket("dst0", true);
        const iovec out[] = {{&gso, sizeof gso}, {const_cast<char*>(frame.data()), frame.size()}};
        const double before = cpu();
        for (unsigned i = 0; i < kSlots - 16; ++i) must(writev(from, out, 2) > 0, "writev");
        senders[w].push_back((cpu() - before) / (kSlots - 16));
        wait_for(to, kSlots - 16);
        const double start = cpu();
        const long n = ways[w].drain(to);
        costs[w].push_back((cpu() - start) / static_cast<double>(std::max(n, 1L)));
        if (n < 200) std::fprintf(stderr, "%s: only %ld packets\n", ways[w].name, n);
        if (ways[w].has_ring) munmap(ring.base, std::size_t{kSlot} * kSlots), ring = {};
        close(from);
        close(to);
      }
    }
    for (std::size_t w = 0; w < std::size(ways); ++w) {
      auto& c = costs[w];
      auto& s = senders[w];
      std::sort(c.begin(), c.end());
      std::sort(s.begin(), s.end());
      std::printf("%6zu bytes  %-30s %8.0f ns (%.0f to %.0f), and the sender %.0f ns\n", payload,
                  ways[w].name, c[c.size() / 2] * 1e9, c.front() * 1e9, c.back() * 1e9,
                  s[s.size() / 2] * 1e9);
    }
  }
}
