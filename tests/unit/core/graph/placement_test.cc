#include "graph/placement.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <thread>

namespace loom {
namespace {

constexpr int kAnywhere = Placement::kAnywhere;

// Windows, one after the other.
struct Windows {
  Placement p;
  TimeNs now = 100 * kSecond, ran = 5 * kSecond, waited = kSecond;

  Windows() { (void)end(0, 0); }
  // Wakes from `core`, and shares of the window in per cent.
  int pass(int core, int wakes, int runs, int waits = 0, TimeNs took = Placement::kWindow) {
    for (int i = 0; i < wakes; ++i) p.heard(core);
    now += took;
    return end(took * runs / 100, took * waits / 100);
  }
  int end(TimeNs own, TimeNs without) { return p.decide(now, ran += own, waited += without); }
};

TEST(Placement, GoesToWhoWakesItWhenItHasLittleToDo) {
  Windows w;
  EXPECT_EQ(w.pass(3, 100, 20), kAnywhere);  // once is no habit
  EXPECT_EQ(w.pass(3, 100, 20), 3);
  EXPECT_EQ(w.pass(3, 100, 20), 3);
}

TEST(Placement, LeavesAtOnceWhenItHasMuchToDo) {
  Windows w;
  w.pass(3, 100, 20);
  ASSERT_EQ(w.pass(3, 100, 20), 3);
  w.p.heard(5);
  EXPECT_EQ(w.pass(3, 100, 60), kAnywhere);
  w.pass(3, 100, 20);
  EXPECT_EQ(w.pass(3, 100, 20), 3);  // nobody has led it away
}

TEST(Placement, LeavesForAWhileWhenOthersWantTheCore) {
  Windows w;
  w.pass(3, 100, 20);
  ASSERT_EQ(w.pass(3, 100, 20), 3);
  EXPECT_EQ(w.pass(3, 100, 20, 40), 3);  // one turn of another's
  EXPECT_EQ(w.pass(3, 100, 20, 0), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(w.pass(3, 100, 20, 50), 3);
  EXPECT_EQ(w.pass(3, 100, 20, 50), kAnywhere);
  int windows = 0;
  while (w.pass(3, 100, 20) == kAnywhere) ++windows;
  EXPECT_EQ(windows, Placement::kBackOff / Placement::kWindow - 1);
  // To wait where the kernel put it says nothing of that core.
  Windows other;
  other.pass(3, 100, 20, 90);
  EXPECT_EQ(other.pass(3, 100, 20, 90), 3);
  EXPECT_EQ(other.pass(3, 100, 20, 40), 3);
}

// A window ends when the worker runs: a wait stretches the one that it falls in, and the next may
// be free.
TEST(Placement, LeavesAtOnceAfterALongWait) {
  Windows w;
  w.pass(3, 100, 20);
  ASSERT_EQ(w.pass(3, 100, 20), 3);
  EXPECT_EQ(w.pass(3, 100, 20, 20), 3);
  EXPECT_EQ(w.pass(3, 1, 1, 95, 200 * kMillisecond), kAnywhere);
  // Also when it was rather idle, so that this is a small share of its time.
  while (w.pass(3, 100, 20) == kAnywhere) continue;
  EXPECT_EQ(w.pass(3, 1, 1, 5, 400 * kMillisecond), kAnywhere);
}

TEST(Placement, LeavesWhenEverySecondWindowIsCrowded) {
  Windows w;
  w.pass(3, 100, 20);
  ASSERT_EQ(w.pass(3, 100, 20), 3);
  int windows = 0;
  while (w.pass(3, 100, 20, windows % 2 == 0 ? 70 : 0) == 3 && windows < 1000) ++windows;
  EXPECT_LT(windows, 20);
  // A quarter of the time is no more than it puts up with.
  while (w.pass(3, 100, 20) == kAnywhere) continue;
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(w.pass(3, 100, 20, i % 2 == 0 ? 40 : 10), 3);
}

TEST(Placement, StaysAwayLongerEachTimeOthersWantTheCore) {
  Windows w;
  int before = 0;
  for (int i = 0; i < 3; ++i) {
    while (w.pass(3, 100, 20) == kAnywhere) continue;
    EXPECT_EQ(w.pass(3, 1, 1, 90, 20 * kMillisecond), kAnywhere);
    int windows = 0;
    while (w.pass(3, 100, 20) == kAnywhere) ++windows;
    EXPECT_GT(windows, before * 3 / 2);
    before = windows;
  }
}

TEST(Placement, ForgetsThatOthersWantedTheCoreLongAgo) {
  Windows w;
  const auto away = [&w] {  // for how many windows, when others want the core now
    while (w.pass(3, 100, 20) == kAnywhere) continue;
    EXPECT_EQ(w.pass(3, 1, 1, 90, 20 * kMillisecond), kAnywhere);
    int windows = 0;
    while (w.pass(3, 100, 20) == kAnywhere) ++windows;
    return windows;
  };
  const int first = away();
  (void)away(), (void)away();
  // It stays for longer than it was away.
  for (int i = 0; i < 16 * Placement::kBackOff / Placement::kWindow; ++i) (void)w.pass(3, 100, 20);
  EXPECT_EQ(away(), first);
}

TEST(Placement, HasNoRuleWithoutFigures) {
  TimeNs ran = 0, waited = 0;
  EXPECT_TRUE(parse_schedstat("123456789 4567 89\n", ran, waited));
  EXPECT_EQ(ran, 123'456'789);
  EXPECT_EQ(waited, 4567);
  EXPECT_TRUE(parse_schedstat("0 4567 1\n", ran, waited));  // a thread that has just begun
  EXPECT_EQ(ran, 0);
  EXPECT_EQ(waited, 4567);
  for (const char* text : {"0 0 0\n", "", "12", "12 ", "1 2", "1 2 ", "x 1 2", "1 x 2", "1 2 x"})
    EXPECT_FALSE(parse_schedstat(text, ran, waited)) << text;  // the first: not counted
}

// Each of a hundred that begin: a new thread has no time on record yet.
TEST(Follower, FollowsFromTheBeginningOfAThread) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  ASSERT_EQ(sched_getaffinity(0, sizeof cores, &cores), 0);
  std::string own;
  std::getline(std::ifstream("/proc/thread-self/schedstat"), own);
  if (CPU_COUNT(&cores) < 2 || own.empty() || own == "0 0 0")
    GTEST_SKIP() << "one core, or a kernel that does not count";
  int idle = 0;
  for (int i = 0; i < 100; ++i) std::thread([&] { idle += Follower().is_idle(); }).join();
  EXPECT_EQ(idle, 0);
}

TEST(Placement, FollowsAnApplicationThatMoves) {
  Windows w;
  w.pass(3, 100, 20);
  ASSERT_EQ(w.pass(3, 100, 20), 3);
  EXPECT_EQ(w.pass(5, 100, 20), kAnywhere);
  EXPECT_EQ(w.pass(5, 100, 20), 5);
}

TEST(Placement, IsAnywhereForApplicationsOnSeveralCores) {
  Windows w;
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 100; ++j) w.p.heard(j % 2);
    EXPECT_EQ(w.pass(1, 0, 20), kAnywhere);
  }
  // One that wakes it now and then does not count beside one that does mostly.
  for (int i = 0; i < 2; ++i) {
    for (int j = 0; j < 10; ++j) w.p.heard(1);
    (void)w.pass(0, 100, 20);
  }
  EXPECT_EQ(w.p.core(), 0);
}

