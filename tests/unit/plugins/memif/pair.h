// The two ends of a link in one process, made by the handshake over a socket pair; and packets.
#pragma once
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "handshake.h"
#include "plugin_host.h"

namespace loom::memif {

inline bool is_readable(int fd) {
  pollfd p{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&p, 1, 0) == 1;
}

struct Ends {
  std::unique_ptr<Link> slave, master;
};

// What a master does with each message that a slave sends.
inline Result<void> tell(MasterSide& master, const Message& m, UniqueFd fd) {
  if (m.is(MessageType::kAddRegion)) return master.add_region(m.add_region, std::move(fd));
  if (m.is(MessageType::kAddRing)) return master.add_ring(m.add_ring, std::move(fd));
  return {};
}

inline Ends join(const LinkConfig& config) {
  int ends[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
  const Channel from{UniqueFd(ends[0])}, to{UniqueFd(ends[1])};
  auto slave = must(SlaveSide::answer(config, hello_message("m").hello, "s", "if"));
  MasterSide master(config);
  while (!slave.is_all_sent()) {
    must(slave.send_next(from));
    Message m;
    UniqueFd fd;
    EXPECT_EQ(to.receive(m, fd), Received::kMessage);
    must(tell(master, m, std::move(fd)));
  }
  Ends e;
  e.master = must(master.connect());
  e.slave = must(slave.connect());
  return e;
}

// The same bytes for the same number.
inline Bytes packet(std::size_t n, std::size_t number = 0) {
  Bytes b(n);
  for (std::size_t i = 0; i < n; ++i) b[i] = static_cast<uint8_t>(number * 31 + i * 7 + i / 251);
  return b;
}

// Rings without a daemon around them: two links and a worker's buffers.
class RingBed : public ::testing::Test {
 protected:
  // How many of the packets went in; they are freed, and so are the rest.
  uint32_t send(const Link& link, TxRing& ring, const std::vector<Bytes>& packets) {
    std::vector<Buffer*> buffers;
    for (const Bytes& b : packets) buffers.push_back(host.make(b));
    last_put = put(link, ring, buffers);
    host.worker().free(buffers);
    return last_put.n;
  }
  std::vector<Bytes> receive(const Link& link, RxRing& ring, std::size_t most = kFrameSize) {
    std::vector<Buffer*> buffers(most);
    work = RxWork();
    const uint32_t joined = counts[kJoined];
    last_taken = take(host.worker(), link, ring, buffers, work, counts);
    buffers.resize(last_taken.n);
    std::vector<Bytes> packets;
    uint64_t bytes = 0;
    for (const Buffer* b : buffers) {
      EXPECT_GE(b->len, std::min(b->length(), 128u));
      Bytes& p = packets.emplace_back(b->length());
      chain_copy_out(*b, 0, std::as_writable_bytes(std::span(p)));
      bytes += p.size();
    }
    if (counts[kJoined] == joined)
      EXPECT_EQ(last_taken.bytes, bytes);
    else
      EXPECT_GT(last_taken.bytes, bytes);  // by the headers of what was joined
    host.worker().free(buffers);
    return packets;
  }
  uint32_t count(RxCounter c) { return counts[c]; }
  uint32_t count(Fault f) { return counts[kFirstFault + static_cast<int>(f) - 1]; }

  PluginHost host;
  Put last_put;
  Taken last_taken;
  RxWork work;  // that is left of the last call's
  RxCounts counts{};
};

}  // namespace loom::memif
