// The driver in a daemon that the test steps, and peers that a test plays: it sends what it likes
// over the control socket, and looks at what comes back.
#pragma once
#include <fcntl.h>
#include <sys/un.h>

#include <filesystem>

#include "memifs.h"
#include "pair.h"
#include "tests/unit/sdk/send_fds.h"

namespace loom::memif {

struct Bed {
  Bed() {
    must(h.engine->add_node(kInputNode));
    must(register_commands(h.host(), *memifs));
    must(add_api(h.host(), *memifs));
    must(h.engine->build());
    h.ok("create memif socket id 1 filename " + file);
    h.ok("create memif socket id 2 filename " + file);  // two ends in one daemon
  }
  ~Bed() {
    memifs->remove_all();
    memifs.reset();
    EXPECT_NE(access(file.c_str(), F_OK), 0) << "the socket file stays behind";
  }
  Device& device(const std::string& name) {
    const Device* d = memifs->find(name);
    EXPECT_NE(d, nullptr) << name;
    return *const_cast<Device*>(d);
  }
  void up(const std::string& name, bool is_up = true) {
    must(h.net->set_admin(h.host().find_interface(name.c_str()), is_up));
    h.settle();
  }
  // memif1/0, listening.
  Device& master(const std::string& words = "") {
    h.ok("create interface memif socket-id 1 id 0 master " + words);
    up("memif1/0");
    return device("memif1/0");
  }
  // memif2/0, connecting.
  Device& slave(const std::string& words = "") {
    h.ok("create interface memif socket-id 2 id 0 slave " + words);
    up("memif2/0");
    return device("memif2/0");
  }
  bool is_up(const Device& d) {
    EXPECT_EQ(d.link.load() != nullptr, must(h.net->interface(d.index)).is_link_up);
    return d.link.load() != nullptr;
  }
  // By the driver, as interface-tx would; the rest is freed.
  uint32_t send(Device& d, const std::vector<Bytes>& packets, uint16_t queue = 0) {
    std::vector<Buffer*> buffers;
    for (const Bytes& b : packets) buffers.push_back(h.make(b));
    const uint32_t n = tx(h.worker(), &d, queue, buffers);
    h.worker().free(std::span(buffers).subspan(n));
    h.settle();
    return n;
  }
  InterfaceCounters received(const Device& d) { return must(h.net->interface(d.index)).rx; }
  void ticks(int n) {
    for (int i = 0; i < n; ++i) {
      memifs->tick();
      h.settle();
    }
  }

  // Whether the listener waits for the next tick.
  bool rests() const { return memifs->sockets().at(1).listener && !memifs->sockets().at(1).watch; }

  const std::string file = testing::TempDir() + "/memif_test_" + std::to_string(getpid()) + ".sock";
  PluginHost h;
  std::unique_ptr<Memifs> memifs = std::make_unique<Memifs>(h.host());
};

// Descriptors of this process.
inline std::ptrdiff_t n_open() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

class Played {
 public:
  explicit Played(Bed& b) : bed(b) {}
  Played(const Played&) = delete;
  ~Played() {
    if (listener) ::unlink(bed.file.c_str());
  }
  // As slave: connects, and is greeted.
  void connect() {
    channel = Channel(must(connect_to(bed.file)));
    bed.h.settle();
    if (bed.rests()) bed.ticks(1);
  }
  // As master: waits for the daemon's slave.
  void listen() { listener = must(listen_at(bed.file)); }
  bool accept() {
    bed.h.settle();
    channel = Channel(
        UniqueFd(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)));
    return channel.fd() >= 0;
  }
  void send(const Message& m, int fd = -1) {
    EXPECT_TRUE(channel.send(m, fd));
    bed.h.settle();
  }
  // More descriptors than there are in any message.
  void send_with(const Message& m, const std::vector<int>& fds) {
    EXPECT_TRUE(send_fds(channel.fd(), std::as_bytes(std::span(&m, 1)), fds));
    bed.h.settle();
  }
  // The next message; kNone when there is none, or the connection has ended.
  Message next() {
    Message m;
    const Received r = channel.receive(m, fd);
    is_closed = r == Received::kClosed;
    return r == Received::kMessage ? m : Message();
  }
  bool gets(MessageType t) { return next().is(t); }
  // What the daemon says at the end, and that it is the end.
  std::string goodbye() {
    const Message m = next();
    if (!m.is(MessageType::kDisconnect)) return "message " + std::to_string(m.type);
    next();
    EXPECT_TRUE(is_closed);
    return text_of(m.disconnect.reason);
  }