TEST(Placement, StaysWhereItIsPutWhenHardlyAnybodyWakesIt) {
  Windows w;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(w.pass(3, 4, 1), kAnywhere);  // 400 a second
  w.pass(3, 100, 20);
  ASSERT_EQ(w.pass(3, 100, 20), 3);
  EXPECT_EQ(w.pass(3, 1, 0, 0, 10 * kSecond), kAnywhere);
}

// Others' few do not say at once that it is in the wrong place, but those of a second do.
TEST(Placement, LeavesWhoHardlyWakesItForWhoDoesMore) {
  for (const bool are_several : {false, true}) {
    Windows w;
    w.pass(3, 100, 20);
    ASSERT_EQ(w.pass(3, 100, 20), 3);
    int windows = 0;
    for (; w.p.core() == 3 && windows < 1000; ++windows) {
      const bool is_own = windows % 25 == 24;  // 4 a second, against almost 400
      for (int i = 0; i < 4 && !is_own; ++i) w.p.heard(are_several ? 5 + i % 2 : 5);
      (void)w.pass(3, is_own ? 1 : 0, 20);
    }
    EXPECT_EQ(windows, Placement::kPatience / Placement::kWindow);
  }
}

// Changes of place in ten seconds with an application on core 3 that wakes it so many times in a
// window, but 2 times while it is beside, and one on core 5.
int changes_between(int first, int second) {
  Windows w;
  int changes = 0;
  for (int i = 0; i < 10 * kSecond / Placement::kWindow; ++i) {
    const int before = w.p.core();
    for (int j = 0; j < second; ++j) w.p.heard(5);
    changes += w.pass(3, before == 3 ? 2 : first, 20) != before;
  }
  return changes;
}

TEST(Placement, DoesNotGoToAndFroBetweenApplications) {
  EXPECT_EQ(changes_between(20, 6), 1);  // the first needs it more than it says once it is there
  // Led away again at once, it comes once more after one, two and four seconds.
  EXPECT_EQ(changes_between(40, 10), 8);
}

// An application on the same core takes the core as soon as there is something for it, and its
// answer finds the worker about to sleep: there is nobody to be woken.
TEST(Placement, StaysBesideWhoNeedNotWakeIt) {
  Windows w;
  w.pass(3, 20, 13);
  ASSERT_EQ(w.pass(3, 20, 13), 3);
  for (const int wakes : {3, 0, 1, 4, 0, 0, 2}) EXPECT_EQ(w.pass(3, wakes, 22), 3);
  int windows = 0;
  while (w.pass(3, 0, 22) == 3 && windows < 1000) ++windows;  // nothing at all from there
  EXPECT_EQ(windows, Placement::kPatience / Placement::kWindow - 1);
  EXPECT_EQ(w.pass(3, 4, 22), kAnywhere);  // to come takes more
  w.pass(3, 20, 13);
  EXPECT_EQ(w.pass(3, 20, 13), 3);  // nobody has led it away
}

}  // namespace
}  // namespace loom
