// The attach socket in hostile hands: rubbish, descriptors that nobody asked for, replies that
// nobody reads, and connections that come and say nothing.
#include <sys/resource.h>

#include "tests/unit/core/session/raw_attach.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

struct HostileAttach : testing::Test {
  SessionBed bed;
  TestApp good{bed};
  std::unique_ptr<TestApp::Connection> a, b;
  std::size_t descriptors = 0;

  void SetUp() override {
    ASSERT_EQ(good.listen(80).status, 0);
    a = good.connect(80);
    b = good.accept();
    ASSERT_TRUE(a && b);
    descriptors = open_descriptors();
  }
  // When all that the test opened is closed.
  void TearDown() override {
    bed.pump();
    good.write(*a, "still here");
    EXPECT_EQ(good.read(*b), "still here");
    EXPECT_EQ(bed.layer->stats().applications, 1u);
    EXPECT_EQ(open_descriptors(), descriptors);
  }
  int visit() {
    const int fd = connect_to(bed.layer->default_socket_path());
    EXPECT_GE(fd, 0);
    return fd;
  }
  bool is_closed(int fd) {
    char c;
    return ::recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
  }
};

TEST_F(HostileAttach, MessagesOfTheWrongSizeEndTheConnection) {
  std::vector<char> bytes(4 * sizeof(svm::AttachRequest));
  const auto r = attach_request();
  std::memcpy(bytes.data(), &r, sizeof r);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{4}, sizeof r - 1, sizeof r + 1, bytes.size()}) {
    const int fd = visit();
    ASSERT_TRUE(send_raw(fd, bytes.data(), size));
    bed.pump();
    EXPECT_TRUE(is_closed(fd)) << size << " bytes";
    ::close(fd);
  }
}

// A library of another release is told why, and the log says it, too.
TEST_F(HostileAttach, AnotherVersionIsRefusedByNumber) {
  const auto r = attach_request();
  bed.log.clear();
  for (const uint32_t version : {0u, svm::kProtocolVersion - 1, svm::kProtocolVersion + 1, ~0u}) {
    auto other = r;
    other.version = version;
    const int fd = visit();
    ASSERT_TRUE(send_raw(fd, &other, sizeof other));
    bed.pump();
    svm::AttachReply reply;
    std::vector<int> fds;
    ASSERT_TRUE(receive_reply(fd, reply, fds)) << "version " << version;
    EXPECT_EQ(static_cast<Status>(reply.status), Status::kUnsupported);
    EXPECT_EQ(reply.version, svm::kProtocolVersion);
    EXPECT_EQ(reply.message, "this daemon speaks version " + std::to_string(svm::kProtocolVersion) +
                                 " of the attach protocol, the application " +
                                 std::to_string(version));
    EXPECT_TRUE(fds.empty());
    EXPECT_TRUE(is_closed(fd)) << "version " << version;
    ::close(fd);
  }
  EXPECT_NE(bed.log.find("refused: this daemon speaks version"), std::string::npos) << bed.log;
}

TEST_F(HostileAttach, OneThatHasAttachedAndChangesItsVersionIsEnded) {
  auto r = attach_request();
  const int fd = visit();
  ASSERT_TRUE(send_raw(fd, &r, sizeof r));
  bed.pump();
  ASSERT_EQ(bed.layer->stats().applications, 2u);
  r.version = svm::kProtocolVersion - 1;
  r.op = svm::AttachOp::kGetSegment;
  ASSERT_TRUE(send_raw(fd, &r, sizeof r));
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 1u);
  ::close(fd);
}

TEST_F(HostileAttach, NothingIsAskedForBeforeAttach) {
  for (uint32_t op = 0; op < 9; ++op) {
    if (op == static_cast<uint32_t>(svm::AttachOp::kAttach)) continue;
    auto r = attach_request(static_cast<svm::AttachOp>(op));
    r.segment_id = r.pair = good.reply.segments[0].id;
    const int fd = visit();
    ASSERT_TRUE(send_raw(fd, &r, sizeof r));
    bed.pump();
    svm::AttachReply reply;
    std::vector<int> fds;
    ASSERT_TRUE(receive_reply(fd, reply, fds));
    EXPECT_EQ(static_cast<Status>(reply.status), Status::kInvalid);
    EXPECT_TRUE(fds.empty());
    EXPECT_TRUE(is_closed(fd));
    ::close(fd);
  }
}

TEST_F(HostileAttach, DescriptorsThatNobodyAskedForAreClosed) {
  const auto r = attach_request();
  const int fd = visit();
  ASSERT_TRUE(send_raw(fd, &r, sizeof r, 16));
  bed.pump();
  svm::AttachReply reply;
  std::vector<int> fds;
  ASSERT_TRUE(receive_reply(fd, reply, fds));
  ASSERT_EQ(reply.status, 0);
  for (const int f : fds) ::close(f);
  const std::size_t attached = open_descriptors();
  const auto more = attach_request(svm::AttachOp::kGetSegment);
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(send_raw(fd, &more, sizeof more, 16));
    bed.pump();
    ASSERT_TRUE(receive_reply(fd, reply, fds));
  }
  EXPECT_EQ(open_descriptors(), attached);
  EXPECT_TRUE(send_raw(fd, "rubbish", 7, 16));
  bed.pump();
  EXPECT_EQ(bed.layer->stats().applications, 1u);
  ::close(fd);
}

