// net_memif itself behind its guard, with peers that come and go: whom it waits for, and what EAL's
// interrupt thread outlives. That thread is the judge: it answers afterwards.
#include "memif_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <rte_dev.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <string>
#include <thread>
#include <vector>

#include <hostloom/unique_fd.h>

#include "admission.h"
#include "harness.h"
#include "interrupt_thread.h"

namespace loom::dpdk {
namespace {

using ::testing::HasSubstr;

// Whether a driver that did not wait would have gone on by now: a busy machine may say no, and then
// a fault is not seen, but none is seen where there is none.
template <class Is>
bool becomes(Is is) {
  for (int i = 0; i < 20'000 && !is(); ++i) std::this_thread::yield();
  return is();
}

TEST(BurstGate, IsClosedWhenTheBurstsAreOver) {
  BurstGate gate(2);
  ASSERT_TRUE(gate.enter(1));
  std::atomic<bool> is_closed{false};
  std::thread closer([&] {
    gate.close();
    is_closed = true;
  });
  while (gate.enter(0)) gate.leave(0);  // until it is being closed
  EXPECT_FALSE(becomes([&] { return is_closed.load(); }));
  gate.leave(1);
  closer.join();
  EXPECT_FALSE(gate.enter(0));
  EXPECT_FALSE(gate.enter(1));
  gate.open();
  EXPECT_TRUE(gate.enter(1));
  gate.leave(1);
  gate.close();  // nobody is inside
  gate.open();
}

// Two workers that come and go, and a resource that is taken away from them again and again.
TEST(BurstGate, NobodyIsInsideWhileItIsClosed) {
  BurstGate gate(2);
  std::atomic<bool> is_over{false};
  std::atomic<int*> resource{new int(0)};
  const auto work = [&](uint32_t worker) {
    while (!is_over) {
      if (!gate.enter(worker)) continue;
      int* p = resource.load(std::memory_order_relaxed);
      for (int i = 0; i < 10; ++i) EXPECT_EQ(*static_cast<volatile int*>(p), 0);
      gate.leave(worker);
    }
  };
  std::thread one(work, 0), two(work, 1);
  for (int i = 0; i < 2000; ++i) {
    gate.close();
    int* p = resource.load(std::memory_order_relaxed);
    *p = 1;
    delete p;
    resource.store(new int(0), std::memory_order_relaxed);
    gate.open();
  }
  is_over = true;
  one.join();
  two.join();
  delete resource.load();
}

class MemifTest : public ::testing::Test {
 protected:
  static constexpr const char* kName = "net_memif7";
  void SetUp() override {
    const auto gate = guard_memif(2);
    ASSERT_TRUE(gate) << gate.error().message;
    gate_ = *gate;
  }
  void TearDown() override {
    if (has_device_) remove_device();
    EXPECT_TRUE(eal_answers());
  }
  void make_device(bool is_abstract = false) {
    is_abstract_ = is_abstract;
    path_ = testing::TempDir() + "memif-" + std::to_string(::getpid()) + ".sock";
    const std::string args =
        "role=server,id=0,socket-abstract=" + std::string(is_abstract ? "yes" : "no") +
        ",socket=" + path_;
    ASSERT_EQ(rte_eal_hotplug_add("vdev", kName, args.c_str()), 0);
    has_device_ = true;
  }
  // As Devices does: closed on EAL's thread, then forgotten.
  void remove_device() {
    uint16_t port = 0;
    ASSERT_EQ(rte_eth_dev_get_port_by_name(kName, &port), 0);
    (void)on_interrupt_thread([&] { return rte_eth_dev_close(port); });
    (void)rte_eal_hotplug_remove("vdev", kName);
    has_device_ = false;
  }
  // The thread goes round twice: whatever it was told to look at before, it has looked at.
  static bool eal_answers() {
    const auto answer = [] { return 42; };
    return on_interrupt_thread(answer) == 42 && on_interrupt_thread(answer) == 42;
  }
  // Connected, if it can be: no descriptor otherwise.
  UniqueFd peer() const {
    UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    path_.copy(to.sun_path + is_abstract_, sizeof to.sun_path - 2);
    const auto size = is_abstract_ ? offsetof(sockaddr_un, sun_path) + 1 + path_.size() : sizeof to;
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&to), static_cast<socklen_t>(size)) != 0)
      fd = UniqueFd();
    return fd;
  }
  static bool has_news(const UniqueFd& fd, int timeout_ms) {
    pollfd p{.fd = fd.get(), .events = POLLIN, .revents = 0};
    return ::poll(&p, 1, timeout_ms) == 1;
  }
  static bool is_greeted(const UniqueFd& fd) {
    std::array<char, 128> hello{};
    return has_news(fd, kLong) && ::recv(fd.get(), hello.data(), hello.size(), 0) == 128 &&
           hello[0] == 2;
  }
  static bool is_hung_up_on(const UniqueFd& fd) {
    char c;
    return has_news(fd, kLong) && ::recv(fd.get(), &c, 1, 0) <= 0;
  }

