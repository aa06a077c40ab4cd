// `create host-interface` and what comes of it, over veths of the real kernel.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "harness.h"

namespace loom::af_packet {
namespace {

using ::testing::HasSubstr;

class HostInterfaceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    enter_private_network();
    make_veth();
  }
  void TearDown() override { delete_veth(); }
  // Has news looked at until the link is so.
  bool link_becomes(bool up) {
    for (int news = 0; news < 100; ++news) {
      if (!harness_.links.empty() && harness_.links.back() == up) return true;
      if (!harness_.news()) return false;
    }
    return false;
  }
  // And until its MTU is so.
  bool mtu_becomes(uint32_t mtu) {
    for (int news = 0; news < 100; ++news) {
      if (harness_.interface.mtu == mtu) return true;
      if (!harness_.news()) return false;
    }
    return false;
  }
  Harness harness_{4096};
};

TEST_F(HostInterfaceTest, TheKernelsInterfaceIsTakenUpAndCopied) {
  ip("link set near mtu 4000");
  EXPECT_EQ(harness_.cli("create host-interface v2 name near hw-addr 02:fe:00:00:00:02 "
                         "num-rx-queues 3 num-tx-queues 2 rx-size 2048 tx-per-block 7"),
            "host-near");
  EXPECT_EQ(harness_.interface.name, "host-near");
  EXPECT_EQ(harness_.interface.mac.str(), "02:fe:00:00:00:02");
  EXPECT_EQ(harness_.interface.mtu, 4000u);
  EXPECT_EQ(harness_.interface.caps, kCapTxL4Checksum | kCapTso4 | kCapTso6 | kCapScatter);
  EXPECT_EQ(harness_.interface.rx_queues.size(), 3u);
  EXPECT_EQ(harness_.interface.n_tx_queues, 2);
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(harness_.cli("delete host-interface name near"), "");
  EXPECT_FALSE(harness_.has_interface);
}

TEST_F(HostInterfaceTest, QueuesThatAreNotNamedAreOneAWorker) {
  ASSERT_TRUE(harness_.all->create({.host_name = "near", .mac = {}, .n_rx_queues = 0}));
  EXPECT_EQ(harness_.interface.rx_queues.size(), 1u);
  EXPECT_EQ(harness_.interface.n_tx_queues, 1);
}

TEST_F(HostInterfaceTest, WithoutOffloadTheGraphDoesTheWork) {
  harness_.made("cksum-gso-disable qdisc-bypass-disable");
  EXPECT_EQ(harness_.interface.caps, uint32_t{kCapScatter});
}

std::ptrdiff_t n_descriptors() {
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

TEST_F(HostInterfaceTest, OneOfTheKernelsIsOneOfOurs) {
  harness_.made();
  ip("link property add dev near altname nearest");
  const std::ptrdiff_t before = n_descriptors();
  EXPECT_EQ(harness_.cli("create host-interface name nearest"),
            "error: host-nearest refused: host-near is the same interface");
  EXPECT_EQ(n_descriptors(), before);
}

TEST_F(HostInterfaceTest, RefusalsNameWhatWasRefusedAndLeaveNothing) {
  ASSERT_TRUE(harness_.all->links().look_at("near"));  // by a socket that stays
  const std::ptrdiff_t before = n_descriptors();
  EXPECT_EQ(harness_.cli("create host-interface name nowhere"),
            "error: host-nowhere refused: host interface 'nowhere': there is no such interface");
  EXPECT_THAT(harness_.cli("create host-interface name lo"), HasSubstr("'lo' is not Ethernet"));
  EXPECT_THAT(harness_.cli("create host-interface name a-name-of-17-chars"),
              HasSubstr("'a-name-of-17-chars' is not an interface name"));
  EXPECT_THAT(harness_.cli("create host-interface"), HasSubstr("missing 'name'"));
  const auto many = harness_.all->create({.host_name = "near", .mac = {}, .n_tx_queues = 65});
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().message, "host-near refused: 65 queues are more than 64");
  harness_.refuse_interface = true;
  EXPECT_EQ(harness_.cli("create host-interface name near"),
            "error: host-near refused: no more interfaces");
  EXPECT_TRUE(harness_.all->all().empty());
  EXPECT_EQ(n_descriptors(), before);
  EXPECT_THAT(harness_.cli("delete host-interface name near"),
              HasSubstr("there is no host interface 'near'"));
}

