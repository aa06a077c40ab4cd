// Which sockets may have one port, as Linux has it. system_ports_streams compares with the kernel.
#include "session/local_ends.h"

#include <hostloom/wire.h>

#include <gtest/gtest.h>

#include <time.h>

#include <set>
#include <vector>

#include "tests/unit/core/session/cut_through_bed.h"

namespace loom::test {
namespace {

using session::LocalEnd;
using session::LocalEnds;
using session::PortShare;

const session::Namespace kRed, kBlue;

struct Share {
  bool reuseport = false, reuseaddr = false;
  uint32_t uid = 7;
  const session::Namespace* ns = &kRed;
  IfIndex interface = kNoIndex;
};
LocalEnd listener(const char* address, const Share& s = {}, bool both = false, uint16_t port = 80,
                  uint32_t fib = 0) {
  LocalEnd e;
  e.place.at.local = *IpAddress::parse(address);
  e.place.at.local_port = port;
  e.place.at.fib_index = fib;
  e.place.dual_stack = both;
  e.protocol = kProtoTcp;
  e.share = {s.reuseport, s.reuseaddr, s.uid, s.ns, s.interface};
  e.listens = true;
  return e;
}
LocalEnd bound(LocalEnd e, uint32_t number) {
  e.listens = false;
  e.bound = number;
  return e;
}

// Whether b may come where a is.
bool may_follow(const LocalEnd& a, const LocalEnd& b) {
  LocalEnds ends;
  ends.add(a);
  return ends.is_free(b, false);
}
// Whether both may be there: of two that listen it is the same in either order.
bool may(const LocalEnd& a, const LocalEnd& b) {
  EXPECT_EQ(may_follow(a, b), may_follow(b, a))
      << a.place.at.local.str() << " and " << b.place.at.local.str();
  return may_follow(a, b);
}

TEST(LocalEnds, AnAddressBesideAnyIsTaken) {
  const char* const any[] = {"0.0.0.0", "::"};
  const char* const one[] = {"10.0.0.1", "fd00::1"};
  for (const int i : {0, 1}) {
    EXPECT_FALSE(may(listener(any[i]), listener(any[i]))) << any[i];
    EXPECT_FALSE(may(listener(any[i]), listener(one[i]))) << any[i];
    EXPECT_FALSE(may(listener(one[i]), listener(one[i]))) << any[i];
    EXPECT_TRUE(may(listener(any[i]), listener(any[1 - i]))) << any[i];
    EXPECT_TRUE(may(listener(any[i]), listener(one[1 - i]))) << any[i];
    EXPECT_TRUE(may(listener(any[i]), listener(any[i], {}, false, 81))) << "another port";
    EXPECT_TRUE(may(listener(any[i]), listener(one[i], {}, false, 80, 1))) << "another table";
  }
  EXPECT_TRUE(may(listener("10.0.0.1"), listener("10.0.0.2")));
}

TEST(LocalEnds, OneOfBothFamiliesIsInTheWayOfEither) {
  constexpr Share kAgrees{.reuseport = true};
  for (const char* other : {"0.0.0.0", "10.0.0.1", "::", "fd00::1"}) {
    EXPECT_FALSE(may(listener("::", {}, true), listener(other))) << other;
    EXPECT_TRUE(may(listener("::", kAgrees, true), listener(other, kAgrees))) << other;
  }
  EXPECT_FALSE(may(listener("::", {}, true), listener("::", {}, true)));
}

TEST(LocalEnds, BothHaveToAgreeAndToBeOneUsers) {
  const auto any = [](const Share& s) { return listener("0.0.0.0", s); };
  const auto one = [](const Share& s) { return listener("10.0.0.1", s); };
  EXPECT_TRUE(may(any({.reuseport = true}), one({.reuseport = true})));
  EXPECT_FALSE(may(any({.reuseport = true}), one({})));
  EXPECT_FALSE(may(any({}), one({.reuseport = true})));
  EXPECT_FALSE(may(any({.reuseport = true, .uid = 7}), one({.reuseport = true, .uid = 8})));
  EXPECT_FALSE(may(any({.reuseaddr = true}), one({.reuseaddr = true}))) << "of two that listen";
}

TEST(LocalEnds, WhoIsBoundAloneMayAgreeByReuseAddress) {
  const LocalEnd any = listener("0.0.0.0", {.reuseaddr = true, .uid = 7});
  const LocalEnd one = listener("10.0.0.1", {.reuseaddr = true, .uid = 8});
  const LocalEnd not_it = listener("10.0.0.1");
  EXPECT_TRUE(may_follow(bound(any, 1), bound(one, 2)));
  EXPECT_TRUE(may_follow(bound(any, 1), one)) << "listens beside one that is bound";
  EXPECT_FALSE(may_follow(any, bound(one, 2))) << "is bound beside one that listens";
  EXPECT_FALSE(may_follow(bound(any, 1), bound(not_it, 2)));
  EXPECT_FALSE(may_follow(bound(not_it, 1), bound(any, 2)));
}

TEST(LocalEnds, WhoListensWhereItIsBoundIsNotInItsOwnWay) {
  LocalEnds ends;
  LocalEnd l = listener("0.0.0.0");
  ends.add(bound(l, 5));
  EXPECT_FALSE(ends.is_free(l, false));
  l.bound = 6;
  EXPECT_FALSE(ends.is_free(l, false));
  l.bound = 5;
  EXPECT_TRUE(ends.is_free(l, false));
}

TEST(LocalEnds, ThoseOfTwoInterfacesNeverMeet) {
  const auto any = [](IfIndex i) { return listener("0.0.0.0", {.interface = i}); };
  const auto one = [](IfIndex i) { return listener("10.0.0.1", {.interface = i}); };
  EXPECT_TRUE(may(any(3), one(4)));
  EXPECT_FALSE(may(any(3), one(3)));
  EXPECT_FALSE(may(any(3), one(kNoIndex)));
}

TEST(LocalEnds, OfAnotherNamespaceOnlyTheSameEndIsTaken) {
  EXPECT_TRUE(may(listener("0.0.0.0"), listener("10.0.0.1", {.ns = &kBlue})));
  EXPECT_FALSE(may(listener("10.0.0.1", {.reuseport = true}),
                   listener("10.0.0.1", {.reuseport = true, .ns = &kBlue})));
}

TEST(LocalEnds, WhatIsChosenIsNobodysAndComesBackWithTheLast) {
  LocalEnds ends;
  const LocalEnd any = listener("0.0.0.0", {.reuseport = true});
  const LocalEnd agrees = listener("10.0.0.1", {.reuseport = true}), one = listener("10.0.0.1");
  ends.add(any);
  ends.add(any);
  EXPECT_TRUE(ends.is_free(agrees, false));
  EXPECT_FALSE(ends.is_free(agrees, true));
  LocalEnd datagrams = one;
  datagrams.protocol = kProtoUdp;
  EXPECT_TRUE(ends.is_free(datagrams, true)) << "another protocol";
  ends.remove(any);
  EXPECT_FALSE(ends.is_free(one, false));
  ends.remove(any);
  EXPECT_TRUE(ends.is_free(one, true));
}

TimeNs time_of_thread() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec * kSecond + t.tv_nsec;
}

// However many one application has bound there: the control thread lets all go when it ends.
TEST(LocalEnds, LettingOneGoCostsTheSameAmongManyAtItsPort) {
  constexpr uint32_t kMany = session::kMaxListeners / 2;
  const auto cost_of = [](bool at_one_port) {
    LocalEnds ends;
    std::vector<LocalEnd> all;
    for (uint32_t i = 0; i < kMany; ++i)
      all.push_back(bound(listener("10.0.0.1", {.reuseaddr = true}, false,
                                   static_cast<uint16_t>(at_one_port ? 80 : i + 1)),
                          i + 1));
    for (const LocalEnd& e : all) ends.add(e);
    const TimeNs begun = time_of_thread();
    for (const LocalEnd& e : all) ends.remove(e);
    const TimeNs cost = time_of_thread() - begun;
    EXPECT_TRUE(ends.is_free(all[0], true));
    return cost;
  };
  EXPECT_LT(cost_of(true), 50 * cost_of(false));
}

// --- As applications ask

constexpr auto kInUse = static_cast<int>(Status::kInUse);

struct TwoPrograms : testing::Test {
  TwoPrograms() { bed.engine->worker(0).net = &kOwnNet; }
  // Of 10.0.0.`last`, or of any.
  svm::BoundEvent ask(TestApp& app, uint8_t last, uint16_t port, bool only_binds, bool reuseaddr,
                      uint32_t bound = 0) {
    svm::ListenEvent e{};
    e.context = 7;
    e.only_binds = only_binds;
    e.bound = bound;
    e.local = TestApp::end(port);
    e.local.ip[0] = last ? 10 : 0;
    e.local.ip[3] = last;
    e.backlog = 64;
    e.options.reuseaddr = reuseaddr;
    app.push(svm::ToDaemon::kListen, e);
    return app.expect<svm::BoundEvent>(svm::ToApp::kBound);
  }
  svm::BoundEvent listen(TestApp& app, uint8_t last, uint16_t port = 80, uint32_t bound = 0) {
    return ask(app, last, port, false, false, bound);
  }
  svm::BoundEvent bind(TestApp& app, uint8_t last, uint16_t port = 80, bool reuseaddr = false) {
    return ask(app, last, port, true, reuseaddr);
  }
  void let_go(TestApp& app, uint64_t handle) { app.push(svm::ToDaemon::kUnlisten, handle); }