// Replies hold descriptors while they are on their way, and what does not fit is lost, and with it
// their order: such a connection ends before there are many.
TEST_F(HostileAttach, WhoDoesNotReadRepliesIsEnded) {
  const auto r = attach_request();
  const int fd = visit();
  ASSERT_TRUE(send_raw(fd, &r, sizeof r));
  bed.pump();
  ASSERT_EQ(bed.layer->stats().applications, 2u);
  const auto more = attach_request(svm::AttachOp::kGetSegment);
  int asked = 0;
  for (; asked < 5000 && bed.layer->stats().applications == 2; ++asked) {
    (void)send_raw(fd, &more, sizeof more);
    bed.pump(0);
  }
  EXPECT_EQ(bed.layer->stats().applications, 1u);
  EXPECT_GT(asked, 4);
  EXPECT_LE(asked, 40);
  ::close(fd);
}

TEST_F(HostileAttach, WhoComesAndSaysNothingMakesRoomForOthers) {
  std::vector<int> silent;
  for (int i = 0; i < 300; ++i) {
    silent.push_back(visit());
    bed.pump(0);
  }
  // Each has a descriptor of ours and perhaps one of the daemon's.
  EXPECT_LE(open_descriptors(), descriptors + silent.size() + 128);
  EXPECT_TRUE(is_closed(silent.front()));
  EXPECT_FALSE(is_closed(silent.back()));
  TestApp late(bed);
  EXPECT_EQ(late.reply.status, 0);
  for (const int fd : silent) ::close(fd);
}

// Without descriptors nobody comes in, and the control thread has rest all the same.
TEST_F(HostileAttach, NoDescriptorsLeft) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int waiting = visit();
  const int free = ::dup(waiting);  // the lowest one
  ::close(free);
  rlimit few = before;
  few.rlim_cur = static_cast<rlim_t>(free);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  int rounds = 0;
  while (bed.control_once() && rounds < 100) ++rounds;
  EXPECT_LT(rounds, 100);
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
  const auto r = attach_request();
  ASSERT_TRUE(send_raw(waiting, &r, sizeof r));
  bed.pump(2 * kSecond);
  bed.pump();
  svm::AttachReply reply;
  std::vector<int> fds;
  EXPECT_TRUE(receive_reply(waiting, reply, fds));
  for (const int fd : fds) ::close(fd);
  ::close(waiting);
}

// Whatever is missing in the middle of it, nobody is half attached and nothing stays open.
TEST_F(HostileAttach, AttachingWithoutDescriptorsIsRefused) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  bool came = false;
  for (rlim_t spare = 0; !came; ++spare) {
    ASSERT_LT(spare, 40u);
    const int fd = visit();
    bed.pump(0);
    const int free = ::dup(fd);  // the lowest one
    ::close(free);
    const auto r = attach_request();
    ASSERT_TRUE(send_raw(fd, &r, sizeof r));
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(free) + spare;
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    bed.control();
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    svm::AttachReply reply;
    std::vector<int> fds;
    ASSERT_TRUE(receive_reply(fd, reply, fds)) << spare;
    came = reply.status == 0;
    EXPECT_EQ(bed.layer->stats().applications, came ? 2u : 1u) << spare;
    if (!came) {
      EXPECT_TRUE(fds.empty());
      EXPECT_NE(reply.message[0], 0) << spare;
    }
    for (const int f : fds) ::close(f);
    ::close(fd);
    bed.pump();
    EXPECT_EQ(open_descriptors(), descriptors) << spare;
    EXPECT_EQ(bed.layer->stats().applications, 1u);
  }
}

TEST_F(HostileAttach, AttachingWithoutAWatchIsRefused) {
  bed.watches_left = 1;  // the visitor's
  const int fd = visit();
  const auto r = attach_request();
  ASSERT_TRUE(send_raw(fd, &r, sizeof r));
  bed.pump();
  svm::AttachReply reply;
  std::vector<int> fds;
  ASSERT_TRUE(receive_reply(fd, reply, fds));
  EXPECT_EQ(static_cast<Status>(reply.status), Status::kIo);
  EXPECT_TRUE(fds.empty());
  EXPECT_EQ(bed.layer->stats().applications, 1u);
  ::close(fd);
  bed.watches_left = 0;
  const int other = visit();
  bed.pump();
  EXPECT_TRUE(is_closed(other));
  ::close(other);
}

// The steps of attaching, and the end after each of them.
TEST_F(HostileAttach, DiesWhileItAttaches) {
  const auto r = attach_request();
  const auto more = attach_request(svm::AttachOp::kAddWorker);
  for (int steps = 0; steps <= 6; ++steps) {
    const int fd = visit();
    std::vector<int> fds;
    svm::AttachReply reply;
    if (steps > 0) bed.pump(0);
    if (steps > 1) {
      ASSERT_TRUE(send_raw(fd, &r, sizeof r));
    }
    if (steps > 2) bed.pump(0);
    if (steps > 3) {
      ASSERT_TRUE(receive_reply(fd, reply, fds));
    }
    if (steps > 4) {
      ASSERT_TRUE(send_raw(fd, &more, sizeof more));
    }
    if (steps > 5) bed.pump(0);
    ::close(fd);
    for (const int f : fds) ::close(f);
    bed.pump();
    EXPECT_EQ(bed.layer->stats().applications, 1u) << "after " << steps << " steps";
    EXPECT_EQ(open_descriptors(), descriptors) << "after " << steps << " steps";
  }
}

}  // namespace
}  // namespace loom::test