TEST_F(HostInterfaceTest, TheMissingCapabilityIsNamed) {
  const pid_t child = fork();
  if (child == 0) {  // a child user namespace has no rights over its parent's network
    if (unshare(CLONE_NEWUSER) != 0) _exit(2);
    ip("link show near > /dev/null");
    const std::string said = harness_.cli("create host-interface name near");
    _exit(said.ends_with("is missing") ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 2) GTEST_SKIP() << "no user namespaces here";
  EXPECT_EQ(status, 0);
}

TEST_F(HostInterfaceTest, TheLinkFollowsTheKernels) {
  harness_.made();
  EXPECT_TRUE(link_becomes(true));
  ip("link set near down");
  EXPECT_TRUE(link_becomes(false));
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  ip("link set far down");  // no carrier
  EXPECT_TRUE(link_becomes(false));
  ip("link set far up");
  EXPECT_TRUE(link_becomes(true));
}

TEST_F(HostInterfaceTest, OneThatIsBackIsUsedAgainByTheSameDescriptors) {
  Device& d = harness_.made("num-rx-queues 2");
  EXPECT_TRUE(link_becomes(true));
  const int socket = d.queues[1]->socket.get(), ready = d.queues[1]->ready.get();
  delete_veth();
  EXPECT_TRUE(link_becomes(false));
  EXPECT_EQ(d.link.index, 0u);
  pollfd p{.fd = ready, .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&p, 1, 20'000), 1);
  for (int visits = 0; visits < 32; ++visits) EXPECT_EQ(harness_.rx(d, 1), 0u);
  EXPECT_EQ(poll(&p, 1, 0), 0);  // a few visits later nobody is woken any more
  EXPECT_EQ(harness_.counter(kHostDown), 1u);
  make_veth();
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(d.queues[1]->socket.get(), socket);
  Far far;
  far.send(frame(60));
  ASSERT_TRUE(harness_.wait_for(d, 1));
  Buffer* b = make_packet(harness_.worker(), frame(61));
  ASSERT_EQ(tx(harness_.worker(), &d, 1, {&b, 1}), 1u);
  EXPECT_EQ(far.next(), frame(61));
  EXPECT_THAT(harness_.log.back(), HasSubstr("is back"));
}

TEST_F(HostInterfaceTest, OneThatIsRenamedIsTheSame) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  ip("link set near down");
  EXPECT_TRUE(link_becomes(false));
  ip("link set near name nearer");
  ip("link set nearer up");
  EXPECT_TRUE(link_becomes(true));
  EXPECT_THAT(harness_.log.back(), HasSubstr("'near' of host-near is called 'nearer' now"));
  std::string text;
  describe(&d, text);
  EXPECT_THAT(text, HasSubstr("on nearer (index"));
  Far far;
  far.send(frame(60));
  ASSERT_TRUE(harness_.wait_for(d, 1));
  EXPECT_EQ(set_mtu(&d, 9000), Status::kOk);
  EXPECT_EQ(harness_.all->links().look_at("nearer")->mtu, 9000u);
  EXPECT_EQ(harness_.cli("create host-interface name near"),
            "error: host-near refused: it exists already, on what is now 'nearer'");
  ip("link del nearer");
  EXPECT_TRUE(link_becomes(false));
  EXPECT_THAT(harness_.log.back(), HasSubstr("'nearer' of host-near is gone"));
  make_veth();  // by the name that it was made for
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  describe(&d, text = "");
  EXPECT_THAT(text, HasSubstr("on near (index"));
}

TEST_F(HostInterfaceTest, OneThatIsRenamedIsDeletedByEitherName) {
  for (const char* name : {"nearer", "near"}) {
    harness_.made();
    ip("link set near down");
    ip("link set near name nearer");
    harness_.all->on_link_news();
    EXPECT_EQ(harness_.cli("create host-interface name nearer"),
              "error: host-nearer refused: host-near is the same interface");
    EXPECT_EQ(harness_.cli(std::string("delete host-interface name ") + name), "");
    EXPECT_FALSE(harness_.has_interface);
    ip("link set nearer down");
    ip("link set nearer name near");
  }
}

TEST_F(HostInterfaceTest, OneThatComesBackWhileOursIsDownStaysShut) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(set_admin(&d, false), Status::kOk);
  delete_veth();
  EXPECT_TRUE(link_becomes(false));
  make_veth();
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  Far far;
  far.send(frame(60));
  EXPECT_EQ(set_admin(&d, true), Status::kOk);
  far.send(frame(61));
  ASSERT_TRUE(harness_.wait_for(d, 1));
  EXPECT_EQ(bytes_of(*harness_.own()[0]), frame(61));
}

// The driver's requests fail while it lives: their socket is one that knows of no interfaces.
class FailingLooks {
 public:
  explicit FailingLooks(int fd) : fd_(fd), kept_(fcntl(fd, F_DUPFD_CLOEXEC, 0)) {
    const UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
    EXPECT_EQ(dup3(null.get(), fd, O_CLOEXEC), fd);
  }
  ~FailingLooks() { EXPECT_EQ(dup3(kept_.get(), fd_, O_CLOEXEC), fd_); }