  Bed& bed;
  Channel channel;
  UniqueFd listener, fd;
  bool is_closed = false;
};

// A slave with one ring each way, of 16 buffers of 256 bytes, in one region.
class PlayedSlave : public Played {
 public:
  static constexpr uint8_t kLog2 = 4;
  static constexpr uint32_t kSlots = 1 << kLog2, kBuffer = 256;
  static constexpr uint64_t kSize = 16384;

  explicit PlayedSlave(Bed& b)
      : Played(b),
        memory(::memfd_create("played", MFD_ALLOW_SEALING | MFD_CLOEXEC)),
        events{UniqueFd(eventfd(0, EFD_NONBLOCK)), UniqueFd(eventfd(0, EFD_NONBLOCK))} {
    EXPECT_EQ(ftruncate(memory.get(), kSize), 0);
    EXPECT_EQ(fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK), 0);
    base = static_cast<std::byte*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0));
    for (int i = 0; i < 2; ++i) {
      ring(i)->cookie = kCookie;
      for (uint32_t s = 0; s < kSlots; ++s)
        ring(i)->descriptors[s] = {
            .flags = 0, .region = 0, .length = kBuffer, .offset = buffer(i, s), .metadata = 0};
    }
    init.init.version = kVersion;
    add_region.add_region.size = kSize;
    for (int i = 0; i < 2; ++i) {
      add_ring[i].add_ring.flags = i == 0 ? kAddRingS2m : 0;
      add_ring[i].add_ring.offset = static_cast<uint32_t>(i * ring_bytes(kLog2));
      add_ring[i].add_ring.log2_ring_size = kLog2;
    }
    put_text(init.init.name, "played");
    put_text(done.connect.interface_name, "played0");
  }
  ~PlayedSlave() { munmap(base, kSize); }
  static uint32_t buffer(int i, uint32_t slot) {
    return 4096 + (static_cast<uint32_t>(i) * kSlots + slot) * kBuffer;
  }
  RingMemory* ring(int i) {
    return reinterpret_cast<RingMemory*>(base + static_cast<uint64_t>(i) * ring_bytes(kLog2));
  }
  RingMemory& s2m() { return *ring(0); }
  RingMemory& m2s() { return *ring(1); }

  // The daemon's worker looks into the ring.
  void wake() {
    EXPECT_EQ(eventfd_write(events[0].get(), 1), 0);
    bed.h.settle();
  }
  // Each step as far as the one before was answered well.
  bool greet() {
    connect();
    return gets(MessageType::kHello);
  }
  bool say_init() { return (greet() && (send(init), gets(MessageType::kAck))); }
  bool say_region() {
    return say_init() && (send(add_region, memory.get()), gets(MessageType::kAck));
  }
  bool say_rings() {
    if (!say_region()) return false;
    for (int i = 0; i < 2; ++i) {
      send(add_ring[i], events[i].get());
      if (!gets(MessageType::kAck)) return false;
    }
    return true;
  }
  bool say_all() { return say_rings() && (send(done), gets(MessageType::kConnected)); }

  UniqueFd memory;
  UniqueFd events[2];
  std::byte* base = nullptr;
  Message init{MessageType::kInit}, add_region{MessageType::kAddRegion},
      add_ring[2]{Message(MessageType::kAddRing), Message(MessageType::kAddRing)},
      done{MessageType::kConnect};
};

}  // namespace loom::memif