  static constexpr int kLong = 30'000;  // ms, for what is to come: passed in a failing test only
  Harness& h_ = Harness::get();         // EAL runs
  BurstGate* gate_ = nullptr;
  std::string path_;
  bool is_abstract_ = false;
  bool has_device_ = false;
};

TEST_F(MemifTest, ThePeerIsHeardBetweenBursts) {
  make_device();
  ASSERT_TRUE(gate_->enter(0));
  const UniqueFd fd = peer();
  ASSERT_TRUE(fd);
  const auto is_waited_for = [&] {
    const bool is_open = gate_->enter(1);
    if (is_open) gate_->leave(1);
    return !is_open;
  };
  while (!is_waited_for() && !has_news(fd, 0)) std::this_thread::yield();
  EXPECT_FALSE(becomes([&] { return has_news(fd, 0); })) << "heard while a burst goes on";
  gate_->leave(0);
  EXPECT_TRUE(is_greeted(fd));
}

TEST_F(MemifTest, APeerMayHangUpBeforeItIsGreeted) {
  make_device();
  for (int i = 0; i < 3; ++i) {
    // On EAL's thread, which has no time to greet it.
    ASSERT_EQ(on_interrupt_thread([&] { return peer() ? 1 : 0; }), 1);
    EXPECT_TRUE(eal_answers());
  }
  EXPECT_TRUE(is_greeted(peer()));
}

TEST_F(MemifTest, ASocketGoesWithItsDeviceAndWithWhoSaysNothing) {
  for (const bool is_abstract : {false, true}) {
    make_device(is_abstract);
    const UniqueFd silent = peer(), other = peer();
    ASSERT_TRUE(is_greeted(silent));
    ASSERT_TRUE(is_greeted(other));
    remove_device();
    EXPECT_TRUE(is_hung_up_on(silent));
    EXPECT_TRUE(is_hung_up_on(other));
    EXPECT_FALSE(peer()) << "somebody still listens";
    EXPECT_TRUE(eal_answers());
    make_device(is_abstract);  // the name is free
    EXPECT_TRUE(is_greeted(peer()));
    remove_device();
  }
}

// The harness has one interface: it is lent to the other device.
TEST_F(MemifTest, WhatItTrustsIsSaid) {
  const InterfaceConfig before = h_.interface;
  const std::string socket = testing::TempDir() + "memif-" + std::to_string(::getpid()) + ".said";
  ASSERT_TRUE(h_.create(trusting("net_memif8,role=server,socket-abstract=no,socket=" + socket)));
  EXPECT_EQ(h_.devices->all().back()->gate, gate_);
  EXPECT_THAT(h_.log, ::testing::Contains(HasSubstr("net_memif8: net_memif trusts its peer")));
  EXPECT_TRUE(h_.remove(7));
  h_.interface = before;
  h_.has_interface = true;
  EXPECT_EQ(h_.device().gate, nullptr) << "net_ring needs none";
}

