// Visits from the control thread to an application's sessions: all of them, in short slices, at the
// price of its own sessions and not of everybody's.
#include "session/control.h"

#include <set>

#include "tests/unit/core/session/test_app.h"

namespace loom::test {
namespace {

using session::Session;
using session::SessionWorker;

struct VisitsTest : testing::Test {
  SessionBed bed;
  TestApp app{bed}, other{bed};

  SessionWorker& sw() { return *bed.layer->impl().workers[0]; }
  session::App& of(const TestApp& a) { return *bed.layer->impl().apps[a.reply.app_index]; }
  Session* open(const TestApp& a) {
    Session* s = session::new_session(sw(), of(a), bed.pipe.id);
    EXPECT_NE(s, nullptr);
    s->state = session::State::kConnecting;
    return s;
  }
  void open(const TestApp& a, uint32_t n) {
    for (uint32_t i = 0; i < n; ++i) open(a);
  }
  template <class Fn>
  void visit(Fn&& fn) {
    session::for_each_session_of(bed.layer->impl(), 0, of(app), fn);
  }
  // How often each was visited.
  std::map<SessionId, int> count() {
    std::map<SessionId, int> seen;
    visit([&](SessionWorker&, Session& s) {
      EXPECT_EQ(s.app, &of(app));
      ++seen[s.id];
    });
    return seen;
  }
  void expect_each_once(std::size_t n) {
    const auto seen = count();
    EXPECT_EQ(seen.size(), n);
    for (const auto& [id, times] : seen) EXPECT_EQ(times, 1) << id;
  }
};

TEST_F(VisitsTest, EachSessionIsVisitedOnceHoweverManyThereAre) {
  uint32_t n = 0;
  for (const uint32_t more : {0u, 1u, 31u, 1u, 500u, 3563u, 1u, 10u}) {
    open(app, more);
    open(other, 3);
    n += more;
    SCOPED_TRACE(n);
    expect_each_once(n);
  }
}

TEST_F(VisitsTest, OthersSessionsCostNothing) {
  open(other, 50'000);
  open(app, 100);
  const uint64_t before = bed.clock_looks;
  expect_each_once(100);
  // Time is looked at once a slice and in every 32 sessions.
  EXPECT_LT(bed.clock_looks - before, 20u);
}

// A clock that moves on at each look ends each slice early.
TEST_F(VisitsTest, TheyAreVisitedInSlices) {
  open(app, 1000);
  bed.per_clock_look = 2 * session::kSliceTime;
  int in_slice = 0, most = 0;
  uint64_t looks = 0;
  visit([&](SessionWorker&, Session&) {
    in_slice = std::exchange(looks, bed.clock_looks) == bed.clock_looks ? in_slice + 1 : 1;
    most = std::max(most, in_slice);
  });
  EXPECT_LE(most, 32);
  expect_each_once(1000);
}

TEST_F(VisitsTest, OneThatIsGoneWhenItsTurnComesIsNotVisited) {
  open(app, 200);
  std::set<SessionId> seen, gone;
  visit([&](SessionWorker& at, Session& s) {
    EXPECT_FALSE(gone.contains(s.id));
    seen.insert(s.id);
    // Its neighbour goes, as the other end of what is closed does; and another comes to its place.
    const SessionId next = s.app_next;
    if (next == kNoSession || seen.contains(next)) return;
    gone.insert(next);
    session::free_session(at, at.pool.at(next));
  });
  EXPECT_EQ(seen.size() + gone.size(), 200u);
  EXPECT_EQ(gone.size(), 100u);
}

TEST_F(VisitsTest, OthersCostNothingWhenItHasManyOfItsOwn) {
  open(other, 50'000);
  open(app, 5000);
  open(other, 50'000);
  const uint64_t before = bed.clock_looks;
  expect_each_once(5000);
  EXPECT_LT(bed.clock_looks - before, 500u);  // listed and visited
}

// Before each slice a third of them goes, also those that were just listed.
TEST_F(VisitsTest, ThoseThatStayAreVisitedHoweverManyGoMeanwhile) {
  open(app, 9000);
  bed.per_clock_look = 2 * session::kSliceTime;
  std::set<SessionId> here;
  for (SessionId id = 0; id < sw().pool.end(); ++id)
    if (sw().pool.at(id).app == &of(app)) here.insert(id);
  uint32_t random = 1;
  std::function<void(Worker&)> thin_out = [&](Worker&) {
    const bool all = random % 8 == 1;  // now and then all of the latest listed, which come first
    for (auto it = here.begin(); it != here.end() && here.size() > 1000;) {
      random = random * 1103515245 + 12345;
      if (!all && (random >> 16) % 3 != 0) {
        ++it;
        continue;
      }
      session::free_session(sw(), sw().pool.at(*it));
      it = here.erase(it);
    }
    if (here.size() > 1000) bed.engine->post(0, thin_out);
  };
  bed.engine->post(0, thin_out);
  const auto seen = count();
  for (const auto& [id, times] : seen) EXPECT_EQ(times, 1) << id;
  for (const SessionId id : here) EXPECT_TRUE(seen.contains(id)) << id;
  EXPECT_GE(here.size(), 1000u);
}

// How the control thread looks after memory that nobody needs.
struct MemoryLooks : VisitsTest {
  // Until the next look, after which it returns how long that was.
  TimeNs look() {
    const TimeNs gap = bed.later.begin()->first - bed.now;
    bed.pump(gap);
    return gap;
  }
  auto& trim() { return bed.layer->impl().trim; }
  void open_and_free(uint32_t n) {
    std::vector<Session*> all;
    for (uint32_t i = 0; i < n; ++i) all.push_back(open(app));
    for (Session* s : all) session::free_session(sw(), *s);
  }
};

TEST_F(MemoryLooks, AreRareWhileNothingHappens) {
  for (int i = 0; i < 8; ++i) look();
  EXPECT_EQ(look(), 40 * kSecond);
  const auto object = of(app).arena.alloc_object(64);
  EXPECT_EQ(look(), 40 * kSecond);
  EXPECT_EQ(look(), 5 * kSecond);
  of(app).arena.free_object(object.ref);
  EXPECT_EQ(look(), 5 * kSecond);
  EXPECT_EQ(look(), 5 * kSecond);
}

TEST_F(MemoryLooks, MallocGivesBackOnlyWhenManySessionsHaveGone) {
  for (int i = 0; i < 8; ++i) look();
  EXPECT_EQ(trim().at, 0);  // what came to rest was nothing but two applications
  open_and_free(200);
  for (int i = 0; i < 8; ++i) look();
  EXPECT_EQ(trim().at, 0);
  open_and_free(100);
  for (int i = 0; i < 8; ++i) look();
  EXPECT_EQ(trim().due, 0u);
  const TimeNs at = trim().at;
  EXPECT_NE(at, 0);
  for (int i = 0; i < 8; ++i) look();
  EXPECT_EQ(trim().at, at);
}

TEST_F(MemoryLooks, ChunksGoBackSomeAtATime) {
  session::App& a = of(app);
  ASSERT_TRUE(session::add_app_arena(a, 64 << 20));
  std::vector<svm::Ref> chunks;
  for (int i = 0; i < 12'000; ++i) {
    chunks.push_back(a.app_arena.alloc(svm::kMinChunkLog2));
    ASSERT_NE(chunks.back(), 0u);
  }
  for (const svm::Ref c : chunks) a.app_arena.free(c);
  const auto owner = std::exchange(a.owner, &session::kInProcessOwner);
  (void)a.arena.alloc_object(64);
  while (!a.gives_chunks) look();
  const TimeNs soon = look();
  EXPECT_LT(soon, kSecond);
  EXPECT_FALSE(a.gives_chunks);
  EXPECT_EQ(a.app_arena.give_back(), 0u);
  EXPECT_GE(look(), 5 * kSecond);
  a.owner = owner;
}

}  // namespace
}  // namespace loom::test
