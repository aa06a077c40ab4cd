// What EAL is started with, and whether there are huge pages enough for the buffers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "eal.h"

namespace loom::dpdk {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr std::size_t kMb = 1 << 20, kGb = 1 << 30;

cpu_set_t cores(std::initializer_list<int> some) {
  cpu_set_t all;
  CPU_ZERO(&all);
  for (const int c : some) CPU_SET(c, &all);
  return all;
}

TEST(DpdkEal, OnHugePagesItKeepsNoFilesAndHasTheMemoryThatIsSaid) {
  Config c;
  c.socket_mem = "512,256";
  c.iova_mode = "pa";
  const auto a = eal_arguments(c, cores({1, 3}), true, 100 * kMb);
  EXPECT_THAT(a, Contains("--in-memory"));
  EXPECT_THAT(a, Contains("--socket-mem=512,256"));
  EXPECT_THAT(a, Contains("--iova-mode=pa"));
  EXPECT_THAT(a, Contains("--lcores=0@(1,3)"));
  EXPECT_THAT(a, Not(Contains("--no-huge")));
  EXPECT_THAT(a, Not(Contains("-m")));
}

TEST(DpdkEal, OnPlainPagesItHasRoomForTheBuffersAndWhatIsBeside) {
  Config c;
  c.socket_mem = "512";
  c.iova_mode = "pa";
  const auto a = eal_arguments(c, cores({0}), false, 100 * kMb);
  EXPECT_THAT(a, Contains("--no-huge"));
  EXPECT_THAT(a, Contains("--iova-mode=va"));
  EXPECT_THAT(a, Not(Contains("--in-memory")));
  EXPECT_THAT(a, Not(Contains(StartsWith("--socket-mem"))));
  const auto m = std::find(a.begin(), a.end(), "-m");
  ASSERT_LT(m + 1, a.end());
  EXPECT_GE(std::stoul(m[1]), 164u);
}

TEST(DpdkEal, OnlyDevicesThatAreNamedAreTouched) {
  Config c;
  EXPECT_THAT(eal_arguments(c, cores({0}), true, 0), Contains("--no-pci"));
  c.devices.push_back(*parse_vdev("net_null0"));
  EXPECT_THAT(eal_arguments(c, cores({0}), true, 0), Contains("--no-pci"));
  DeviceConfig card;
  card.address = "0000:03:00.0";
  card.devargs = "a=1";
  c.devices.push_back(card);
  card.address = "0000:04:00.0";
  card.devargs = "";
  c.devices.push_back(card);
  const auto a = eal_arguments(c, cores({0}), true, 0);
  EXPECT_THAT(a, AllOf(Contains("--allow=0000:03:00.0,a=1"), Contains("--allow=0000:04:00.0"),
                       Not(Contains("--no-pci")), Not(Contains(HasSubstr("net_null0")))));
}

TEST(DpdkEal, PartsOfDpdkSpeakAsMuchAsTheyAreAsked) {
  Config c;
  EXPECT_THAT(eal_arguments(c, cores({0}), true, 0),
              AllOf(Contains("--log-level=notice"), Not(Contains(StartsWith("--log-level=*")))));
  c.log_level = "debug";
  EXPECT_THAT(eal_arguments(c, cores({0}), true, 0), Contains("--log-level=*:debug"));
}

TEST(DpdkEal, HugePagesAreCountedByNode) {
  const std::string sys = testing::TempDir() + "/sys-" + std::to_string(::getpid());
  EXPECT_TRUE(free_huge_pages(sys).empty());
  const auto write = [&](const std::string& folder, int n) {
    fs::create_directories(sys + folder);
    std::ofstream(sys + folder + "/free_hugepages") << n;
  };
  write("/kernel/mm/hugepages/hugepages-2048kB", 3);
  auto free = free_huge_pages(sys);
  ASSERT_EQ(free.size(), 1u);
  EXPECT_EQ(free[0].numa_node, 0);
  EXPECT_EQ(free[0].page_size, 2 * kMb);
  EXPECT_EQ(free[0].n, 3u);
  write("/devices/system/node/node0/hugepages/hugepages-2048kB", 1);
  write("/devices/system/node/node1/hugepages/hugepages-2048kB", 2);
  write("/devices/system/node/node1/hugepages/hugepages-1048576kB", 4);
  fs::create_directories(sys + "/devices/system/node/power");
  free = free_huge_pages(sys);
  std::sort(free.begin(), free.end(), [](const FreePages& a, const FreePages& b) {
    return std::pair(a.numa_node, a.page_size) < std::pair(b.numa_node, b.page_size);
  });
  ASSERT_EQ(free.size(), 3u);
  EXPECT_EQ(free[0].n, 1u);
  EXPECT_EQ(free[1].n, 2u);
  EXPECT_EQ(free[2].numa_node, 1);
  EXPECT_EQ(free[2].page_size, kGb);
  EXPECT_EQ(free[2].n, 4u);
  fs::remove_all(sys);
}

TEST(DpdkEal, APoolNeedsPagesOfOneSizeOnItsNode) {
  const std::vector<FreePages> two{{0, 2 * kMb, 50}, {1, 2 * kMb, 100}};
  EXPECT_TRUE(find_room({{100 * kMb, 0}, {200 * kMb, 1}}, two));
  EXPECT_TRUE(find_room({{200 * kMb, -1}}, two));
  EXPECT_TRUE(find_room({{90 * kMb, -1}, {200 * kMb, 1}}, two)) << "the larger one first";
  EXPECT_EQ(find_room({{150 * kMb, 0}}, two).error().message,
            "150 MB of huge pages of one size are needed on node 0, and 100 MB are free");
  EXPECT_FALSE(find_room({{250 * kMb, -1}}, two)) << "on both nodes together there would be room";
  EXPECT_FALSE(find_room({{60 * kMb, 0}, {60 * kMb, 0}}, two)) << "for one of them only";
  EXPECT_FALSE(find_room({{3 * kMb, 0}}, {{0, 2 * kMb, 1}, {0, kGb, 0}})) << "of whole pages";
  EXPECT_TRUE(find_room({{2 * kMb, 0}, {kGb, 0}}, {{0, kGb, 1}, {0, 2 * kMb, 1}}))
      << "the small one leaves the large page alone";
  EXPECT_TRUE(find_room({{40 * kMb, 0}, {64 * kMb, -1}}, {{0, kGb, 1}})) << "on one page";
  EXPECT_TRUE(find_room({{3 * kMb, 0}, {kMb, 0}}, {{0, 2 * kMb, 2}})) << "in what is left of one";
  EXPECT_FALSE(find_room({{3 * kMb, 0}, {3 * kMb, 0}}, {{0, 2 * kMb, 3}}))
      << "EAL takes new pages for what has no room in the rest of those it has";
  EXPECT_FALSE(find_room({{900 * kMb, 0}, {200 * kMb, 0}}, {{0, kGb, 1}}));
  EXPECT_EQ(find_room({{900 * kMb, 0}, {200 * kMb, -1}}, {{0, kGb, 1}}).error().message,
            "200 MB of huge pages of one size are needed on one node, and 124 MB are free");
  EXPECT_FALSE(find_room({{1, -1}}, {}));
  EXPECT_TRUE(find_room({}, {}));
}

}  // namespace
}  // namespace loom::dpdk
