// One application takes all it can get of what all draw on: descriptors, places of listeners,
// addresses. Another one that comes then still finds something, and the first one's end gives all
// back.
#include <sys/resource.h>

#include "session/fair_share.h"
#include "tests/unit/core/session/raw_attach.h"
#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

// While there is one, this process may have few descriptors. So may a daemon that begins now.
class FewDescriptors {
 public:
  explicit FewDescriptors(rlim_t n) {
    ::getrlimit(RLIMIT_NOFILE, &before_);
    const rlimit few{n, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~FewDescriptors() { ::setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_;
};

void close_all(std::vector<int>& fds) {
  for (const int fd : std::exchange(fds, {})) ::close(fd);
}

TEST(HostileShares, AProcessWithVeryManyWorkersLeavesDescriptorsForOthers) {
  std::unique_ptr<SessionBed> bed;
  {
    const FewDescriptors few(200);
    bed = std::make_unique<SessionBed>();
  }
  std::vector<std::unique_ptr<TestApp>> greedy;
  greedy.push_back(std::make_unique<TestApp>(*bed));
  svm::AttachReply reply{};
  int n = 1;
  for (; n < 64; ++n) {
    reply = greedy[0]->ask(attach_request(svm::AttachOp::kAddWorker));
    if (reply.status != 0) break;
    close_all(greedy[0]->fds);  // it keeps the worker by its connection, which goes with them
    bed->pump();
  }
  // Workers whose connection was closed are gone: so many can come one after the other.
  EXPECT_EQ(n, 64);
  for (n = 1; n < 64; ++n) {
    reply = greedy[0]->ask(attach_request(svm::AttachOp::kAddWorker));
    if (reply.status != 0) break;
    std::swap(greedy.emplace_back(std::make_unique<TestApp>(*bed))->fds, greedy[0]->fds);
  }
  EXPECT_LT(n, 64);
  EXPECT_EQ(static_cast<Status>(reply.status), Status::kNoMemory);
  EXPECT_NE(std::string(reply.message).find("descriptors"), std::string::npos) << reply.message;
  for (auto& a : greedy) close_all(a->fds);
}

TEST(HostileShares, OneApplicationsListenersLeavePlacesForOthersAndGoAtOnce) {
  SessionBed bed;
  svm::AttachRequest large = attach_request();
  large.segment_size_mb = 128;
  TestApp good(bed);
  ASSERT_EQ(good.listen(9).status, 0);
  {
    TestApp greedy(bed, large);
    uint32_t n = 0;
    Status status = Status::kOk;
    for (uint32_t port = 10; port < 65'536 && status == Status::kOk; ++port, ++n)
      status = static_cast<Status>(greedy.listen(static_cast<uint16_t>(port), 1).status);
    EXPECT_EQ(status, Status::kNoMemory);
    EXPECT_LE(n, session::kMaxListeners / 2 + 1);
    EXPECT_GT(n, session::kMaxListeners / 2 - 10);
    EXPECT_EQ(good.listen(65'535).status, 0);
    greedy.die();
    bed.pump();
  }
  EXPECT_EQ(bed.layer->stats().listeners, 2u);
  TestApp next(bed);
  EXPECT_EQ(next.listen(10).status, 0);
  auto a = good.connect(65'535);
  auto b = good.accept();
  ASSERT_TRUE(a && b);
  good.write(*a, "still here");
  EXPECT_EQ(good.read(*b), "still here");
}

TEST(HostileShares, HugeSegmentsLeaveAddressesForOthers) {
  SessionBed bed;
  svm::AttachRequest huge = attach_request();
  huge.add_segment_size_mb = huge.segment_size_mb = 64u << 10;
  TestApp greedy(bed, huge);
  ASSERT_EQ(greedy.reply.status, 0);
  int n = 0;
  for (svm::AttachReply r{}; r.status == 0 && n < 100; ++n) {
    r = greedy.ask(attach_request(svm::AttachOp::kAddAppArena));
    close_all(greedy.fds);
  }
  EXPECT_EQ(n, 64);  // the 64th is one too many
  TestApp good(bed);
  EXPECT_EQ(good.listen(80).status, 0);
}

}  // namespace
}  // namespace loom::test
