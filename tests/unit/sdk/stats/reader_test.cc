// The reader against descriptors and bytes that an honest daemon would not send.
#include "stats/stats_reader.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <random>
#include <thread>

#include "tests/unit/sdk/send_fds.h"

namespace loom {
namespace {

using namespace stats;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kSize = 64 << 10, kBase = 0x7000000000;

// A segment made by hand: every offset is the test's to choose.
class Forged {
 public:
  explicit Forged(uint64_t size = kSize) : size_(size) {
    fd_ = ::memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    EXPECT_EQ(::ftruncate(fd_, static_cast<off_t>(size)), 0);
    memory_ =
        static_cast<std::byte*>(::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0));
    EXPECT_EQ(::fcntl(fd_, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    header() = {
        .version = 2, .base = kBase, .epoch = 1, .in_progress = 0, .directory = 0, .errors = 0};
  }
  ~Forged() {
    ::munmap(memory_, size_);
    ::close(fd_);
  }
  SegmentHeader& header() { return *reinterpret_cast<SegmentHeader*>(memory_); }
  // The pointer to a vector of `length` elements at `offset`.
  template <class T>
  uint64_t vector(uint64_t offset, std::vector<T> elements, std::optional<uint32_t> length = {}) {
    auto* h = reinterpret_cast<VectorHeader*>(memory_ + offset - sizeof(VectorHeader));
    *h = {.length = length.value_or(static_cast<uint32_t>(elements.size())),
          .header_size = 1,
          .alignment = 3,
          .spare = 0,
          .unused = 0};
    std::copy_n(reinterpret_cast<const std::byte*>(elements.data()), elements.size() * sizeof(T),
                reinterpret_cast<std::byte*>(memory_ + offset));
    return kBase + offset;
  }
  void directory(std::vector<Entry> entries) {
    header().directory = vector(1024, std::move(entries));
  }
  static Entry entry(const char* name, EntryType type, uint64_t value) {
    Entry e{.type = type, .unused = 0, .value = value, .name = {}};
    std::strncpy(e.name, name, sizeof e.name - 1);
    return e;
  }
  StatsReader reader() {
    auto r = StatsReader::open(::dup(fd_));
    EXPECT_TRUE(r) << r.error().message;
    r->set_patience(std::chrono::milliseconds(1));
    return std::move(*r);
  }
  std::byte* memory() { return memory_; }
  int fd() const { return fd_; }
  uint64_t size() const { return size_; }

 private:
  uint64_t size_;
  int fd_ = -1;
  std::byte* memory_ = nullptr;
};

// Two workers, three columns; a symlink; names; of another writer's kind.
void fill(Forged& f) {
  const uint64_t row0 = f.vector<uint64_t>(16384, {1, 2, 3});
  const uint64_t row1 = f.vector<uint64_t>(16640, {10, 20, 30});
  const uint64_t rows = f.vector<uint64_t>(16896, {row0, row1});
  const uint64_t text = f.vector<char>(17152, {'t', 'a', 'p', '0', '\0'});
  const uint64_t names = f.vector<uint64_t>(17408, {text, 0});
  const uint64_t pairs = f.vector<Combined>(17664, {{5, 500}, {6, 600}});
  const uint64_t pair_rows = f.vector<uint64_t>(17920, {pairs});
  f.directory({f.entry("/sys/heartbeat", EntryType::kScalar, 9),
               f.entry("/a/simple", EntryType::kSimple, rows),
               f.entry("/a/link", EntryType::kSymlink, uint64_t{1} << 32 | 1),
               f.entry("/a/names", EntryType::kNames, names), f.entry("", EntryType::kEmpty, 0),
               f.entry("/a/pairs", EntryType::kCombined, pair_rows),
               f.entry("/a/future", static_cast<EntryType>(77), 1)});
}

TEST(StatsReader, ReadsEveryKind) {
  Forged f;
  fill(f);
  StatsReader r = f.reader();
  EXPECT_EQ(*r.heartbeat(), 9u);
  EXPECT_THAT(r.read("/a/simple")->simple,
              ElementsAre(ElementsAre(1, 2, 3), ElementsAre(10, 20, 30)));
  EXPECT_EQ(r.read("/a/simple")->sum_at(1), 22u);
  EXPECT_THAT(r.read("/a/link")->simple, ElementsAre(ElementsAre(2), ElementsAre(20)));
  EXPECT_THAT(r.read("/a/names")->names, ElementsAre("tap0", ""));
  EXPECT_EQ(r.read("/a/pairs")->sum_combined().bytes, 1100u);
  EXPECT_TRUE(r.read("/a/future"));  // of a newer writer: no value, and no failure
  EXPECT_EQ(r.read("/a/none").error().code, Status::kNotFound);
}

TEST(StatsReader, FiltersByGlobAndRegex) {
  Forged f;
  fill(f);
  StatsReader r = f.reader();
  EXPECT_EQ(r.list()->size(), 6u);
  EXPECT_THAT(*r.list(*StatsFilter::glob("/*/s*")), ElementsAre("/a/simple"));
  EXPECT_THAT(*r.list(*StatsFilter::regex("^/a/(names|pairs)$")),
              ElementsAre("/a/names", "/a/pairs"));
  EXPECT_THAT(*r.list(StatsFilter::exactly("/a/link") | *StatsFilter::glob("/sys/*")),
              ElementsAre("/sys/heartbeat", "/a/link"));
  EXPECT_THAT(StatsFilter::regex("(").error().message, HasSubstr("pattern '('"));
}

TEST(StatsReader, LengthsAndPointersBeyondTheSegmentAreErrors) {
  const auto refused = [](auto forge) {
    Forged f;
    fill(f);
    forge(f);
    const auto v = f.reader().dump(StatsFilter::all());
    EXPECT_FALSE(v);
    return v ? Status::kOk : v.error().code;
  };
  const auto entry_value = [](Forged& f, uint32_t i) -> uint64_t& {
    return reinterpret_cast<Entry*>(f.memory() + 1024)[i].value;
  };
  for (const uint64_t pointer : {uint64_t{1}, kBase, kBase + 48, kBase + 55, kBase - 8,
                                 kBase + kSize + 8, ~uint64_t{0}, kBase + 16385}) {
    EXPECT_EQ(refused([&](Forged& f) { f.header().directory = pointer; }), Status::kMalformed)
        << pointer;
    EXPECT_EQ(refused([&](Forged& f) { entry_value(f, 1) = pointer; }), Status::kMalformed)
        << pointer;
  }
  for (const uint64_t offset : {1024, 16384, 16640, 16896, 17152, 17408, 17664, 17920})
    for (const uint32_t length : {~0u, 0x80000000u, static_cast<uint32_t>(kSize)})
      EXPECT_EQ(
          refused([&](Forged& f) { std::memcpy(f.memory() + offset - 8, &length, sizeof length); }),
          Status::kMalformed)
          << offset << " " << length;
  EXPECT_EQ(refused([&](Forged& f) { entry_value(f, 2) = 1000; }), Status::kMalformed);
  EXPECT_EQ(refused([&](Forged& f) { entry_value(f, 2) = uint64_t{3} << 32 | 1; }),
            Status::kMalformed);
  EXPECT_EQ(refused([&](Forged& f) { entry_value(f, 2) = 2; }), Status::kMalformed);  // to itself
}

TEST(StatsReader, ADirectoryThatMultipliesItselfIsTooLarge) {
  // One long row that all rows of all entries lead to: 64 KB that would become gigabytes.
  Forged f;
  const uint64_t row = f.vector<uint64_t>(32768, {}, (kSize - 32768) / 8);
  const uint64_t rows = f.vector<uint64_t>(24576, std::vector<uint64_t>(1000, row));
  std::vector<Entry> entries(100, f.entry("/x", EntryType::kSimple, rows));
  f.directory(entries);
  StatsReader r = f.reader();
  const auto v = r.dump(StatsFilter::all());
  ASSERT_FALSE(v);
  EXPECT_THAT(v.error().message, HasSubstr("too"));
}

TEST(StatsReader, ANameWithoutEndIsCut) {
  Forged f;
  Entry e = f.entry("", EntryType::kScalar, 3);
  std::memset(e.name, 'x', sizeof e.name);
  f.directory({e});
  EXPECT_THAT(*f.reader().list(), ElementsAre(std::string(128, 'x')));
}

TEST(StatsReader, AChangeThatNeverEndsIsAnError) {
  Forged f;
  fill(f);
  f.header().in_progress = 1;
  EXPECT_EQ(f.reader().list().error().code, Status::kTimedOut);
  f.header().in_progress = 0;
  EXPECT_TRUE(f.reader().list());
}

TEST(StatsReader, RandomBytesNeverHurtIt) {
  Forged f;
  fill(f);
  StatsReader r = f.reader();
  std::vector<std::byte> good(f.size());
  std::memcpy(good.data(), f.memory(), f.size());
  std::mt19937 random(7);
  const uint64_t spots[] = {16,    24,    32,    1016,  1024,  1032,  16376, 16888,
                            16896, 17144, 17400, 17408, 17656, 17912, 17920};
  const uint64_t values[] = {0,     1,          7,         kBase, kBase + 1016, kBase + kSize - 8,
                             ~0ull, 1ull << 32, 1ull << 63};
  for (int round = 0; round < 20'000; ++round) {
    for (int n = static_cast<int>(random() % 4); n >= 0; --n) {
      uint64_t at = spots[random() % std::size(spots)] + 144 * (random() % 3);
      const uint64_t value = random() % 2 ? values[random() % std::size(values)] : random();
      if (at == 24) at = 32;  // in_progress would only make it wait
      std::memcpy(f.memory() + at, &value, sizeof value);
    }
    (void)r.dump(StatsFilter::all());
    (void)r.list();
    std::memcpy(f.memory(), good.data(), f.size());
  }
}

TEST(StatsReader, RefusesWhatCouldFault) {
  const auto status = [](int fd) { return StatsReader::open(fd).error().code; };
  const int unsealed = ::memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  ASSERT_EQ(::ftruncate(unsealed, 4096), 0);
  EXPECT_EQ(status(unsealed), Status::kUnsupported);
  EXPECT_EQ(status(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), Status::kUnsupported);
  EXPECT_EQ(status(::open("/dev/zero", O_RDONLY | O_CLOEXEC)), Status::kUnsupported);
  Forged tiny(16);
  EXPECT_EQ(status(::dup(tiny.fd())), Status::kMalformed);
  Forged old;
  old.header().version = 1;
  EXPECT_EQ(status(::dup(old.fd())), Status::kUnsupported);
  EXPECT_EQ(status(-1), Status::kIo);
}

// A server that answers a connection as `serve` does.
class Server {
 public:
  explicit Server(std::function<void(int)> serve) : path(testing::TempDir() + "forged.sock") {
    ::unlink(path.c_str());
    fd_ = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    sockaddr_un a{};
    a.sun_family = AF_UNIX;
    std::strncpy(a.sun_path, path.c_str(), sizeof a.sun_path - 1);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
    EXPECT_EQ(::listen(fd_, 4), 0);
    thread_ = std::thread([this, serve = std::move(serve)] {
      const int client = ::accept(fd_, nullptr, nullptr);
      serve(client);
      ::close(client);
    });
  }
  ~Server() {
    thread_.join();
    ::close(fd_);
    ::unlink(path.c_str());
  }
  const std::string path;