 private:
  int fd_;
  UniqueFd kept_;
};

// No descriptor is left for anybody in this process.
class NoDescriptors {
 public:
  NoDescriptors() {
    EXPECT_EQ(getrlimit(RLIMIT_NOFILE, &before_), 0);
    const rlimit none{0, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  }
  ~NoDescriptors() { EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before_), 0); }

 private:
  rlimit before_{};
};

TEST_F(HostInterfaceTest, WithoutDescriptorsTheLinkIsStillSeen) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  ip("link set near down");
  {
    const NoDescriptors none;
    d.all->on_link_news();
  }
  EXPECT_NE(d.link.index, 0u);
  EXPECT_FALSE(harness_.links.back());
  EXPECT_EQ(d.n_failed_looks, 0u);
}

TEST_F(HostInterfaceTest, AFailedLookIsNoEndAndIsTriedAgain) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  const uint32_t index = d.link.index;
  ip("link set near down");
  {
    const FailingLooks failing(d.all->links().fd());
    d.all->on_link_news();
    EXPECT_EQ(d.n_failed_looks, 1u);
    EXPECT_EQ(d.link.index, index);
    EXPECT_TRUE(harness_.links.back());
    EXPECT_THAT(harness_.log.back(), HasSubstr("tried again"));
    const std::size_t lines = harness_.log.size();
    ASSERT_TRUE(harness_.news());  // the timer's, as no link has changed since
    EXPECT_EQ(d.n_failed_looks, 2u);
    EXPECT_EQ(harness_.log.size(), lines);  // said once
  }
  ASSERT_TRUE(harness_.news());
  EXPECT_EQ(d.link.index, index);
  EXPECT_FALSE(harness_.links.back());
  EXPECT_EQ(d.n_failed_looks, 2u);
  std::string text;
  describe(&d, text);
  EXPECT_THAT(text, HasSubstr("failed-looks 2"));
}

TEST_F(HostInterfaceTest, OneThatIsGoneWhileLooksFailIsFoundToBeSoLater) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  {
    const FailingLooks failing(d.all->links().fd());
    delete_veth();
    d.all->on_link_news();
    EXPECT_NE(d.link.index, 0u);
  }
  ASSERT_TRUE(harness_.news());
  EXPECT_EQ(d.link.index, 0u);
  EXPECT_FALSE(harness_.links.back());
  make_veth();
}

TEST_F(HostInterfaceTest, OneThatIsBackWithoutDescriptorsIsUsedLater) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  delete_veth();
  EXPECT_TRUE(link_becomes(false));
  make_veth();
  ip("link set near up");
  {
    const NoDescriptors none;
    d.all->on_link_news();
  }
  EXPECT_EQ(d.link.index, 0u);
  EXPECT_EQ(d.n_failed_looks, 1u);
  EXPECT_TRUE(link_becomes(true));  // by the timer: its news have been read
  EXPECT_NE(d.link.index, 0u);
}

TEST_F(HostInterfaceTest, TheTimerRunsOnlyWhileThereIsSomethingToWaitFor) {
  const auto is_running = [&] {
    for (const auto& [handle, fd] : harness_.watched_fds) {
      itimerspec left{};
      if (timerfd_gettime(fd, &left) == 0) return left.it_value.tv_nsec != 0;
    }
    return false;
  };
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(is_running(), static_cast<bool>(d.queues[0]->ring));
  delete_veth();
  EXPECT_TRUE(link_becomes(false));
  EXPECT_FALSE(is_running()) << "no ring can stop, and the one that is awaited comes with news";
  make_veth();
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(is_running(), static_cast<bool>(d.queues[0]->ring));
  const int looks = d.all->links().fd();
  EXPECT_EQ(harness_.cli("delete host-interface name near"), "");
  EXPECT_FALSE(is_running());
  {
    Device& again = harness_.made();
    const FailingLooks failing(looks);
    again.all->on_link_news();
    EXPECT_TRUE(is_running());
    EXPECT_EQ(harness_.cli("delete host-interface name near"), "");
    EXPECT_FALSE(is_running());
  }
}

TEST_F(HostInterfaceTest, ALargerMtuBecomesTheKernels) {
  Device& d = harness_.made();
  EXPECT_EQ(set_mtu(&d, 1000), Status::kOk);
  EXPECT_EQ(harness_.all->links().look_at("near")->mtu, 1500u);
  EXPECT_EQ(set_mtu(&d, 9000), Status::kOk);
  EXPECT_EQ(harness_.all->links().look_at("near")->mtu, 9000u);
}

