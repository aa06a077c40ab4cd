// Whose quota the memory of two applications of different namespaces counts against: a rule of the
// one that connects has let it reach the other.
#include "tests/unit/core/session/filters_bed.h"

namespace loom::test {
namespace {

using session::Namespace;

constexpr uint64_t kMb = 1ull << 20;
constexpr uint64_t kBlue = 20 * kMb, kRed = 24 * kMb;  // what the applications have by themselves
constexpr uint64_t kBlocks = 64 * kMb;                 // of a pair, for its sessions

struct PairQuotas : FiltersTest {
  // `add_segment_mb` differ, so that a sum says whose a segment is.
  static svm::AttachRequest in(const char* ns, uint32_t add_segment_mb) {
    svm::AttachRequest r{};
    std::strcpy(r.namespace_id, ns);
    r.add_segment_size_mb = add_segment_mb;
    return r;
  }
  Namespace& add(const char* id) { return **session::add_namespace(bed.layer->impl(), {.id = id}); }
  // `callee`: among applications.
  void let_connect(uint32_t callee) {
    RuleSpec r = rule("10.0.0.0/8", callee, RuleScope::kLocal);
    r.appns = 1;  // blue
    ASSERT_TRUE(filters().add(r));
  }
  // One more arena of the pair, which `app` asks for.
  Status ask_arena(TestApp& app) {
    svm::AttachRequest r{};
    r.version = svm::kProtocolVersion;
    r.op = svm::AttachOp::kAddAppArena;
    r.pair = bed.layer->impl().pairs.at(0)->arena.segment(0).id();
    const auto reply = app.ask(r);
    for (uint32_t i = 0; i < reply.n_segments; ++i) ::close(app.fds.at(i));
    return static_cast<Status>(reply.status);
  }
  void open(TestApp& from, TestApp& to) {
    ASSERT_EQ(to.listen(80).status, 0);
    ASSERT_NO_FATAL_FAILURE(let_connect(to.reply.app_index));
    ASSERT_EQ(connect(from, 80), Status::kOk);
    ASSERT_TRUE(has_connection(to));
    first_ = blue.memory;
  }

  Namespace &blue = add("blue"), &red = add("red");
  uint64_t first_ = 0;  // of blue, once the pair is there
};

TEST_F(PairQuotas, WhoAsksForMoreHasItOnItsOwnQuota) {
  TestApp from(bed, in("blue", 4)), to(bed, in("red", 8));
  ASSERT_NO_FATAL_FAILURE(open(from, to));
  EXPECT_EQ(blue.memory, kBlue + kBlocks + 4 * kMb) << "who connects has asked for the pair";
  EXPECT_EQ(red.memory, kRed);
  EXPECT_EQ(ask_arena(to), Status::kOk);
  EXPECT_EQ(ask_arena(from), Status::kOk);
  EXPECT_EQ(blue.memory, first_ + 4 * kMb);
  EXPECT_EQ(red.memory, kRed + 8 * kMb);

  session::set_quota(red, {.memory = red.memory});
  EXPECT_EQ(ask_arena(to), Status::kNoMemory);
  EXPECT_EQ(red.refused_segments, 1u);
  EXPECT_EQ(blue.refused_segments, 0u);
  EXPECT_EQ(ask_arena(from), Status::kOk) << "the other end's quota is its own affair";
  from.die();
  to.die();
  bed.pump();
  EXPECT_EQ(blue.memory, 0u);
  EXPECT_EQ(red.memory, 0u);
}

TEST_F(PairQuotas, OneEndCannotTakeAllThatTheTwoMayHave) {
  TestApp from(bed, in("blue", 1)), to(bed, in("red", 1));
  ASSERT_NO_FATAL_FAILURE(open(from, to));
  int taken = 0;
  while (ask_arena(to) == Status::kOk) ASSERT_LT(++taken, 100);
  EXPECT_EQ(taken, 16);
  EXPECT_EQ(ask_arena(from), Status::kOk);
}

TEST_F(PairQuotas, WhoHasGoneAnswersForWhatItAskedForUntilThePairGoes) {
  TestApp from(bed, in("blue", 4)), to(bed, in("red", 8));
  ASSERT_NO_FATAL_FAILURE(open(from, to));
  ASSERT_EQ(ask_arena(to), Status::kOk);
  const uint64_t of_pair = first_ - kBlue;
  from.die();
  bed.pump();
  EXPECT_EQ(blue.memory, of_pair);
  EXPECT_EQ(red.memory, kRed + 8 * kMb);
  EXPECT_EQ(ask_arena(to), Status::kOk) << "it may still have bytes to read";
  EXPECT_EQ(red.memory, kRed + 16 * kMb);
  to.push(svm::ToDaemon::kClose, last_accepted.handle);
  for (int i = 0; i < 3; ++i) bed.pump(6 * kSecond);  // pairs are reaped when they were idle
  EXPECT_EQ(blue.memory, 0u);
  EXPECT_EQ(red.memory, kRed);
}

TEST_F(PairQuotas, DyingAgainAndAgainSpendsNobodyElsesQuota) {
  TestApp to(bed, in("red", 8));
  ASSERT_EQ(to.listen(80).status, 0);
  ASSERT_NO_FATAL_FAILURE(let_connect(to.reply.app_index));
  session::set_quota(red, {.memory = 2 * kRed});
  session::set_quota(blue, {.memory = 400 * kMb});
  int deaths = 0;
  for (;; ++deaths) {
    TestApp from(bed, in("blue", 4));
    if (from.reply.status != 0 || connect(from, 80) != Status::kOk) break;
    from.die();
    bed.pump();
    ASSERT_LT(deaths, 100) << "it is never over its own quota";
    EXPECT_EQ(red.memory, kRed);
  }
  bed.pump();
  EXPECT_GT(deaths, 1);
  EXPECT_LE(blue.memory, blue.quota.memory);
  TestApp another(bed, in("red", 8));
  EXPECT_EQ(another.reply.status, 0) << another.reply.message;
}

TEST_F(PairQuotas, ANamespaceThatIsDeletedTakesItsChargesAlong) {
  TestApp from(bed, in("blue", 4)), to(bed, in("red", 8));
  ASSERT_NO_FATAL_FAILURE(open(from, to));
  ASSERT_TRUE(session::delete_namespace(bed.layer->impl(), "blue"));
  bed.pump();
  ASSERT_EQ(bed.layer->impl().pairs.size(), 1u);
  EXPECT_EQ(add("blue").memory, 0u);
  EXPECT_EQ(red.memory, kRed);
  to.push(svm::ToDaemon::kClose, last_accepted.handle);
  for (int i = 0; i < 3; ++i) bed.pump(6 * kSecond);
  EXPECT_TRUE(bed.layer->impl().pairs.empty());
  EXPECT_EQ(red.memory, kRed);
}

TEST_F(PairQuotas, WhoConnectedPaysForNothingOfTheOtherThatHasGone) {
  TestApp from(bed, in("blue", 4)), to(bed, in("red", 8));
  ASSERT_NO_FATAL_FAILURE(open(from, to));
  ASSERT_EQ(ask_arena(to), Status::kOk);
  to.die();
  bed.pump();
  EXPECT_EQ(red.memory, 8 * kMb);
  EXPECT_EQ(blue.memory, first_);
  EXPECT_EQ(ask_arena(from), Status::kOk) << "it may still have bytes to read and to write";
  EXPECT_EQ(blue.memory, first_ + 4 * kMb);
  from.die();
  bed.pump();
  EXPECT_EQ(red.memory, 0u);
}

}  // namespace
}  // namespace loom::test