 private:
  int fd_;
  std::thread thread_;
};

TEST(StatsReader, ServersThatSendSomethingElse) {
  {
    Server s([](int) {});  // hangs up
    EXPECT_EQ(StatsReader::connect(s.path).error().code, Status::kMalformed);
  }
  {
    Server s([](int fd) { (void)!::write(fd, "hello", 5); });
    EXPECT_EQ(StatsReader::connect(s.path).error().code, Status::kMalformed);
  }
  for (const std::size_t n : {2, 3, 253}) {
    const auto n_open = [] {
      return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    const auto before = n_open();
    {
      Forged f;
      Server s([&](int fd) {
        EXPECT_TRUE(send_fds(fd, std::array<std::byte, 1>{}, std::vector<int>(n, f.fd())));
      });
      EXPECT_TRUE(StatsReader::connect(s.path)) << n;
    }
    EXPECT_EQ(n_open(), before) << n;
  }
  EXPECT_EQ(StatsReader::connect("/nowhere/stats.sock").error().code, Status::kNotConnected);
  EXPECT_THAT(StatsReader::connect("/nowhere/stats.sock").error().message,
              HasSubstr("/nowhere/stats.sock"));
  EXPECT_EQ(StatsReader::connect(std::string(200, 'x')).error().code, Status::kInvalid);
}

}  // namespace
}  // namespace loom