TEST_F(HostInterfaceTest, OneThatIsBackGetsTheMtuOfOurs) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  delete_veth();
  EXPECT_TRUE(link_becomes(false));
  EXPECT_EQ(set_mtu(&d, 9000), Status::kOk);
  make_veth();
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(harness_.all->links().look_at("near")->mtu, 9000u);
  EXPECT_EQ(d.host_mtu, 9000u);
}

TEST_F(HostInterfaceTest, TheMtuFollowsTheKernels) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  for (const uint32_t mtu : {9000u, 1280u, 1500u}) {
    ip("link set near mtu " + std::to_string(mtu));
    ASSERT_TRUE(mtu_becomes(mtu)) << mtu;
    EXPECT_EQ(d.host_mtu, mtu);
  }
  ip("link set near mtu 65535");  // more than the IP layer has
  EXPECT_TRUE(mtu_becomes(kMostDriverMtu));
}

TEST_F(HostInterfaceTest, AnMtuThatWasAskedForIsTheMost) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  ASSERT_EQ(set_mtu(&d, 1400), Status::kOk);
  harness_.interface.mtu = 1400;  // as the IP layer does with that answer
  const auto look = [&](uint32_t mtu) {
    ip("link set near mtu " + std::to_string(mtu));
    d.all->on_link_news();
    EXPECT_EQ(d.host_mtu, mtu);
    return harness_.interface.mtu;
  };
  EXPECT_EQ(look(9000), 1400u);
  EXPECT_EQ(look(1300), 1300u);
  EXPECT_EQ(look(1500), 1400u);
  EXPECT_EQ(harness_.all->links().look_at("near")->mtu, 1500u) << "it is not given back";
}

TEST_F(HostInterfaceTest, AnMtuThatCannotBeTakenOverIsToldOnceAndTriedAgain) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  harness_.refuse_mtu = true;
  ip("link set near mtu 1000");
  d.all->on_link_news();
  EXPECT_EQ(harness_.interface.mtu, 1500u);
  ASSERT_FALSE(harness_.log.empty());
  EXPECT_THAT(harness_.log.back(), HasSubstr("host-near keeps mtu 1500, and not 1000"));
  const std::size_t lines = harness_.log.size();
  d.all->on_link_news();
  EXPECT_EQ(harness_.log.size(), lines);
  harness_.refuse_mtu = false;
  d.all->on_link_news();
  EXPECT_EQ(harness_.interface.mtu, 1000u);
}

TEST_F(HostInterfaceTest, OneThatIsBackHasWhatWasAskedForAgain) {
  Device& d = harness_.made();
  EXPECT_TRUE(link_becomes(true));
  ASSERT_EQ(set_mtu(&d, 9000), Status::kOk);
  harness_.interface.mtu = 9000;  // as the IP layer does with that answer
  ip("link set near mtu 2000");
  ASSERT_TRUE(mtu_becomes(2000));
  delete_veth();
  EXPECT_TRUE(link_becomes(false));
  make_veth();
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(harness_.all->links().look_at("near")->mtu, 9000u);
  EXPECT_EQ(harness_.interface.mtu, 9000u);
}

TEST_F(HostInterfaceTest, OneThatIsBackBringsItsMtu) {
  ip("link set near mtu 4000");
  harness_.made();
  EXPECT_TRUE(link_becomes(true));
  delete_veth();
  EXPECT_TRUE(link_becomes(false));
  EXPECT_EQ(harness_.interface.mtu, 4000u);
  make_veth();
  ip("link set near up");
  EXPECT_TRUE(link_becomes(true));
  EXPECT_EQ(harness_.interface.mtu, 1500u);
  EXPECT_EQ(harness_.all->links().look_at("near")->mtu, 1500u);
}

TEST_F(HostInterfaceTest, RemovingGivesEveryBufferBack) {
  const uint32_t all = harness_.free_buffers();
  Device& d = harness_.made("num-rx-queues 2");
  Far far;
  far.send(tcp_frame(40000), gso());
  ASSERT_TRUE(harness_.wait_for(d, 1));
  harness_.clear();
  EXPECT_LT(harness_.free_buffers(), all);  // those that stand ready for the next one
  EXPECT_EQ(harness_.cli("delete host-interface name near"), "");
  EXPECT_EQ(harness_.free_buffers(), all);
}

TEST_F(HostInterfaceTest, ShowGoesByTheNameOfNow) {
  harness_.made();
  EXPECT_EQ(harness_.names("show host-interface"), std::vector<std::string>{"host-near"});
  harness_.interface.name = "uplink";
  EXPECT_EQ(harness_.names("show host-interface uplink"), std::vector<std::string>{"uplink"});
  EXPECT_EQ(harness_.names("show host-interface"), std::vector<std::string>{"sw_if_index 7"});
}

}  // namespace
}  // namespace loom::af_packet
