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

}  // namespace
}  // namespace loom::test
