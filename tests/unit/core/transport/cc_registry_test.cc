#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "transport/registry.h"

namespace loom {
namespace {

using ::testing::HasSubstr;

CcOps controller(const char* name) {
  CcOps cc;
  cc.name = name;
  cc.on_ack = [](CcState&, const AckSample&) noexcept {};
  cc.on_congestion = [](CcState&, const LossSample&) noexcept {};
  return cc;
}

TEST(CcRegistry, FindsByNameAndTheFirstIsTheDefault) {
  CcRegistry r;
  EXPECT_EQ(r.default_ops(), nullptr);
  EXPECT_EQ(r.find(""), nullptr);
  ASSERT_TRUE(r.add(controller("newreno")));
  ASSERT_TRUE(r.add(controller("cubic")));
  EXPECT_STREQ(r.find("cubic")->name, "cubic");
  EXPECT_EQ(r.find("bbr"), nullptr);
  EXPECT_EQ(r.find(""), r.find("newreno"));
  EXPECT_EQ(r.list().size(), 2u);
}

TEST(CcRegistry, TheWantedDefaultMayComeLater) {
  CcRegistry r;
  r.set_default("cubic");
  EXPECT_EQ(r.default_ops(), nullptr);
  ASSERT_TRUE(r.add(controller("newreno")));
  EXPECT_STREQ(r.default_ops()->name, "newreno");
  ASSERT_TRUE(r.add(controller("cubic")));
  EXPECT_STREQ(r.default_ops()->name, "cubic");
  r.set_default("newreno");
  EXPECT_STREQ(r.default_ops()->name, "newreno");
}

TEST(CcRegistry, RemovedIsNoLongerFoundAndItsTableStays) {
  CcRegistry r;
  ASSERT_TRUE(r.add(controller("cubic")));
  ASSERT_TRUE(r.add(controller("bbr")));
  const CcOps* cubic = r.find("cubic");
  r.remove(*cubic);
  EXPECT_EQ(r.find("cubic"), nullptr);
  EXPECT_STREQ(cubic->name, "cubic");  // connections that use it go on
  EXPECT_STREQ(r.default_ops()->name, "bbr");
  EXPECT_TRUE(r.add(controller("cubic")));
  EXPECT_NE(r.find("cubic"), cubic);
}

TEST(CcRegistry, AReplacedOneIsNotFoundItsTableStaysAndItComesBack) {
  CcRegistry r;
  const CcOps* newreno = *r.add(controller("newreno"));
  const CcOps* old = *r.add(controller("cubic"));
  r.set_default("cubic");
  const auto fresh = r.add(controller("cubic"), CcRegistry::IfTaken::kReplace);
  ASSERT_TRUE(fresh) << fresh.error().message;
  EXPECT_EQ(r.find("cubic"), *fresh);
  EXPECT_EQ(r.default_ops(), *fresh);
  EXPECT_STREQ(old->name, "cubic");  // for connections that use it
  EXPECT_THAT(r.list(), ::testing::ElementsAre(newreno, *fresh));
  r.remove(**fresh);  // its plugin was refused after all
  EXPECT_EQ(r.find("cubic"), old);
  EXPECT_EQ(r.default_ops(), old);
}

TEST(CcRegistry, ReplacingOneThatIsNotTheDefaultLeavesTheDefault) {
  CcRegistry r;
  const CcOps* newreno = *r.add(controller("newreno"));
  ASSERT_TRUE(r.add(controller("cubic")));
  ASSERT_TRUE(r.add(controller("cubic"), CcRegistry::IfTaken::kReplace));
  EXPECT_EQ(r.default_ops(), newreno);
}

TEST(CcRegistry, RefusalsNameTheController) {
  CcRegistry r;
  ASSERT_TRUE(r.add(controller("cubic")));
  EXPECT_EQ(r.add(controller("cubic")).error().code, Status::kExists);
  EXPECT_THAT(r.add(controller("sixteen-letters!")).error().message,
              HasSubstr("'sixteen-letters!' is longer than 15"));
  EXPECT_EQ(r.add(controller("")).error().code, Status::kInvalid);
  EXPECT_EQ(r.add(controller(nullptr)).error().code, Status::kInvalid);
  CcOps incomplete = controller("half");
  incomplete.on_congestion = nullptr;
  EXPECT_THAT(r.add(incomplete).error().message, HasSubstr("'half' lacks on_congestion"));
}

TEST(CcRegistry, CallsOnlyWhatAnOlderTableCovers) {
  CcRegistry r;
  // As if built when on_congestion was the last entry; what follows in memory is somebody else's.
  CcOps old = controller("old");
  std::memset(reinterpret_cast<char*>(&old) + offsetof(CcOps, on_recovered), 0xab,
              sizeof old - offsetof(CcOps, on_recovered));
  old.struct_size = offsetof(CcOps, on_recovered);
  ASSERT_TRUE(r.add(old));
  EXPECT_EQ(r.find("old")->on_recovered, nullptr);
  EXPECT_EQ(r.find("old")->on_idle, nullptr);
  old.name = "cut";
  old.struct_size -= 4;  // ends inside an entry
  EXPECT_EQ(r.add(old).error().code, Status::kInvalid);
}

TEST(CcRegistry, AFullRegistryRefuses) {
  CcRegistry r;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < CcRegistry::kMaxControllers; ++i)
    names.push_back("cc" + std::to_string(i));
  for (const auto& name : names) ASSERT_TRUE(r.add(controller(name.c_str())));
  EXPECT_EQ(r.add(controller("one-more")).error().code, Status::kNoMemory);
}

TEST(CcRegistry, ReadersSeeWholeEntriesWhileOthersAreAdded) {
  CcRegistry r;
  std::vector<std::string> names;
  for (int i = 0; i < 60; ++i) names.push_back("cc" + std::to_string(i));
  std::atomic<bool> done{false};
  std::thread reader([&] {
    std::size_t most = 0;
    while (!done.load()) {
      std::size_t found = 0;
      for (const auto& name : names) {
        const CcOps* cc = r.find(name);
        if (!cc) break;
        ASSERT_EQ(cc->name, name);
        ASSERT_NE(cc->on_ack, nullptr);
        ++found;
      }
      ASSERT_GE(found, most);
      most = found;
    }
  });
  for (const auto& name : names) ASSERT_TRUE(r.add(controller(name.c_str())));
  done = true;
  reader.join();
}

}  // namespace
}  // namespace loom
