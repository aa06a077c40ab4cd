#include "harness.h"

#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdlib>
#include <stdexcept>

namespace loom::af_packet {
namespace {

const std::string kMark("\x02\x77\x02\x77\x02\x77", 6);  // source of the test's frames

}  // namespace

Harness::Harness(uint32_t n_buffers, uint32_t data_size)
    : DriverHarness(kInputNode, n_buffers, data_size), all(std::make_unique<HostInterfaces>(host)) {
  if (auto r = register_commands(host, *all); !r) throw std::runtime_error(r.error().message);
}

Harness::~Harness() {
  clear();
  all->remove_all();
}

Device& Harness::made(const std::string& words) {
  EXPECT_EQ(cli("create host-interface name near " + words), "host-near");
  EXPECT_EQ(set_admin(device(), true), Status::kOk);
  return *device();
}

uint32_t Harness::rx(Device& d, uint16_t queue) {
  const uint32_t n = af_packet::rx(worker(), input(), &d, queue);
  engine->step();
  return n;
}

std::vector<const Buffer*> Harness::own() const {
  std::vector<const Buffer*> found;
  for (const Buffer* b : sink)
    if (bytes_of(*b).substr(6, 6) == kMark) found.push_back(b);
  return found;
}

bool Harness::wait_for(Device& d, std::size_t n) {
  std::vector<pollfd> fds;
  for (const auto& q : d.queues)
    fds.push_back({.fd = q->ready.get(), .events = POLLIN, .revents = 0});
  while (own().size() < n) {
    if (poll(fds.data(), fds.size(), 20'000) < 1) return false;
    for (uint16_t q = 0; q < d.queues.size(); ++q)
      while (rx(d, q) != 0) {}
  }
  return true;
}

std::unique_ptr<Device> Harness::device_on(int fd) {
  auto d = std::make_unique<Device>();
  d->all = all.get();
  d->name = "host-near";
  d->index = 7;
  d->queues.push_back(std::make_unique<RxQueue>());
  d->queues[0]->socket = UniqueFd(fd);
  ring_memory = static_cast<std::byte*>(
      mmap(nullptr, RxRing::kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  EXPECT_NE(ring_memory, MAP_FAILED);
  d->queues[0]->ring = RxRing(ring_memory);
  d->rx_totals = RxTotals({&counters});
  d->has_totals = true;
  return d;
}

void ip(const std::string& words) {
  ASSERT_EQ(std::system(("PATH=$PATH:/usr/sbin:/sbin ip " + words).c_str()), 0) << words;
}

void make_veth() {
  ip("link add near type veth peer name far");
  // Without addresses the kernel sends nothing by itself.
  ip("link set near addrgenmode none");
  ip("link set far addrgenmode none");
  ip("link set far up");
}

void delete_veth() { ip("link del near"); }

Far::Far(const char* name) : fd_(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)) {
  const int on = 1;
  EXPECT_EQ(setsockopt(fd_.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
  EXPECT_EQ(setsockopt(fd_.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on), 0);
  // The queueing discipline of an interface that has just come up may not be there yet. Past it,
  // nobody on the interface itself sees what is sent.
  if (name == std::string("far")) {
    EXPECT_EQ(setsockopt(fd_.get(), SOL_PACKET, PACKET_QDISC_BYPASS, &on, sizeof on), 0);
  }
  sockaddr_ll at{};
  at.sll_family = AF_PACKET;
  at.sll_protocol = htons(ETH_P_ALL);
  at.sll_ifindex = static_cast<int>(if_nametoindex(name));
  EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
}
Far::~Far() = default;

void Far::send(const std::string& frame, VnetHeader h) {
  const iovec iov[] = {{&h, sizeof h}, {const_cast<char*>(frame.data()), frame.size()}};
  ASSERT_EQ(writev(fd_.get(), iov, 2), static_cast<ssize_t>(sizeof h + frame.size()))
      << strerror(errno);
}

std::string Far::next() {
  for (;;) {
    pollfd p{.fd = fd_.get(), .events = POLLIN, .revents = 0};
    if (poll(&p, 1, 20'000) != 1) return "nothing";
    std::string s(70000, 0);
    const iovec iov[] = {{&header, sizeof header}, {s.data(), s.size()}};
    const ssize_t n = readv(fd_.get(), iov, 2);
    if (n < static_cast<ssize_t>(sizeof header)) continue;
    s.resize(static_cast<std::size_t>(n) - sizeof header);
    if (s.substr(6, 6) == kMark) return s;
  }
}

std::string frame(std::size_t payload, uint16_t vlan) {
  std::string s = std::string(6, '\x02') + kMark;
  if (vlan)
    s += std::string("\x81\x00", 2) + static_cast<char>(vlan >> 8) + static_cast<char>(vlan);
  return s + std::string("\x88\xb5", 2) + pattern(payload);  // IEEE's for local experiments
}

std::string tcp_frame(std::size_t payload) {
  std::string ip(20, '\0'), tcp(20, '\0');
  ip[0] = 0x45;
  ip[2] = static_cast<char>((payload + 40) >> 8);
  ip[3] = static_cast<char>(payload + 40);
  ip[8] = 64;
  ip[9] = kProtoTcp;
  ip[12] = ip[16] = 10;
  ip[19] = 1;
  tcp[12] = 0x50;
  return frame(0).substr(0, 12) + std::string("\x08\x00", 2) + ip + tcp + pattern(payload);
}

VnetHeader gso() {
  return {.flags = kVnetNeedsChecksum,
          .gso_type = kVnetGsoTcp4,
          .hdr_len = 54,
          .gso_size = 1400,
          .csum_start = 34,
          .csum_offset = 16};
}

}  // namespace loom::af_packet