TEST(Trust, IsAskedForWhereAPeerHasTheDaemonsMemory) {
  Harness& h = Harness::get();
  const std::string path = testing::TempDir() + "untrusted-" + std::to_string(::getpid());
  for (const std::string& one : std::vector<std::string>{
           "net_memif9,role=server,id=0,socket-abstract=no,socket=" + path,
           "net_vhost9,iface=" + path, "eth_vhost9,iface=" + path,
           "net_bonding9,mode=1,slave=net_vhost8", "net_virtio_user9,path=" + path + ",server=1",
           "virtio_user9,path=" + path}) {
    const auto made = h.create(*parse_vdev(one));
    ASSERT_FALSE(made) << one;
    EXPECT_EQ(made.error().code, Status::kPermission) << one;
    EXPECT_THAT(made.error().message, HasSubstr(" trusts its peer")) << one;
    EXPECT_THAT(made.error().message, HasSubstr("`trust-peer`")) << one;
    EXPECT_THAT(made.error().message, HasSubstr("`create interface memif`")) << one;
    EXPECT_NE(::access(path.c_str(), F_OK), 0) << one << " listens";
    EXPECT_TRUE(h.devices->making().empty());
  }
  // The kernel's own end is no peer: it has what it wants anyway.
  EXPECT_TRUE(check_trust(*parse_vdev("net_virtio_user9,path=/dev/null")));
  EXPECT_TRUE(check_trust(*parse_vdev("net_tap9,iface=net_memif0")));
}

TEST_F(MemifTest, ItIsNoPartOfAnotherDevice) {
  const auto made = h_.create(*parse_vdev("net_failsafe0,dev(net_memif0,id=1)"));
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("net_memif is no part of another device here"));
}

// Commands and files that say which device it is: nobody can look at that before.
TEST(DevicesOfOthers, NameThem) {
  Harness& h = Harness::get();
  for (const std::string one :
       {"net_failsafe7,exec(echo net_vhost7)", "net_failsafe7,fd(0)",
        "net_failsafe7,dev(net_null7),exec(true)", "net_failsafe7,dev(net_null7)xfd(0)",
        "net_failsafe7,dev(net_failsafe8,exec(true))", "net_bonding7,mode=1,slave=0",
        "eth_bond7,slave=0000:03:00.0,slave=12", "net_vdev_netvsc0"}) {
    const auto made = h.create(trusting(one));
    ASSERT_FALSE(made) << one;
    EXPECT_THAT(made.error().message, HasSubstr("hides which device is inside")) << one;
    EXPECT_TRUE(h.devices->making().empty());
  }
}

// The harness has one interface: it is lent to the other device.
TEST_F(MemifTest, AnotherDeviceMayNameItOtherwise) {
  const InterfaceConfig before = h_.interface;
  const std::string file = testing::TempDir() + "net_memif" + std::to_string(::getpid()) + ".pcap";
  EXPECT_TRUE(h_.create(*parse_vdev("net_pcap8,tx_pcap=" + file)));
  EXPECT_EQ(h_.devices->all().back()->gate, nullptr);
  EXPECT_TRUE(h_.remove(7));
  EXPECT_EQ(::unlink(file.c_str()), 0);
  h_.interface = before;
  h_.has_interface = true;
}

// A burst that finds the gate closed finds nothing, and sends nothing.
TEST_F(MemifTest, BurstsPassTheGate) {
  Device& d = h_.device();
  d.gate = gate_;
  gate_->close();
  ASSERT_TRUE(h_.put(h_.mbuf(pattern(60))));
  EXPECT_EQ(h_.receive(), 0u);
  Buffer* b = make_packet(h_.worker(), pattern(60));
  EXPECT_EQ(h_.send({&b, 1}), 0u);
  gate_->open();
  EXPECT_EQ(h_.send({&b, 1}), 1u);
  EXPECT_EQ(h_.receive(), 2u);  // a ring: what is sent is received
  h_.engine->step();
  h_.clear();
  gate_->close();  // both have left
  gate_->open();
  d.gate = nullptr;
}

}  // namespace
}  // namespace loom::dpdk