  SessionBed bed;
  TestApp one{bed}, other{bed};
};

TEST_F(TwoPrograms, AnAddressBesideAnothersAnyIsInUseUntilThatGoes) {
  const auto any = listen(one, 0);
  ASSERT_EQ(any.status, 0);
  EXPECT_EQ(listen(other, 1).status, kInUse);
  EXPECT_EQ(bind(other, 1).status, kInUse);
  EXPECT_EQ(listen(other, 1, 81).status, 0);
  EXPECT_EQ(listen(one, 0, 81).status, kInUse) << "nor the other way round";
  one.die();
  bed.pump();
  EXPECT_EQ(listen(other, 1).status, 0);
  EXPECT_EQ(listen(other, 2).status, 0);
}

TEST_F(TwoPrograms, WhatIsBoundIsKeptUntilItIsLetGo) {
  const auto bound = bind(one, 0);
  ASSERT_EQ(bound.status, 0);
  ASSERT_NE(bound.handle, 0u);
  ASSERT_EQ(bound.handle >> 32, 0u);
  EXPECT_EQ(bind(other, 1).status, kInUse);
  EXPECT_EQ(listen(other, 1).status, kInUse);
  EXPECT_EQ(listen(one, 1).status, kInUse) << "another socket of the same program";
  const auto l = listen(one, 0, 80, static_cast<uint32_t>(bound.handle));
  ASSERT_EQ(l.status, 0);
  let_go(other, bound.handle);  // not its own
  let_go(one, bound.handle);
  EXPECT_EQ(bind(other, 1).status, kInUse) << "somebody listens";
  one.table.resolve_as<svm::ListenerShared>(l.listener)->holders.store(0);
  let_go(one, l.handle);
  EXPECT_EQ(bind(other, 1).status, 0);
  let_go(one, bound.handle);  // again: nothing
}

TEST_F(TwoPrograms, AnothersNumberOpensNothing) {
  const auto bound = bind(one, 0);
  ASSERT_EQ(bound.status, 0);
  EXPECT_EQ(listen(other, 0, 80, static_cast<uint32_t>(bound.handle)).status, kInUse);
}

// After so many binds the same number comes again.
TEST_F(TwoPrograms, NorDoesItWhenTheOwnOneIsTheSame) {
  const auto any = bind(one, 0);
  ASSERT_EQ(any.status, 0);
  bed.layer->impl().bound_end_id += 0xffffffff;
  const auto own = bind(other, 0, 90);
  ASSERT_EQ(own.handle, any.handle);
  EXPECT_EQ(listen(other, 1, 80, static_cast<uint32_t>(own.handle)).status, kInUse);
  EXPECT_EQ(listen(other, 1, 90, static_cast<uint32_t>(own.handle)).status, 0);
}

TEST_F(TwoPrograms, WithReuseAddressBothMayBeBoundAndTheFirstToListenHasIt) {
  const auto mine = bind(one, 0, 80, true), yours = bind(other, 0, 80, true);
  ASSERT_EQ(mine.status, 0);
  ASSERT_EQ(yours.status, 0);
  EXPECT_EQ(ask(one, 0, 80, false, true, static_cast<uint32_t>(mine.handle)).status, 0);
  EXPECT_EQ(ask(other, 0, 80, false, true, static_cast<uint32_t>(yours.handle)).status, kInUse);
}

// The worker reads what `one` asks for first, whoever was first to ask.
TEST_F(TwoPrograms, WhatAnotherHasLetGoOfBeforeIsFree) {
  const auto bound = bind(other, 0);
  ASSERT_EQ(bound.status, 0);
  const svm::SessionEvent gone{bound.handle, 0};
  ASSERT_EQ(other.requests.push(svm::ToDaemon::kUnlisten, gone), svm::MqProducer::Push::kOk);
  EXPECT_EQ(listen(one, 1).status, 0);
}

TEST_F(TwoPrograms, WhatAProcessHasBoundGoesWithIt) {
  ASSERT_EQ(bind(one, 0).status, 0);
  const uint64_t before = bed.layer->impl().shares.listeners.left();
  one.die();
  bed.pump();
  EXPECT_EQ(bed.layer->impl().shares.listeners.left(), before + 1);
  EXPECT_EQ(bind(other, 1).status, 0);
}

// As many as leave others enough (fair_share.h).
TEST_F(TwoPrograms, OneThatBindsWithoutEndLeavesOthersSome) {
  bed.layer->impl().config.min_src_port = 1024;
  bed.layer->impl().config.max_src_port = 65535;
  std::set<uint16_t> ports;
  svm::BoundEvent last{};
  for (uint32_t i = 0; i <= session::kMaxListeners; ++i) {
    last = bind(one, 0, 0);
    if (last.status != 0) break;
    EXPECT_TRUE(ports.insert(last.local.port).second);
  }
  EXPECT_EQ(last.status, static_cast<int>(Status::kNoMemory));
  EXPECT_EQ(ports.size(), session::kMaxListeners / 2);
  EXPECT_EQ(bind(other, 0, 0).status, 0);
}

TEST_F(TwoPrograms, APortThatIsChosenIsFreeOnAllAddresses) {
  bed.layer->impl().config.min_src_port = 50000;
  bed.layer->impl().config.max_src_port = 50002;
  std::set<uint16_t> ports;
  for (const bool only_binds : {false, true, false}) {
    const auto chosen = ask(ports.size() == 1 ? other : one, 0, 0, only_binds, false);
    ASSERT_EQ(chosen.status, 0);
    EXPECT_TRUE(ports.insert(Be16::from_raw(chosen.local.port)).second);
  }
  EXPECT_EQ(ports, (std::set<uint16_t>{50000, 50001, 50002}));
  EXPECT_EQ(bind(other, 3, 0).status, kInUse);
  EXPECT_EQ(listen(other, 3, 0).status, kInUse);
}

}  // namespace
}  // namespace loom::test
